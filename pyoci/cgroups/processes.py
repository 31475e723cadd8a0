# SPDX-License-Identifier: Apache-2.0
"""Who is in a container's cgroup, and the end of them."""

from __future__ import annotations

import errno
import time

from pyoci.cgroups import freezer
from pyoci.cgroups.files import GONE, get, keyed, put, walk
from pyoci.errors import CgroupError, describe
from pyoci.kernel.basic import SIGKILL, close, getpid, pidfd_open, pidfd_send_signal

_PREFERRED = ("freezer", "devices", "pids", "memory", "")
_AT_ONCE = 256  # descriptors held at a time
_ROUNDS = 100


def pids(paths: dict[str, str]) -> list[int]:
    """The processes in the container's cgroup and in all cgroups below it, in ascending order; none if it is gone.

    Pids of processes that are invisible from our pid namespace are left out. Raises OSError.
    """
    directory = _listed(paths)
    return [] if directory is None else _pids_below(directory)


def _listed(paths: dict[str, str]) -> str | None:
    """The directory to look for processes in: that of the freezer, as what it stops must be what gets the signal."""
    for name in _PREFERRED:
        if name in paths:
            return paths[name]
    return next(iter(paths.values()), None)


def _pids_below(directory: str) -> list[int]:
    found: set[int] = set()

    def visit(fd: int, name: str) -> None:
        try:
            found.update(map(int, _members(fd).split()))
        except OSError as error:
            if error.errno not in GONE:
                raise

    try:
        walk(directory, visit)
    except OSError as error:
        if error.errno not in GONE:
            raise
    found.discard(0)
    return sorted(found)


def _members(fd: int) -> str:
    try:
        return get("cgroup.procs", fd)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
    return get("cgroup.threads", fd)  # a threaded cgroup lists no processes


def kill_all(paths: dict[str, str], signal: int) -> None:
    """Send a signal to all processes in the container's cgroup and below it, us excepted, missing none that is forked
    meanwhile. A paused container is let go on for SIGKILL, and stays paused for any other. Raises CgroupError.
    """
    try:
        if signal == SIGKILL and "" in paths and _killed_by_kernel(paths[""]) and len(paths) == 1:
            if freezer.is_frozen(paths):
                _thaw_if_there(paths)  # nobody is left to be stopped, but whoever comes next would be
            return
        _signal_frozen(paths, signal)
    except OSError as error:
        raise CgroupError(f"signal the container's processes: {describe(error)}") from error


def _killed_by_kernel(directory: str) -> bool:
    """cgroup.kill, from Linux 5.14 on; it takes what is below along, frozen or not."""
    try:
        put(directory + "/cgroup.kill", "1")
    except OSError as error:
        if error.errno in (*GONE, errno.EOPNOTSUPP):
            return False
        raise
    return True


def _signal_frozen(paths: dict[str, str], signal: int) -> None:
    directory = _listed(paths)
    if directory is None:
        raise CgroupError("cannot signal all processes: cgroups not configured for container")
    if not _pids_below(directory):
        return
    if "freezer" not in paths and "" not in paths:
        _signal_until_none_is_new(directory, signal)
        return
    was_frozen = freezer.is_frozen(paths)
    try:
        freezer.freeze(paths)
    except CgroupError:
        # Something keeps it from freezing, or it has just gone. Then we chase whatever appears.
        _signal_until_none_is_new(directory, signal)
        return
    try:
        _signal(directory, signal)
    finally:
        if signal == SIGKILL or not was_frozen:
            _thaw_if_there(paths)
        if signal == SIGKILL:
            freezer.thaw_below(paths)


def _thaw_if_there(paths: dict[str, str]) -> None:
    try:
        freezer.thaw(paths)
    except CgroupError as error:
        cause = error.__cause__
        if not (isinstance(cause, OSError) and cause.errno in GONE):
            raise


def _signal_until_none_is_new(directory: str, signal: int) -> None:
    done: set[int] = set()
    for _ in range(_ROUNDS):
        new = _signal(directory, signal, done)
        if not new:
            return
        done |= new
        time.sleep(0.001)
    raise CgroupError(f"signal the processes in {directory}: new ones appear faster than they can be told")


def _signal(directory: str, signal: int, passed: set[int] | None = None) -> set[int]:
    """Signal all who are there and not in `passed`; who that was.

    A pid may have gone to a stranger by the time it is read. So a pidfd is taken first, and it is used only if the pid
    is still listed afterwards: then the pidfd's process either is the one listed, or has ended.
    """
    found = [pid for pid in _pids_below(directory) if pid != getpid() and pid not in (passed or ())]
    for start in range(0, len(found), _AT_ONCE):
        held = _opened(found[start : start + _AT_ONCE])
        try:
            still_there = set(_pids_below(directory))
            for pid, pidfd in held.items():
                if pid in still_there:
                    _send(pidfd, signal)
        finally:
            for pidfd in held.values():
                close(pidfd)
    return set(found)


def _opened(numbers: list[int]) -> dict[int, int]:
    held: dict[int, int] = {}
    try:
        for pid in numbers:
            try:
                held[pid] = pidfd_open(pid, 0)
            except OSError as error:
                # ESRCH: it has ended. EINVAL, ENOENT: the number of a thread that leads no process.
                if error.errno not in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
                    raise
    except BaseException:
        for pidfd in held.values():
            close(pidfd)
        raise
    return held


def _send(pidfd: int, signal: int) -> None:
    try:
        pidfd_send_signal(pidfd, signal)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise


def oom_kills(paths: dict[str, str]) -> int:
    """How many processes of the container the kernel has killed for want of memory; 0 if that cannot be told."""
    if "memory" in paths:
        file = paths["memory"] + "/memory.oom_control"
    elif "" in paths:
        file = paths[""] + "/memory.events"
    else:
        return 0
    try:
        return int(keyed(get(file), "oom_kill") or 0)
    except OSError:
        return 0
