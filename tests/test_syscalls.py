# SPDX-License-Identifier: Apache-2.0
"""The wrappers around system calls, each against what the kernel then shows."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from tests.forked import in_child

IN_ROOT = k.RESOLVE_IN_ROOT


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        yield tmp_path, fd
    finally:
        os.close(fd)


def private_mounts() -> None:
    k.unshare(k.CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)


def mountinfo(point: str) -> list[str]:
    """The fields of the topmost mount at a place."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [line for line in lines if line[4] == point][-1]


# Errors


def test_a_failure_has_number_reason_and_object() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        k.umount2("/no/such/place", 0)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "/no/such/place")
    assert caught.value.strerror == os.strerror(errno.ENOENT)


def test_the_minus_one_of_libc_is_a_failure() -> None:
    """An int read as a long may come out as 4294967295."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        k.setns(-1, 0)
    with pytest.raises(OSError, match="Invalid argument"):
        k.prctl(0x7FFFFFFF)


@pytest.mark.parametrize(
    ("path", "encoded"),
    [("/a", b"/a"), ("/ä", b"/\xc3\xa4"), ("/\udcff", b"/\xff"), (b"/\xff", b"/\xff"), ("", b"")],
)
def test_paths_as_the_kernel_takes_them(path: str | bytes, encoded: bytes) -> None:
    assert k.encode(path) == encoded


def test_buffers() -> None:
    array = k.buffer(b"abc")
    assert (bytes(array), len(k.buffer(5)), bytes(k.buffer(2))) == (b"abc", 5, b"\0\0")
    assert k.address(array, 2) == k.address(array) + 2


# openat2


def test_openat2_stays_in_the_root(directory: tuple[Path, int]) -> None:
    path, fd = directory
    (path / "etc").mkdir()
    (path / "etc/passwd").write_text("inside")
    (path / "absolute").symlink_to("/etc/passwd")
    (path / "dots").symlink_to("../../../etc/passwd")
    for name in ("etc/passwd", "/etc/passwd", "absolute", "dots", "../../etc/passwd"):
        opened = k.openat2(fd, name, os.O_RDONLY)
        assert os.read(opened, 99) == b"inside"
        assert not os.get_inheritable(opened)
        os.close(opened)
    with pytest.raises(OSError, match="Invalid cross-device link"):
        k.openat2(fd, "absolute", os.O_RDONLY, resolve=k.RESOLVE_BENEATH)
    with pytest.raises(OSError, match="Too many levels"):
        k.openat2(fd, "absolute", os.O_RDONLY, resolve=k.RESOLVE_NO_SYMLINKS)
    with pytest.raises(FileNotFoundError) as caught:
        k.openat2(fd, "none", os.O_RDONLY)
    assert caught.value.filename == "none"


def test_openat2_makes_files_with_a_mode(directory: tuple[Path, int]) -> None:
    path, fd = directory
    mask = os.umask(0)
    try:
        os.close(k.openat2(fd, b"\xff", os.O_CREAT | os.O_WRONLY, 0o640))
    finally:
        os.umask(mask)
    assert os.stat(os.fsencode(path) + b"/\xff").st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR])
def test_openat2_tries_again_when_somebody_renames_meanwhile(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [-1, -1, 7]
    monkeypatch.setattr(k, "_syscall_lspl", lambda *_: answers.pop(0))
    monkeypatch.setattr(k, "get_errno", lambda: number)
    assert k.openat2(3, "a", 0) == 7


def test_openat2_does_not_try_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Any] = []

    def never(*arguments: Any) -> int:
        tries.append(arguments)
        return -1

    monkeypatch.setattr(k, "_syscall_lspl", never)
    monkeypatch.setattr(k, "get_errno", lambda: errno.EAGAIN)
    with pytest.raises(BlockingIOError) as caught:
        k.openat2(3, "a", 0)
    assert (len(tries), caught.value.filename) == (128, "a")


def test_openat2_does_not_try_again_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [-1]
    monkeypatch.setattr(k, "_syscall_lspl", lambda *_: answers.pop(0))
    monkeypatch.setattr(k, "get_errno", lambda: errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        k.openat2(3, "a", 0)


# Mounts


@pytest.mark.needs_root
def test_a_detached_mount_is_attached_with_its_attributes(tmp_path: Path) -> None:
    def inside() -> list[Any]:
        private_mounts()
        fd = os.open(tmp_path, os.O_PATH)
        context = k.fsopen("tmpfs")
        k.fsconfig(context, k.FSCONFIG_SET_STRING, "source", "named")
        k.fsconfig(context, k.FSCONFIG_SET_STRING, "mode", "0700")
        k.fsconfig(context, k.FSCONFIG_CMD_CREATE)
        tree = k.fsmount(context, k.MOUNT_ATTR_NOEXEC)
        flags = [os.get_inheritable(context), os.get_inheritable(tree)]
        k.mount_setattr(tree, k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOATIME, k.MOUNT_ATTR_NOEXEC | k.MOUNT_ATTR__ATIME)
        k.move_mount(tree, fd)
        info = mountinfo(str(tmp_path))
        kind = k.fstatfs_type(tree)
        k.umount2(str(tmp_path), k.MNT_DETACH)
        return [flags, info[5], info[-2], os.fstat(tree).st_mode & 0o7777, kind]

    assert in_child(inside) == [[False, False], "rw,nosuid,noatime", "named", 0o700, k.TMPFS_MAGIC]


@pytest.mark.needs_root
def test_propagation_and_recursion(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def inside() -> list[Any]:
        private_mounts()
        k.mount("tmpfs", str(tmp_path / "a"), "tmpfs", 0)
        (tmp_path / "a/b").mkdir()
        k.mount("tmpfs", str(tmp_path / "a/b"), "tmpfs", k.MS_NODEV)
        fd = os.open(tmp_path / "a", os.O_PATH)
        k.mount_setattr(fd, 0, propagation=k.MS_SHARED)
        one = [mountinfo(str(tmp_path / name))[6] for name in ("a", "a/b")]
        k.mount_setattr(fd, k.MOUNT_ATTR_RDONLY, recursive=True)
        both = [mountinfo(str(tmp_path / name))[5] for name in ("a", "a/b")]
        copy = k.open_tree(fd, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
        return [one[0].startswith("shared:"), one[1], both, os.get_inheritable(copy)]

    assert in_child(inside) == [True, "-", ["ro,relatime", "ro,nodev,relatime"], False]


def test_an_unknown_file_system() -> None:
    with pytest.raises(OSError) as caught:
        k.fsopen("nosuchfs")
    assert caught.value.filename == "nosuchfs"


def test_access_as_the_effective_ids() -> None:
    k.faccessat2(k.AT_FDCWD, "/proc/self/status", os.R_OK, k.AT_EACCESS)
    with pytest.raises(PermissionError):
        k.faccessat2(k.AT_FDCWD, "/proc/self/status", os.X_OK, k.AT_EACCESS)


# Processes


@pytest.fixture(params=[False, True], ids=["clone3", "clone"])
def with_or_without_clone3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and as if the kernel or a filter knew no clone3."""
    if request.param:
        monkeypatch.setattr(k, "_NR_CLONE3", 100_000)


