# SPDX-License-Identifier: Apache-2.0
"""Between our own terminal and a container: the master of its own one, or pipes if it has none.

Nothing here ever waits, neither for a reader of our output nor for a container that does not read its input,
so that signals go on being served: what cannot be written yet is held, and no more is read until it has gone.

Our terminal is made raw while the container has it, but goes on turning newlines into CR LF (OPOST), and the
container's does not (ONLCR off): so output into a file or a pipe has plain newlines.

A container without a terminal does not get ours all the same, but pipes: who has a terminal once, may read what is
typed there and write to it for as long as it lasts, so also when we have ended and something is left of the container.
"""

from __future__ import annotations

import termios
from _struct import Struct
from errno import EAGAIN, EPERM

from pyoci.errors import failed
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
    S_IFSOCK,
    close,
    dup,
    dup2,
    fchown,
    fstat,
    getpgrp,
    ioctl,
    isatty,
    open,
    pipe2,
    poll,
    read,
    send_now,
    set_blocking,
    write,
)
from pyoci.terminal import get_size, set_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Put = Callable[[int, bytearray], int]

_CHUNK = 16 * 1024
_HELD_LIMIT = 64 * 1024
_PIPE_BUF = 4096
_DRAIN_PATIENCE = 100  # milliseconds without output after the end of the container: then there is no more
_REOPEN_PATIENCE = 100  # milliseconds until the next look at a terminal that nobody has open, or not we
_INT = Struct("=i")
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


class Relay:
    """Carries bytes between the standard streams and `master`, from construction to `close`, which restores
    all.
    """

    def __init__(self, master: int) -> None:
        self.master = master
        self.input = 0
        self.output, self.put = _own_output(1)
        self.to_master = bytearray()
        self.to_output = bytearray()
        self.abandoned = False
        self.behind = False  # something has been typed, but not for us, as we are in the background
        self.saved: list[Any] | None = None
        self.console = _find_console()
        set_blocking(master, False)
        _change_mode(master, _plain_newlines)
        self._take_console()
        self.resize()

    def _take_console(self) -> None:
        """Make our terminal raw, unless another job has it: then when it is ours."""
        if self.console >= 0 and not self.saved and not _is_in_background(self.console):
            self.saved = _change_mode(self.console, _raw)
            if not self.saved:  # it has been hung up
                close(self.console)
                self.console = -1

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
        if self.input >= 0 and not self.behind and not self.to_master:
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
        waits = self.abandoned or self.behind or (self.console >= 0 and not self.saved)
        return _REOPEN_PATIENCE if waits else None

    def serve(self, ready: set[int]) -> None:
        """Move what can be moved; `ready` holds those descriptors of `interests` that have events."""
        self.abandoned = self.behind = False
        self._take_console()
        if self.input in ready:
            chunk = _read(self.input)
            if chunk:
                self.to_master += chunk
            elif chunk is not None:
                self.behind = _is_in_background(self.input)
                self.input = self.input if self.behind else -1
        if self.master in ready:
            chunk = _read(self.master)
            self.to_output += chunk or b""
            # Nobody has the slave open. A process of the container may yet open it again.
            self.abandoned = chunk == b""
        _write(self.master, self.to_master)
        _write(self.output, self.to_output, self.put)

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


class Streams:
    """Carries bytes between those of our standard streams that are a terminal, and the pipes that a container has in
    their place.

    From construction to `give_back` the pipes are our own standard streams, for a child to inherit.
    """

    def __init__(self, terminals: list[int], uid: int, gid: int) -> None:
        """terminals: which of 0, 1 and 2. The pipes are given to root of the container, as the host knows him. Raises
        PyociError.
        """
        self.saved: dict[int, int] = {}
        self.flows: list[_Flow] = []
        try:
            for stream in terminals:
                self.saved[stream] = dup(stream)
                if stream == 2 and 1 in terminals and _same_device(self.saved[1], 2):
                    dup2(1, 2)  # what is written to one and to the other stays in order
                else:
                    self._replace(stream, uid, gid)
        except OSError as error:
            self.close()
            raise failed("put pipes in the place of the terminal", error) from None

    def _replace(self, stream: int, uid: int, gid: int) -> None:
        reading, writing = pipe2(O_CLOEXEC)
        ours, theirs = (writing, reading) if stream == 0 else (reading, writing)
        self.flows.append(_Flow(0, ours) if stream == 0 else _Flow(ours, *_own_output(stream)))
        set_blocking(ours, False)
        try:
            if uid or gid:
                fchown(ours, uid, gid)
        except OSError as error:
            if error.errno != EPERM:  # an ordinary user's: it stays his
                raise
        dup2(theirs, stream)
        close(theirs)

    def give_back(self) -> None:
        """Have our standard streams as they were: the child has the others."""
        for stream, saved in self.saved.items():
            dup2(saved, stream)
            close(saved)
        self.saved.clear()

    def resize(self) -> None:
        """There is nothing that has a size."""

    def interests(self) -> list[tuple[int, int]]:
        """As with Relay."""
        return [wanted for flow in self.flows for wanted in flow.interests()]

    def patience(self) -> int | None:
        """As with Relay."""
        return _REOPEN_PATIENCE if any(flow.behind for flow in self.flows) else None

    def serve(self, ready: set[int]) -> None:
        """As with Relay."""
        for flow in self.flows:
            flow.serve(ready)

    def finish(self, stop: int) -> None:
        """Pass on what has been written until now, and nothing that others of the container may yet write. A reader of
        ours who is slow is waited for, until `stop` becomes readable.
        """
        outputs = [flow for flow in self.flows if not flow.is_input]
        for flow in outputs:
            flow.take_all()
        while held := [flow for flow in outputs if flow.held]:
            waiting = poll()
            waiting.register(stop, POLLIN)
            for flow in held:
                waiting.register(flow.target, POLLOUT)
            if any(fd == stop for fd, _ in waiting.poll()):
                return
            for flow in held:
                flow.write()

    def close(self) -> None:
        """Let go of the pipes. Standard input is not ours to close."""
        self.give_back()
        for flow in self.flows:
            flow.close()
        self.flows.clear()


