# SPDX-License-Identifier: Apache-2.0
"""When, where and with what memory the program runs: `process.scheduler`, `ioPriority` and `execCPUAffinity`, and
`linux.personality` and `memoryPolicy` (config.md, Linux process; config-linux.md).

Names become the kernel's numbers here, so that whoever carries them out has nothing to look up. Loaded only for a config
that asks for one of these.
"""

from __future__ import annotations

from pyoci.errors import SpecError
from pyoci.jsontext import MAX_DIGITS
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# linux/sched.h; SCHED_ISO has a number, and no kernel that knows it.
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# linux/ioprio.h
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
# linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15}
# linux/personality.h
PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}

MAX_NUMBER = 64 * 1024
"""The highest CPU or memory node that is taken for meant: no kernel knows as many."""


class Scheduler(Record):
    """What sched_setattr(2) is given; `name` is the policy's. Times are in nanoseconds."""

    name: str
    policy: int
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IoPriority(Record):
    """What ioprio_set(2) is given: the class, and a level from 0 (first) to 7 in it."""

    name: str
    io_class: int
    level: int


class Affinity(Record):
    """The CPUs of an exec, before and after it is moved to the container's cgroup; empty: not to be changed."""

    initial: tuple[int, ...] = ()
    final: tuple[int, ...] = ()


class MemoryPolicy(Record):
    """What set_mempolicy(2) is given; `mode` has the flags in it."""

    name: str
    mode: int
    nodes: tuple[int, ...] = ()


class Scheduling(Record):
    """All of it; None where the config is silent. `personality` is that of personality(2)."""

    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    affinity: Affinity | None = None
    memory_policy: MemoryPolicy | None = None
    personality: int | None = None


def plan_scheduling(process: dict[str, Any], linux: dict[str, Any]) -> Scheduling | None:
    """What these two sections ask for, None for nothing. Raises SpecError."""
    planned = Scheduling(
        scheduler=_scheduler(process["scheduler"]) if process.get("scheduler") else None,
        io_priority=_io_priority(process["ioPriority"]) if process.get("ioPriority") else None,
        affinity=_affinity(process.get("execCPUAffinity") or {}),
        memory_policy=_memory_policy(linux["memoryPolicy"]) if linux.get("memoryPolicy") else None,
        personality=_personality(linux["personality"]) if linux.get("personality") else None,
    )
    return None if planned == Scheduling() else planned


def _scheduler(config: dict[str, Any]) -> Scheduler:
    policy = config["policy"]
    return Scheduler(
        name=policy,
        policy=_number(POLICIES, policy, "/process/scheduler/policy"),
        flags=_bits(SCHEDULER_FLAGS, config.get("flags"), "/process/scheduler/flags"),
        **{name: config.get(name) or 0 for name in ("nice", "priority", "runtime", "deadline", "period")},
    )


def _io_priority(config: dict[str, Any]) -> IoPriority:
    name, level = config["class"], config.get("priority") or 0
    number = _number(IO_CLASSES, name, "/process/ioPriority/class")
    if not 0 <= level <= 7:
        raise SpecError(f"/process/ioPriority/priority: {level} is no level: they go from 0 to 7")
    return IoPriority(name=name, io_class=number, level=level)


def _affinity(config: dict[str, Any]) -> Affinity | None:
    initial, final = (
        parse_list(config.get(name) or "", f"/process/execCPUAffinity/{name}") for name in ("initial", "final")
    )
    return Affinity(initial=initial, final=final) if initial or final else None


def _memory_policy(config: dict[str, Any]) -> MemoryPolicy:
    where = "/linux/memoryPolicy"
    return MemoryPolicy(
        name=config["mode"],
        mode=_number(MEMORY_MODES, config["mode"], f"{where}/mode")
        | _bits(MEMORY_FLAGS, config.get("flags"), f"{where}/flags"),
        nodes=parse_list(config.get("nodes") or "", f"{where}/nodes"),
    )


def _personality(config: dict[str, Any]) -> int:
    return _number(PERSONALITIES, config["domain"], "/linux/personality/domain")


def parse_list(text: str, where: str) -> tuple[int, ...]:
    """The numbers of a list such as "0-3,7" (cpuset(7), List format), sorted. Raises SpecError.

    Blanks around elements, and elements with nothing in them, do no harm; a list of only such is wrong.
    """
    numbers: set[int] = set()
    for element in text.split(","):
        first, dash, last = (part.strip() for part in element.strip().partition("-"))
        if not first and not dash:
            continue
        if max(len(first), len(last)) > MAX_DIGITS:  # more than int() may take
            raise SpecError(f"{where}: an element of {len(element.strip())} characters is no number or range")
        if not (_is_number(first) and (not dash or _is_number(last))) or (dash and int(first) > int(last)):
            raise SpecError(f"{where}: {element.strip()!r} is no number or range")
        if int(last or first) > MAX_NUMBER:
            raise SpecError(f"{where}: {last or first} is too large: no kernel has more than {MAX_NUMBER} of them")
        numbers.update(range(int(first), int(last or first) + 1))
    if text and not numbers:
        raise SpecError(f"{where}: {text!r} has no number in it")
    return tuple(sorted(numbers))


def ranges(numbers: tuple[int, ...]) -> str:
    """A sorted list the way it is written: "0-3,7"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _number(names: dict[str, int], name: str, where: str) -> int:
    if name not in names:
        raise SpecError(f"{where}: {name!r} is not known: it is one of {', '.join(names)}")
    return names[name]


def _bits(names: dict[str, int], wanted: list[str] | None, where: str) -> int:
    bits = 0
    for name in wanted or ():
        bits |= _number(names, name, where)
    return bits
