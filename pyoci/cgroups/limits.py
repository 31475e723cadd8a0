# SPDX-License-Identifier: Apache-2.0
"""linux.resources as a list of writes, each section by the version of cgroups that its controller is mounted with. Pure.

On a hybrid host some controllers may belong to the unified hierarchy; so the version is a matter of the controller, not
of the host.
"""

from __future__ import annotations

from pyoci.cgroups import v1, v2
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

    from pyoci.cgroups.writes import Write

    Section = Callable[[Any], list[Write]]

# The section of linux.resources, the controller in version 1, what makes writes of it in version 1 and in version 2, which
# is None where that has no such controller.
_SECTIONS: tuple[tuple[str, str, Section, Section | None], ...] = (
    ("pids", "pids", v1.pids, v2.pids),
    ("memory", "memory", v1.memory, v2.memory),
    ("blockIO", "blkio", v1.block_io, v2.block_io),
    ("cpu", "cpu", v1.cpu, v2.cpu),
    ("hugepageLimits", "hugetlb", v1.hugepages, v2.hugepages),
    ("rdma", "rdma", v1.rdma, v2.rdma),
    ("network", "net_cls", v1.net_cls, None),
    ("network", "net_prio", v1.net_prio, None),
)
# What must be in place before a process can join: an empty cpuset takes none, nor does a real-time budget of 0.
_EARLY: tuple[tuple[str, str, Section, Section | None], ...] = (
    ("cpu", "cpuset", v1.cpuset, v2.cpuset),
    ("cpu", "cpu", v1.realtime, v2.realtime),
)


def early(resources: dict[str, Any], available: Container[str]) -> tuple[Write, ...]:
    """What to write before a process joins. `available` are the controllers of version 1, and "" if there is version 2.

    Raises CgroupError for what this host cannot limit, as does `late`.
    """
    return _writes(_EARLY, resources, available)


def late(resources: dict[str, Any], available: Container[str]) -> tuple[Write, ...]:
    """What may be written while the container's process is in its cgroup already, devices excepted."""
    if resources.get("unified") and not only_v2(available):
        raise CgroupError("invalid configuration: cannot use unified on cgroup v1")
    resources = _weighed_once(resources)
    return (*_writes(_SECTIONS, resources, available), *v2.unified(resources.get("unified") or {}))


def only_v2(available: Container[str]) -> bool:
    """Whether there is the unified hierarchy and no other."""
    return "" in available and not any(name in available for name in ("memory", "cpu", "devices", "freezer", "pids"))


# An idle group has no weight, and one that is idle no longer has lost it.
_TOGETHER = (("cpu", ("quota", "period")), ("cpu", ("shares", "idle")), ("memory", ("limit", "swap")))


def update(saved: dict[str, Any], changes: dict[str, Any], available: Container[str]) -> tuple[Write, ...]:
    """The writes for an update: `changes` over the linux.resources that were in force (`saved`).

    What is absent stays as it is; only values that the kernel takes together, or that are converted together, are filled
    in. Devices are not updated. Raises CgroupError.
    """
    saved, changes = _weighed_once(saved), _meant(changes)
    if only_v2(available):
        changes = _weighed_once(changes)
    for section, keys in _TOGETHER:
        new, old = changes.get(section) or {}, saved.get(section) or {}
        # Lifting the limit of memory lifts that of swap as well, so the old one is no part of it.
        lifted = section == "memory" and new.get("limit") == -1
        if any(key in new for key in keys) and not lifted:
            filled = {key: old[key] for key in keys if key in old and key not in new}
            changes = {**changes, section: {**new, **filled}}
    writes = (*early(changes, available), *late(changes, available))
    if (changes.get("memory") or {}).get("disableOOMKiller") is False and "memory" in available:
        writes = (*writes, v1.oom_killer_again())
    return writes


