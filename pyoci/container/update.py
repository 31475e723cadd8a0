# SPDX-License-Identifier: Apache-2.0
"""update: other limits for a container that is there already."""

from __future__ import annotations

from pyoci import jsontext
from pyoci import syscalls as k
from pyoci.cgroups import limits
from pyoci.cgroups.apply import apply_writes
from pyoci.cgroups.undo import put_back, remember
from pyoci.container.record import Container
from pyoci.errors import CgroupError, InvalidOperation
from pyoci.state import CONFIG, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.container.record import Settings


def update(settings: Settings, container_id: str, changes: dict[str, Any], schemata: tuple[str, ...] = ()) -> None:
    """Change limits. `changes` is shaped as linux.resources, and what it lacks stays as it is; `schemata` are lines for
    the container's group in resctrl.

    The config.json that is kept with the state tells of the limits in force, so it changes along. On failure everything
    is as it was. Raises InvalidOperation, CgroupError, StateError.
    """
    container = Container(settings, container_id)
    lock = container.directory.lock()
    if container.status() == STOPPED:
        raise InvalidOperation("container not running")
    paths = container.state.cgroup_paths
    if not paths:
        raise CgroupError(f"container {container_id} has no cgroup, and so no limits")
    config = container.directory.config()
    linux = config.get("linux") or {}
    if schemata and not linux.get("intelRdt"):
        raise InvalidOperation("updating a non-existent Intel RDT configuration is not supported")
    saved = linux.get("resources") or {}
    writes = limits.update(saved, changes, paths)
    updated = {**config, "linux": {**linux, "resources": limits.merge(saved, changes)}}
    unit = container.state.systemd_unit
    if unit:
        from pyoci.cgroups import systemd  # only where systemd has made the cgroup
        from pyoci.cgroups.properties import rounded  # likewise

        writes = rounded(writes)
    former = remember(writes, paths)
    try:
        if schemata:
            from pyoci.process.intel_rdt import set_schemata  # few hosts have it

            set_schemata(container.state.intel_rdt_path, schemata)
        notes = apply_writes(writes, paths)
        if unit:
            systemd.update(unit, container.state.rootless, writes)
        container.directory.write(CONFIG, jsontext.dumps(updated).encode())
    except BaseException as error:
        for problem in put_back(former):
            error.add_note(f"undoing failed: {problem}")
        raise
    for note in (*limits.ignored(changes, paths), *notes):
        settings.log.warning(note)
    k.close(lock)
