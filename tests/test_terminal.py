# SPDX-License-Identifier: Apache-2.0
"""The container's pty: made by descriptors, handed over, and not to be diverted by what an image holds."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import terminal
from pyoci.errors import PyociError
from pyoci.syscalls import CLONE_NEWNS, MNT_DETACH, MS_PRIVATE, MS_REC, mount, umount2, unshare
from tests.forked import in_child


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev/pts").mkdir(parents=True)
    return tmp_path


def open_root(root: Path, *, devpts: bool = True) -> int:
    """In a mount namespace of our own, the root as a mount with a devpts in it."""
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    if devpts:
        mount("devpts", f"{root}/dev/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620")
    return os.open(root, os.O_PATH)


def refusal(action: Any, *arguments: Any) -> str:
    with pytest.raises(PyociError) as caught:
        action(*arguments)
    return caught.value.message


@pytest.mark.needs_root
def test_open_pty(root: Path) -> None:
    def inside() -> list[Any]:
        pty = terminal.open_pty(open_root(root), 24, 80)
        os.write(pty.master, b"typed\n")
        os.write(pty.slave, b"shown\n")
        flags = [os.get_inheritable(pty.master), os.get_inheritable(pty.slave)]
        size = struct.unpack("HHHH", terminal.get_size(pty.slave))
        return [pty.name, size[:2], os.read(pty.slave, 99).decode(), os.read(pty.master, 99).decode(), flags]

    name, size, read, shown, inheritable = in_child(inside, sealed=True)
    assert (name, size, read, inheritable) == ("/dev/pts/0", [24, 80], "typed\n", [False, False])
    assert sorted(shown.splitlines()) == ["shown", "typed"]  # the echo comes by way of the kernel, in its own time


@pytest.mark.needs_root
def test_pts_that_is_no_devpts(root: Path) -> None:
    (root / "dev/pts/ptmx").touch()
    message = in_child(lambda: refusal(terminal.open_pty, open_root(root, devpts=False)))
    assert message == "/dev/pts is not a devpts mount, and process.terminal needs one"


@pytest.mark.needs_root
def test_pts_that_is_a_link_stays_in_the_root(root: Path) -> None:
    (root / "dev/pts").rmdir()
    (root / "dev/pts").symlink_to("/dev/pts")  # the host's, if it were followed from the host's root
    message = in_child(lambda: refusal(terminal.open_pty, open_root(root, devpts=False)))
    assert message == "open /dev/pts/ptmx: too many levels of symbolic links"


@pytest.mark.needs_root
def test_something_mounted_over_ptmx(root: Path) -> None:
    def inside() -> str:
        fd = open_root(root)
        subprocess.run(["mount", "--bind", "/dev/zero", root / "dev/pts/ptmx"], check=True)
        return refusal(terminal.open_pty, fd)

    assert in_child(inside) == "open /dev/pts/ptmx: invalid cross-device link"


@pytest.mark.needs_root
@pytest.mark.parametrize("exists", [False, True])
def test_bind_console(root: Path, exists: bool) -> None:
    if exists:
        (root / "dev/console").touch()

    def inside() -> bool:
        fd = open_root(root)
        pty = terminal.open_pty(fd)
        terminal.bind_console(fd, pty.slave)
        covered = os.stat(root / "dev/console").st_rdev == os.fstat(pty.slave).st_rdev
        umount2(f"{root}/dev/console", MNT_DETACH)
        return covered and (root / "dev/console").stat().st_size == 0

    assert in_child(inside, sealed=False)
    assert (root / "dev/console").is_file()


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["link", "dangling", "directory", "fifo"])
def test_console_that_is_something_else(root: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "target"
    console = root / "dev/console"
    if kind == "link":
        outside.touch()
    if kind in ("link", "dangling"):
        console.symlink_to(outside)
    elif kind == "directory":
        console.mkdir()
    else:
        os.mkfifo(console)

    def inside() -> list[Any]:
        fd = open_root(root)
        before = Path("/proc/self/mountinfo").read_text()
        pty = terminal.open_pty(fd)
        message = refusal(terminal.bind_console, fd, pty.slave)
        return [message, Path("/proc/self/mountinfo").read_text() == before]

    message, unchanged = in_child(inside)
    assert message == "/dev/console in the container is neither a file nor a device: refusing to mount on it"
    assert unchanged
    assert outside.exists() == (kind == "link")


@pytest.mark.needs_root
def test_become_controlling(root: Path) -> None:
    def inside() -> list[Any]:
        pty = terminal.open_pty(open_root(root))
        terminal.become_controlling(pty.slave)
        os.close(pty.slave)
        tty = os.open("/dev/tty", os.O_RDWR)
        same = [os.fstat(fd).st_rdev == os.fstat(0).st_rdev for fd in (1, 2)]
        return [os.getsid(0) == os.getpid(), os.tcgetpgrp(tty) == os.getpid(), same, os.get_inheritable(0)]

    assert in_child(inside) == [True, True, [True, True], True]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket whose path is longer than the 108 bytes that the kernel takes at a time."""
    directory = tmp_path / ("x" * 100) / ("y" * 100)
    directory.mkdir(parents=True)
    fd = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{fd}/sock")
        os.close(fd)
        server.listen()
        server.settimeout(10)
        yield server, f"{directory}/sock"


def test_the_master_goes_over_the_console_socket(listener: tuple[socket.socket, str]) -> None:
    server, path = listener
    connection = terminal.connect_console_socket(path)
    assert not os.get_inheritable(connection)
    master, slave = os.openpty()
    terminal.send_master(connection, terminal.Pty(master=master, slave=slave, name="/dev/pts/7"))
    receiver, _ = server.accept()
    payload, fds, _, _ = socket.recv_fds(receiver, 4096, 4)
    os.write(slave, b"hello")
    assert (payload, len(fds), os.read(fds[0], 99)) == (b"/dev/pts/7", 1, b"hello")
    for fd in (connection, master, slave, *fds):
        os.close(fd)
    receiver.close()


def test_console_socket_that_is_not_there(tmp_path: Path) -> None:
    path = f"{tmp_path}/none"
    assert refusal(terminal.connect_console_socket, path) == (
        f"connect to the console socket {path}: no such file or directory"
    )
    Path(path).touch()
    assert refusal(terminal.connect_console_socket, path) == f"connect to the console socket {path}: connection refused"


def test_receive_master() -> None:
    ours, theirs = socket.socketpair()
    master, slave = os.openpty()
    terminal.send_master(theirs.fileno(), terminal.Pty(master=master, slave=slave, name="/dev/pts/0"))
    received = terminal.receive_master(ours.fileno())
    assert os.fstat(received).st_rdev == os.fstat(master).st_rdev
    assert not os.get_inheritable(received)
    theirs.close()
    assert "without sending one" in refusal(terminal.receive_master, ours.fileno())
    ours.close()
    for fd in (master, slave, received):
        os.close(fd)


def test_numbers_are_those_of_this_machine() -> None:
    assert (terminal.TIOCSCTTY, terminal.TIOCSWINSZ) == (termios.TIOCSCTTY, termios.TIOCSWINSZ)
    assert terminal.TIOCGWINSZ == termios.TIOCGWINSZ
