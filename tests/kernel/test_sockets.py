# SPDX-License-Identifier: Apache-2.0
"""The wrappers around sockets."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from pyoci import syscalls as k


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


def test_a_listener_with_an_abstract_name() -> None:
    name = f"pyoci-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        os.close(k.connect_unix(f"\0{name}"))
    for missing, error in ((name, ConnectionRefusedError), ("x" * 108, OSError)):
        with pytest.raises(error) as caught:
            k.connect_unix(f"\0{missing}")
        assert caught.value.filename == f"@{missing}"
    assert caught.value.errno == errno.ENAMETOOLONG