def merge(saved: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The linux.resources in force after an update, to be saved."""
    saved, changes = _weighed_once(saved), _weighed_once(changes)
    merged = dict(saved)
    for section, new in _meant(changes).items():
        if section == "memory" and new.get("limit") == -1 and not new.get("swap"):
            new = {**new, "swap": -1}
        merged[section] = _merged(merged.get(section), new)
    if saved.get("unified"):
        merged["unified"] = _in_force(merged["unified"], saved, changes)
    return merged


def _weighed_once(resources: dict[str, Any]) -> dict[str, Any]:
    """The resources, with what `unified` says of being idle in the cpu section, and a weight but once.

    So it is found where it is looked for: an idle group has no weight, and none can be set.
    """
    if not resources.get("unified"):
        return resources
    unified, cpu = dict(resources["unified"]), dict(resources.get("cpu") or {})
    idle = unified.get("cpu.idle", "").strip()
    if idle in ("0", "1"):
        del unified["cpu.idle"]
        cpu["idle"] = int(idle)
        if idle == "1":
            unified.pop("cpu.weight", None)
    if "cpu.weight" in unified:
        cpu.pop("shares", None)
    return {**resources, "cpu": cpu, "unified": unified}


def _in_force(unified: dict[str, str], saved: dict[str, Any], changes: dict[str, Any]) -> dict[str, str]:
    """`unified` without what other sections of the update have replaced: it is written last, and would undo that."""
    own = changes.get("unified") or {}
    replaced = dict[tuple[str, str], set[str]]()
    for write in update(saved, {key: values for key, values in changes.items() if key != "unified"}, {""}):
        option: Write | None = write
        while option is not None:
            replaced.setdefault((option.file, option.subject()), set()).update(option.keys())
            option = option.otherwise
        if write.text() == "cpu.idle = 1":  # which takes the weight away, and lets none be set
            replaced["cpu.weight", ""] = set()
    kept = {}
    for key, text in unified.items():
        writes = v2.unified({key: text})
        lines = []
        for write in writes:
            keys = replaced.get((key, write.subject())) if key not in own else None
            line = write.value if keys is None else write.without(keys)
            if line:
                lines.append(line)
        if lines:
            kept[key] = text if lines == [write.value for write in writes] else "\n".join(lines)
    return kept


def _merged(old: Any, new: Any) -> Any:
    """An object property by property, a list by what its entries are about; anything else as it is now."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    if isinstance(old, list) and isinstance(new, list):
        entries = {_subject(entry): entry for entry in old}
        for entry in new:
            entries[_subject(entry)] = {**entries.get(_subject(entry), {}), **entry}
        return list(entries.values())
    return new


def _subject(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What an entry of a list limits: a block device, a page size, or a network interface."""
    return tuple(entry.get(key) for key in ("major", "minor", "pageSize", "name"))


_ZERO_IS_UNSET = {
    "memory": ("limit", "reservation", "kernel", "kernelTCP"),
    "cpu": ("shares", "quota", "period", "realtimeRuntime", "realtimePeriod", "cpus", "mems"),
    "blockIO": ("weight", "leafWeight"),
    "network": ("classID",),
}


def _meant(changes: dict[str, Any]) -> dict[str, Any]:
    """The changes that are some: docker gives zeros for all that stays as it is, and device rules do stay as they are.

    A swap of 0 is kept: with it memory is limited without a look at swap, and without it together with the old swap.
    """
    return {
        section: {key: value for key, value in values.items() if value or key not in _ZERO_IS_UNSET[section]}
        if section in _ZERO_IS_UNSET
        else values
        for section, values in changes.items()
        if section != "devices"
    }


def ignored(resources: dict[str, Any], available: Container[str]) -> tuple[str, ...]:
    """What was asked for but has no counterpart here, in words."""
    notes = []
    memory = resources.get("memory") or {}
    if memory.get("kernel"):
        notes.append("linux.resources.memory.kernel is ignored: the kernel has no such limit any more")
    if "memory" not in available and memory.get("useHierarchy"):
        notes.append("linux.resources.memory.useHierarchy is ignored: cgroup v1 only")
    return tuple(notes)


def controllers(writes: tuple[Write, ...]) -> tuple[str, ...]:
    """The controllers of the unified hierarchy that these writes need."""
    return tuple(
        dict.fromkeys(w.file.partition(".")[0] for w in writes if not w.controller and w.file[:7] != "cgroup.")
    )


def _writes(
    sections: tuple[tuple[str, str, Section, Section | None], ...], resources: dict[str, Any], available: Container[str]
) -> tuple[Write, ...]:
    writes: list[Write] = []
    for section, controller, first, second in sections:
        values = resources.get(section)
        if not values:
            continue
        if controller in available:
            writes += first(values)
        elif second and "" in available:
            writes += second(values)
        elif first(values):
            raise CgroupError(f"linux.resources.{section}: no {controller} controller is mounted on this host")
    return tuple(writes)
