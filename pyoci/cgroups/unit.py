# SPDX-License-Identifier: Apache-2.0
"""The unit of systemd's that a container is to be: its name, its place, its properties. Pure.

With the systemd driver `linux.cgroupsPath` is `slice:prefix:name`, for the unit `prefix-name.scope` in that slice; without
one it is `pyoci-ID.scope`. The dashes in a slice's name tell where it is: `a-b.slice` is below `a.slice`.

Sources: systemd.unit(5), systemd.slice(5), systemd.scope(5); for the form of cgroupsPath, runc's docs/systemd.md.
"""

from __future__ import annotations

from pyoci.cgroups import properties
from pyoci.cgroups.properties import Property
from pyoci.errors import CgroupError
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyoci.cgroups.devices import Rule
    from pyoci.cgroups.writes import Write

_NAME_MAX = 255
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.\\-@")
_KERNEL_NAMES = ("tasks", "notify_on_release", "release_agent")
_KERNEL_PREFIXES = (
    *("cgroup.", "cpu.", "cpuacct.", "cpuset.", "io.", "blkio.", "memory.", "devices.", "pids."),
    *("bpf-firewall.", "bpf-devices.", "bpf-foreign.", "bpf-socket-bind.", "bpf-restrict-network-interfaces."),
)


class Manager(Record):
    """The systemd that will make the unit: that of the system or of the `user`, its version, its own cgroup ("" the root)."""

    user: bool
    version: int
    cgroup: str


class Unit(Record):
    """A transient scope: its properties when it starts, and the limits that it gets once init has made its mounts.

    `cgroup` is where it will be, as /proc/PID/cgroup has it.
    """

    name: str
    slice: str
    user: bool
    cgroup: str
    properties: tuple[Property, ...] = ()
    limits: tuple[Property, ...] = ()


def place_unit(config: dict[str, Any], container_id: str, manager: Manager, mode: str) -> Unit:
    """The unit, still without properties, for a host with cgroups of this mode (as in Layout). Raises CgroupError."""
    if manager.user and mode != "v2":
        raise CgroupError("an ordinary user's systemd can make containers with cgroup v2 only: use cgroupfs")
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    # What systemd does not take in a name an id may have: "+".
    parts = path.split(":") if path else ["", "pyoci", container_id.replace("+", "\\x2b")]
    if len(parts) != 3:
        raise CgroupError(
            f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{path}" instead'
        )
    slice_name, prefix, name = parts
    if slice_name in ("", "-"):
        slice_name = "-.slice" if slice_name else "user.slice" if manager.user else "system.slice"
    if name.endswith(".slice"):
        raise CgroupError(f'linux.cgroupsPath: "{path}" names a slice, and systemd puts no process into one')
    name = f"{prefix}-{name}.scope"
    if len(name) > _NAME_MAX or any(character not in _NAME_CHARACTERS for character in name):
        raise CgroupError(f'linux.cgroupsPath: "{name}" is no name that systemd takes for a unit (systemd.unit(5))')
    cgroup = "/".join([manager.cgroup, *expand(slice_name), _escaped(name)])
    return Unit(name=name, slice=slice_name, user=manager.user, cgroup=cgroup)


def expand(slice_name: str) -> list[str]:
    """The directories from the root to a slice: `a.slice`, `a-b.slice` for `a-b.slice`. Raises CgroupError."""
    words = slice_name.removesuffix(".slice")
    if words == "-":
        return []
    parts = words.split("-")
    known = all(character in _NAME_CHARACTERS for character in words)
    if words == slice_name or not known or not all(parts) or len(slice_name) > _NAME_MAX:
        raise CgroupError(f"linux.cgroupsPath: invalid slice name: {slice_name}")
    return [_escaped("-".join(parts[:depth]) + ".slice") for depth in range(1, len(parts) + 1)]


def _escaped(name: str) -> str:
    """The directory of a unit: one that could be taken for a file of the kernel's gets an underscore before its name."""
    clashes = name[0] in "_." or name in _KERNEL_NAMES or name.startswith(_KERNEL_PREFIXES)
    return f"_{name}" if clashes else name


def furnish(
    unit: Unit,
    container_id: str,
    config: dict[str, Any],
    writes: Sequence[Write],
    rules: Sequence[Rule],
    manager: Manager,
    mode: str,
) -> Unit:
    """The unit with its properties: those of its start, and those that say what `writes` and `rules` say.

    Both are needed. systemd writes to the same files whenever it sees fit (`systemctl daemon-reload`), and does not know
    all that the files can tell. Raises CgroupError for an annotation that is no property.
    """
    start = [
        Property(name="Description", signature="s", value=f"pyoci container {container_id}"),
        Property(name="Slice", signature="s", value=unit.slice),
        *(
            Property(name=name, signature="b", value=True)
            for name in (
                "Delegate",
                "MemoryAccounting",
                "CPUAccounting",
                "IOAccounting" if mode == "v2" else "BlockIOAccounting",
                "TasksAccounting",
            )
        ),
        Property(name="DefaultDependencies", signature="b", value=False),
        *properties.oom_policy(writes, manager.version),
        *properties.annotated(config.get("annotations") or {}),
    ]
    devices = () if manager.user else properties.device_rules(rules, manager.version, mode != "v2")
    return unit.replace(properties=tuple(start), limits=(*devices, *properties.limits(writes, manager.version)))
