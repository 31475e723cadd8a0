# SPDX-License-Identifier: Apache-2.0
"""File descriptors: what the container gets, and all that it must not get."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Container, console_socket, eventually, placed, read_until

differs = pytest.mark.differs

LIST = ["sh", "-c", "cd /proc/self/fd; for fd in *; do readlink $fd > /dev/null && echo $fd; done; true"]
"""Prints the open descriptors of the shell; the one it reads the directory with is closed again by then."""


@contextlib.contextmanager
def open_at(*numbers: int) -> Iterator[None]:
    """A directory of the host at each of the given descriptors, for whoever inherits them."""
    directory = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with placed({number: directory for number in numbers}):
            yield
    finally:
        os.close(directory)


def descriptors(text: str) -> set[int]:
    """What LIST printed, without the descriptor the shell may have used for its own script."""
    return {int(word) for word in text.split() if int(word) < 10}


def test_only_standard_streams_are_open(container: Container) -> None:
    assert descriptors(container.output(*LIST)) == {0, 1, 2}


def test_the_callers_descriptors_stay_outside(container: Container) -> None:
    with open_at(3, 5, 7):
        result = container.run(args=LIST, pass_fds=(3, 5, 7)).ok()
    assert descriptors(result.out) == {0, 1, 2}


@pytest.mark.parametrize("command", ["create", "start"])
def test_a_detached_container_has_none_of_them_either(container: Container, command: str) -> None:
    with open_at(3, 5):
        container.create(args=["sleep", "1000"], pass_fds=(3, 5)).ok()
        container.call("start", container.id, pass_fds=(3, 5)).ok()
    eventually("sleep", lambda: Path(f"/proc/{container.pid}/comm").read_text() == "sleep\n")
    assert sorted(os.listdir(f"/proc/{container.pid}/fd")) == ["0", "1", "2"]


def test_exec_has_none_of_them(container: Container) -> None:
    container.launch()
    with open_at(3, 5):
        result = container.exec(*LIST, pass_fds=(3, 5)).ok()
    assert descriptors(result.out) == {0, 1, 2}


def test_preserved_descriptors_arrive(container: Container) -> None:
    with open_at(3, 4, 5):
        result = container.run("--preserve-fds", "2", args=LIST, pass_fds=(3, 4, 5)).ok()
    assert descriptors(result.out) == {0, 1, 2, 3, 4}


def test_preserved_descriptors_arrive_through_create(container: Container) -> None:
    reader, writer = os.pipe()
    with placed({3: writer}):
        container.create("--preserve-fds=1", args=["sh", "-c", "echo through >&3"], pass_fds=(3,)).ok()
    os.close(writer)
    container.start().ok()
    assert os.read(reader, 100) == b"through\n"
    os.close(reader)


def test_a_preserved_descriptor_that_is_not_open(container: Container) -> None:
    result = container.run("--preserve-fds", "20", args=["true"])
    assert result.status == 1, f"{result}"
    container.leaves_nothing()


@pytest.mark.parametrize("number", range(3, 16))
def test_no_working_directory_is_reached_through_a_descriptor(container: Container, number: int) -> None:
    """A descriptor that is still open when the program's directory is entered would lead to the host, or below a mask."""
    container.process["cwd"] = f"/proc/self/fd/{number}"
    result = container.run(args=["sh", "-c", "pwd; ls -a"])
    assert result.status != 0, f"{result}"


def test_exec_enters_no_directory_through_a_descriptor(container: Container) -> None:
    container.launch()
    for number in range(3, 16):
        result = container.exec("ls", "-a", options=("--cwd", f"/proc/self/fd/{number}"))
        assert result.status != 0, f"{result}"


