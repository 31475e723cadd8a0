# SPDX-License-Identifier: Apache-2.0
"""The wrappers around the calls for processes and privileges, each against what the kernel then shows."""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.kernel import processes
from tests.forked import in_child


@pytest.fixture(params=[False, True], ids=["clone3", "clone"])
def with_or_without_clone3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and as if the kernel or a filter knew no clone3."""
    if request.param:
        monkeypatch.setattr(processes, "_NR_CLONE3", 100_000)


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
    monkeypatch.setattr(processes, "_NR_CLONE3", 100_000)
    with pytest.raises(OSError, match="not implemented"):
        k.clone3(flag)


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


def test_numbers_of_calls_and_flags_are_those_of_this_machine() -> None:
    assert k.MACHINE == os.uname().machine
    assert set(processes._OLD_NUMBERS) >= {"x86_64", "aarch64", "riscv64"}
    assert all(len(numbers) == len(processes._OLD_CALLS) for numbers in processes._OLD_NUMBERS.values())
    header = Path("/usr/include/asm-generic/unistd.h")
    if header.exists():
        words = dict(
            line.split()[1:3]
            for line in header.read_text().splitlines()
            if line.startswith("#define __NR_") and len(line.split()) > 2
        )
        for index, name in enumerate(processes._OLD_CALLS):
            assert str(processes._OLD_NUMBERS["aarch64"][index]) == words.get(f"__NR_{name}", ""), name
    assert (signal.SIGCHLD, signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP) == (
        k.SIGCHLD,
        k.SIGKILL,
        k.SIGTERM,
        k.SIGSTOP,
    )
    for name in ("CLONE_NEWNS", "CLONE_NEWPID", "CLONE_NEWUSER", "CLONE_NEWNET", "CLONE_NEWTIME", "CLONE_NEWCGROUP"):
        if hasattr(os, name):  # Python 3.12
            assert getattr(os, name) == getattr(k, name)
