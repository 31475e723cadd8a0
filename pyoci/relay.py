# SPDX-License-Identifier: Apache-2.0
"""Between our own terminal and the master of a container's: bytes both ways, and the size.

Nothing here ever waits, neither for a reader of our output nor for a container that does not read its input,
so that signals go on being served: what cannot be written yet is held, and no more is read until it has gone.

Our terminal is made raw while the container has it, but goes on turning newlines into CR LF (OPOST), and the
container's does not (ONLCR off): so output into a file or a pipe has plain newlines.
"""

from __future__ import annotations

import termios
from errno import EAGAIN

from pyoci.syscalls import (
    O_CLOEXEC,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDWR,
    O_WRONLY,
    POLLIN,
    POLLOUT,
    S_IFCHR,
    S_IFIFO,
    S_IFMT,
    close,
    dup,
    fstat,
    isatty,
    open,
    poll,
    read,
    set_blocking,
    write,
)
from pyoci.terminal import get_size, set_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 16 * 1024
_HELD_LIMIT = 64 * 1024
_DRAIN_PATIENCE = 100  # milliseconds without output after the end of the container: then there is no more
_REOPEN_PATIENCE = 100  # milliseconds until the next look at a terminal that nobody has open
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


class Relay:
    """Carries bytes between the standard streams and `master`, from construction to `close`, which restores
    all.
    """

    def __init__(self, master: int) -> None:
        self.master = master
        self.input = 0
        self.output = _own_output()
        self.to_master = bytearray()
        self.to_output = bytearray()
        self.abandoned = False
        self.saved: list[Any] | None = None
        self.console = _find_console()
        set_blocking(master, False)
        _change_mode(master, _plain_newlines)
        if self.console >= 0:
            self.saved = _change_mode(self.console, _raw)
            self.resize()

    def resize(self) -> None:
        """Give the container's terminal the size of ours; that one of them is gone does not matter."""
        if self.console >= 0:
            try:
                set_size(self.master, get_size(self.console))
            except OSError:
                return

    def interests(self) -> list[tuple[int, int]]:
        """What to poll for: pairs of a descriptor and events."""
        wanted = []
        if self.input >= 0 and not self.to_master:
            wanted.append((self.input, POLLIN))
        reading = POLLIN if len(self.to_output) < _HELD_LIMIT and not self.abandoned else 0
        writing = POLLOUT if self.to_master else 0
        if reading | writing:
            wanted.append((self.master, reading | writing))
        if self.to_output:
            wanted.append((self.output, POLLOUT))
        return wanted

    def patience(self) -> int | None:
        """How long, in milliseconds, to wait for an event before `serve` is to be called without one."""
        return _REOPEN_PATIENCE if self.abandoned else None

    def serve(self, ready: set[int]) -> None:
        """Move what can be moved; `ready` holds those descriptors of `interests` that have events."""
        self.abandoned = False
        if self.input in ready:
            chunk = _read(self.input)
            if chunk:
                self.to_master += chunk
            elif chunk is not None:
                self.input = -1
        if self.master in ready:
            chunk = _read(self.master)
            self.to_output += chunk or b""
            # Nobody has the slave open. A process of the container may yet open it again.
            self.abandoned = chunk == b""
        _write(self.master, self.to_master)
        _write(self.output, self.to_output)

    def finish(self, stop: int) -> None:
        """Pass on what the container wrote before it ended. A reader of ours who is slow is waited for, until
        `stop` becomes readable.
        """
        self.input = -1
        self.to_master.clear()
        over = False
        while self.to_output or not over:
            waiting = poll()
            waiting.register(stop, POLLIN)
            for fd, events in self.interests():
                if fd != self.master or not over:
                    waiting.register(fd, events)
            ready = {fd for fd, _ in waiting.poll(_DRAIN_PATIENCE if not self.to_output else None)}
            if stop in ready:
                return
            self.serve(ready)
            over = over or self.abandoned or not ready

    def close(self) -> None:
        """Put our terminal back as it was, and close the master."""
        if self.saved is not None:
            try:
                termios.tcsetattr(self.console, termios.TCSANOW, self.saved)
            except termios.error:
                pass  # it has been hung up: there is nothing to restore
            self.saved = None
        for fd in (self.master, self.output, self.console):
            if fd >= 0:
                close(fd)
        self.master = self.output = self.console = -1


def _own_output() -> int:
    """Standard output, not blocking if it is something that may block. The flag would hold for our caller's
    descriptor as well, so a terminal or a pipe is opened anew. A file is not, as it would be written from its
    start.
    """
    if S_IFMT(fstat(1).st_mode) in (S_IFCHR, S_IFIFO):
        try:
            return open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        except OSError:
            return dup(1)
    return dup(1)


def _find_console() -> int:
    """Our terminal: what a standard stream is, or the controlling one; -1 if there is none."""
    for fd in (2, 1, 0):
        if isatty(fd):
            return dup(fd)
    try:
        return open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
    except OSError:
        return -1


def _raw(mode: list[Any]) -> None:
    """cfmakeraw(3), but for OPOST."""
    mode[_IFLAG] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR)
    mode[_IFLAG] &= ~(termios.ICRNL | termios.IXON)
    mode[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[_CFLAG] = mode[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0


def _plain_newlines(mode: list[Any]) -> None:
    mode[_OFLAG] &= ~termios.ONLCR


def _change_mode(terminal: int, change: Any) -> list[Any] | None:
    """Change a terminal's mode and return what it was; None if it is none any more."""
    try:
        mode = termios.tcgetattr(terminal)
        saved = [*mode[:_CC], list(mode[_CC])]
        change(mode)
        termios.tcsetattr(terminal, termios.TCSANOW, mode)
    except termios.error:
        return None
    return saved


def _read(fd: int) -> bytes | None:
    """What there is; nothing at the end (for a terminal: EIO), None if there only seemed to be something."""
    try:
        return read(fd, _CHUNK)
    except OSError as error:
        return None if error.errno == EAGAIN else b""


def _write(fd: int, held: bytearray) -> None:
    """Write what is held as far as possible. What nobody will ever read (EPIPE, EIO) is dropped."""
    while held:
        try:
            del held[: write(fd, held)]
        except OSError as error:
            if error.errno != EAGAIN:
                held.clear()
            return
