# SPDX-License-Identifier: Apache-2.0
"""What a caller hands over, and what he gets back."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.container.create import create
from pyoci.container.exec import exec_
from pyoci.container.handover import connect_pidfd_socket, find_inherited, listen_fds, send_pidfd, write_pid_file
from pyoci.container.options import CreateOptions, ExecOptions, RestoreOptions
from pyoci.container.restore import restore
from pyoci.container.run import run
from pyoci.criu.options import CriuOptions
from pyoci.errors import PyociError
from pyoci.jsontext import dumps
from tests.container.boxes import Box
from tests.criu.standin import install
from tests.rootfs.roots import descriptors, refusal


def apart(function: Any, *opened: int) -> str:
    """The repr of what a function finds in a child that has these descriptors beside the standard ones, and no others."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 1)  # stays open, whatever is closed
            k.close_all_but(3, ())
            for fd in opened:
                os.dup2(1, fd)
            try:
                found = function()
            except PyociError as error:
                found = error.message
            os.write(1, repr(found).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 9999).decode()
    os.close(reading)
    os.waitpid(pid, 0)
    return said


def open_fds() -> list[int]:
    def is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    return [fd for fd in range(3, 300) if is_open(fd)]


@pytest.mark.parametrize(
    ("preserve", "log", "listening", "opened", "kept"),
    [
        (0, -1, 0, (3, 4, 9, 200), []),
        (0, 9, 0, (3, 4, 9, 200), [9]),
        (2, 9, 0, (3, 4, 5, 9), [3, 4, 9]),
        (1, 9, 1, (3, 4, 5, 9), [3, 4, 9]),
        (0, -1, 3, (3, 4, 5, 6), [3, 4, 5]),
        (0, 3, 0, (3, 4), [3]),
    ],
)
def test_what_is_kept(preserve: int, log: int, listening: int, opened: tuple[int, ...], kept: list[int]) -> None:
    def inside() -> tuple[int, list[int]]:
        inherited = find_inherited(preserve, log, listening)
        inherited.close_others()
        return inherited.count, open_fds()

    assert apart(inside, *opened) == repr((preserve + listening, kept))


def test_what_is_opened_meanwhile_stays_open() -> None:
    def inside() -> tuple[list[int], list[int]]:
        inherited = find_inherited(0, -1, 0)
        ours = [os.open("/", os.O_PATH) for _ in range(3)]
        inherited.close_others()
        return ours, open_fds()

    assert apart(inside, 4, 6) == repr(([3, 5, 7], [3, 5, 7]))


def test_what_is_to_be_kept_must_be_there() -> None:
    said = apart(lambda: find_inherited(3, -1, 0), 3, 5)
    assert "unable to preserve fds: descriptor 4, of the 3 from 3 on, cannot be had: bad file descriptor" in said


@pytest.mark.parametrize(("preserve", "listening"), [(1, 0), (0, 1), (2, 0)])
def test_our_log_is_not_what_is_to_be_kept(preserve: int, listening: int) -> None:
    """It has a number that the caller has not used, and would be open for writing in the container."""
    said = apart(lambda: find_inherited(preserve, 3, listening), 3, 4)
    assert "unable to preserve fds: descriptor 3, of the" in said and "bad file descriptor" in said


