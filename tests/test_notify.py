# SPDX-License-Identifier: Apache-2.0
"""The proxy of sd_notify(3), with a socket for the manager and one for the program."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci import notify
from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.notify import SOCKET, Proxy, host_socket, make_directory


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as endpoint:
        endpoint.bind(str(tmp_path / "manager"))
        endpoint.settimeout(30)
        yield endpoint


@pytest.fixture
def proxy(tmp_path: Path, manager: socket.socket) -> Iterator[Proxy]:
    make_directory(str(tmp_path / "notify"))
    proxy = Proxy(str(tmp_path / "manager"), str(tmp_path / "notify"))
    yield proxy
    proxy.close()


def say(tmp_path: Path, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as endpoint:
        endpoint.sendto(message, str(tmp_path / "notify" / SOCKET))


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, ""), (b"", ""), (b"/run/x", "/run/x"), (b"@x", "@x"), (b"vsock:2:1", ""), (b"relative", "")],
)
def test_where_the_manager_listens(monkeypatch: pytest.MonkeyPatch, value: bytes | None, name: str) -> None:
    monkeypatch.setattr(k, "environ", {} if value is None else {b"NOTIFY_SOCKET": value})
    assert host_socket() == name


def test_anybody_may_tell_but_nobody_may_put_files_there(tmp_path: Path, proxy: Proxy) -> None:
    assert (tmp_path / "notify").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "notify" / SOCKET).stat().st_mode & 0o777 == 0o777


def test_readiness_is_passed_on(tmp_path: Path, proxy: Proxy, manager: socket.socket) -> None:
    say(tmp_path, b"STATUS=x\nREADY=1\nMAINPID=1\n")
    assert proxy.serve(77)
    assert [manager.recv(100) for _ in range(2)] == [b"READY=1\n", b"MAINPID=77\n"]


@pytest.mark.parametrize("message", [b"READY=0", b"XREADY=1", b"READY=10", b"MAINPID=1", b"x" * 9000, b"\xff\0\n"])
def test_nothing_else_is(tmp_path: Path, proxy: Proxy, manager: socket.socket, message: bytes) -> None:
    say(tmp_path, message)
    assert not proxy.serve(77)
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_many_messages_are_read_at_once(tmp_path: Path, proxy: Proxy) -> None:
    for message in (b"STATUS=1", b"STATUS=2", b"READY=1"):
        say(tmp_path, message)
    assert proxy.serve(77)


def test_a_program_that_never_stops_talking(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our caller's signals are to be passed on in between."""
    monkeypatch.setattr(k, "read", lambda fd, limit: b"STATUS=still here")
    assert not proxy.serve(77)


def test_everybody_may_go_there_whatever_the_callers_umask(tmp_path: Path, manager: socket.socket) -> None:
    before = os.umask(0o077)
    try:
        make_directory(str(tmp_path / "notify"))
        proxy = Proxy(str(tmp_path / "manager"), str(tmp_path / "notify"))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = [(tmp_path / path).stat().st_mode & 0o777 for path in ("notify", f"notify/{SOCKET}")]
    proxy.close()
    assert modes == [0o755, 0o777]


def test_a_program_that_ends_is_not_waited_for(tmp_path: Path, manager: socket.socket) -> None:
    make_directory(str(tmp_path / "notify"))
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    Proxy(str(tmp_path / "manager"), str(tmp_path / "notify")).await_ready(pid, pidfd)
    os.close(pidfd)
    os.waitpid(pid, 0)
    assert list((tmp_path / "notify").iterdir()) == []


def test_a_manager_without_barriers_is_not_waited_for_long(
    tmp_path: Path, proxy: Proxy, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "_BARRIER_PATIENCE", 1)
    proxy._await_barrier()
    text, descriptors, _, _ = socket.recv_fds(manager, 100, 2)
    assert text == b"BARRIER=1"
    assert len(descriptors) == 1
    os.close(descriptors[0])


def test_what_a_failed_start_left_is_replaced(tmp_path: Path, manager: socket.socket) -> None:
    make_directory(str(tmp_path / "notify"))
    for _ in range(2):
        proxy = Proxy(str(tmp_path / "manager"), str(tmp_path / "notify"))
        os.close(proxy.fd)
        os.close(proxy.client)


def test_a_manager_that_is_not_there(tmp_path: Path) -> None:
    make_directory(str(tmp_path / "notify"))
    with pytest.raises(PyociError, match=r"connect to NOTIFY_SOCKET .*nobody: no such file"):
        Proxy(str(tmp_path / "nobody"), str(tmp_path / "notify"))


def test_in_the_end_nothing_is_left(tmp_path: Path, manager: socket.socket) -> None:
    make_directory(str(tmp_path / "notify"))
    Proxy(str(tmp_path / "manager"), str(tmp_path / "notify")).close()
    assert list((tmp_path / "notify").iterdir()) == []
