# SPDX-License-Identifier: Apache-2.0
"""The systemd driver: a container is a transient scope, made, limited and stopped by way of D-Bus.

What systemd does not know of (cgroup v1 has controllers of which it makes no use, and files have no properties) is done to
the files as by the cgroupfs driver. systemd lets us, since the scope is delegated.

Sources: org.freedesktop.systemd1(5); systemd's docs/CGROUP_DELEGATION.md.
"""

from __future__ import annotations

from pyoci.cgroups.bus import Bus, BusError, converse
from pyoci.cgroups.unit import Manager
from pyoci.errors import CgroupError, PyociError
from pyoci.kernel import basic as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.cgroups.properties import Property
    from pyoci.cgroups.unit import Unit

_RUNNING = "/run/systemd/system"
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"


def find(user: bool) -> Manager:
    """The systemd that units are made by: that of the system, or the user's own. Raises CgroupError if there is none."""
    try:
        k.stat(_RUNNING)
    except OSError:
        raise CgroupError("systemd is not running on this host: use cgroupfs (without --systemd-cgroup)") from None
    number, cgroup = converse(user, lambda bus: (version(bus.property("Version")), bus.property("ControlGroup")))
    return Manager(user=user, version=number, cgroup=cgroup.rstrip("/"))


def version(text: str) -> int:
    """252 for "252.39-1~deb12u2", also for "v252". Raises CgroupError."""
    digits = ""
    for character in text.removeprefix("v"):
        if not character.isdecimal():
            break
        digits += character
    if not digits:
        raise CgroupError(f"systemd tells a version that is none: {text!r}")
    return int(digits)


def start(unit: Unit, pid: int) -> None:
    """Make the unit, with this process in it. Raises CgroupError."""
    properties = [(each.name, (each.signature, each.value)) for each in unit.properties]
    properties.append(("PIDs", ("au", [pid])))
    arguments: tuple[str, *tuple[object, ...]] = ("ssa(sv)a(sa(sv))", unit.name, "replace", properties, [])

    def talk(bus: Bus) -> str:
        bus.subscribe()
        try:
            result = bus.job("StartTransientUnit", *arguments)
        except BusError as error:
            if error.name != _UNIT_EXISTS:
                raise
            _reset(bus, unit.name)  # one that has failed stays until it is reset
            result = bus.job("StartTransientUnit", *arguments)
        if result != "done":
            _reset(bus, unit.name)
        return result

    try:
        result = converse(unit.user, talk)
    except CgroupError as error:
        raise CgroupError(f"unable to start unit {unit.name}: {error.message}") from error
    if result != "done":
        raise CgroupError(f"unable to start unit {unit.name}: systemd tells of its job: {result}")


def limit(unit: Unit) -> None:
    """Give the unit its limits. Raises CgroupError."""
    update(unit.name, unit.user, unit.limits)


def update(name: str, user: bool, properties: tuple[Property, ...]) -> None:
    """Tell the unit of limits, which have been written to the files already. Raises CgroupError."""
    if properties:
        converse(user, lambda bus: _set(bus, name, properties))


def _set(bus: Bus, name: str, properties: tuple[Property, ...]) -> None:
    listed = [(each.name, (each.signature, each.value)) for each in properties]
    try:
        # True: for as long as it runs. What else would be written to /etc would outlive it.
        bus.systemd("SetUnitProperties", "sba(sv)", name, True, listed)
    except BusError as error:
        raise CgroupError(f"set the limits of unit {name}: {error.message}") from error


def attach(name: str, user: bool, below: str, pid: int) -> None:
    """Move a process into the unit's cgroup, or the one `below` it ("" or a path from there).

    An ordinary user may not move a process of his own from one session into another; his systemd has it done. Raises
    CgroupError.
    """
    try:
        converse(user, lambda bus: bus.systemd("AttachProcessesToUnit", "ssau", name, f"/{below}", [pid]))
    except BusError as error:
        raise CgroupError(f"attach process {pid} to unit {name}: {error.message}") from error


def stop(name: str, user: bool) -> None:
    """Stop the unit and have systemd forget it, wherever it stands; it is fine if there is none. Raises CgroupError."""

    def talk(bus: Bus) -> None:
        bus.subscribe()
        try:
            bus.job("StopUnit", "ss", name, "replace")
        except BusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise CgroupError(f"stop unit {name}: {error.message}") from error
        _reset(bus, name)

    converse(user, talk)


def end_quietly(name: str, user: bool) -> None:
    """Kill all in the unit, then stop it: on the way back from a failure, which is the better thing to know."""
    try:
        # Init would take no notice of the SIGTERM of a stop.
        converse(user, lambda bus: bus.systemd("KillUnit", "ssi", name, "all", k.SIGKILL))
        stop(name, user)
    except PyociError:
        pass


def _reset(bus: Bus, name: str) -> None:
    try:
        bus.systemd("ResetFailedUnit", "s", name)
    except BusError:
        pass  # it has not failed, and so is forgotten already
