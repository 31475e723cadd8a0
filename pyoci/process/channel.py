# SPDX-License-Identifier: Apache-2.0
"""The channel between launcher and init: whole messages over a socket pair. Runs inside.

The message kinds and their order stand in the docstring of the package.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import PyociError, StageFailed, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ENTERED, MAPPED, PLACED, HOOKS, GO, LIMITS, LISTENER = b"E", b"M", b"P", b"H", b"G", b"L", b"N"
READY, FAILED, REMARK, STAGED = b"R", b"F", b"W", b"S"
CLOSED = b""

_LIMIT = 64 << 10


class Channel:
    """One end. Messages have a kind of one byte and a payload of at most 64 KiB."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def send(self, kind: bytes, payload: bytes = b"") -> None:
        """Send a message. Raises OSError: EPIPE where nobody listens any more."""
        k.write(self.fd, kind + payload[: _LIMIT - 1])

    def answer(self, kind: bytes) -> None:
        """Send to a process that may have ended meanwhile: why, it has told us already, or nobody. Raises OSError."""
        try:
            self.send(kind)
        except BrokenPipeError:
            pass

    def receive(self) -> tuple[bytes, bytes]:
        """Wait for the next message. (CLOSED, b"") when the other end is gone."""
        try:
            message = k.read(self.fd, _LIMIT)
        except ConnectionResetError:
            # The other end has gone without reading all that we sent. We hear that once, and before its own last words.
            message = k.read(self.fd, _LIMIT)
        return message[:1], message[1:]

    def last_words(self) -> bytes | None:
        """What the other end said of its failure, b"" if it has gone without a word, None if it is still there.

        Whatever else it has sent before is dropped. Raises OSError.
        """
        said = k.poll()
        said.register(self.fd, k.POLLIN)
        while said.poll(0):
            kind, payload = self.receive()
            if kind in (FAILED, CLOSED):
                return payload
        return None

    def meanwhile(self, step: Callable[[], object], failure: Callable[[bytes], PyociError]) -> None:
        """Do something to the process at the other end, which has work of its own meanwhile. Raises PyociError.

        Where that has failed, all that is done to it fails, too: then it is its own `failure`, made of its words, that is told.
        That it has gone without any says less than the step does: it may be the step that has ended it.
        """
        try:
            step()
        except StageFailed:
            raise
        except PyociError:
            words = self.last_words()
            if not words:
                raise
            raise failure(words) from None

    def close(self) -> None:
        """Close this end; closing twice does no harm."""
        if self.fd >= 0:
            k.close(self.fd)
            self.fd = -1


def pair() -> tuple[Channel, Channel]:
    """Two connected ends, close-on-exec. Raises PyociError."""
    try:
        one, other = k.seqpacket_pair()
    except OSError as error:
        raise failed("make a socket pair to talk with a process of ours", error) from None
    return Channel(one), Channel(other)


def listed(paths: list[str]) -> bytes:
    """Paths of the host's as a payload."""
    return b"\0".join(path.encode("utf-8", "surrogateescape") for path in paths)


def paths_of(payload: bytes) -> list[str]:
    """The paths in a payload."""
    return payload.decode("utf-8", "surrogateescape").split("\0") if payload else []
