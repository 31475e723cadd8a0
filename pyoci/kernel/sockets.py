# SPDX-License-Identifier: Apache-2.0
"""Sockets."""

from __future__ import annotations

import errno
from _socket import (  # noqa: F401
    AF_INET,
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    if_indextoname,
    if_nametoindex,
    socket,
    socketpair,
)
from _struct import Struct

from pyoci.kernel.basic import O_CLOEXEC, O_DIRECTORY, O_PATH, close, encode, open, strerror


def seqpacket_pair() -> tuple[int, int]:
    """socketpair(2) of Unix sockets that keep messages whole, close-on-exec."""
    one, other = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    return one.detach(), other.detach()


def inet_socket() -> int:
    """A socket(2) to speak to the network devices of this network namespace by ioctl, close-on-exec."""
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0).detach()


def stream_pair() -> tuple[int, int]:
    """socketpair(2) of Unix stream sockets, close-on-exec."""
    one, other = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    return one.detach(), other.detach()


def connect_unix(path: str) -> int:
    """A stream socket connected to the listener at this path, which may be longer than the 108 bytes of a sun_path.

    An abstract name starts with NUL, as in unix(7); errors show it with the @ that everyone writes in its place.
    """
    is_name = path.startswith("\0")
    target = -1 if is_name else open(path, O_PATH | O_CLOEXEC)
    try:
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
        try:
            connection.connect(encode(path) if is_name else f"/proc/self/fd/{target}")
        except OSError as error:
            connection.close()
            number = error.errno or errno.ENAMETOOLONG  # which is found out before the kernel is asked
            raise OSError(number, strerror(number), f"@{path[1:]}" if is_name else path) from None
        return connection.detach()
    finally:
        if target >= 0:
            close(target)


def connect_datagram(name: str) -> int:
    """A datagram socket connected to a path of any length, or to an abstract name if it starts with `@`."""
    endpoint = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    target = -1
    try:
        if name.startswith("@"):
            endpoint.connect(b"\0" + encode(name[1:]))
        else:
            target = open(name, O_PATH | O_CLOEXEC)
            endpoint.connect(f"/proc/self/fd/{target}")
        return endpoint.detach()
    except OSError as error:
        endpoint.close()
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        if target >= 0:
            close(target)


def bind_datagram(directory: str, name: str) -> int:
    """A new datagram socket at this name in a directory, whose path may be of any length; non-blocking."""
    endpoint = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC)
    try:
        endpoint.bind(f"/proc/self/fd/{place}/{name}")
        return endpoint.detach()
    except OSError as error:
        endpoint.close()
        raise OSError(error.errno, error.strerror, f"{directory}/{name}") from None
    finally:
        close(place)


def send_now(connection: int, data: bytes | bytearray) -> int:
    """send(2) of as much as the other end takes at once: how much that was. EAGAIN if it is nothing."""
    endpoint = socket(fileno=connection)
    try:
        return endpoint.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)
    finally:
        endpoint.detach()


def send_fd(connection: int, payload: bytes, fd: int) -> None:
    """sendmsg(2): this payload, which must not be empty, together with one descriptor."""
    endpoint = socket(fileno=connection)
    try:
        sent = endpoint.sendmsg([payload], [(SOL_SOCKET, SCM_RIGHTS, Struct("=i").pack(fd))])
    finally:
        endpoint.detach()
    if sent != len(payload):
        raise OSError(errno.EMSGSIZE, strerror(errno.EMSGSIZE))


def receive_fd(connection: int, limit: int = 4096) -> tuple[bytes, int]:
    """recvmsg(2): a payload and the one descriptor that came with it (close-on-exec), -1 if none did."""
    endpoint = socket(fileno=connection)
    try:
        payload, control, _, _ = endpoint.recvmsg(limit, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
    finally:
        endpoint.detach()
    fds = [
        Struct("=i").unpack(data[:4])[0] for level, kind, data in control if (level, kind) == (SOL_SOCKET, SCM_RIGHTS)
    ]
    return payload, fds[0] if fds else -1