class _Flow:
    """One direction: from a descriptor to another."""

    def __init__(self, source: int, target: int, put: Put = write) -> None:
        self.source, self.target, self.put = source, target, put
        self.is_input = source == 0
        self.held = bytearray()
        self.over = False  # no more comes from the source
        self.behind = False  # something has been typed, but not for us, as we are in the background

    def interests(self) -> list[tuple[int, int]]:
        wanted = []
        if not self.over and not self.behind and len(self.held) < _HELD_LIMIT:
            wanted.append((self.source, POLLIN))
        if self.held:
            wanted.append((self.target, POLLOUT))
        return wanted

    def serve(self, ready: set[int]) -> None:
        self.behind = False
        if not self.over and self.source in ready:
            chunk = _read(self.source)
            if chunk:
                self.held += chunk
            elif chunk is not None:
                self.behind = self.is_input and _is_in_background(self.source)
                self.over = not self.behind
        self.write()

    def write(self) -> None:
        """Write what is held as far as possible. The end of the input is one for the program, and the other way round."""
        taken = _write(self.target, self.held, self.put)
        self.over = self.over or (self.is_input and not taken)
        if self.is_input and self.over and not self.held:
            self._close_target()

    def take_all(self) -> None:
        """Take what is in a pipe now."""
        (left,) = _INT.unpack(ioctl(self.source, termios.FIONREAD, bytes(_INT.size)))
        while left > 0 and (chunk := _read(self.source)):
            self.held += chunk
            left -= len(chunk)

    def close(self) -> None:
        if not self.is_input:
            close(self.source)
        self._close_target()

    def _close_target(self) -> None:
        if self.target >= 0:
            close(self.target)
            self.target = -1


def _own_output(stream: int) -> tuple[int, Put]:
    """Standard output or error, and how to write to it without waiting. The flag for that would hold for our caller's
    descriptor as well, so a terminal or a pipe is opened anew. A file is not, as it would be written from its start; and
    what belongs to somebody else cannot be.
    """
    kind = S_IFMT(fstat(stream).st_mode)
    if kind == S_IFSOCK:
        return dup(stream), send_now
    if kind in (S_IFCHR, S_IFIFO):
        try:
            return open(f"/proc/self/fd/{stream}", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), write
        except OSError:
            return dup(stream), _write_some
    return dup(stream), write


def _write_some(fd: int, held: bytearray) -> int:
    """No more than fits for sure where there is room at all (pipe(7), PIPE_BUF); of a terminal, no more than is likely to."""
    look = poll()
    look.register(fd, POLLOUT)
    if not look.poll(0):
        raise BlockingIOError(EAGAIN, "")
    return write(fd, held[:_PIPE_BUF])


def _find_console() -> int:
    """Our terminal: what a standard stream is, or the controlling one; -1 if there is none."""
    for fd in (2, 1, 0):
        if isatty(fd):
            return dup(fd)
    try:
        return open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC)
    except OSError:
        return -1


def _same_device(one: int, other: int) -> bool:
    return fstat(one).st_rdev == fstat(other).st_rdev


def _is_in_background(terminal: int) -> bool:
    """Whether it is our controlling terminal, but another job has it. To read from it is then an error (EIO), as the signal
    that would stop us is blocked.
    """
    try:
        (group,) = _INT.unpack(ioctl(terminal, termios.TIOCGPGRP, bytes(_INT.size)))
    except OSError:
        return False
    return bool(group != getpgrp())


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


def _write(fd: int, held: bytearray, put: Put = write) -> bool:
    """Write what is held as far as possible. What nobody will ever read (EPIPE, EIO) is dropped: then False."""
    while held:
        try:
            del held[: put(fd, held)]
        except OSError as error:
            if error.errno == EAGAIN:
                break
            held.clear()
            return False
    return True
