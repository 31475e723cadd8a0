# SPDX-License-Identifier: Apache-2.0
"""What the launcher sets on a process that is on its way into a container, as in there the right to do so is gone; and the
end of one that does not get there.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed, reason
from pyoci.process.program import set_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import Process

_ALL_CPUS = b"\xff" * 8192
"""More of them than any kernel takes: those that may be plugged in one day are in it, too."""

_PATIENCE = 10_000  # milliseconds


def end(pid: int, pidfd: int) -> None:
    """Kill a child of ours, whatever it is doing, and wait for its end. Raises PyociError if that does not come: it may be
    in a cgroup that somebody has frozen further up, or in a file system that does not answer.
    """
    try:
        k.pidfd_send_signal(pidfd, k.SIGKILL)
        waiting = k.poll()
        waiting.register(pidfd, k.POLLIN)
        if not waiting.poll(_PATIENCE):
            raise PyociError(f"process {pid} is still there {_PATIENCE // 1000} s after SIGKILL")
        k.waitpid(pid, k.WNOHANG)  # if somebody traces it, it is his first
    except (ProcessLookupError, ChildProcessError):
        pass


def end_for(error: BaseException, pid: int, pidfd: int) -> None:
    """The same because of an error, which tells of it if the process does not end."""
    try:
        end(pid, pidfd)
    except PyociError as another:
        error.add_note(f"and then, on the way back: {another.message}")


def reset_affinity(pid: int) -> str:
    """Let a process onto every CPU that its cpuset has, or will have: it is born with our own affinity.

    To be called when it is in its cgroup. A warning if that cannot be done, else nothing.
    """
    try:
        k.sched_setaffinity(pid, _ALL_CPUS)
    except OSError as error:
        return f"the container keeps the CPU affinity of its caller: {reason(error)}"
    return ""


def set_oom_score(process: str, score: int) -> int:
    """How readily the kernel sacrifices a process (proc(5), oom_score_adj): what it was before. Raises PyociError.

    process: a pid, or "self". To lower a score below what root has given it takes CAP_SYS_RESOURCE on the host.
    """
    try:
        fd = k.open(f"/proc/{process}/oom_score_adj", k.O_RDWR | k.O_CLOEXEC)
        try:
            before = int(k.read(fd, 32))
            if before != score:
                k.write(fd, b"%d" % score)
        finally:
            k.close(fd)
    except OSError as error:
        raise failed(f"set oom_score_adj to {score}", error) from None
    return before


def set_own_oom_score(score: int) -> int:
    """The same for this process, for a child to inherit, where nobody may reach into the child: what it was before.

    The files of a process that may not be looked into belong to the host's root. So it may be looked into for a moment,
    in which there is nothing of a container about.
    """
    k.prctl(k.PR_SET_DUMPABLE, 1)
    try:
        return set_oom_score("self", score)
    finally:
        k.prctl(k.PR_SET_DUMPABLE, 0)


def set_what_takes_rights(pid: int, process: Process) -> None:
    """Resource limits and priorities, which root of a user namespace may not raise. Raises PyociError."""
    set_limits(pid, process)
    if process.scheduling:
        from pyoci.process.scheduling import set_priorities  # Program has loaded it

        set_priorities(pid, process.scheduling)