@pytest.mark.usefixtures("with_or_without_clone3")
def test_clone3_is_a_fork() -> None:
    def inside() -> list[Any]:
        reading, writing = os.pipe()
        pid, pidfd = k.clone3(0)
        if pid == 0:
            os.write(writing, struct.pack("ii", pidfd, os.getppid()))
            os._exit(7)
        answer = struct.unpack("ii", os.read(reading, 8))
        info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        assert info is not None
        return [answer, os.getpid(), info.si_status, info.si_pid == pid, os.get_inheritable(pidfd)]

    answer, parent, status, same, inheritable = in_child(inside)
    assert (answer, status, same, inheritable) == ([-1, parent], 7, True, False)


@pytest.mark.needs_root
@pytest.mark.usefixtures("with_or_without_clone3")
def test_clone3_makes_namespaces() -> None:
    def inside() -> list[Any]:
        reading, writing = os.pipe()
        pid, _ = k.clone3(k.CLONE_NEWPID | k.CLONE_NEWUTS)
        if pid == 0:
            k.sethostname("box")
            k.setdomainname("example")
            os.write(writing, f"{os.getpid()} {os.uname().nodename}".encode())
            os._exit(0)
        os.waitpid(pid, 0)
        return [os.read(reading, 99).decode(), os.uname().nodename]

    said, name = in_child(inside)
    assert said == "1 box"
    assert name != "box"


