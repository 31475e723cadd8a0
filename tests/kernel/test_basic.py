# SPDX-License-Identifier: Apache-2.0
"""What all wrappers share, and those that every command needs."""

from __future__ import annotations

import errno
import os
import signal

import pytest

from pyoci import syscalls as k


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
