# SPDX-License-Identifier: Apache-2.0
"""What will be done about the cgroups of one container, all of it known before anything is made. Pure."""

from __future__ import annotations

from pyoci.cgroups import devices, limits
from pyoci.cgroups.files import DENIED
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyoci.cgroups.layout import Hierarchy, Layout
    from pyoci.cgroups.unit import Manager, Unit

CGROUPFS, SYSTEMD = "cgroupfs", "systemd"
# Processes join in this order; freezer late, so that all else is in place for what may be frozen.
_ORDER = (
    *("cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "hugetlb", "net_cls", "net_prio", "perf_event"),
    *("freezer", "rdma", "misc"),
)


class CgroupPlan(Record):
    """Everything about the cgroups of one container.

    driver          "cgroupfs" or "systemd": who makes and removes the directories
    unit            what systemd is to make
    mode            as in Layout
    paths           controller -> directory; what the state file keeps as cgroup_paths
    directories     the directories to be made, each with all of its parents
    mount_points    controller -> where its hierarchy is mounted, so that no one climbs above
    optional        controllers without which we can do: nothing depends on their hierarchy
    unprivileged    no cgroup at all is fine where permission is missing: an ordinary user, no cgroupsPath
    needed          controllers of the unified hierarchy that limits were asked for
    before          to be written before a process joins
    after           to be written once init is through with its mounts (which the device rules would hinder)
    program         for cgroup v2, the devices as a BPF program; None if nothing is to be refused
    devices_by_bpf  whether the unified hierarchy is the one that rules the devices
    devices_lenient whether we can do without the device rules: an ordinary user has no devices to lose
    owner           the host's uid that the cgroup is given to; -1: it stays ours
    notes           what was asked for and will be ignored
    """

    driver: str = CGROUPFS
    unit: Unit | None = None
    mode: str
    paths: dict[str, str]
    directories: tuple[str, ...]
    mount_points: dict[str, str]
    optional: tuple[str, ...] = ()
    unprivileged: bool = False
    needed: tuple[str, ...] = ()
    before: tuple[Write, ...] = ()
    after: tuple[Write, ...] = ()
    program: bytes | None = None
    devices_by_bpf: bool = False
    devices_lenient: bool = False
    owner: int = -1
    notes: tuple[str, ...] = ()


def plan(
    config: dict[str, Any],
    container_id: str,
    layout: Layout,
    *,
    systemd: Manager | None = None,
    rootless: bool,
    joined_uids: tuple[tuple[int, int, int], ...] = (),
) -> CgroupPlan:
    """The plan for a container of this configuration. `systemd` is the one to make its unit; None: we make its cgroups.
    `rootless`: we may lack permissions that root would have. `joined_uids`: the uid_map of a user namespace that is joined,
    empty if it is not known.

    Raises CgroupError for limits that this host cannot set, or a cgroupsPath that is none.
    """
    linux = config.get("linux") or {}
    resources = linux.get("resources") or {}
    cgroups_path = linux.get("cgroupsPath") or ""
    unit = None
    if systemd is None:
        paths = _paths(layout, cgroups_path, container_id)
    else:
        from pyoci.cgroups.properties import rounded  # only with --systemd-cgroup
        from pyoci.cgroups.unit import furnish, place_unit  # only with --systemd-cgroup

        unit = place_unit(config, container_id, systemd, layout.mode)
        paths = _paths_of(unit, layout)
    unprivileged = rootless and not cgroups_path and unit is None
    before, after = limits.early(resources, paths), limits.late(resources, paths)
    ruled = devices.rules(resources.get("devices") or [])
    program = None
    by_bpf = "devices" not in paths and "" in paths
    if "devices" in paths:
        after = (*devices.lines(ruled, ("ENOENT", *DENIED) if rootless else ()), *after)
    elif by_bpf:
        program = None if devices.allow_everything(ruled) else devices.program(ruled)
    elif not (unprivileged or devices.allow_everything(ruled)):
        raise CgroupError("linux.resources.devices: no devices controller is mounted on this host")
    if systemd is not None and unit is not None:
        after = rounded(after)
        unit = furnish(unit, container_id, config, (*before, *after), ruled, systemd, layout.mode)
    needed = limits.controllers((*before, *after))
    optional = [name for name in paths if name.startswith("name=")]
    if layout.mode == "hybrid" and "freezer" in paths and not (needed or by_bpf):
        optional.append("")
    return CgroupPlan(
        driver=SYSTEMD if unit else CGROUPFS,
        unit=unit,
        mode=layout.mode,
        paths=paths,
        directories=tuple(dict.fromkeys(paths.values())),
        mount_points={name: layout.hierarchies[name].mount_point for name in paths},
        optional=tuple(optional),
        unprivileged=unprivileged,
        needed=needed,
        before=before,
        after=after,
        program=program,
        devices_by_bpf=by_bpf,
        devices_lenient=rootless,
        owner=-1 if rootless else _owner(config, layout.mode, joined_uids),
        notes=limits.ignored(resources, paths),
    )


def _paths(layout: Layout, cgroups_path: str, container_id: str) -> dict[str, str]:
    """Where the container's cgroup is in each hierarchy.

    An absolute cgroupsPath starts at the mount point. A relative one (or else the id) starts at our own cgroup; on pure
    cgroup v2 at its parent, as no cgroup there may hold both processes and limited children.
    """
    parts, absolute = _cleaned(cgroups_path), cgroups_path.startswith("/")
    if absolute and not parts:
        raise CgroupError(
            f'linux.cgroupsPath: "{cgroups_path}" is the root of the hierarchy, which belongs to the host'
        )
    paths = {}
    for name in _in_order(layout.hierarchies):
        hierarchy = layout.hierarchies[name]
        start = hierarchy.mount_point.rstrip("/") if absolute else _own(hierarchy, layout.mode == "v2")
        paths[name] = "/".join([start, *(parts or [container_id])])
    return paths


def _owner(config: dict[str, Any], mode: str, joined_uids: tuple[tuple[int, int, int], ...]) -> int:
    views = [mount for mount in config.get("mounts") or () if mount.get("type") in ("cgroup", "cgroup2")]
    if mode != "v2" or all("ro" in (mount.get("options") or ()) for mount in views):
        return -1
    from pyoci.cgroups.ownership import owner  # few containers may write there

    return owner(config, joined_uids)


def _paths_of(unit: Unit, layout: Layout) -> dict[str, str]:
    """Where the unit's cgroup is in each hierarchy."""
    paths = {}
    for name in _in_order(layout.hierarchies):
        directory = layout.hierarchies[name].directory(unit.cgroup)
        if directory is None:
            raise CgroupError(
                f"the cgroup of systemd's, {unit.cgroup}, is not in view below {layout.hierarchies[name].mount_point}"
            )
        paths[name] = directory
    return paths


def _own(hierarchy: Hierarchy, parent: bool) -> str:
    own = hierarchy.own.rpartition("/")[0] or "/" if parent else hierarchy.own
    directory = hierarchy.directory(own)
    return (hierarchy.mount_point if directory is None else directory).rstrip("/")


def _cleaned(path: str) -> list[str]:
    """The components of a path, with those that climb taken out: nothing leads above where it starts."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _in_order(names: Iterable[str]) -> list[str]:
    """Known controllers first, then any other, then the named hierarchies, and the unified one last."""
    held = list(names)
    known = [name for name in _ORDER if name in held]
    rest = sorted(name for name in held if name and name not in _ORDER)
    return [*known, *sorted(rest, key=lambda name: "=" in name), *(name for name in held if not name)]


def below(paths: dict[str, str], sub: str, only: Iterable[str] = ()) -> dict[str, str]:
    """The paths of a cgroup `sub` below the container's, for the named controllers or else for all.

    Raises CgroupError if it would not be below, or for a controller that the container has no cgroup of.
    """
    parts = _cleaned(sub)
    if ".." in sub.split("/"):
        raise CgroupError(f'bad sub cgroup path: "{sub}" leads out of the cgroup of the container')
    chosen = list(only) or list(paths)
    for name in chosen:
        if name not in paths:
            raise CgroupError(
                f'unknown controller "{name}" in --cgroup: the container has {", ".join(paths) or "none"}'
            )
    return {name: "/".join([path, *parts]) if name in chosen else path for name, path in paths.items()}
