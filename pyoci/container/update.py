# SPDX-License-Identifier: Apache-2.0
"""update: other limits for a container that is there already."""

from __future__ import annotations

from pyoci import jsontext
from pyoci.cgroups import freezer, limits
from pyoci.cgroups.apply import apply_writes
from pyoci.cgroups.undo import as_writes, put_back, remember, remember_file
from pyoci.container.record import Container
from pyoci.errors import CgroupError, InvalidOperation, PyociError
from pyoci.kernel import basic as k
from pyoci.state import CONFIG, CREATING, PAUSED, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroups.properties import Property
    from pyoci.cgroups.writes import Write
    from pyoci.container.record import Settings


def update(settings: Settings, container_id: str, changes: dict[str, Any], schemata: dict[str, str]) -> None:
    """Change limits. `changes` is shaped as linux.resources, `schemata` as linux.intelRdt; what they lack stays as it is.

    The config.json that is kept with the state tells of the limits in force, so it changes along. On failure everything
    is as it was. Raises InvalidOperation, CgroupError, StateError.
    """
    lock = StateDir(settings.root, container_id).lock()
    container = Container(settings, container_id)  # as it is now, not before we had the lock
    status = container.status()
    if status == STOPPED:
        raise InvalidOperation("container not running")
    if status == CREATING:  # its limits are still to be set, and its cgroups may yet turn out to be somebody else's
        raise InvalidOperation("cannot update a container that is being created")
    paths = container.state.cgroup_paths
    if not paths:
        raise CgroupError(f"container {container_id} has no cgroup, and so no limits")
    config = container.directory.config()
    linux = config.get("linux") or {}
    if schemata and not container.state.intel_rdt_path:
        raise InvalidOperation("updating a non-existent Intel RDT configuration is not supported")
    saved = linux.get("resources") or {}
    writes = limits.update(saved, changes, paths)
    updated = {**linux, "resources": limits.merge(saved, changes)}
    if schemata:
        updated["intelRdt"] = {**(linux.get("intelRdt") or {}), **schemata}
    for note in (
        *limits.ignored(changes, paths),
        *_carry_out(container, writes, schemata, {**config, "linux": updated}),
    ):
        settings.log.warning(note)
    k.close(lock)


def _carry_out(
    container: Container, writes: tuple[Write, ...], schemata: dict[str, str], config: dict[str, Any]
) -> tuple[str, ...]:
    """Set all of it, or nothing; what could not be set and may be left, in words."""
    state, directory, resources = container.state, container.directory, config["linux"]["resources"]
    paths = state.cgroup_paths
    again: tuple[Write, ...] = ()
    rules: tuple[Write, ...] = ()
    told: tuple[Property, ...] = ()
    told_before: tuple[Property, ...] = ()
    if state.systemd_unit:
        from pyoci.cgroups import properties, systemd  # only where systemd has made the cgroup

        version = systemd.find(state.rootless).version
        writes = properties.rounded(writes)
        again = properties.unkept(properties.rounded((*limits.early(resources, paths), *limits.late(resources, paths))))
        told = properties.limits(writes, version, again)
        told_before = properties.limits(as_writes(remember(writes, paths), paths), version)
        rules = _overwritten(resources.get("devices") or [], paths)
    former, text = remember((*writes, *again), paths), directory.read(CONFIG)
    if schemata:
        former = (*former, *remember_file(f"{state.intel_rdt_path}/schemata"))
    knows = False
    try:
        notes = apply_writes(writes, paths)
        if schemata:
            from pyoci.process.intel_rdt import set_schemata  # few hosts have it

            set_schemata(state.intel_rdt_path, tuple(schemata.values()))
        directory.write(CONFIG, jsontext.dumps(config).encode())
        if told:
            knows = True
            _tell(container, told, rules)
            apply_writes(again, paths)
    except BaseException as error:
        if knows:  # or it may: what ended in an error can have been done
            try:
                _tell(container, told_before, rules)
            except BaseException as problem:  # the files come next in any case
                error.add_note(f"undoing failed: {str(problem) or 'interrupted'}")
        for trouble in (*put_back(former), *_write_back(container, text)):
            error.add_note(f"undoing failed: {trouble}")
        raise
    return notes


def _overwritten(rules: list[dict[str, Any]], paths: dict[str, str]) -> tuple[Write, ...]:
    """The device rules that systemd writes along, in version 1 of cgroups, as they are to be written again."""
    from pyoci.cgroups import devices  # only where systemd has made the cgroup

    if "devices" not in paths or devices.allow_everything(ruled := devices.rules(rules)):
        return ()
    # Where the container has made cgroups within, its own cannot be told to refuse all (EINVAL); nor could systemd.
    return devices.lines(ruled, ("EINVAL",))


def _tell(container: Container, told: tuple[Property, ...], rules: tuple[Write, ...]) -> None:
    """Tell systemd of limits, and write the device rules again that it overwrites.

    It writes first that all devices are refused, or allowed, then those that it knows to be allowed. Nobody in the
    container is to see that, so all are stopped until the rules are what they were; and nor are we to end before.
    """
    from pyoci.cgroups import systemd  # only where systemd has made the cgroup

    state, paths = container.state, container.state.cgroup_paths
    if not rules:
        systemd.update(state.systemd_unit, state.rootless, told)
        return
    from pyoci.kernel.processes import hold_signals, let_signals  # likewise, and with version 1

    stops = ("freezer" in paths or "" in paths) and container.status() != PAUSED
    held = hold_signals()
    try:
        if stops:
            freezer.freeze(paths)
        try:
            try:
                systemd.update(state.systemd_unit, state.rootless, told)
            finally:
                apply_writes(rules, paths)
        finally:
            if stops:
                freezer.thaw(paths)
    finally:
        let_signals(held)


def _write_back(container: Container, text: bytes) -> tuple[str, ...]:
    try:
        container.directory.write(CONFIG, text)
    except PyociError as error:
        return (error.message,)
    return ()