@pytest.mark.parametrize("flag", [k.CLONE_NEWTIME, k.CLONE_INTO_CGROUP])
def test_what_clone_cannot_do_is_not_done_by_it(monkeypatch: pytest.MonkeyPatch, flag: int) -> None:
    monkeypatch.setattr(k, "_NR_CLONE3", 100_000)
    with pytest.raises(OSError, match="not implemented"):
        k.clone3(flag)


def test_signals_by_pidfd() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    pidfd = os.pidfd_open(pid)
    try:
        k.pidfd_send_signal(pidfd, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        with pytest.raises(ProcessLookupError):
            k.pidfd_send_signal(pidfd, 0)
    finally:
        os.close(pidfd)


def test_a_descriptor_of_another_process() -> None:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open("/dev/zero", os.O_RDONLY), 77)
        theirs.send(b"x")
        signal.pause()
    pidfd = os.pidfd_open(pid)
    try:
        ours.recv(1)
        copy = k.pidfd_getfd(pidfd, 77)
        assert os.fstat(copy).st_rdev == os.makedev(1, 5)
        assert not os.get_inheritable(copy)
        os.close(copy)
    finally:
        k.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
        ours.close()
        theirs.close()


@pytest.mark.parametrize("kept", [(), (3,), (4,), (9, 5), (5, 7, 2, 998), (-1, 5)])
def test_close_all_but(kept: tuple[int, ...]) -> None:
    def is_open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # the answer goes by way of 1, which stays open
        try:
            os.dup2(writing, 1)
            for fd in range(3, 11):
                os.dup2(1, fd)
            k.close_all_but(4, kept)
            os.write(1, repr([fd for fd in range(4, 1000) if is_open(fd)]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 9999).decode()
    os.close(reading)
    os.waitpid(pid, 0)
    assert said == repr(sorted(fd for fd in kept if 3 < fd < 11))


def test_a_process_with_another_name() -> None:
    def inside() -> list[Any]:
        pid = os.getpid()
        k.set_process_title("a-title-that-is-longer-than-comm")
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        comm = Path(f"/proc/{pid}/comm").read_text().strip()
        return [command.strip(b"\0").decode(), environment.strip(b"\0").decode(), comm]

    assert Path("/proc/self/environ").read_bytes().strip(b"\0")
    command, environment, comm = in_child(inside)
    assert "a-title-that-is-longer-than-comm".startswith(command)
    assert command
    assert (environment, comm) == ("", "a-title-that-is")


def test_an_image_is_laid_out_ahead() -> None:
    reading, writing = os.pipe()
    image = k.ExecImage(
        b"/bin/sh", [b"name", b"-c", b'printf "%s|" "$0" "$@" "$A" "$B"', b"", b"x y", b"\xff"], [b"A=1", b"B="]
    )
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(writing, 1)
            image.execute()
        finally:
            os._exit(1)
    os.close(writing)
    os.waitpid(pid, 0)
    assert os.read(reading, 999) == b"|x y|\xff|1||"
    os.close(reading)


def test_an_image_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        k.ExecImage(b"/no/such/program", [b"x"], []).execute()
    assert caught.value.filename == b"/no/such/program"


def test_limits() -> None:
    import resource

    def inside() -> tuple[int, int]:
        k.prlimit(0, resource.RLIMIT_NOFILE, 77, 88)
        return resource.getrlimit(resource.RLIMIT_NOFILE)

    assert in_child(inside) == [77, 88]


# Privileges


@pytest.mark.needs_root
def test_capabilities_there_and_back() -> None:
    def inside() -> list[Any]:
        effective, permitted, _ = k.capget()
        k.capset(1 << 5 | 1 << 34, permitted, 1 << 37 & permitted)
        lines = Path("/proc/self/status").read_text().splitlines()
        shown = {line[:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}
        return [k.capget(), [shown["CapEff"], shown["CapPrm"], shown["CapInh"]], bool(effective)]

    mine, shown, had_any = in_child(inside)
    assert mine == shown
    assert mine[0] == 1 << 5 | 1 << 34
    assert had_any


# Signals


def test_signalfd() -> None:
    def inside() -> list[Any]:
        wanted = {signal.SIGUSR1, signal.SIGRTMAX}
        signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
        fd = k.signalfd({int(number) for number in wanted})
        with pytest.raises(BlockingIOError):
            os.read(fd, k.SIGINFO_SIZE)
        seen = []
        for number in (signal.SIGRTMAX, signal.SIGUSR1):
            os.kill(os.getpid(), number)
            seen.append(struct.unpack_from("=I", os.read(fd, k.SIGINFO_SIZE))[0])
        return [seen == [signal.SIGRTMAX, signal.SIGUSR1], os.get_inheritable(fd)]

    assert in_child(inside) == [True, False]


def test_reset_signals() -> None:
    def inside() -> list[Any]:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        k.reset_signals([signal.SIGUSR2])
        lines = Path("/proc/self/status").read_text().splitlines()
        masks = {line[:6]: int(line.split()[1], 16) for line in lines if line[:6] in ("SigBlk", "SigIgn", "SigCgt")}
        return [masks["SigBlk"], masks["SigIgn"], masks["SigCgt"] >> signal.SIGUSR1 - 1 & 1]

    assert in_child(inside) == [1 << (signal.SIGUSR2 - 1), 0, 0]


# Sockets


def test_pairs() -> None:
    for make, kind in ((k.seqpacket_pair, socket.SOCK_SEQPACKET), (k.stream_pair, socket.SOCK_STREAM)):
        one, other = make()
        with socket.socket(fileno=one) as first, socket.socket(fileno=other) as second:
            assert (first.type, second.type) == (kind, kind)
            assert not os.get_inheritable(one) and not os.get_inheritable(other)
            first.send(b"a")
            first.send(b"b")
            assert second.recv(9) == (b"a" if kind == socket.SOCK_SEQPACKET else b"ab")


def test_descriptors_travel() -> None:
    one, other = k.stream_pair()
    null = os.open("/dev/null", os.O_RDONLY)
    k.send_fd(one, b"payload", null)
    payload, received = k.receive_fd(other)
    assert (payload, os.fstat(received).st_rdev) == (b"payload", os.makedev(1, 3))
    assert not os.get_inheritable(received)
    os.write(one, b"alone")
    assert k.receive_fd(other) == (b"alone", -1)
    os.close(one)
    assert k.receive_fd(other) == (b"", -1)
    for fd in (other, null, received):
        os.close(fd)


def test_a_listener_at_a_long_path(tmp_path: Path) -> None:
    place = tmp_path / ("x" * 200)
    place.mkdir()
    fd = os.open(place, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{fd}/s")
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ConnectionRefusedError) as caught:
            k.connect_unix(f"{place}/s")
        assert caught.value.filename == f"{place}/s"
        assert len(os.listdir("/proc/self/fd")) == before
        server.listen()
        connection = k.connect_unix(f"{place}/s")
        accepted, _ = server.accept()
        os.write(connection, b"hello")
        assert accepted.recv(9) == b"hello"
        accepted.close()
        os.close(connection)
    os.close(fd)


def test_numbers_of_calls_and_flags_are_those_of_this_machine() -> None:
    assert k.MACHINE == os.uname().machine
    assert set(k._OLD_NUMBERS) >= {"x86_64", "aarch64", "riscv64"}
    assert all(len(numbers) == len(k._OLD_CALLS) for numbers in k._OLD_NUMBERS.values())
    header = Path("/usr/include/asm-generic/unistd.h")
    if header.exists():
        words = dict(
            line.split()[1:3]
            for line in header.read_text().splitlines()
            if line.startswith("#define __NR_") and len(line.split()) > 2
        )
        for index, name in enumerate(k._OLD_CALLS):
            assert str(k._OLD_NUMBERS["aarch64"][index]) == words.get(f"__NR_{name}", ""), name
    assert (signal.SIGCHLD, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP) == (
        k.SIGCHLD,
        k.SIGKILL,
        k.SIGTERM,
        k.SIGSTOP,
    )
    for name in ("CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWUSER", "CLONE_NEWNET", "CLONE_NEWTIME", "CLONE_NEWCGROUP"):
        if hasattr(os, name):  # Python 3.12
            assert getattr(os, name) == getattr(k, name)
