# SPDX-License-Identifier: Apache-2.0
"""The statistics of a container, out of files as kernels of either version write them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroups import join, manage, stats, stats_rdt
from pyoci.cgroups.oom import watch
from pyoci.cgroups.readings import UNLIMITED, Readings, members
from tests.cgroups import worlds

FLAGS = {
    "cpu_exclusive": 0, "mem_hardwall": 0, "mem_exclusive": 0, "memory_migrate": 0, "memory_spread_page": 0,
    "memory_spread_slab": 0, "memory_pressure": 0, "sched_load_balance": 0, "sched_relax_domain_level": 0,
}  # fmt: skip
PRESSURE = "some avg10=0.50 avg60=0.00 avg300=1.25 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
PSI = {"some": {"avg10": 0.5, "avg60": 0.0, "avg300": 1.25, "total": 77}}


@pytest.fixture
def cgroup(tmp_path: Path) -> Any:
    """A function that makes a directory of files, named with __ for a dot, and gives its path."""

    def make(name: str = "unified", files: dict[str, str] | None = None) -> str:
        (tmp_path / name).mkdir()
        for file, text in (files or {}).items():
            (tmp_path / name / file).write_text(text)
        return str(tmp_path / name)

    return make


V2_FILES = {
    "cgroup.procs": "5\n",
    "cpu.stat": "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\nnr_throttled 2\nthrottled_usec 9\n",
    "cpu.pressure": PRESSURE,
    "cpuset.cpus.effective": "0-2,7\n",
    "cpuset.mems.effective": "0\n",
    "memory.current": "1000\n",
    "memory.max": "5000\n",
    "memory.peak": "2000\n",
    "memory.swap.current": "10\n",
    "memory.swap.max": "max\n",
    "memory.stat": "anon 600\nfile 400\nodd -3\n",
    "memory.pressure": PRESSURE,
    "pids.current": "4\n",
    "pids.max": "20\n",
    "io.stat": "8:0 rbytes=1024 wbytes=0 rios=3 wios=1 dbytes=0 dios=0\n8:16 \n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "hugetlb.2MB.current": "5\n",
    "hugetlb.2MB.rsvd.current": "2097152\n",
    "hugetlb.2MB.events": "max 6\n",
    "hugetlb.1GB.current": "0\n",
    "hugetlb.1GB.events": "max 0\n",
}


def test_v2(cgroup: Any) -> None:
    assert stats.collect({"": cgroup(files=V2_FILES)}) == {
        "cpu": {
            "usage": {"total": 1_500_000, "kernel": 500_000, "user": 1_000_000},
            "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 9000},
            "psi": PSI,
        },
        "cpuset": {"cpus": [0, 1, 2, 7], "mems": [0], **FLAGS},
        "memory": {
            "cache": 400,
            "usage": {"limit": 5000, "usage": 1000, "max": 2000, "failcnt": 0},
            "swap": {"limit": UNLIMITED, "usage": 1010, "failcnt": 0},
            "raw": {"anon": 600, "file": 400, "odd": 0},
            "psi": PSI,
        },
        "pids": {"current": 4, "limit": 20},
        "blkio": {
            "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 1024}, {"major": 8, "op": "Write"}],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 3},
                {"major": 8, "op": "Write", "value": 1},
            ],
            "psi": {},
        },
        "hugetlb": {"1GB": {"failcnt": 0}, "2MB": {"usage": 2097152, "failcnt": 6}},
    }


def test_limits_of_memory_and_swap_are_added_up(cgroup: Any) -> None:
    files = {**V2_FILES, "memory.swap.max": "700\n"}
    assert stats.collect({"": cgroup("a", files)})["memory"]["swap"]["limit"] == 5700
    files["memory.max"] = "max\n"
    assert stats.collect({"": cgroup("b", files)})["memory"]["swap"]["limit"] == UNLIMITED


def test_v2_without_controllers(cgroup: Any) -> None:
    assert stats.collect({"": cgroup(files={"cgroup.procs": "5\n6\n"})}) == {
        "cpu": {},
        "cpuset": FLAGS,
        "memory": {},
        "pids": {"current": 2},
        "blkio": {},
        "hugetlb": {},
    }


V1_FILES: dict[str, dict[str, str]] = {
    "cpu": {"cpu.stat": "nr_periods 3\nnr_throttled 2\nthrottled_time 9\n"},
    "cpuacct": {
        "cpuacct.usage": "70\n",
        "cpuacct.stat": "user 2\nsystem 1\n",
        "cpuacct.usage_percpu": "30 40 \n",
        "cpuacct.usage_all": "cpu user system\n0 10 20\n1 15 25\n",
    },
    "cpuset": {"cpuset.cpus": "0-1\n", "cpuset.mems": "0\n", "cpuset.sched_relax_domain_level": "-1\n"},
    "memory": {
        "memory.stat": "cache 400\nrss 600\n",
        "memory.usage_in_bytes": "1000\n",
        "memory.max_usage_in_bytes": "2000\n",
        "memory.limit_in_bytes": "5000\n",
        "memory.failcnt": "6\n",
        "memory.kmem.usage_in_bytes": "9\n",
    },
    "pids": {"pids.current": "4\n", "pids.max": "max\n"},
    "blkio": {
        "blkio.bfq.io_serviced_recursive": "Total 0\n",
        "blkio.throttle.io_serviced": "8:0 Read 5\n8:0 Total 5\nTotal 5\n",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 7\n8:0 Total 7\nTotal 7\n",
        "blkio.sectors_recursive": "8:16 33\n",
    },
    "hugetlb": {
        "hugetlb.2MB.limit_in_bytes": "9\n",
        "hugetlb.2MB.rsvd.limit_in_bytes": "9\n",
        "hugetlb.2MB.rsvd.usage_in_bytes": "5\n",
        "hugetlb.2MB.rsvd.max_usage_in_bytes": "8\n",
        "hugetlb.2MB.rsvd.failcnt": "2\n",
        "hugetlb.1GB.limit_in_bytes": "9\n",
        "hugetlb.1GB.usage_in_bytes": "1\n",
        "hugetlb.1GB.failcnt": "0\n",
    },
}


def test_v1(cgroup: Any) -> None:
    paths = {name: cgroup(name, files) for name, files in V1_FILES.items()}
    assert stats.collect(paths) == {
        "cpu": {
            "usage": {
                "total": 70,
                "percpu": [30, 40],
                "percpu_kernel": [20, 25],
                "percpu_user": [10, 15],
                "kernel": 10_000_000,
                "user": 20_000_000,
            },
            "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 9},
        },
        "cpuset": {"cpus": [0, 1], "mems": [0], **FLAGS, "sched_relax_domain_level": -1},
        "memory": {
            "cache": 400,
            "usage": {"limit": 5000, "usage": 1000, "max": 2000, "failcnt": 6},
            "kernel": {"limit": 0, "usage": 9, "failcnt": 0},
            "raw": {"cache": 400, "rss": 600},
        },
        "pids": {"current": 4},
        "blkio": {
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 7},
                {"major": 8, "op": "Total", "value": 7},
            ],
            "sectorsRecursive": [{"major": 8, "minor": 16, "value": 33}],
        },
        "hugetlb": {"1GB": {"usage": 1, "failcnt": 0}, "2MB": {"usage": 5, "max": 8, "failcnt": 2}},
    }


def test_hybrid_takes_each_from_where_it_is(cgroup: Any) -> None:
    paths = {name: cgroup(name, V1_FILES[name]) for name in ("memory", "pids")} | {"": cgroup(files=V2_FILES)}
    collected = stats.collect(paths)
    assert collected["memory"]["usage"]["failcnt"] == 6
    assert collected["memory"]["psi"] == PSI
    assert collected["pids"] == {"current": 4}
    assert collected["cpu"]["usage"]["total"] == 1_500_000
    assert set(collected["hugetlb"]) == {"1GB", "2MB"}


def test_a_cpuset_without_prefix(cgroup: Any) -> None:
    path = cgroup("cpuset", {"cpus": "3\n", "mems": "0\n", "sched_load_balance": "1\n"})
    collected = stats.collect({"cpuset": path, "": cgroup(files={"cgroup.procs": ""})})["cpuset"]
    assert (collected["cpus"], collected["sched_load_balance"]) == ([3], 1)


def test_a_cgroup_that_is_gone_is_not_taken_for_an_idle_one(cgroup: Any) -> None:
    with pytest.raises(FileNotFoundError):
        stats.collect({"": "/nonexistent/cgroup"})
    with pytest.raises(FileNotFoundError):
        stats.collect({"pids": "/nonexistent/cgroup", "": cgroup(files=V2_FILES)})


def test_readings(cgroup: Any) -> None:
    readings = Readings(cgroup(files={"max": "max\n", "below": "-5\n", "empty": "", "table": "a 1\nb max\nc\n"}))
    assert [readings.number(file) for file in ("max", "below", "empty", "missing")] == [UNLIMITED, 0, 0, 0]
    assert readings.limit("max") == 0
    assert readings.table("table") == {"a": 1, "b": UNLIMITED}


@pytest.mark.parametrize(
    ("text", "expected"), [("", []), ("\n", []), ("0", [0]), ("0-2,7\n", [0, 1, 2, 7]), ("5,3-3", [5, 3])]
)
def test_lists(text: str, expected: list[int]) -> None:
    assert members(text) == expected


# Intel RDT


def test_a_class_of_service(tmp_path: Path) -> None:
    files = {
        "info/last_cmd_status": "ok\n",
        "info/L3/cbm_mask": "fffff\n",
        "info/L3/min_cbm_bits": "1\n",
        "info/L3/num_closids": "16\n",
        "info/MB/bandwidth_gran": "10\n",
        "info/MB/delay_linear": "1\n",
        "info/MB/min_bandwidth": "10\n",
        "info/MB/num_closids": "8\n",
        "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\n",
        "schemata": "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n",
        "web/schemata": "    MB:0= 20;1= 70\n    L3:0=ff;1=c0\n",
        "web/mon_data/mon_L3_00/llc_occupancy": "7\n",
        "web/mon_data/mon_L3_00/mbm_total_bytes": "9\n",
        "web/mon_data/mon_L3_01/llc_occupancy": "Unavailable\n",
        "web/mon_groups/web/mon_data/mon_L3_00/llc_occupancy": "3\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    told = {
        "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fffff;1=fffff",
        "l3_cache_schema": "L3:0=ff;1=c0",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0= 20;1= 70",
        "schemata": ["MB:0= 20;1= 70", "L3:0=ff;1=c0"],
    }
    assert stats_rdt.collect(f"{tmp_path}/web", "") == {
        **told,
        "mbm_stats": [{"mbm_total_bytes": 9, "mbm_local_bytes": 0}, {"mbm_total_bytes": 0, "mbm_local_bytes": 0}],
        "cmt_stats": [{"llc_occupancy": 7}, {"llc_occupancy": 0}],
    }
    own = stats_rdt.collect(f"{tmp_path}/web", f"{tmp_path}/web/mon_groups/web")
    assert own["cmt_stats"] == [{"llc_occupancy": 3}]
    (tmp_path / "info" / "L3_MON" / "mon_features").unlink()
    assert stats_rdt.collect(f"{tmp_path}/web", "") == told
    assert stats_rdt.collect(str(tmp_path), "")["mem_bw_schema"] == "MB:0=100;1=100"


# For real


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
def test_a_process_is_counted() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        collected = stats.collect(paths)
        assert collected["pids"]["current"] == 1
        assert list(collected) == ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb"]


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
def test_v2_for_real() -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            pid = os.fork()
            if not pid:
                while True:
                    pass
            try:
                join.join(paths, pid)
                # Time is told apart by samples: a busy machine may take a while to find it in its own code.
                worlds.wait_until(lambda: stats.collect(paths)["cpu"].get("usage", {}).get("user", 0) > 0)
                collected = stats.collect(paths)
            finally:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            assert collected["cpu"]["usage"]["total"] >= collected["cpu"]["usage"]["user"] > 0
            assert collected["pids"]["current"] == 1
            for name in os.listdir(paths[""]):
                if name.endswith("MB.events"):
                    assert collected["hugetlb"][name.split(".")[1]] == {"failcnt": 0}

    worlds.with_v2_alone(body)


def greedy(paths: dict[str, str], size: int) -> None:
    """A process in a cgroup that takes some memory, and is killed for it."""
    pid = os.fork()
    if not pid:
        try:
            join.join(paths, os.getpid())
            bytearray(size)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.needs_root
@pytest.mark.needs_cgroup_v1
def test_running_out_of_memory_on_v1() -> None:
    plan = worlds.planned(worlds.fresh_path(), memory={"limit": 16 << 20, "swap": 16 << 20})
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        watched = watch(paths)
        assert watched is not None
        assert not watched.happened()
        greedy(paths, 64 << 20)
        assert watched.happened()
        assert not watched.happened(), "it has been told"
    assert not watched.happened(), "the end of the cgroup is none"


@pytest.mark.needs_root
@pytest.mark.needs_cgroup_v1
def test_running_out_of_memory_and_gone_before_anyone_looks() -> None:
    plan = worlds.planned(worlds.fresh_path(), memory={"limit": 16 << 20, "swap": 16 << 20})
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        watched = watch(paths)
        assert watched is not None
        greedy(paths, 64 << 20)
    assert watched.happened()


def test_running_out_of_memory_on_v2(cgroup: Any) -> None:
    path = cgroup(files={"memory.events": "low 0\noom 1\noom_kill 1\noom_group_kill 0\n"})
    watched = watch({"": path})
    assert watched is not None
    assert not watched.happened(), "that was before"
    Path(path, "memory.events").write_text("low 5\noom 1\noom_kill 1\n")
    assert not watched.happened()
    Path(path, "memory.events").write_text("low 5\noom 2\noom_kill 3\n")
    assert watched.happened()
    assert not watched.happened()


def test_memory_that_nobody_counts(cgroup: Any) -> None:
    assert watch({"": cgroup()}) is None
    assert watch({"pids": "/nonexistent"}) is None
