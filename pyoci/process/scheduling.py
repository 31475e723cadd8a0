# SPDX-License-Identifier: Apache-2.0
"""The scheduler, the I/O priority, the personality and the memory policy of a program, and the CPUs of an exec.

Loaded before the clone, and only for a plan with one of these; what needs no `pid` runs inside.
"""

from __future__ import annotations

from _struct import Struct
from errno import EINVAL, ENOSYS, EPERM

from pyoci import syscalls as k
from pyoci.errors import failed
from pyoci.plan.scheduling import ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.scheduling import Scheduling

# size, policy, flags, nice, priority, runtime, deadline, period, util_min, util_max (sched_setattr(2))
_sched_attr = Struct("=IIQiIQQQII")
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13
_NODE_WORD = 8


def set_priorities(pid: int, scheduling: Scheduling) -> None:
    """The scheduler and the I/O priority of a process, 0 for this one. Raises PyociError.

    Real-time ones and those above the default take CAP_SYS_NICE on the host: root of a user namespace has them set from
    outside.
    """
    scheduler = scheduling.scheduler
    if scheduler:
        try:
            k.sched_setattr(
                pid,
                _sched_attr.pack(
                    _sched_attr.size,
                    scheduler.policy,
                    scheduler.flags,
                    scheduler.nice,
                    scheduler.priority,
                    scheduler.runtime,
                    scheduler.deadline,
                    scheduler.period,
                    0,
                    0,
                ),
            )
        except OSError as error:
            step = f"set the scheduler to {scheduler.name} (/process/scheduler)"
            raise failed(step, error, _hint(scheduler.name, error.errno)) from None
    priority = scheduling.io_priority
    if priority:
        try:
            k.ioprio_set(_IOPRIO_WHO_PROCESS, pid, priority.io_class << _IOPRIO_CLASS_SHIFT | priority.level)
        except OSError as error:
            raise failed(
                f"set the I/O priority to {priority.name}, {priority.level} (/process/ioPriority)", error
            ) from None


def _hint(policy: str, number: int | None) -> str:
    if number == EPERM and policy == "SCHED_DEADLINE":
        return " (it cannot be had together with a cpuset, and takes CAP_SYS_NICE)"
    if number == EPERM and policy in ("SCHED_FIFO", "SCHED_RR"):
        return " (it takes CAP_SYS_NICE, and in cgroup v1 cpu.realtimeRuntime)"
    if number == EPERM:
        return " (a nice value below our own takes CAP_SYS_NICE)"
    if number == EINVAL and policy == "SCHED_ISO":
        return " (no Linux has it yet)"
    return ""


def set_surroundings(scheduling: Scheduling) -> None:
    """The personality and the memory policy of this process. Runs inside, before a filter may forbid it.

    Raises PyociError.
    """
    if scheduling.personality is not None:
        try:
            k.personality(scheduling.personality)
        except OSError as error:
            raise failed("set the personality (/linux/personality)", error) from None
    policy = scheduling.memory_policy
    if policy:
        try:
            k.set_mempolicy(policy.mode, _mask(policy.nodes))
        except OSError as error:
            nodes = f" of nodes {ranges(policy.nodes)}" if policy.nodes else ""
            hint = " (this kernel has no NUMA support)" if error.errno == ENOSYS else ""
            raise failed(f"set the memory policy to {policy.name}{nodes} (/linux/memoryPolicy)", error, hint) from None


def set_affinity(pid: int, cpus: tuple[int, ...], when: str) -> None:
    """Keep a process on these CPUs; `when` is "initial" or "final". Raises PyociError."""
    try:
        k.sched_setaffinity(pid, _mask(cpus))
    except OSError as error:
        raise failed(f"set the CPU affinity to {ranges(cpus)} (/process/execCPUAffinity/{when})", error) from None


def take_initial_affinity(cpus: tuple[int, ...]) -> tuple[int, ...]:
    """Go to the initial CPUs of an exec, for a child to inherit that. Where we were, to go back to. Raises PyociError."""
    own = tuple(sorted(k.sched_getaffinity(0)))
    set_affinity(0, cpus, "initial")
    return own


def _mask(numbers: tuple[int, ...]) -> bytes:
    """A bit for each number, in words as the kernel has them; none for no numbers."""
    bits = 0
    for number in numbers:
        bits |= 1 << number
    words = (bits.bit_length() + 8 * _NODE_WORD - 1) // (8 * _NODE_WORD)
    return Struct(f"@{words}Q").pack(*(bits >> 64 * word & 0xFFFFFFFFFFFFFFFF for word in range(words)))
