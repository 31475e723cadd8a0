# SPDX-License-Identifier: Apache-2.0
"""The fifo between a waiting init and `start`, whatever becomes of either."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyoci.errors import HookFailed, PyociError, StageFailed
from pyoci.kernel import basic as k
from pyoci.process import exec_fifo
from pyoci.process.exec_fifo import HOOK_FAILED, NOT_EXECUTED, OPENED, Starter
from tests.rootfs.roots import descriptors


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = f"{tmp_path}/exec.fifo"
    exec_fifo.make(path, 0, 0)
    return path


def starting(path: str, pidfd: int) -> Starter:
    return Starter(path, f"{path}.open", pidfd)


class Inits:
    """Processes that stand in for init: they open the fifo, which they have hold of, say something, and end or wait."""

    def __init__(self) -> None:
        self.made: list[tuple[int, int]] = []

    def fork(self, function: Callable[[], None]) -> int:
        """A pidfd of a child that runs a function."""
        pid = os.fork()
        if pid == 0:
            try:
                function()
            finally:
                os._exit(0)
        pidfd = os.pidfd_open(pid)
        self.made.append((pid, pidfd))
        return pidfd

    def saying(self, path: str, *words: bytes, wait: bool = False, pause: float = 0) -> int:
        place = os.open(path, os.O_PATH)

        def say() -> None:
            fd = os.open(f"/proc/self/fd/{place}", os.O_WRONLY)
            for word in words:
                os.write(fd, word)
                time.sleep(pause)
            if wait:
                time.sleep(1000)

        try:
            return self.fork(say)
        finally:
            os.close(place)


@pytest.fixture
def inits() -> Iterator[Inits]:
    made = Inits()
    try:
        yield made
    finally:
        for pid, pidfd in made.made:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(pidfd)


def test_the_fifo_may_be_written_by_who_init_becomes(fifo: str) -> None:
    assert os.lstat(fifo).st_mode == 0o010622


@pytest.mark.needs_root
def test_it_belongs_to_the_containers_root(tmp_path: Path) -> None:
    path = f"{tmp_path}/exec.fifo"
    exec_fifo.make(path, 1234, 5678)
    status = os.lstat(path)
    assert (status.st_uid, status.st_gid, status.st_mode) == (1234, 5678, 0o010622)


def test_the_umask_is_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        exec_fifo.make(f"{tmp_path}/one", 0, 0)
        with pytest.raises(PyociError) as caught:
            exec_fifo.make(f"{tmp_path}/none/fifo", 0, 0)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert os.lstat(f"{tmp_path}/one").st_mode & 0o777 == 0o622
    assert caught.value.message == f"make the exec fifo {tmp_path}/none/fifo: no such file or directory"


def test_a_fifo_that_is_there_is_not_taken(fifo: str) -> None:
    with pytest.raises(PyociError, match="file exists"):
        exec_fifo.make(fifo, 0, 0)


def test_a_program_that_is_executed(fifo: str, inits: Inits) -> None:
    before = descriptors()
    starter = starting(fifo, inits.saying(fifo, OPENED, pause=0.05))
    assert not os.path.exists(fifo)
    starter.release()
    assert not os.path.exists(f"{fifo}.open")
    starter.await_program()
    assert len(descriptors()) == len(before) + 1, "only the stand-in's pidfd"


def test_init_comes_late(fifo: str, inits: Inits) -> None:
    """It may still be on its way to the fifo when `start` is there already."""

    place = os.open(fifo, os.O_PATH)

    def late() -> None:
        time.sleep(0.1)
        os.write(os.open(f"/proc/self/fd/{place}", os.O_WRONLY), OPENED)

    starter = starting(fifo, inits.fork(late))
    os.close(place)
    starter.release()
    starter.await_program()


def test_a_start_that_was_killed_before_init_noticed(fifo: str, inits: Inits) -> None:
    os.rename(fifo, f"{fifo}.open")
    starter = starting(fifo, inits.saying(f"{fifo}.open", OPENED))
    starter.release()
    starter.await_program()
    assert not os.path.exists(f"{fifo}.open")


def test_a_start_that_was_killed_after_init_went_on(fifo: str, inits: Inits) -> None:
    os.rename(fifo, f"{fifo}.open")
    starter = starting(fifo, inits.fork(lambda: time.sleep(1000)))
    with pytest.raises(PyociError, match=r"has not noticed within 0 s .*: it runs already, or is stopped"):
        starter.release(patience=0.05)


@pytest.mark.parametrize("pause", [0, 0.05])
@pytest.mark.parametrize(("letter", "error"), [(NOT_EXECUTED, StageFailed), (HOOK_FAILED, HookFailed)])
def test_what_init_says_went_wrong(
    fifo: str, inits: Inits, letter: bytes, error: type[PyociError], pause: float
) -> None:
    """At once, when both words are read together, or later."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # so that both may be written before the starter reads
    pidfd = inits.saying(fifo, OPENED, letter + "exec ä: ".encode(), b"no such file", pause=pause)
    if not pause:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    starter = starting(fifo, pidfd)
    os.close(reader)
    starter.release()
    with pytest.raises(error) as caught:
        starter.await_program()
    assert type(caught.value) is error
    assert caught.value.message == "exec ä: no such file"


def test_a_long_story(fifo: str, inits: Inits) -> None:
    text = b"x" * 30_000
    starter = starting(fifo, inits.saying(fifo, OPENED, NOT_EXECUTED + text))
    starter.release()
    with pytest.raises(StageFailed) as caught:
        starter.await_program()
    assert caught.value.message == text.decode()


def test_an_init_that_is_dead(fifo: str, inits: Inits) -> None:
    pidfd = inits.fork(lambda: None)
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
    starter = starting(fifo, pidfd)
    with pytest.raises(PyociError, match="container init is gone"):
        starter.release()


def test_a_dead_init_whose_fifo_somebody_holds_open(fifo: str, inits: Inits) -> None:
    """Then there is no end of the stream, ever."""
    holder = os.open(fifo, os.O_RDWR)
    pidfd = inits.fork(lambda: None)
    starter = starting(fifo, pidfd)
    with pytest.raises(PyociError, match="container init is gone"):
        starter.release()
    os.close(holder)


def test_an_init_that_dies_while_we_wait_for_it(fifo: str, inits: Inits) -> None:
    pidfd = inits.fork(lambda: time.sleep(1000))
    starter = starting(fifo, pidfd)
    end = threading.Timer(0.1, signal.pidfd_send_signal, (pidfd, signal.SIGKILL))
    end.start()
    with pytest.raises(PyociError, match="container init is gone"):
        starter.release()
    end.join()


def test_an_init_that_dies_before_its_program(fifo: str, inits: Inits) -> None:
    """It was killed: that looks like an execve, and the container is seen as stopped by whoever asks."""
    pidfd = inits.saying(fifo, OPENED, wait=True)
    starter = starting(fifo, pidfd)
    starter.release()
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    starter.await_program()


def test_no_fifo(tmp_path: Path) -> None:
    with pytest.raises(PyociError) as caught:
        starting(f"{tmp_path}/none", -1)
    assert caught.value.message == f"open the exec fifo {tmp_path}/none: no such file or directory"


def test_a_fifo_that_cannot_be_removed(fifo: str, inits: Inits, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(1, "")

    monkeypatch.setattr(k, "unlink", refuse)
    starter = starting(fifo, inits.saying(fifo, OPENED))
    with pytest.raises(PyociError) as caught:
        starter.release()
    assert caught.value.message == f"remove the exec fifo {fifo}.open: operation not permitted"
