# SPDX-License-Identifier: Apache-2.0
"""The cgroupfs driver: it makes, joins, limits and removes a container's cgroups by their directories and files.

A driver is chosen once, by the plan. With a `unit` in the plan it is systemd that makes the cgroup, together with init's
joining it, so there is nothing to `create`; `complete` then adds what systemd leaves to us, and `apply` tells both. The rest
(freezing, signalling, removing what is left) goes by the paths alone.
"""

from __future__ import annotations

from pyoci.cgroups import bpf, freezer, marks
from pyoci.cgroups.apply import apply_writes, check_usage
from pyoci.cgroups.files import parent
from pyoci.cgroups.join import drop
from pyoci.cgroups.prepare import check_type, enable_controllers, fill_cpuset
from pyoci.cgroups.processes import pids
from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import mkdir, rmdir, umask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroups.plan import CgroupPlan


def create(plan: CgroupPlan, mark: str = "") -> dict[str, str]:
    """Make the cgroups and what a process needs to join them. The paths: those of the plan, less what we may do without.

    A cgroup that is there already is used if it is empty and not frozen. On failure what was made is removed again.
    systemd makes its cgroups later, so there are none yet. `mark` tells whose they are (pyoci.cgroups.marks); what was there
    gets it if it has one. Raises CgroupError.
    """
    if plan.unit is not None:
        _check_unused(plan.paths, plan.paths)
        return {}
    return _completed(plan, shared=False, mark=mark)


def complete(plan: CgroupPlan) -> dict[str, str]:
    """As `create`, for cgroups that init has been put into by systemd, at least where systemd has a use for them."""
    return _completed(plan, shared=True)


def _completed(plan: CgroupPlan, shared: bool, mark: str = "") -> dict[str, str]:
    paths = dict(plan.paths)
    made: list[str] = []
    mask = umask(0o022)  # whoever the program runs as may read its limits, whatever our caller keeps from others
    try:
        found = [directory for directory in plan.directories if not _made(plan, directory, paths, made)]
        if mark:
            for directory in plan.directories:
                if directory in made:
                    marks.put(directory, mark)
        if found and not shared:
            _check_unused({name: path for name, path in paths.items() if path in found}, paths)
        for directory in found if mark else ():
            marks.take_over(directory, mark)
        if "" in paths and (plan.mode == "v2" or plan.needed):
            enable_controllers(plan, paths[""])
            check_type(paths[""], plan.needed)
        if "cpuset" in paths:
            fill_cpuset(parent(paths["cpuset"]), plan.mount_points["cpuset"])
        apply_writes(plan.before, paths)
        if "cpuset" in paths:
            fill_cpuset(paths["cpuset"], plan.mount_points["cpuset"])
    except BaseException:
        for directory in reversed(made):
            try:
                rmdir(directory)
            except OSError:
                pass  # what failed first is the better thing to know
        raise
    finally:
        umask(mask)
    return paths


def _made(plan: CgroupPlan, directory: str, paths: dict[str, str], made: list[str]) -> bool:
    """Make a directory and its parents; False if it was there. If it cannot be had and need not be, drop it from `paths`."""
    try:
        return _make(directory, made)
    except OSError as error:
        drop(plan, directory, paths, error, f"mkdir {directory}")
        return True


def _make(directory: str, made: list[str]) -> bool:
    try:
        mkdir(directory, 0o755)
    except FileExistsError:
        return False
    except FileNotFoundError:
        _make(parent(directory), made)
        return _make(directory, made)
    made.append(directory)
    return True


def _check_unused(found: dict[str, str], paths: dict[str, str]) -> None:
    """Raises CgroupError if what another container may have left, or still uses, is in our way."""
    for directory in found.values():
        try:
            members = pids({"": directory})
        except OSError as error:
            raise CgroupError(f"list the processes in {directory}: {reason(error)}") from error
        if members:
            count = f"{len(members)} process(es) found in {directory}"
            raise CgroupError(f"container's cgroup is not empty: {count}, the first is {members[0]}")
    if freezer.is_frozen(paths):
        raise CgroupError(f"container's cgroup unexpectedly frozen: {paths.get('freezer') or paths['']}")


def apply(plan: CgroupPlan, paths: dict[str, str]) -> tuple[str, ...]:
    """Set the limits, the device rules and the owner, with init in its cgroup.

    What could not be done and may be left, in words. Raises CgroupError.
    """
    if plan.unit is not None:
        from pyoci.cgroups.systemd import limit  # only with --systemd-cgroup

        check_usage(plan.after, paths)  # systemd sets the limits without a look
        limit(plan.unit)
    notes = apply_writes(plan.after, paths)
    if plan.devices_by_bpf and "" in paths:
        try:
            bpf.install(paths[""], plan.program)
        except CgroupError:
            if not plan.devices_lenient:
                raise  # an ordinary user never has the right, nor devices to lose: not worth a warning each time
    if plan.owner >= 0 and "" in paths:
        from pyoci.cgroups.ownership import give  # few containers have their own

        give(paths[""], plan.owner)
    return notes
