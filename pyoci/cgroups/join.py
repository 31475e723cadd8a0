# SPDX-License-Identifier: Apache-2.0
"""Moving a process into a container's cgroups.

Whoever writes a pid to `cgroup.procs` may have to wait for the kernel, for an RCU grace period of 5 to 16 ms: it excludes all
that forks, and nothing else is as slow in making a container. Two ways do without. A process of one thread that writes 0 to
`tasks` of a cgroup of version 1 moves nobody but itself: 0.02 ms. And one that clone3 makes in a cgroup of version 2 is
never moved at all. So processes of ours take these, by way of `Doors`; `join` is for what is left, and for others.
"""

from __future__ import annotations

import errno
import time

from pyoci.cgroups.files import DENIED, get, put, write_failed
from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import O_CLOEXEC, O_DIRECTORY, O_PATH, O_WRONLY, close, open, rmdir, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pyoci.cgroups.plan import CgroupPlan
    from pyoci.cgroups.unit import Unit

_TRIES = 5


class Doors:
    """The quick ways into the cgroups `paths`, as descriptors. What cannot be opened is left to `join`, which says why.

    unified: the cgroup of version 2, for clone3, or -1. Unlike `join`, that counts against pids.max, and fails with EBUSY if
    the container has made itself sub-cgroups with controllers.
    """

    def __init__(self, paths: dict[str, str]) -> None:
        self.unified_path = paths.get("", "")
        self.unified = _opened(self.unified_path, O_PATH | O_DIRECTORY) if "" in paths else -1
        directories = dict.fromkeys(path for name, path in paths.items() if name)
        self.tasks = [(path, fd) for path in directories if (fd := _opened(f"{path}/tasks", O_WRONLY)) >= 0]

    def enter(self) -> list[str]:
        """Move ourselves into all cgroups of version 1, as a process of one thread, and close the doors: those we are in now.

        Runs inside.
        """
        entered = []
        for path, fd in self.tasks:
            try:
                write(fd, b"0")
                entered.append(path)
            except OSError:
                pass  # `join` tries it again, and has the words for it
        self.close()
        return entered

    def close(self) -> None:
        """Close the descriptors; in each process that has them."""
        for fd in (self.unified, *(fd for _, fd in self.tasks)):
            if fd >= 0:
                close(fd)


def _opened(path: str, flags: int) -> int:
    try:
        return open(path, flags | O_CLOEXEC)
    except OSError:
        return -1


def join(
    paths: dict[str, str], pid: int, plan: CgroupPlan | None = None, entered: Collection[str] = ()
) -> dict[str, str]:
    """Move a process into the cgroups; the paths that it is in then, less those that `plan` lets us do without.

    `entered` are the directories of those that it is in already. If the plan has a unit of systemd's, it is made here, with
    the process in it. Raises CgroupError.
    """
    if plan is not None and plan.unit is not None:
        return _join_unit(plan, plan.unit, pid)
    joined = dict(paths)
    for directory in dict.fromkeys(paths.values()):
        if directory in entered:
            continue
        try:
            _join(f"{directory}/cgroup.procs", pid)
        except OSError as error:
            if plan is None:
                raise write_failed(f"{directory}/cgroup.procs", str(pid), error) from error
            drop(plan, directory, joined, error, f'write "{pid}" to {directory}/cgroup.procs')
            _remove_quietly(directory)
    return joined


def _join_unit(plan: CgroupPlan, unit: Unit, pid: int) -> dict[str, str]:
    from pyoci.cgroups import systemd  # only with --systemd-cgroup
    from pyoci.cgroups.manage import complete  # likewise; it imports this module

    systemd.start(unit, pid)
    try:
        paths = complete(plan)
        # What systemd has put it into stays out: an ordinary user may not write there, be it to change nothing.
        return join(paths, pid) if plan.mode != "v2" else paths
    except BaseException:
        systemd.end_quietly(unit.name, unit.user)
        raise


def join_beside(
    paths: dict[str, str], pid: int, init_pid: int, unit: str = "", entered: Collection[str] = ()
) -> dict[str, str]:
    """As `join`, for a process that comes later than init. With a `unit` it is the user's systemd that moves the process.

    If the container has made itself sub-cgroups with controllers (systemd does, where it may), its own cgroup of version
    2 takes no process any more; then it is the one that init has gone to. Raises CgroupError.
    """
    if unit:
        return _attach(paths, pid, init_pid, unit)
    try:
        return join(paths, pid, entered=entered)
    except CgroupError as error:
        cause = error.__cause__
        if "" not in paths or not isinstance(cause, OSError) or cause.errno != errno.EBUSY:
            raise
    return {**paths, **join({"": init_cgroup(paths, init_pid)}, pid)}


def _attach(paths: dict[str, str], pid: int, init_pid: int, unit: str) -> dict[str, str]:
    from pyoci.cgroups.systemd import attach  # only for an ordinary user with --systemd-cgroup

    def move(directory: str) -> None:
        attach(unit, True, directory.partition(unit)[2].strip("/"), pid)

    try:
        move(paths[""])
        return paths
    except CgroupError:
        directory = init_cgroup(paths, init_pid)
        if directory == paths[""]:
            raise
        move(directory)
        return {**paths, "": directory}


def init_cgroup(paths: dict[str, str], init_pid: int) -> str:
    """The cgroup of version 2 that init is in at present: the container's, or one below. Raises CgroupError."""
    from pyoci.cgroups.layout import memberships, read  # only asked for when joining the usual way was refused

    try:
        unified = read().hierarchies.get("")
        text = get(f"/proc/{init_pid}/cgroup")
    except OSError as error:
        raise CgroupError(f"find the cgroup of process {init_pid}: {reason(error)}") from error
    name = next((path for number, names, path in memberships(text) if (number, names) == ("0", "")), "")
    directory = unified.directory(name) if unified is not None else None
    if directory is None or not f"{directory}/".startswith(f"{paths['']}/"):
        raise CgroupError(f"process {init_pid} is in the cgroup {name}, which is not below {paths['']}")
    return directory


def _join(file: str, pid: int) -> None:
    for remaining in reversed(range(_TRIES)):
        try:
            put(file, str(pid))
            return
        except OSError as error:
            # EINVAL: it has just been cloned and is not yet known to the scheduler.
            if error.errno != errno.EINVAL or not remaining:
                raise
        time.sleep(0.03)


def _remove_quietly(directory: str) -> None:
    try:
        rmdir(directory)
    except OSError:
        pass  # empty, ours and unused, but no part of the container any more


def drop(plan: CgroupPlan, directory: str, paths: dict[str, str], error: OSError, step: str) -> None:
    """Take a directory that cannot be had out of `paths`, if the plan lets us do without it. Raises CgroupError if not."""
    names = [name for name, path in paths.items() if path == directory]
    denied = errno.errorcode.get(error.errno or 0) in DENIED
    if plan.unprivileged and denied and plan.mode == "v2" and plan.needed:
        raise CgroupError(
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups: "
            f"{step}: {reason(error)}"
        ) from error
    if not (plan.unprivileged and denied) and not all(name in plan.optional for name in names):
        raise CgroupError(f"{step}: {reason(error)}") from error
    for name in names:
        del paths[name]
