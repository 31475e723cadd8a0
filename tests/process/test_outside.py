# SPDX-License-Identifier: Apache-2.0
"""What a launcher sets on a process from outside."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci import syscalls as k
from pyoci.cgroups import freezer, manage
from pyoci.cgroups.join import join
from pyoci.errors import PyociError, StageFailed
from pyoci.plan.scheduling import IoPriority, Scheduler, Scheduling
from pyoci.process import outside
from pyoci.process.outside import end, end_for, reset_affinity, set_oom_score, set_own_oom_score
from pyoci.process.scheduling import set_affinity, set_priorities, take_initial_affinity
from tests.cgroups import worlds
from tests.forked import in_child

CPUS = tuple(sorted(os.sched_getaffinity(0)))


@pytest.fixture
def child() -> Iterator[int]:
    """A process that waits to be looked at."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    yield pid
    os.close(writing)
    os.waitpid(pid, 0)


def test_an_affinity_is_opened_again(child: int) -> None:
    set_affinity(child, CPUS[:1], "final")
    assert os.sched_getaffinity(child) == set(CPUS[:1])
    assert reset_affinity(child) == ""
    assert os.sched_getaffinity(child) >= set(CPUS)


def test_an_affinity_that_cannot_be_opened_is_a_warning() -> None:
    assert "no such process" in reset_affinity(1 << 22)


def test_cpus_beyond_1024_are_asked_for() -> None:
    with pytest.raises(PyociError, match=r"CPU affinity to 5000 \(/process/execCPUAffinity/final\)"):
        set_affinity(0, (5000,), "final")


def test_the_way_to_the_initial_cpus_and_back() -> None:
    def there_and_back() -> list[list[int]]:
        own = take_initial_affinity(CPUS[:1])
        there = sorted(os.sched_getaffinity(0))
        set_affinity(0, own, "initial")
        return [there, sorted(os.sched_getaffinity(0))]

    assert in_child(there_and_back) == [list(CPUS[:1]), list(CPUS)]


def score(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_an_oom_score(child: int) -> None:
    before = score(child)
    assert set_oom_score(str(child), 400) == before
    assert score(child) == 400


def test_ones_own_oom_score_where_nobody_may_look() -> None:
    def exchange() -> list[int]:
        k.prctl(k.PR_SET_DUMPABLE, 0)
        before = set_own_oom_score(500)
        return [before, score("self"), k.prctl(k.PR_GET_DUMPABLE)]

    assert in_child(exchange) == [score("self"), 500, 0]


def test_a_score_that_does_not_exist(child: int) -> None:
    with pytest.raises(PyociError, match="set oom_score_adj to 5000: invalid argument"):
        set_oom_score(str(child), 5000)


def test_priorities(child: int) -> None:
    set_priorities(
        child,
        Scheduling(
            scheduler=Scheduler(name="SCHED_BATCH", policy=3, nice=4),
            io_priority=IoPriority(name="IOPRIO_CLASS_BE", io_class=2, level=7),
        ),
    )
    assert os.sched_getscheduler(child) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, child) == 4


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (Scheduler(name="SCHED_ISO", policy=4), "SCHED_ISO .*no Linux has it yet"),
        (Scheduler(name="SCHED_FIFO", policy=1, priority=500), "SCHED_FIFO .*invalid argument"),
    ],
)
def test_what_the_kernel_refuses_is_named(child: int, scheduler: Scheduler, said: str) -> None:
    with pytest.raises(PyociError, match=said):
        set_priorities(child, Scheduling(scheduler=scheduler))


def test_ending_twice_does_no_harm() -> None:
    pid = os.fork()
    if pid == 0:
        k.prctl(k.PR_SET_PDEATHSIG, k.SIGKILL)
        while True:
            os.sched_yield()
    pidfd = os.pidfd_open(pid)
    end(pid, pidfd)
    assert not Path(f"/proc/{pid}").exists()
    end(pid, pidfd)
    os.close(pidfd)


@pytest.fixture
def frozen() -> Iterator[int]:
    """A process that not even SIGKILL ends, as long as somebody else has it frozen."""
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join(paths, pid, plan)
        freezer.freeze(paths)
        try:
            yield pid
        finally:
            freezer.thaw(paths)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.needs_root
@pytest.mark.needs_cgroup_v1
def test_the_end_is_not_waited_for_without_an_end(frozen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_PATIENCE", 1000)
    pidfd = os.pidfd_open(frozen)
    told = f"process {frozen} is still there 1 s after SIGKILL"
    with pytest.raises(PyociError) as caught:
        end(frozen, pidfd)
    assert caught.value.message == told
    first = StageFailed("what failed first")
    end_for(first, frozen, pidfd)
    assert first.__notes__ == [f"and then, on the way back: {told}"]
    os.close(pidfd)
