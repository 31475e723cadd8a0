# SPDX-License-Identifier: Apache-2.0
"""What is said when the kernel refuses a scheduler or a memory policy: why, and what it takes."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.plan.scheduling import POLICIES, MemoryPolicy, Scheduler, Scheduling
from pyoci.process.scheduling import set_priorities, set_surroundings
from tests.rootfs.roots import refusal


def refuse(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    def refused(*arguments: Any) -> None:
        raise OSError(number, "")

    monkeypatch.setattr(k, call, refused)


REALTIME = " (it takes CAP_SYS_NICE, and in cgroup v1 cpu.realtimeRuntime)"
NICE = " (a nice value below our own takes CAP_SYS_NICE)"


@pytest.mark.parametrize(
    ("policy", "number", "why"),
    [
        ("SCHED_DEADLINE", errno.EPERM, " (it cannot be had together with a cpuset, and takes CAP_SYS_NICE)"),
        ("SCHED_FIFO", errno.EPERM, REALTIME),
        ("SCHED_RR", errno.EPERM, REALTIME),
        ("SCHED_OTHER", errno.EPERM, NICE),
        ("SCHED_BATCH", errno.EPERM, NICE),
        ("SCHED_ISO", errno.EINVAL, " (no Linux has it yet)"),
        ("SCHED_FIFO", errno.EINVAL, ""),
        ("SCHED_DEADLINE", errno.EBUSY, ""),
    ],
)
def test_a_scheduler_that_is_refused(monkeypatch: pytest.MonkeyPatch, policy: str, number: int, why: str) -> None:
    refuse(monkeypatch, "sched_setattr", number)
    reasons = {errno.EPERM: "operation not permitted", errno.EINVAL: "invalid argument"}
    wanted = Scheduling(scheduler=Scheduler(name=policy, policy=POLICIES[policy]))
    assert refusal(set_priorities, 0, wanted) == (
        f"set the scheduler to {policy} (/process/scheduler): {reasons.get(number, 'device or resource busy')}{why}"
    )


@pytest.mark.parametrize(
    ("nodes", "number", "text"),
    [
        ((0, 1, 3), errno.EINVAL, "MPOL_BIND of nodes 0-1,3 (/linux/memoryPolicy): invalid argument"),
        (
            (),
            errno.ENOSYS,
            "MPOL_BIND (/linux/memoryPolicy): function not implemented (this kernel has no NUMA support)",
        ),
    ],
)
def test_a_memory_policy_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, nodes: tuple[int, ...], number: int, text: str
) -> None:
    refuse(monkeypatch, "set_mempolicy", number)
    wanted = Scheduling(memory_policy=MemoryPolicy(name="MPOL_BIND", mode=2, nodes=nodes))
    assert refusal(set_surroundings, wanted) == f"set the memory policy to {text}"
