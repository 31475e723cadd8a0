# SPDX-License-Identifier: Apache-2.0
"""What passes between the caller and the program by descriptor: sockets of socket activation, pidfds; and the pid file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from .harness import Container, placed

differs = pytest.mark.differs

PATH = os.environ["PATH"]
ACTIVATED = ["sh", "-c", 'export LISTEN_PID=$$; exec "$0" "$@"']
"""Calls the runtime as systemd would: with LISTEN_PID its own pid."""


def test_preserved_descriptors_come_after_those_of_socket_activation(container: Container) -> None:
    reader, writer = os.pipe()
    with socket.socket(socket.AF_UNIX) as listener, placed({3: listener.fileno(), 4: writer}):
        result = container.run(
            "--preserve-fds=1", args=["sh", "-c", "readlink /proc/self/fd/3; echo $LISTEN_FDS >&4"],
            pass_fds=(3, 4), wrapper=ACTIVATED, env={"PATH": PATH, "LISTEN_FDS": "1"},
        ).ok()  # fmt: skip
    os.close(writer)
    assert result.out.startswith("socket:")
    assert os.read(reader, 100) == b"1\n"
    os.close(reader)


def test_those_of_an_exec_are_counted_from_3(container: Container) -> None:
    """Socket activation has no part in it, and the help says so."""
    container.launch()
    reader, writer = os.pipe()
    with placed({3: writer}):
        container.exec(
            "sh", "-c", "echo [$LISTEN_FDS] >&3",
            options=("--preserve-fds=1",), pass_fds=(3,), wrapper=ACTIVATED, env={"PATH": PATH, "LISTEN_FDS": "1"},
        ).ok()  # fmt: skip
    os.close(writer)
    assert os.read(reader, 100) == b"[]\n"
    os.close(reader)
    if container.runtime.name == "pyoci":
        assert "LISTEN_FDS" not in container.call("exec", "--help").ok().out


@differs(runc="1.1.5 forgets the names")
def test_the_names_of_sockets_arrive(container: Container) -> None:
    with socket.socket(socket.AF_UNIX) as listener, placed({3: listener.fileno()}):
        result = container.run(
            args=["sh", "-c", "echo $LISTEN_FDNAMES"],
            pass_fds=(3,), wrapper=ACTIVATED, env={"PATH": PATH, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
        ).ok()  # fmt: skip
    assert result.out == "web\n"


def test_names_without_sockets_do_not(container: Container) -> None:
    environment = {"PATH": PATH, "LISTEN_FDNAMES": "web"}
    assert container.run(args=["sh", "-c", "echo [$LISTEN_FDNAMES]"], env=environment).ok().out == "[]\n"


def test_variables_of_the_config_give_way(container: Container) -> None:
    container.process["env"] += ["LISTEN_FDS=7", "LISTEN_PID=77"]
    with socket.socket(socket.AF_UNIX) as listener, placed({3: listener.fileno()}):
        result = container.run(
            args=["env"], pass_fds=(3,), wrapper=ACTIVATED, env={"PATH": PATH, "LISTEN_FDS": "1"}
        ).ok()
    assert sorted(line for line in result.out.splitlines() if "LISTEN" in line) == ["LISTEN_FDS=1", "LISTEN_PID=1"]


def test_the_sockets_of_an_activated_create(container: Container) -> None:
    with socket.socket(socket.AF_UNIX) as listener, placed({3: listener.fileno()}):
        container.create(
            args=["sh", "-c", "echo $LISTEN_FDS; readlink /proc/self/fd/3"],
            pass_fds=(3,), wrapper=ACTIVATED, env={"PATH": PATH, "LISTEN_FDS": "1"},
        ).ok()  # fmt: skip
    container.start().ok()
    container.prints("socket:")
    assert container.printed().startswith("1\n")


def test_exec_is_not_activated(container: Container) -> None:
    """Its descriptors from 3 on are those of --preserve-fds alone, whatever its caller was started with."""
    container.launch()
    reader, writer = os.pipe()
    with placed({3: writer}):
        container.exec(
            "sh", "-c", "echo [$LISTEN_FDS] >&3", options=("--preserve-fds", "1"),
            pass_fds=(3,), wrapper=ACTIVATED, env={"PATH": PATH, "LISTEN_FDS": "1"},
        ).ok()  # fmt: skip
    os.close(writer)
    assert os.read(reader, 100) == b"[]\n"
    os.close(reader)


@pytest.mark.parametrize("count", ["x", "99999999999"])
def test_a_number_of_descriptors_that_cannot_be(container: Container, count: str) -> None:
    result = container.run(f"--preserve-fds={count}")
    assert result.status != 0
    container.leaves_nothing()


# pidfds


@differs(runc="1.1.5 has no such option")
def test_nobody_to_send_a_pidfd_to(container: Container) -> None:
    """Found out before anything is made: no hook has run, and no process."""
    container.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {container.bundle}/ran"]}]
    }
    container.create("--pidfd-socket", str(container.bundle / "nobody")).refused("pidfd", "nobody")
    assert not (container.bundle / "ran").exists()
    container.leaves_nothing()


@differs(runc="1.1.5 has no such option")
def test_an_exec_with_nobody_to_send_a_pidfd_to_does_not_run(container: Container) -> None:
    container.launch()
    nobody = str(container.bundle / "nobody")
    container.exec("touch", "/tmp/ran", options=("--pidfd-socket", nobody)).refused("pidfd", "nobody", status=255)
    assert not (container.rootfs / "tmp" / "ran").exists()


@differs(runc="1.1.5 has no such option")
def test_run_sends_a_pidfd_too(container: Container) -> None:
    path = container.scratch / "pidfd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        container.run("--pidfd-socket", str(path), args=["true"]).ok()
        connection, _ = listener.accept()
        with connection:
            text, descriptors, _, _ = socket.recv_fds(connection, 100, 4)
            assert connection.recv(1) == b"", "one message, and the end"
    assert text == b"standard"
    assert len(descriptors) == 1
    for descriptor in descriptors:
        assert Path(f"/proc/self/fdinfo/{descriptor}").read_text().count("Pid:\t-1\n") == 1, "it has ended"
        os.close(descriptor)


# The pid file


def test_an_exec_whose_pid_cannot_be_written_is_ended(container: Container) -> None:
    container.launch()
    options = ("--detach", "--pid-file", str(container.bundle / "no" / "such"))
    container.exec("sleep", "1000", options=options).refused("no such file", status=255)
    assert len(container.exec("ps").ok().out.splitlines()) == 3, "a heading, sleep, and ps itself"
