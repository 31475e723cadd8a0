# SPDX-License-Identifier: Apache-2.0
"""From `scheduler`, `ioPriority`, `execCPUAffinity`, `memoryPolicy` and `personality` to the kernel's numbers."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.errors import SpecError
from pyoci.plan.scheduling import (
    MAX_NUMBER,
    Affinity,
    IoPriority,
    MemoryPolicy,
    Scheduler,
    Scheduling,
    parse_list,
    plan_scheduling,
    ranges,
)


def planned(process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None) -> Scheduling:
    found = plan_scheduling(process or {}, linux or {})
    assert found is not None
    return found


@pytest.mark.parametrize(
    "process", [{}, {"scheduler": None}, {"execCPUAffinity": {}}, {"execCPUAffinity": {"final": ""}}]
)
def test_nothing_asked_for_is_nothing(process: dict[str, Any]) -> None:
    assert plan_scheduling(process, {}) is None


def test_a_scheduler() -> None:
    asked = {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}
    times = {"runtime": 1, "deadline": 2, "period": 3}
    assert planned({"scheduler": {**asked, **times}}) == Scheduling(
        scheduler=Scheduler(name="SCHED_DEADLINE", policy=6, flags=5, **times)
    )


def test_other_schedulers() -> None:
    scheduler = planned({"scheduler": {"policy": "SCHED_OTHER", "nice": -3}}).scheduler
    assert scheduler == Scheduler(name="SCHED_OTHER", policy=0, nice=-3)
    scheduler = planned({"scheduler": {"policy": "SCHED_RR", "priority": 99}}).scheduler
    assert scheduler == Scheduler(name="SCHED_RR", policy=2, priority=99)


def test_an_io_priority() -> None:
    asked = {"class": "IOPRIO_CLASS_IDLE", "priority": 7}
    assert planned({"ioPriority": asked}).io_priority == IoPriority(name="IOPRIO_CLASS_IDLE", io_class=3, level=7)


def test_an_affinity() -> None:
    assert planned({"execCPUAffinity": {"initial": "7", "final": "0-3,7"}}).affinity == Affinity(
        initial=(7,), final=(0, 1, 2, 3, 7)
    )


def test_a_memory_policy() -> None:
    asked = {"mode": "MPOL_INTERLEAVE", "nodes": "2-3", "flags": ["MPOL_F_STATIC_NODES"]}
    assert planned(linux={"memoryPolicy": asked}).memory_policy == MemoryPolicy(
        name="MPOL_INTERLEAVE", mode=3 | 1 << 15, nodes=(2, 3)
    )
    assert planned(linux={"memoryPolicy": {"mode": "MPOL_DEFAULT"}}).memory_policy == MemoryPolicy(
        name="MPOL_DEFAULT", mode=0
    )


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_a_personality(domain: str, number: int) -> None:
    assert planned(linux={"personality": {"domain": domain}}).personality == number


@pytest.mark.parametrize(
    ("process", "linux", "where"),
    [
        ({"scheduler": {"policy": "SCHED_BEST"}}, {}, "/process/scheduler/policy"),
        ({"scheduler": {"policy": "SCHED_RR", "flags": ["X"]}}, {}, "/process/scheduler/flags"),
        ({"ioPriority": {"class": "X"}}, {}, "/process/ioPriority/class"),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}}, {}, "/process/ioPriority/priority"),
        ({"execCPUAffinity": {"final": "x"}}, {}, "/process/execCPUAffinity/final"),
        ({}, {"memoryPolicy": {"mode": "X"}}, "/linux/memoryPolicy/mode"),
        ({}, {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "-"}}, "/linux/memoryPolicy/nodes"),
        ({}, {"personality": {"domain": "BSD"}}, "/linux/personality/domain"),
    ],
)
def test_what_is_wrong_is_named(process: dict[str, Any], linux: dict[str, Any], where: str) -> None:
    with pytest.raises(SpecError, match=where):
        plan_scheduling(process, linux)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0", (0,)),
        ("0-3,7", (0, 1, 2, 3, 7)),
        (" 3 , 1,,1-2 ", (1, 2, 3)),
        ("5-5", (5,)),
        ("1023-1025", (1023, 1024, 1025)),
        (str(MAX_NUMBER), (MAX_NUMBER,)),
        ("", ()),
    ],
)
def test_lists(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_list(text, "here") == numbers


@pytest.mark.parametrize(
    "text", [",", " ", "-1", "1-", "3-1", "a", "1-2-3", "0x1", "٣", "+1", "1 2", str(MAX_NUMBER + 1), "0-99999999999"]
)
def test_no_lists(text: str) -> None:
    with pytest.raises(SpecError, match=r"^here: "):
        parse_list(text, "here")


@pytest.mark.parametrize(
    "text", ["9" * 5000, f"0-{'9' * 5000}", f"{'9' * 5000}-1"], ids=["a number", "the last of a range", "the first"]
)
def test_more_digits_than_an_int_may_have(text: str) -> None:
    with pytest.raises(SpecError, match=f"^here: an element of {len(text)} characters is no number or range$"):
        parse_list(text, "here")


@pytest.mark.parametrize("text", ["0", "0-3,7", "1,3,5", "1-2,4-9", ""])
def test_a_list_is_written_as_it_was_read(text: str) -> None:
    assert ranges(parse_list(text, "here")) == text