def forked_with(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[bool]:
    """For each process that will be made, whether it gets a descriptor of this file."""
    wanted = (path.stat().st_dev, path.stat().st_ino)
    seen: list[bool] = []

    def watched(make: Callable[..., Any]) -> Callable[..., Any]:
        def look_and_make(*arguments: Any, **options: Any) -> Any:
            seen.append(any((status.st_dev, status.st_ino) == wanted for status in map(os.fstat, open_fds())))
            return make(*arguments, **options)

        return look_and_make

    for name in ("fork", "clone3"):
        monkeypatch.setattr(k, name, watched(getattr(k, name)))
    return seen


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
@pytest.mark.parametrize("command", ["create", "run", "exec", "restore"])
def test_no_process_is_made_with_the_callers_descriptors(
    box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    """They are there until what he names by them is opened, and a bundle may well be; the container's process has none."""
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: create(box.settings(), box.id, CreateOptions(bundle=by_descriptor)),
        "run": lambda: run(box.settings(), box.id, CreateOptions(bundle=by_descriptor)),
        "exec": lambda: exec_(box.settings(), box.id, ExecOptions(process_file=f"{by_descriptor}/process.json")),
        "restore": lambda: restore(
            box.settings(),
            box.id,
            RestoreOptions(bundle=by_descriptor, detach=True, criu=CriuOptions(image_path=str(tmp_path))),
        ),
    }
    install(tmp_path / "bin")
    monkeypatch.setitem(k.environ, b"PATH", os.fsencode(f"{tmp_path}/bin:{os.environ['PATH']}"))
    (tmp_path / "descriptors.json").write_text('["/dev/null", "/dev/null", "/dev/null"]')
    if command == "exec":
        box.run("sleep", "1000")
    box.config["process"]["args"] = ["true"]
    box.write_config()
    (box.bundle / "process.json").write_text(dumps(box.config["process"]))
    bundle = os.open(box.bundle, os.O_RDONLY)
    by_descriptor = f"/proc/self/fd/{bundle}"

    def look() -> list[bool]:
        seen = forked_with(monkeypatch, box.bundle)
        calls[command]()
        return seen

    assert box.apart(look) == [False]
    os.close(bundle)


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 0),
        ({b"LISTEN_FDS": b"2", b"LISTEN_PID": b"PID"}, 2),
        ({b"LISTEN_FDS": b"2"}, 0),
        ({b"LISTEN_FDS": b"2", b"LISTEN_PID": b"1"}, 0),
        ({b"LISTEN_FDS": b"-1", b"LISTEN_PID": b"PID"}, 0),
        ({b"LISTEN_FDS": b"x", b"LISTEN_PID": b"PID"}, 0),
        ({b"LISTEN_FDS": b"", b"LISTEN_PID": b"PID"}, 0),
    ],
)
def test_sockets_that_are_meant_for_us(
    environment: dict[bytes, bytes], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sd_listen_fds(3): those of another process are none of our business."""
    mine = {name: value.replace(b"PID", b"%d" % os.getpid()) for name, value in environment.items()}
    monkeypatch.setattr(k, "environ", mine)
    assert listen_fds() == count


# The pid file


def test_a_pid_file_is_digits_alone(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        write_pid_file(f"{tmp_path}/pid", 1234)
    finally:
        os.umask(mask)
    assert (tmp_path / "pid").read_bytes() == b"1234"
    assert (tmp_path / "pid").stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["pid"]


def test_a_pid_file_that_is_there_is_replaced(tmp_path: Path) -> None:
    """By another file: whoever has the old one open does not see half of the new one."""
    (tmp_path / "pid").write_text("99999999")
    with open(tmp_path / "pid") as old:
        write_pid_file(f"{tmp_path}/pid", 7)
        assert old.read() == "99999999"
    assert (tmp_path / "pid").read_text() == "7"


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("kept")
    (tmp_path / "pid").symlink_to("victim")
    write_pid_file(f"{tmp_path}/pid", 7)
    assert (tmp_path / "victim").read_text() == "kept"
    assert not (tmp_path / "pid").is_symlink()


def test_the_remains_of_a_killed_create_are_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / ".pid").touch()
    (tmp_path / ".pid.1").touch()
    write_pid_file(f"{tmp_path}/pid", 7)
    assert (tmp_path / "pid").read_text() == "7"


@pytest.mark.parametrize("name", ["x" * 255, "\U0001f4e6" * 63, "\udcff" * 255], ids=["ascii", "wide", "no text"])
def test_a_name_that_is_as_long_as_may_be(tmp_path: Path, name: str) -> None:
    write_pid_file(f"{tmp_path}/{name}", 7)
    assert os.listdir(tmp_path) == [name]


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    path = f"{tmp_path}/none/pid"
    before = descriptors()
    assert refusal(write_pid_file, path, 7) == f"write the pid file {path}: no such file or directory"
    assert descriptors() == before


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "pid").mkdir()
    assert refusal(write_pid_file, f"{tmp_path}/pid", 7) == f"write the pid file {tmp_path}/pid: is a directory"
    assert os.listdir(tmp_path) == ["pid"]


@pytest.mark.needs_root
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tiny", place], check=True)
    try:
        (place / "filler").write_bytes(bytes(4096))
        assert refusal(write_pid_file, f"{place}/pid", 7) == f"write the pid file {place}/pid: no space left on device"
        assert os.listdir(place) == ["filler"]
    finally:
        subprocess.run(["umount", place], check=True)


# The pidfd socket


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/sock")
        server.listen()
        yield server


@pytest.mark.parametrize("kind", [b"standard", b"setns"])
def test_a_pidfd_is_sent_with_what_it_is_of(listener: socket.socket, tmp_path: Path, kind: bytes) -> None:
    before = descriptors()
    pidfd = os.pidfd_open(os.getpid())
    send_pidfd(connect_pidfd_socket(f"{tmp_path}/sock"), pidfd, kind)
    accepted, _ = listener.accept()
    with accepted:
        payload, fds, _, _ = socket.recv_fds(accepted, 99, 4)
    assert (payload, len(fds)) == (kind, 1)
    assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{fds[0]}").read_text()
    for fd in (pidfd, *fds):
        os.close(fd)
    assert descriptors() == before


def test_nobody_wants_a_pidfd() -> None:
    assert connect_pidfd_socket("") == -1


def test_a_pidfd_socket_that_is_none(tmp_path: Path) -> None:
    path = f"{tmp_path}/none"
    assert refusal(connect_pidfd_socket, path) == f"connect to the pidfd socket {path}: no such file or directory"


def test_a_listener_that_has_gone(listener: socket.socket, tmp_path: Path) -> None:
    connection = connect_pidfd_socket(f"{tmp_path}/sock")
    before = len(descriptors())
    accepted, _ = listener.accept()
    accepted.close()
    assert refusal(send_pidfd, connection, 0, b"standard") == "send the pidfd: broken pipe"
    assert len(descriptors()) == before - 1
