# SPDX-License-Identifier: Apache-2.0
"""What a new cgroup needs before it can hold a process or a limit: controllers in version 2, CPUs and memory in version 1.

Source: cgroup-v2.rst, "Controlling Controllers" and "Threads"; cgroup-v1/cpusets.rst.
"""

from __future__ import annotations

from pyoci.cgroups.files import get, parent, put, write_failed
from pyoci.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroups.plan import CgroupPlan

_THREADED = ("cpu", "cpuset", "perf_event", "pids")


def enable_controllers(plan: CgroupPlan, directory: str) -> None:
    """Hand the controllers down to the container's cgroup, from the top: each level has only what its parent gives it.

    Not every one can be had everywhere; which one matters shows when a limit is written. On a hybrid host, where most
    of the hierarchy is someone else's business, only those that are needed are touched.
    """
    top, above = plan.mount_points[""], parent(directory)
    offered = _words(f"{top}/cgroup.controllers")
    wanted = set(offered if plan.mode == "v2" else plan.needed)
    if wanted <= set(_words(f"{above}/cgroup.subtree_control")):
        return
    level = top
    for name in ["", *above[len(top) :].strip("/").split("/")]:
        level = f"{level}/{name}" if name else level
        missing = [f"+{word}" for word in _words(f"{level}/cgroup.controllers") if word in wanted]
        if missing and not _enabled(level, " ".join(missing)):
            for change in missing:
                _enabled(level, change)


def _enabled(directory: str, change: str) -> bool:
    """Whether the kernel took the change, which is all or nothing."""
    try:
        put(f"{directory}/cgroup.subtree_control", change)
    except OSError:
        return False
    return True


def _words(file: str) -> list[str]:
    try:
        return get(file).split()
    except OSError as error:
        raise CgroupError(f"read {file}: {reason(error)}") from error


def check_type(directory: str, needed: tuple[str, ...]) -> None:
    """Below a cgroup with processes and controllers of its own there are only threaded cgroups, with few controllers."""
    kind = " ".join(_words(f"{directory}/cgroup.type"))
    if kind == "domain":
        return
    if domain := [name for name in needed if name not in _THREADED]:
        raise CgroupError(
            f"{directory} is {kind!r}, which rules out the {' and '.join(domain)} controller: "
            "a cgroup above it holds processes itself (cgroups(7), no internal processes)"
        )
    if kind == "domain invalid":
        try:
            put(f"{directory}/cgroup.type", "threaded")
        except OSError as error:
            raise write_failed(f"{directory}/cgroup.type", "threaded", error) from error


def fill_cpuset(directory: str, mount_point: str) -> tuple[str, str]:
    """Give a cpuset without CPUs or memory nodes those of its parent, from the top down; the values then in force.

    A new cgroup of version 1 has none, and then takes no process.
    """
    cpus, mems = (_cpuset_value(directory, key) for key in ("cpus", "mems"))
    if (cpus and mems) or directory == mount_point:
        return cpus, mems
    held = fill_cpuset(parent(directory), mount_point)
    for key, value, inherited in (("cpus", cpus, held[0]), ("mems", mems, held[1])):
        if not value:
            _put_cpuset(directory, key, inherited)
    return cpus or held[0], mems or held[1]


def _cpuset_value(directory: str, key: str) -> str:
    for file in (f"{directory}/cpuset.{key}", f"{directory}/{key}"):
        try:
            return get(file).strip()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CgroupError(f"read {file}: {reason(error)}") from error
    raise CgroupError(f"read {directory}/cpuset.{key}: no such file or directory")


def _put_cpuset(directory: str, key: str, value: str) -> None:
    file = f"{directory}/cpuset.{key}"
    try:
        try:
            put(file, value)
        except FileNotFoundError:
            put(f"{directory}/{key}", value)
    except OSError as error:
        raise write_failed(file, value, error) from error
