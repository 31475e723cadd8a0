# SPDX-License-Identifier: Apache-2.0
"""Moving a process into a container's cgroups."""

from __future__ import annotations

import errno
import time

from pyoci.cgroups.files import DENIED, get, put, write_failed
from pyoci.errors import CgroupError, reason
from pyoci.syscalls import O_CLOEXEC, O_DIRECTORY, O_PATH, open, rmdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroups.plan import CgroupPlan
    from pyoci.cgroups.unit import Unit

_TRIES = 5


def open_dir(paths: dict[str, str]) -> int:
    """A descriptor of the container's cgroup of version 2, for clone3 with CLONE_INTO_CGROUP.

    Unlike `join`, such a clone counts against pids.max, and fails with EBUSY if the container has made itself sub-cgroups
    with controllers. Raises CgroupError.
    """
    if "" not in paths:
        raise CgroupError("the container has no cgroup in the unified hierarchy")
    try:
        return open(paths[""], O_PATH | O_DIRECTORY | O_CLOEXEC)
    except OSError as error:
        raise CgroupError(f"open {paths['']}: {reason(error)}") from error


def join(paths: dict[str, str], pid: int, plan: CgroupPlan | None = None) -> dict[str, str]:
    """Move a process into the cgroups; the paths that it is in then, less those that `plan` lets us do without.

    If the plan has a unit of systemd's, it is made here, with the process in it.
    The first of these writes after a while waits for the kernel some 5 to 16 ms (an RCU grace period), so let the process
    have something to do meanwhile. Raises CgroupError.
    """
    if plan is not None and plan.unit is not None:
        return _join_unit(plan, plan.unit, pid)
    joined = dict(paths)
    for directory in dict.fromkeys(paths.values()):
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


def join_beside(paths: dict[str, str], pid: int, init_pid: int, unit: str = "") -> dict[str, str]:
    """As `join`, for a process that comes later than init. With a `unit` it is the user's systemd that moves the process.

    If the container has made itself sub-cgroups with controllers (systemd does, where it may), its own cgroup of version
    2 takes no process any more; then it is the one that init has gone to. Raises CgroupError.
    """
    if unit:
        return _attach(paths, pid, init_pid, unit)
    try:
        return join(paths, pid)
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
    from pyoci.cgroups.layout import read  # only asked for when joining the usual way was refused

    try:
        unified = read().hierarchies.get("")
        lines = get(f"/proc/{init_pid}/cgroup").splitlines()
    except OSError as error:
        raise CgroupError(f"find the cgroup of process {init_pid}: {reason(error)}") from error
    name = next((line[3:] for line in lines if line.startswith("0::")), "")
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