def test_closed_standard_streams_do_no_harm(container: Container) -> None:
    """What is opened first would otherwise become the container's standard input or output."""
    wrapper = ["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-']
    container.write_config()
    container.process["args"] = ["sh", "-c", "readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 > /tmp/seen"]
    container.write_config()
    status = container.call("run", "--bundle", str(container.bundle), container.id, wrapper=wrapper).status
    seen = container.rootfs / "tmp" / "seen"
    if status == 0:
        assert all(line in ("/dev/null", "") or line.startswith("pipe:") for line in seen.read_text().splitlines())
    container.leaves_nothing()


def test_output_nobody_reads_does_no_harm(container: Container) -> None:
    """A broken pipe ends the command that prints, with no more to say about it."""
    container.launch()
    reader, writer = os.pipe()
    os.close(reader)
    result = container.call("state", container.id, stdout=writer)
    os.close(writer)
    assert "Traceback" not in result.err
    assert "Exception" not in result.err


def test_listen_fds_arrive_with_their_variables(container: Container) -> None:
    """Socket activation: descriptors from 3 on, counted by LISTEN_FDS, meant for the process named by LISTEN_PID."""
    wrapper = ["sh", "-c", 'export LISTEN_PID=$$; exec "$0" "$@"']
    with socket.socket(socket.AF_UNIX) as listener, placed({3: listener.fileno()}):
        result = container.run(
            args=["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; readlink /proc/self/fd/3"],
            pass_fds=(3,), wrapper=wrapper, env={"PATH": os.environ["PATH"], "LISTEN_FDS": "1"},
        ).ok()  # fmt: skip
    first, second = result.out.splitlines()
    assert first == "1 1"
    assert second.startswith("socket:")


def test_listen_fds_for_another_process_are_ignored(container: Container) -> None:
    with open_at(3):
        result = container.run(
            args=["sh", "-c", 'echo "[$LISTEN_FDS]"'],
            pass_fds=(3,), env={"PATH": os.environ["PATH"], "LISTEN_FDS": "1", "LISTEN_PID": "1"},
        ).ok()  # fmt: skip
    assert result.out == "[]\n"


# What the caller names by a descriptor


@contextlib.contextmanager
def told(text: str) -> Iterator[int]:
    """A pipe that this text comes out of, and then its end."""
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    try:
        yield reader
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    ("path", "wrapper"),
    [("/dev/fd/5", []), ("/proc/self/fd/5", []), ("/dev/stdin", ["sh", "-c", 'exec "$0" "$@" <&5'])],
)
def test_the_process_of_an_exec_comes_from_a_pipe(container: Container, path: str, wrapper: list[str]) -> None:
    """As the shell has it open for `exec --process <(...)`. Not a descriptor of all these reaches the program."""
    container.launch()
    process = json.dumps(container.process | {"args": LIST})
    with told(process) as reader, open_at(7), placed({5: reader}):
        result = container.exec(options=("--process", path), pass_fds=(5, 7), wrapper=wrapper).ok()
    assert descriptors(result.out) == {0, 1, 2}


def test_a_bundle_that_a_descriptor_leads_to(container: Container) -> None:
    container.process["args"] = LIST
    container.write_config()
    bundle = os.open(container.bundle, os.O_RDONLY | os.O_DIRECTORY)
    with open_at(5), placed({7: bundle}):
        result = container.call("run", "--bundle", "/proc/self/fd/7", container.id, pass_fds=(5, 7)).ok()
    os.close(bundle)
    assert descriptors(result.out) == {0, 1, 2}


def test_a_console_socket_that_a_descriptor_leads_to(container: Container) -> None:
    """So a caller gets around the 107 bytes that the path of a socket may have."""
    container.process["terminal"] = True
    directory = os.open(container.scratch, os.O_RDONLY | os.O_DIRECTORY)
    with console_socket(container.scratch) as (path, receive):
        options = ("--console-socket", f"/proc/self/fd/7/{os.path.basename(path)}")
        with placed({7: directory}):
            container.create(*options, args=["sleep", "1000"], pass_fds=(7,)).ok()
            receive()
            container.start().ok()
            listing = [*LIST[:2], f"{LIST[2]}; echo end"]
            container.exec(*listing, options=("--tty", "--detach", *options), pass_fds=(7,)).ok()
            output = read_until(receive(), b"end").decode()
    os.close(directory)
    assert descriptors(output.partition("end")[0]) == {0, 1, 2}
    assert sorted(os.listdir(f"/proc/{container.pid}/fd")) == ["0", "1", "2"]
