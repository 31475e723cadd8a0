# SPDX-License-Identifier: Apache-2.0
"""Init's side of the exec fifo: nothing of the host's but that fifo is at hand when it waits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError, StageFailed, failed
from pyoci.process import exec_fifo
from pyoci.process.exec_fifo import Starter
from pyoci.process.waiting import Waiting
from tests.forked import in_child
from tests.rootfs.roots import descriptors, refusal


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = f"{tmp_path}/exec.fifo"
    exec_fifo.make(path, 0, 0)
    return path


def handed(fifo: str) -> tuple[int, int]:
    return os.open(fifo, os.O_PATH | os.O_CLOEXEC), os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def start(fifo: str, pid: int) -> list[Any]:
    """What `start` sees."""
    pidfd = os.pidfd_open(pid)
    try:
        starter = Starter(fifo, f"{fifo}.open", pidfd)
        starter.release()
        starter.await_program()
    except StageFailed as error:
        return [error.message, error.errno]
    finally:
        os.close(pidfd)
        os.waitpid(pid, 0)
    return []


@pytest.mark.needs_root
@pytest.mark.parametrize("fails", [False, True])
def test_both_sides(fifo: str, fails: bool) -> None:
    descriptor, proc = handed(fifo)  # before `start` gives it another name
    pid, _ = k.clone3(k.CLONE_NEWPID | k.CLONE_NEWNS)
    if pid == 0:
        try:
            waiting = Waiting(descriptor, proc)
            os.close(proc)
            os.chroot("/sys")  # the fifo's own path means nothing any more
            waiting.wait()
            if fails:
                waiting.fail(failed("exec x \udcff", OSError(8, "")))
        finally:
            os._exit(0)
    os.close(descriptor)
    os.close(proc)
    assert start(fifo, pid) == (["exec x \\udcff: exec format error", 8] if fails else [])


def test_a_fifo_that_cannot_be_opened(fifo: str) -> None:
    """Told while there is a launcher to hear it: once init waits there is nobody."""
    descriptor, proc = handed(fifo)
    waiting = Waiting(descriptor, proc)
    before = descriptors()
    waiting.check()
    assert descriptors() == before
    os.close(descriptor)
    for action in (waiting.check, waiting.wait):
        assert refusal(action) == "open the exec fifo to wait for the start: no such file or directory"
    os.close(waiting.proc)
    if waiting.proc != proc:
        os.close(proc)


@pytest.mark.needs_root
def test_the_procfs_is_of_our_own_making(fifo: str) -> None:
    def inside() -> list[Any]:
        k.unshare(k.CLONE_NEWNS)
        descriptor, proc = handed(fifo)
        waiting = Waiting(descriptor, proc)
        status = os.fstat(waiting.proc).st_dev != os.fstat(proc).st_dev
        return [status, k.fstatfs_type(waiting.proc) == k.PROC_SUPER_MAGIC, os.access("sys", 0, dir_fd=waiting.proc)]

    assert in_child(inside) == [True, True, False]


def test_where_none_may_be_made_the_hosts_will_do(fifo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(fstype: str) -> int:
        raise PermissionError(1, "")

    monkeypatch.setattr(k, "fsopen", forbidden)
    descriptor, proc = handed(fifo)
    assert Waiting(descriptor, proc).proc == proc
    os.close(descriptor)
    os.close(proc)


def test_the_letters_of_failure(fifo: str) -> None:
    descriptor, proc = handed(fifo)
    waiting = Waiting(descriptor, proc)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    waiting.wait()
    assert not os.get_inheritable(waiting.fd), "or the program's own end would be taken for its start"
    waiting.fail(PyociError("a"))
    waiting.add("+")
    waiting.fail_hook("b")
    assert os.read(reader, 99) == b"0Ea+Hb"
    for fd in (descriptor, reader, waiting.fd):
        os.close(fd)
