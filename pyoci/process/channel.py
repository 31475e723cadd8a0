# SPDX-License-Identifier: Apache-2.0
"""The channel between launcher and init: whole messages over a socket pair. Runs inside.

The message kinds and their order stand in the docstring of the package.
"""

from __future__ import annotations

from errno import ECONNRESET, EPIPE

from pyoci import syscalls as k

MAPPED, PLACED, HOOKS, GO, LIMITS, LISTENER = b"M", b"P", b"H", b"G", b"L", b"N"
READY, FAILED, REMARK, STAGED = b"R", b"F", b"W", b"S"
CLOSED = b""

_LIMIT = 64 << 10


class Channel:
    """One end. Messages have a kind of one byte and a payload of at most 64 KiB."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a message. Raises OSError; that nobody listens any more is EPIPE, not a signal (it is ignored)."""
        k.write(self.fd, kind + payload[: _LIMIT - 1])

    def receive(self) -> tuple[bytes, bytes]:
        """Wait for the next message. (CLOSED, b"") when the other end is gone."""
        try:
            message = k.read(self.fd, _LIMIT)
        except OSError as error:
            if error.errno not in (ECONNRESET, EPIPE):
                raise
            message = b""
        return message[:1], message[1:]

    def close(self) -> None:
        """Close this end; closing twice does no harm."""
        if self.fd >= 0:
            k.close(self.fd)
            self.fd = -1


def pair() -> tuple[Channel, Channel]:
    """Two connected ends, close-on-exec."""
    one, other = k.seqpacket_pair()
    return Channel(one), Channel(other)
