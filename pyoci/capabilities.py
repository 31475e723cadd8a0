# SPDX-License-Identifier: Apache-2.0
"""Capabilities: from the names of `process.capabilities` to bit masks, and from masks to the process's five
sets.

The order of the acting part is the kernel's demand (capabilities(7)): the bounding set shrinks while
CAP_SETPCAP is still held, PR_SET_KEEPCAPS carries the permitted set over the change of uid, then the three
sets are set in one call, and only what is then both permitted and inheritable can become ambient.
"""

from __future__ import annotations

from errno import EINVAL

from pyoci.errors import PyociError, failed, reason
from pyoci.record import Record
from pyoci.syscalls import (
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_SET_KEEPCAPS,
    capget,
    capset,
    prctl,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/capability.h, in the order of their numbers.
NAMES = tuple(
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "
        "LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER "
        "SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE "
        "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP "
        "MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF "
        "CHECKPOINT_RESTORE "
    ).split()
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
ALL = (1 << 64) - 1

_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")


class CapabilityPlan(Record):
    """The five sets as bit masks, the number of the kernel's last capability, and what could not be had, for
    a warning.
    """

    bounding: int = 0
    effective: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0
    last: int
    unknown: tuple[str, ...] = ()
    ungranted: tuple[str, ...] = ()


def plan_capabilities(config: dict[str, Any] | None, last: int, grantable: int = ALL) -> CapabilityPlan:
    """The sets for this `process.capabilities` object; without one, or without one of its lists, a set is
    empty.

    last: the kernel's last capability. grantable: the mask of what the runtime may hand on: its own permitted
    and bounding capabilities, or ALL where the container gets a user namespace of its own. As the
    specification has it, names that the kernel does not know, and capabilities that cannot be granted, are
    left out and reported, and are no error.
    """
    masks: dict[str, int] = {}
    unknown: set[str] = set()
    known = (1 << (last + 1)) - 1
    for key in _SETS:
        mask = 0
        for name in (config or {}).get(key) or ():
            bit = 1 << NUMBERS[name] if name in NUMBERS else 0
            if bit & known:
                mask |= bit
            else:
                unknown.add(name)
        masks[key] = mask
    wanted = 0
    for mask in masks.values():
        wanted |= mask
    return CapabilityPlan(
        **{key: mask & grantable for key, mask in masks.items()},
        last=last,
        unknown=tuple(sorted(unknown)),
        ungranted=tuple(names(wanted & ~grantable)),
    )


def names(mask: int) -> list[str]:
    """The capabilities in a mask by name, those that have none yet by number."""
    bits = [number for number in range(mask.bit_length()) if mask >> number & 1]
    return [NAMES[number] if number < len(NAMES) else f"CAP_{number}" for number in bits]


def last_capability() -> int:
    """The number of the last capability that this kernel knows."""
    number = 0
    for step in (32, 16, 8, 4, 2, 1):
        if number + step < 64 and _bounded(number + step) is not None:
            number += step
    return number


def grantable_capabilities(last: int) -> int:
    """The mask of capabilities that this process can hand on without a user namespace: permitted and in its
    bounding set.
    """
    bounding = sum(1 << number for number in range(last + 1) if _bounded(number))
    return capget()[1] & bounding


def before_user_change(plan: CapabilityPlan) -> None:
    """Shrink the bounding set, and keep the permitted set across the coming setuid(2). Runs inside."""
    for number in range(plan.last + 1):
        if not plan.bounding >> number & 1 and _bounded(number):
            try:
                prctl(PR_CAPBSET_DROP, number)
            except OSError as error:
                raise failed(f"unable to apply bounding set: drop {names(1 << number)[0]}", error) from error
    prctl(PR_SET_KEEPCAPS, 1)


def after_user_change(plan: CapabilityPlan, until_execve: int = 0) -> list[str]:
    """Set the remaining four sets; the names of ambient capabilities that the kernel refuses are returned.
    Runs inside.

    until_execve: a mask of what we keep, permitted and effective, beyond the plan. A program does not get it.
    """
    prctl(PR_SET_KEEPCAPS, 0)
    try:
        capset(plan.effective | until_execve, plan.permitted | until_execve, plan.inheritable)
    except OSError as error:
        text = f"unable to apply caps: can't apply capabilities: {reason(error)}"
        missing = names((plan.permitted | until_execve) & ~capget()[1])
        raise PyociError(f"{text} (not ours to give: {', '.join(missing)})" if missing else text) from error
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError as error:
        raise failed("unable to apply caps: clear the ambient set", error) from error
    return [name for name in names(plan.ambient) if not _raise_ambient(NUMBERS[name])]


def _bounded(number: int) -> bool | None:
    """Whether a capability is in our bounding set; None if the kernel has no such capability."""
    try:
        return prctl(PR_CAPBSET_READ, number) == 1
    except OSError as error:
        if error.errno == EINVAL:
            return None
        raise


def _raise_ambient(number: int) -> bool:
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
    except OSError:
        return False
    return True
