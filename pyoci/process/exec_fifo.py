# SPDX-License-Identifier: Apache-2.0
"""The exec fifo: where init waits for `start`, and `start` learns how it went.

init opens it for writing, which blocks until somebody opens it for reading. It writes one byte, and then, if the
program cannot be executed, a letter for what failed and the reason; if it can, execve(2) closes the fifo.
"""

from __future__ import annotations

from errno import EAGAIN
from time import monotonic

from pyoci.errors import HookFailed, PyociError, StageFailed, failed
from pyoci.kernel import basic as k

OPENED, NOT_EXECUTED, HOOK_FAILED = b"0", b"E", b"H"
_PATIENCE = 30.0  # seconds for init to notice; it may have been stopped, and whoever waits has the container's lock


def make(path: str, uid: int, gid: int) -> None:
    """Make the fifo, for init, which may be another user by the time that it writes. Raises PyociError."""
    try:
        mask = k.umask(0)
        try:
            k.mkfifo(path, 0o622)
        finally:
            k.umask(mask)
        if uid or gid:
            k.chown(path, uid, gid)
    except OSError as error:
        raise failed(f"make the exec fifo {path}", error) from None


class Starter:
    """The side of `start`.

    The fifo is called otherwise before it is opened: should we be killed, a container that may run is not taken for one that
    waits. Whoever starts it once more goes by what init says, or does not.
    """

    def __init__(self, path: str, opened: str, pidfd: int) -> None:
        self.path, self.pidfd = opened, pidfd
        try:
            try:
                k.rename(path, opened)
            except FileNotFoundError:
                pass  # a start that was killed had got as far
            self.fd = k.open(opened, k.O_RDONLY | k.O_NONBLOCK | k.O_CLOEXEC)
        except OSError as error:
            raise failed(f"open the exec fifo {path}", error) from None

    def release(self, patience: float = _PATIENCE) -> None:
        """Wait until init has noticed, and take the fifo away. Raises PyociError if init is gone, or stopped."""
        try:
            said = self._read(len(OPENED), patience)  # no more: what init says next may be there already
        except TimeoutError:
            raise PyociError(
                f"container init has not noticed within {patience:.0f} s that it is to go on: it runs already, or is stopped"
            ) from None
        if said != OPENED:
            raise PyociError("container init is gone: it ended before it could be started")
        try:
            k.unlink(self.path)
        except OSError as error:
            raise failed(f"remove the exec fifo {self.path}", error) from None

    def await_program(self) -> None:
        """Wait until the program is executed. Raises StageFailed or HookFailed with init's reason if it is not."""
        said = b""
        while piece := self._read(4096):
            said += piece
        k.close(self.fd)
        text = said[1:].decode("utf-8", "replace")
        if said[:1] == HOOK_FAILED:
            raise HookFailed(text)
        if said:
            raise StageFailed.heard(text)

    def _read(self, limit: int, patience: float | None = None) -> bytes:
        """The next bytes from init; none when it has closed the fifo or is gone. Raises TimeoutError."""
        ready = k.poll()
        ready.register(self.fd, k.POLLIN)
        ready.register(self.pidfd, k.POLLIN)
        deadline = patience and monotonic() + patience
        while True:
            events = ready.poll(deadline and max(0, (deadline - monotonic()) * 1000))
            if not events and deadline:
                raise TimeoutError
            ended = any(fd == self.pidfd for fd, _ in events)
            try:
                return k.read(self.fd, limit)
            except OSError as error:
                if error.errno != EAGAIN:
                    raise
            if ended:
                return b""
