# SPDX-License-Identifier: Apache-2.0
"""`run`, and `exec` without --detach: stay in front of a container's process until it ends, and end as it
did.

Our caller talks to the process through us: every signal we get is passed on, SIGWINCH means that our terminal
has another size, and our exit code is that of the process.

All signals are blocked and read from a signalfd, from before the process is made: so none is lost or fatal
while it is being set up, and there is no handler that could run at a bad moment. Among them are those by which a fault of
our own would end us (SIGSEGV and the like): where it is one, the kernel does so all the same, and what somebody sends us by
kill(2) is for the process, as any other (systemd's watchdog sends SIGABRT). Standard streams that are no
terminal need no attention, as the process simply inherits them; a terminal of ours stays ours (see pyoci.relay).
"""

from __future__ import annotations

from _struct import Struct
from errno import EAGAIN, ECHILD, ESRCH

from pyoci.errors import PyociError, failed
from pyoci.syscalls import (
    POLLIN,
    PR_SET_CHILD_SUBREAPER,
    SIGCHLD,
    SIGINFO_SIZE,
    SIGKILL,
    SIGSTOP,
    SIGTERM,
    WNOHANG,
    close,
    getpid,
    isatty,
    pidfd_send_signal,
    poll,
    prctl,
    read,
    reset_signals,
    signalfd,
    valid_signals,
    waitpid,
    waitstatus_to_exitcode,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.notify import Proxy
    from pyoci.relay import Relay, Streams

SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGURG, SIGWINCH = 1, 2, 3, 13, 23, 28
_ENDING = {SIGHUP, SIGINT, SIGQUIT, SIGTERM}

# The head of struct signalfd_siginfo: signo, errno, code, pid.
_SIGINFO = Struct("=IiiI")


class Foreground:
    """Call `prepare` first thing, make the process, `attach` its terminal if it has one, then `wait` for it; and `close`,
    whatever happened. A process without a terminal is made between `divert` and `give_back`.

    What `prepare` changes in this process, and a child inherits: all signals are blocked (the child must call
    `reset_signals` before it executes anything), and unless `subreaper` is False we adopt the orphans below us.

    warn: is told of what went wrong meanwhile, in words.
    """

    def __init__(self, warn: Callable[[str], object], *, subreaper: bool = True) -> None:
        self.warn = warn
        self.subreaper = subreaper
        self.signals = -1
        self.status: int | None = None
        self.relay: Relay | Streams | None = None
        self.diverted: Streams | None = None
        self.proxy: Proxy | None = None

    def prepare(self) -> None:
        """Block the signals and open the signalfd. They queue up until `wait`. Raises PyociError."""
        blocked = valid_signals() - {SIGKILL, SIGSTOP}
        try:
            if self.subreaper:
                prctl(PR_SET_CHILD_SUBREAPER, 1)
            reset_signals(blocked)
            self.signals = signalfd(blocked)
        except OSError as error:
            raise failed("prepare to forward signals", error) from error

    def attach(self, master: int) -> None:
        """Put our terminal in front of the process's: `master` is taken over, and closed by `wait` or `close`, which
        also put ours back as it was. To be called before the program runs, or its first lines may come out otherwise
        than the rest (see pyoci.relay).
        """
        from pyoci.relay import Relay  # loads termios, for which only a terminal has a use

        self.relay = Relay(master)

    def receive(self, connection: int) -> None:
        """`attach` the terminal whose master the process sends over the connection. Raises PyociError."""
        from pyoci.terminal import receive_master  # likewise

        self.attach(receive_master(connection))

    def divert(self, owner: Callable[[], tuple[int, int]]) -> bool:
        """Have pipes, of this user and group, in the place of our standard streams that are a terminal, and `wait` relay them.
        Whether there are any. Raises PyociError.
        """
        terminals = [stream for stream in (0, 1, 2) if isatty(stream)]
        if terminals:
            from pyoci.relay import Streams  # engines have no terminal

            self.relay = self.diverted = Streams(terminals, *owner())
        return bool(terminals)

    def give_back(self) -> None:
        """Have our standard streams back, as what is said there is ours again."""
        if self.diverted:
            self.diverted.give_back()

    def wait(self, pid: int, pidfd: int, master: int | None = None) -> int:
        """Serve the process until it ends: its exit code, or 128 plus the number of the signal that killed it.

        pid, pidfd: a child of ours, or by way of the subreaper an orphan. master: for a terminal that could not be
        attached before. Raises PyociError.
        """
        if master is not None:
            self.attach(master)
        try:
            code = self._serve(pid, pidfd)
            self._finish()
            return code
        finally:
            self._detach()

    def close(self) -> None:
        """Let go of the terminal and the signalfd. The signals stay blocked: clearing up must not be cut short."""
        self.give_back()
        try:
            self._finish()  # if it has not come to `wait`: what has been said may tell why
        finally:
            self._detach()
        if self.signals >= 0:
            close(self.signals)
            self.signals = -1

    def _detach(self) -> None:
        if self.relay:
            self.relay.close()
            self.relay = self.diverted = None

    def _serve(self, pid: int, pidfd: int) -> int:
        relay = self.relay
        while True:
            waiting = poll()
            waiting.register(self.signals, POLLIN)
            waiting.register(pidfd, POLLIN)
            if self.proxy:
                waiting.register(self.proxy.fd, POLLIN)
            for fd, events in relay.interests() if relay else ():
                waiting.register(fd, events)
            ready = {fd for fd, _ in waiting.poll(relay.patience() if relay else None)}
            if self.signals in ready:
                for number in self._received():
                    self._forward(number, pid, pidfd)
            if relay:
                relay.serve(ready)
            if self.proxy and self.proxy.fd in ready:
                self._pass_on_readiness(self.proxy)
            if pidfd in ready:
                return self._exit_code(pid)

    def _pass_on_readiness(self, proxy: Proxy) -> None:
        """Our caller's main process is this one, whose signals reach the container."""
        try:
            if not proxy.serve(getpid()):
                return
        except PyociError:
            pass  # whoever wanted to know is gone
        proxy.close()
        self.proxy = None

    def _received(self) -> list[int]:
        """The signals that have come in, but for those that are no message to the container."""
        received: list[int] = []
        while True:
            try:
                number, _, _, sender = _SIGINFO.unpack_from(read(self.signals, SIGINFO_SIZE))
            except OSError as error:
                if error.errno == EAGAIN:
                    return received
                raise
            # Our own writing to a closed pipe raises SIGPIPE, in our name.
            if number != SIGURG and not (number == SIGPIPE and sender in (0, getpid())):
                received.append(number)

    def _forward(self, number: int, pid: int, pidfd: int) -> None:
        if number == SIGCHLD:
            self._reap(pid)
        elif number == SIGWINCH:
            if self.relay:
                self.relay.resize()
        else:
            try:
                pidfd_send_signal(pidfd, number)
            except OSError as error:
                if error.errno != ESRCH:  # it may be another user's by now, and goes on
                    self.warn(failed(f"forward signal {number} to the container", error).message)

    def _reap(self, wanted: int) -> None:
        """Collect every child that has ended: the process itself, and orphans that came to us."""
        while True:
            try:
                ended, status = waitpid(-1, WNOHANG)
            except OSError as error:
                if error.errno == ECHILD:
                    return
                raise
            if ended == 0:
                return
            if ended == wanted:
                self.status = status

    def _await(self, pid: int) -> None:
        """It has ended, but who traces it is told before us, be it a debugger or somebody who wants to be in our way."""
        try:
            self.status = waitpid(pid, 0)[1]
        except OSError as error:
            if error.errno != ECHILD:
                raise

    def _exit_code(self, pid: int) -> int:
        self._reap(pid)
        if self.status is None:
            self._await(pid)
        if self.status is None:
            raise PyociError(f"wait for process {pid}: it ended, but is no child of ours to tell how")
        code = waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code

    def _finish(self) -> None:
        """The last output. Only a signal that is to end us ends the wait for its reader."""
        if self.relay:
            stop = signalfd(_ENDING)
            try:
                self.relay.finish(stop)
            finally:
                close(stop)
