# SPDX-License-Identifier: Apache-2.0
"""Namespaces and id mappings (config-linux.md, Namespaces and User namespace mappings; namespaces(7))."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.plan.model import IdMap, Join, Namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The order is that of joining: a user namespace first, as it brings the right to join what it owns; mount last of
# those that change which paths are seen.
FLAGS = {
    "user": k.CLONE_NEWUSER,
    "ipc": k.CLONE_NEWIPC,
    "uts": k.CLONE_NEWUTS,
    "network": k.CLONE_NEWNET,
    "pid": k.CLONE_NEWPID,
    "time": k.CLONE_NEWTIME,
    "cgroup": k.CLONE_NEWCGROUP,
    "mount": k.CLONE_NEWNS,
}

# As /proc/PID/ns names them.
PROC_NAMES = {
    "user": "user",
    "ipc": "ipc",
    "uts": "uts",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "cgroup": "cgroup",
    "mount": "mnt",
}


def plan_namespaces(linux: dict[str, Any]) -> Namespaces:
    """Which namespaces are made and which are joined. The schema and the rules have seen to it that the types are known."""
    wanted = {item["type"]: item.get("path") or "" for item in linux.get("namespaces") or ()}
    new = sum(FLAGS[name] for name, path in wanted.items() if not path)
    join = tuple(Join(type=name, path=wanted[name], flag=FLAGS[name]) for name in FLAGS if wanted.get(name))
    makes_user = bool(new & k.CLONE_NEWUSER)
    offsets = linux.get("timeOffsets") or {}
    return Namespaces(
        new=new,
        join=join,
        uid_map=id_map(linux.get("uidMappings")) if makes_user else (),
        gid_map=id_map(linux.get("gidMappings")) if makes_user else (),
        time_offsets=tuple(
            (clock, value.get("secs") or 0, value.get("nanosecs") or 0) for clock, value in offsets.items()
        ),
    )


def id_map(mappings: list[dict[str, int]] | None) -> tuple[IdMap, ...]:
    """The lines of a uid_map or gid_map, from linux.uidMappings or a mount's."""
    return tuple(
        IdMap(container=item["containerID"], host=item["hostID"], size=item["size"]) for item in mappings or ()
    )


def host_id(lines: tuple[IdMap, ...], container_id: int) -> int | None:
    """What a user or group of the container is outside of it; without a map the same, None where it is nobody."""
    if not lines:
        return container_id
    for line in lines:
        if line.container <= container_id < line.container + line.size:
            return line.host + container_id - line.container
    return None
