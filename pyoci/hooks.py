# SPDX-License-Identifier: Apache-2.0
"""Hooks: programs from `hooks` in config.json, run one after the other with the state on their standard
input.

The same code serves the runtime (prestart, createRuntime, poststart, poststop) and the container's own
process (createContainer, startContainer), so everything here runs inside too: nothing but system calls after
the module is loaded.

A hook gets its path, arguments and environment exactly as the configuration has them (no environment there
means an empty one), a session of its own, default signals, and no descriptors but the three standard ones.
What it writes is kept for the error message, up to a limit. A hook that takes too long is killed with its
whole process group; a process that a hook leaves behind is not waited for, even when it still holds the
hook's output.
"""

from __future__ import annotations

from errno import EAGAIN, ECHILD, EPIPE, ESRCH
from time import monotonic

from pyoci.errors import HookFailed, reason
from pyoci.syscalls import (
    CLOSE_RANGE_CLOEXEC,
    O_CLOEXEC,
    POLLIN,
    POLLOUT,
    SIGKILL,
    WCOREDUMP,
    WEXITSTATUS,
    WIFEXITED,
    WNOHANG,
    WTERMSIG,
    ExecImage,
    _exit,
    chdir,
    close,
    close_range,
    dup2,
    encode,
    fork,
    kill,
    pidfd_open,
    pipe2,
    poll,
    read,
    reset_signals,
    set_blocking,
    set_inheritable,
    setsid,
    strerror,
    strsignal,
    waitpid,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

OUTPUT_LIMIT = 64 * 1024

_CHUNK = 16 * 1024
_SLICE = 0.01  # seconds between two looks at a hook that no pidfd announces
_LONGEST_WAIT = 3600.0  # seconds until the next look at the time: poll(2) counts milliseconds in an int
_DRAIN = 64  # reads after the end of a hook: enough for a full pipe, and an end even if someone keeps writing
_LAST_FD = 0xFFFFFFFF


def run_hooks(
    kind: str,
    hooks: list[dict[str, Any]],
    state_json: bytes,
    *,
    directory: str | None = None,
    default_env: list[str] | None = None,
    confined: bool = False,
    on_failure: Callable[[HookFailed], None] | None = None,
) -> None:
    """Run the hooks of one kind in order; the first failure ends the list and is raised as HookFailed.

    kind: the key in `hooks`, for messages. state_json: the container's state in compact JSON.
    directory: the hooks' working directory, if not ours.
    default_env: for hooks without `env`; runc gives startContainer hooks the environment of the process.
    confined: a seccomp profile is in force that may not know recent system calls.
    on_failure: called with each failure instead of raising it, as poststop hooks want it.
    """
    for index, hook in enumerate(hooks):
        try:
            _Run(hook, directory, default_env, confined).finish(state_json)
        except HookFailed as failure:
            error = HookFailed(f"error running {kind} hook #{index}: {failure.message}")
            if on_failure is None:
                raise error from None
            on_failure(error)


class _Run:
    """One running hook. `finish` must be called, and leaves nothing open."""

    def __init__(
        self, hook: dict[str, Any], directory: str | None, default_env: list[str] | None, confined: bool
    ) -> None:
        self.path: str = hook["path"]
        timeout = hook.get("timeout")
        self.timeout = float(timeout) if timeout else None
        self.deadline: float | None = None
        self.reaped = False
        self.outputs: dict[int, bytearray] = {}
        arguments = [encode(item) for item in hook.get("args") or [self.path]]
        environment = [encode(item) for item in hook.get("env") or default_env or ()]
        try:
            self._start(ExecImage(encode(self.path), arguments, environment), directory, confined)
        except OSError as error:
            raise HookFailed(f"fork {self.path}: {reason(error)}") from None

    def _start(self, image: ExecImage, directory: str | None, confined: bool) -> None:
        pipes = [pipe2(O_CLOEXEC) for _ in range(4)]
        (stdin, self.stdin), (self.stdout, stdout), (self.stderr, stderr), (self.verdict, verdict) = pipes
        try:
            self.pid = fork()
        except OSError:
            _close_all(*(fd for pair in pipes for fd in pair))
            raise
        if self.pid == 0:
            _become(image, directory, (stdin, stdout, stderr), verdict)
        _close_all(stdin, stdout, stderr, verdict)
        self.pidfd = -1 if confined else _pidfd(self.pid)

    def finish(self, state_json: bytes) -> None:
        """Feed the hook, keep what it says and wait for its end. Raises HookFailed."""
        if self.timeout is not None:
            self.deadline = monotonic() + self.timeout
        try:
            # Ends as soon as the program is executed, which closes the pipe, or could not be.
            refusal = read(self.verdict, 16)
            if refusal:
                waitpid(self.pid, 0)
                self.reaped = True
                raise HookFailed(f"fork/exec {self.path}: {_lower(strerror(int(refusal)))}")
            self._converse(state_json)
        except HookFailed:
            raise  # it has ended, or cannot be ended
        except OSError as error:
            self._kill()
            raise HookFailed(f"wait for {self.path}: {reason(error)}") from None
        except BaseException as error:
            # An interrupt: what the hook was run for is undone, and in its own session it would not hear of that.
            try:
                self._kill()
            except HookFailed as problem:
                error.add_note(problem.message)
            raise
        finally:
            _close_all(self.stdin, self.stdout, self.stderr, self.verdict, self.pidfd)

    def _converse(self, state_json: bytes) -> None:
        """The exchange with a hook that was executed, to its end."""
        self.outputs = {self.stdout: bytearray(), self.stderr: bytearray()}
        waiting = poll()
        for fd in self.outputs:
            set_blocking(fd, False)
            waiting.register(fd, POLLIN)
        set_blocking(self.stdin, False)
        waiting.register(self.stdin, POLLOUT)
        if self.pidfd >= 0:
            waiting.register(self.pidfd, POLLIN)
        rest = memoryview(state_json)
        status = None
        while status is None:
            for fd, _ in waiting.poll(self._patience()):
                if fd == self.stdin:
                    rest = rest[_feed(fd, rest) :]
                    if not rest:
                        waiting.unregister(fd)
                        close(fd)
                        self.stdin = -1
                elif fd in self.outputs and not self._keep(fd):
                    waiting.unregister(fd)
            status = self._ended()
            if status is None and self.deadline is not None and monotonic() >= self.deadline:
                self._kill()
                break
        for fd in self.outputs:
            self._drain(fd)
        if status != 0:
            raise HookFailed(f"{self._how(status)}, {self._said()}")

    def _patience(self) -> float | None:
        """How long to wait for an event, in milliseconds; None is for ever."""
        left = None if self.deadline is None else min(max(0.0, self.deadline - monotonic()), _LONGEST_WAIT)
        if self.pidfd < 0:
            left = _SLICE if left is None else min(left, _SLICE)
        # One more, as poll(2) counts whole milliseconds and would come back just before the time.
        return None if left is None else left * 1000 + 1

    def _keep(self, fd: int) -> bool:
        """Take what there is to read, keeping the last OUTPUT_LIMIT bytes. False at the end of the stream."""
        try:
            chunk = read(fd, _CHUNK)
        except OSError as error:
            if error.errno == EAGAIN:
                return True
            raise
        kept = self.outputs[fd]
        kept += chunk
        del kept[:-OUTPUT_LIMIT]
        return bool(chunk)

    def _drain(self, fd: int) -> None:
        """Take what the hook had written before it ended, without waiting for anyone who still holds the
        pipe.
        """
        ready = poll()
        ready.register(fd, POLLIN)
        for _ in range(_DRAIN):
            if not ready.poll(0) or not self._keep(fd):
                break

    def _ended(self) -> int | None:
        """Reap the hook if it has ended: its status, or None."""
        done, status = waitpid(self.pid, WNOHANG)
        if not done:
            return None
        self.reaped = True
        return status

    def _kill(self) -> None:
        """End the hook and its process group, and reap it. Once it was reaped, the number is not its any more."""
        if self.reaped:
            return
        try:
            for target in (-self.pid, self.pid):  # it may not have got to its own session yet
                try:
                    kill(target, SIGKILL)
                except OSError as error:
                    if error.errno != ESRCH:
                        raise
            waitpid(self.pid, 0)
        except OSError as error:
            if error.errno != ECHILD:
                raise HookFailed(f"kill {self.path}: {reason(error)}") from None
        self.reaped = True

    def _how(self, status: int | None) -> str:
        """The end of the hook in words; None stands for ours."""
        if status is None:
            return f"hook ran past specified timeout of {self.timeout:.1f}s"
        if WIFEXITED(status):
            return f"exit status {WEXITSTATUS(status)}"
        signal = WTERMSIG(status)
        core = " (core dumped)" if WCOREDUMP(status) else ""
        return f"signal: {_lower(strsignal(signal) or str(signal))}{core}"

    def _said(self) -> str:
        out, err = (self.outputs[fd].decode("utf-8", "backslashreplace") for fd in (self.stdout, self.stderr))
        return f"stdout: {out}, stderr: {err}"


def _become(image: ExecImage, directory: str | None, streams: tuple[int, int, int], verdict: int) -> None:
    """The child's part: execute the hook, or say on `verdict` which errno forbids it. Never returns."""
    try:
        setsid()
        reset_signals()
        if directory is not None:
            chdir(directory)
        for number, stream in enumerate(streams):
            dup2(stream, number)
        _close_on_exec()
        image.execute()
    except OSError as error:
        write(verdict, b"%d" % (error.errno or 0))
    finally:
        _exit(127)


def _close_on_exec() -> None:
    try:
        close_range(3, _LAST_FD, CLOSE_RANGE_CLOEXEC)
    except OSError:
        # A seccomp profile that does not know the call. All descriptors of our own are close-on-exec from the
        # start, only those that the container is to inherit are not, and these have the lowest numbers.
        for fd in range(3, 1024):
            try:
                set_inheritable(fd, False)
            except OSError:
                continue


def _pidfd(pid: int) -> int:
    try:
        return pidfd_open(pid)
    except OSError:
        return -1


def _feed(fd: int, rest: memoryview) -> int:
    """Write what the pipe takes. Not reading it is no error of the hook: then all counts as written."""
    try:
        return write(fd, rest)
    except OSError as error:
        if error.errno == EAGAIN:
            return 0
        if error.errno == EPIPE:
            return len(rest)
        raise


def _close_all(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            close(fd)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
