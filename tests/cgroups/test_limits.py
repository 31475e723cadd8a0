# SPDX-License-Identifier: Apache-2.0
"""linux.resources as writes: conversions, order, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroups import limits, v2
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError

V1 = dict.fromkeys(
    ("memory", "cpu", "cpuset", "pids", "blkio", "hugetlb", "devices", "freezer", "net_cls", "net_prio", "rdma"), "/x"
)
V2 = {"": "/x"}
GIB = 1 << 30


def texts(writes: tuple[Write, ...]) -> list[str]:
    return [write.text() for write in writes]


def late(resources: dict[str, Any], available: dict[str, str] = V2) -> list[str]:
    return texts(limits.late(resources, available))


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (10, 4), (512, 59), (1024, 100), (1025, 101), (2048, 174), (10240, 639), (204800, 8064)]
    + [(262143, 10000), (262144, 10000), (300000, 10000)],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert v2.weight(shares) == weight
    assert late({"cpu": {"shares": shares}}) == [f"cpu.weight = {weight}"]


def test_cpu_weight_never_falls() -> None:
    weights = [v2.weight(shares) for shares in range(2, 263000, 97)]
    assert weights == sorted(weights)
    assert (min(weights), max(weights)) == (1, 10000)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ({"quota": 50000, "period": 20000}, ["cpu.max = 50000 20000"]),
        ({"quota": 50000}, ["cpu.max = 50000 100000"]),
        ({"period": 20000}, ["cpu.max = max 20000"]),
        ({"quota": -1, "period": 20000}, ["cpu.max = max 20000"]),
        ({"quota": -1}, ["cpu.max = max 100000"]),
        ({"quota": 0, "period": 0, "shares": 0}, []),
        ({"quota": 10000, "burst": 500}, ["cpu.max.burst = 500", "cpu.max = 10000 100000"]),
        ({"burst": 0}, ["cpu.max.burst = 0"]),
        ({"idle": 1, "shares": 1024}, ["cpu.idle = 1"]),
        ({"idle": 0, "shares": 1024}, ["cpu.idle = 0", "cpu.weight = 100"]),
    ],
)
def test_cpu_v2(cpu: dict[str, int], expected: list[str]) -> None:
    assert late({"cpu": cpu}) == expected


def test_burst_waits_for_the_quota_if_the_kernel_says_so() -> None:
    for available in (V1, V2):
        burst = next(w for w in limits.late({"cpu": {"quota": 1000, "burst": 500}}, available) if w.why == "cpu.burst")
        assert burst.later == ("EINVAL",)
        alone = next(w for w in limits.late({"cpu": {"burst": 500}}, available) if w.why == "cpu.burst")
        assert alone.later == ()


def test_cpu_v1() -> None:
    cpu = {"shares": 512, "quota": 50000, "period": 20000, "burst": 7, "idle": 0}
    assert late({"cpu": cpu}, V1) == [
        "cpu.idle = 0",
        "cpu.shares = 512",
        "cpu.cfs_period_us = 20000",
        "cpu.cfs_burst_us = 7",
        "cpu.cfs_quota_us = 50000",
    ]
    with pytest.raises(CgroupError, match="the minimum allowed cpu-shares is 2"):
        late({"cpu": {"shares": 1}}, V1)
    with pytest.raises(CgroupError, match="the maximum allowed cpu-shares is 262144"):
        late({"cpu": {"shares": 262145}}, V1)


def test_real_time_is_set_early_and_only_in_v1() -> None:
    cpu = {"realtimeRuntime": 950000, "realtimePeriod": 1000000}
    writes = limits.early({"cpu": cpu}, V1)
    assert texts(writes) == ["cpu.rt_period_us = 1000000", "cpu.rt_runtime_us = 950000"]
    assert writes[0].later == ("EINVAL",)
    assert late({"cpu": cpu}, V1) == []
    with pytest.raises(CgroupError, match="no real-time CPU limits"):
        late({"cpu": cpu})
    assert late({"cpu": {"realtimeRuntime": 0}}) == []


def test_cpuset_is_set_early() -> None:
    cpu = {"cpus": "0-1,3", "mems": "0"}
    assert texts(limits.early({"cpu": cpu}, V2)) == ["cpuset.cpus = 0-1,3", "cpuset.mems = 0"]
    first, _ = limits.early({"cpu": cpu}, V1)
    assert first.controller == "cpuset"
    assert first.otherwise is not None and first.otherwise.file == "cpus"
    assert limits.early({"cpu": {"cpus": "", "mems": ""}}, V1) == ()


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"limit": GIB}, [f"memory.max = {GIB}"]),
        ({"limit": GIB, "swap": 3 * GIB}, [f"memory.swap.max = {2 * GIB}", f"memory.max = {GIB}"]),
        ({"limit": GIB, "swap": GIB}, ["memory.swap.max = 0", f"memory.max = {GIB}"]),
        ({"limit": GIB, "swap": -1}, ["memory.swap.max = max", f"memory.max = {GIB}"]),
        ({"limit": -1}, ["memory.swap.max = max", "memory.max = max"]),
        ({"limit": 0, "swap": 0, "reservation": 0}, []),
        ({"swap": -1}, ["memory.swap.max = max"]),
        ({"reservation": 7}, ["memory.low = 7"]),
        ({"reservation": -1}, ["memory.low = max"]),
    ],
)
def test_memory_v2(memory: dict[str, int], expected: list[str]) -> None:
    assert late({"memory": memory}) == expected


def test_a_kernel_without_swap_has_no_swap_to_limit() -> None:
    for swap, tolerated in ((GIB, True), (-1, True), (2 * GIB, False)):
        write = limits.late({"memory": {"limit": GIB, "swap": swap}}, V2)[0]
        assert ("ENOENT" in write.tolerate) is tolerated


@pytest.mark.parametrize("available", [V1, V2])
@pytest.mark.parametrize(
    ("memory", "text"),
    [
        ({"swap": GIB}, "unable to set swap limit without memory limit"),
        ({"limit": -1, "swap": GIB}, "unable to set swap limit without memory limit"),
        ({"limit": GIB, "swap": GIB - 1}, "memory[+]swap limit should be >= memory limit"),
        ({"limit": -2, "swap": GIB}, "invalid memory value: -2"),
    ],
)
def test_swap_that_does_not_fit_the_limit(available: dict[str, str], memory: dict[str, int], text: str) -> None:
    with pytest.raises(CgroupError, match=text):
        late({"memory": memory}, available)


def test_check_before_update() -> None:
    (write,) = limits.late({"memory": {"limit": GIB, "checkBeforeUpdate": True}}, V2)
    assert write.above == "memory.current"
    _, unlimited = limits.late({"memory": {"limit": -1, "checkBeforeUpdate": True}}, V2)
    assert unlimited.above == ""


def test_memory_v1() -> None:
    memory = {"limit": GIB, "swap": 2 * GIB, "reservation": 5, "swappiness": 0, "disableOOMKiller": True}
    memory["useHierarchy"] = True
    writes = limits.late({"memory": memory}, V1)
    assert texts(writes) == [
        f"memory.limit_in_bytes = {GIB}",
        f"memory.memsw.limit_in_bytes = {2 * GIB}",
        "memory.soft_limit_in_bytes = 5",
        "memory.oom_control = 1",
        "memory.use_hierarchy = 1",
        "memory.swappiness = 0",
    ]
    assert writes[0].later == ("EINVAL",)
    assert late({"memory": {"limit": -1}}, V1) == ["memory.limit_in_bytes = -1", "memory.memsw.limit_in_bytes = -1"]
    assert late({"memory": {"swappiness": (1 << 64) - 1}}, V1) == []
    with pytest.raises(CgroupError, match="swappiness value: 101"):
        late({"memory": {"swappiness": 101}}, V1)


@pytest.mark.parametrize("available", [V1, V2])
@pytest.mark.parametrize(("limit", "value"), [(-1, "max"), (-5, "max"), (0, "1"), (1, "1"), (42, "42")])
def test_pids(available: dict[str, str], limit: int, value: str) -> None:
    assert late({"pids": {"limit": limit}}, available) == [f"pids.max = {value}"]
    assert late({"pids": {}}, available) == []


BLOCK_IO = {
    "weight": 10,
    "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}],
    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}, {"major": 8, "minor": 16, "rate": 0}],
    "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 300}],
}


def test_block_io_v2() -> None:
    writes = limits.late({"blockIO": BLOCK_IO}, V2)
    assert texts(writes) == [
        "io.bfq.weight = 10",
        "io.bfq.weight = 8:0 1000",
        "io.max = 8:0 rbps=600",
        "io.max = 8:16 rbps=max",
        "io.max = 8:0 wiops=300",
    ]
    assert [write.otherwise and write.otherwise.text() for write in writes[:2]] == [
        "io.weight = 1",
        "io.weight = 8:0 10000",
    ]
    assert [write.otherwise and write.otherwise.tolerate for write in writes[:2]] == [(), ("ENOENT", "EOPNOTSUPP")]
    for leaf in ({"leafWeight": 10}, {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}):
        with pytest.raises(CgroupError, match="no leaf weights"):
            late({"blockIO": leaf})


def test_block_io_v1() -> None:
    writes = limits.late({"blockIO": {**BLOCK_IO, "leafWeight": 20}}, V1)
    assert texts(writes) == [
        "blkio.weight = 10",
        "blkio.leaf_weight = 20",
        "blkio.weight_device = 8:0 1000",
        "blkio.throttle.read_bps_device = 8:0 600",
        "blkio.throttle.read_bps_device = 8:16 0",
        "blkio.throttle.write_iops_device = 8:0 300",
    ]
    assert writes[0].otherwise is not None and writes[0].otherwise.file == "blkio.bfq.weight"


def test_huge_pages() -> None:
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}, {"pageSize": "1GB", "limit": 0}]}
    writes = limits.late(resources, V2)
    assert texts(writes) == [
        "hugetlb.2MB.max = 4096",
        "hugetlb.2MB.rsvd.max = 4096",
        "hugetlb.1GB.max = 0",
        "hugetlb.1GB.rsvd.max = 0",
    ]
    assert [write.tolerate for write in writes] == [(), ("ENOENT",), (), ("ENOENT",)]
    assert late(resources, V1)[:2] == ["hugetlb.2MB.limit_in_bytes = 4096", "hugetlb.2MB.rsvd.limit_in_bytes = 4096"]
    with pytest.raises(CgroupError, match="invalid huge page size"):
        late({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]})


def test_rdma() -> None:
    resources = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 0}, "rxe3": {}}}
    for available in (V1, V2):
        assert late(resources, available) == [
            "rdma.max = mlx5_1 hca_handle=3 hca_object=10000",
            "rdma.max = mlx4_0 hca_object=0",
        ]


def test_network_is_for_v1_only() -> None:
    resources = {"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}}
    assert late(resources, V1) == ["net_cls.classid = 1048577", "net_prio.ifpriomap = eth0 500"]
    assert late({"network": {"classID": 0, "priorities": []}}) == []
    for key, value in resources["network"].items():
        for available in (V2, {**V2, "memory": "/x"}):
            with pytest.raises(CgroupError, match=r"linux.resources.network: no net_(cls|prio) controller is mounted"):
                late({"network": {key: value}}, available)


def test_an_update_takes_the_choice_of_victims_back() -> None:
    """A new group has the kernel choose one, so only an update has to say so."""
    changes = {"memory": {"disableOOMKiller": False}}
    assert late(changes, V1) == []
    assert texts(limits.update({}, changes, V1)) == ["memory.oom_control = 0"]
    assert limits.update({}, changes, V2) == ()


def test_what_is_ignored_is_told() -> None:
    memory = {"kernel": 1, "kernelTCP": 1, "swappiness": 50, "disableOOMKiller": True, "useHierarchy": True}
    assert len(limits.ignored({"memory": memory}, V2)) == 2
    assert len(limits.ignored({"memory": memory}, V1)) == 1
    assert limits.ignored({"memory": {"limit": 5, "swappiness": 0}}, V2) == ()


@pytest.mark.parametrize(
    ("key", "value", "unset"),
    [
        ("swappiness", 50, 0),
        ("swappiness", 101, (1 << 64) - 1),
        ("disableOOMKiller", True, False),
        ("kernelTCP", 1 << 26, -1),
    ],
)
def test_what_version_2_cannot_be_told_of_memory(key: str, value: object, unset: object) -> None:
    """config-linux.md, Unified: what cannot be converted is an error."""
    with pytest.raises(CgroupError, match=f"memory.{key}"):
        late({"memory": {key: value}}, V2)
    assert late({"memory": {key: unset}}, V2) == []


def test_unified_line_by_line() -> None:
    resources = {"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "memory.high": "5", "cpuset.cpus": ""}}
    writes = limits.late(resources, V2)
    assert [(write.file, write.value) for write in writes] == [
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
        ("memory.high", "5"),
        ("cpuset.cpus", "\n"),
    ]
    assert limits.controllers(writes) == ("io", "memory", "cpuset")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("memory", "CONTROLLER.PARAMETER"),
        (".max", "CONTROLLER.PARAMETER"),
        ("../a.b", "no slashes"),
        ("a/b.c", "no slash"),
    ],
)
def test_unified_names_that_are_none(key: str, text: str) -> None:
    with pytest.raises(CgroupError, match=text):
        late({"unified": {key: "1"}})


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpu": {"shares": 512}, "unified": {"cpu.idle": "1"}}, ["cpu.idle = 1"]),
        ({"unified": {"cpu.idle": "1", "cpu.weight": "500"}}, ["cpu.idle = 1"]),
        ({"cpu": {"shares": 512, "idle": 1}, "unified": {"cpu.idle": "0"}}, ["cpu.idle = 0", "cpu.weight = 59"]),
        (
            {"cpu": {"shares": 512, "burst": 0}, "unified": {"cpu.weight": "500"}},
            ["cpu.max.burst = 0", "cpu.weight = 500"],
        ),
    ],
)
def test_a_group_that_is_idle_by_unified_gets_no_weight(resources: dict[str, Any], expected: list[str]) -> None:
    """systemd has it idle before the files are written, and then the kernel takes none."""
    assert late(resources) == expected


def test_unified_needs_pure_v2() -> None:
    for available in (V1, {**V1, "": "/y"}):
        with pytest.raises(CgroupError, match="unified"):
            late({"unified": {"memory.max": "1"}}, available)
    assert late({"unified": {}}, V1) == []


def test_a_controller_that_is_not_mounted() -> None:
    without = {name: path for name, path in V1.items() if name != "hugetlb"}
    with pytest.raises(CgroupError, match=r"linux.resources.hugepageLimits: no hugetlb controller is mounted"):
        late({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, without)
    assert late({"hugepageLimits": []}, without) == []


def test_on_a_hybrid_host_the_controller_decides() -> None:
    hybrid = {name: path for name, path in V1.items() if name != "hugetlb"} | {"": "/unified"}
    writes = limits.late({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}], "pids": {"limit": 5}}, hybrid)
    assert [(write.controller, write.file) for write in writes] == [
        ("pids", "pids.max"),
        ("", "hugetlb.2MB.max"),
        ("", "hugetlb.2MB.rsvd.max"),
    ]
    assert limits.controllers(writes) == ("hugetlb",)


SAVED = {"memory": {"limit": GIB, "swap": 2 * GIB}, "cpu": {"quota": 50000, "period": 20000, "shares": 512}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"cpu": {"quota": 10000}}, ["cpu.max = 10000 20000"]),
        ({"cpu": {"period": 40000}}, ["cpu.max = 50000 40000"]),
        ({"cpu": {"shares": 1024}}, ["cpu.weight = 100"]),
        ({"memory": {"limit": 2 * GIB}}, ["memory.swap.max = 0", f"memory.max = {2 * GIB}"]),
        ({"memory": {"swap": -1}}, ["memory.swap.max = max", f"memory.max = {GIB}"]),
        ({"memory": {"limit": -1}}, ["memory.swap.max = max", "memory.max = max"]),
        ({"memory": {"reservation": 5}}, ["memory.low = 5"]),
        ({"pids": {"limit": 7}, "devices": [{"allow": True}]}, ["pids.max = 7"]),
        ({"pids": {"limit": 0}}, ["pids.max = 1"]),
        ({"memory": {"limit": 3 * GIB, "swap": 0}}, [f"memory.max = {3 * GIB}"]),
        ({"memory": {"limit": -1, "swap": 0}}, ["memory.swap.max = max", "memory.max = max"]),
        ({"memory": {"limit": 0, "swap": 3 * GIB}}, [f"memory.swap.max = {2 * GIB}", f"memory.max = {GIB}"]),
        ({"cpu": {"quota": 10000, "period": 0}}, ["cpu.max = 10000 20000"]),
        ({"cpu": {"quota": -1}}, ["cpu.max = max 20000"]),
        ({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}, "blockIO": {"weight": 0}}, []),
        ({"cpu": {"burst": 0, "idle": 0}}, ["cpu.idle = 0", "cpu.weight = 59", "cpu.max.burst = 0"]),
        ({"unified": {"io.latency": "8:0 target=9"}}, ["io.latency = 8:0 target=9"]),
        ({}, []),
    ],
)
def test_update_changes_what_was_asked_for(changes: dict[str, Any], expected: list[str]) -> None:
    assert texts(limits.update(SAVED, changes, V2)) == expected


@pytest.mark.parametrize("available", [V1, V2])
def test_update_of_an_idle_group(available: dict[str, str]) -> None:
    saved = {"cpu": {"idle": 1, "shares": 512}}
    assert texts(limits.update(saved, {"cpu": {"shares": 1024}}, available)) == ["cpu.idle = 1"]
    assert len(limits.update(saved, {"cpu": {"shares": 1024, "idle": 0}}, available)) == 2
    idle, weight = limits.update(saved, {"cpu": {"idle": 0}}, available)
    assert (idle.text(), weight.why) == ("cpu.idle = 0", "cpu.shares")


@pytest.mark.parametrize(
    ("saved", "changes", "asked", "then"),
    [
        ({"cpu": {"shares": 512}}, {"unified": {"cpu.idle": "1"}}, ["cpu.idle = 1"], ["cpu.idle = 1"]),
        ({"unified": {"cpu.weight": "500"}}, {"unified": {"cpu.idle": "1"}}, ["cpu.idle = 1"], ["cpu.idle = 1"]),
        ({"unified": {"cpu.idle": "1"}}, {"cpu": {"shares": 512}}, ["cpu.idle = 1"], ["cpu.idle = 1"]),
        (
            {"cpu": {"shares": 512, "idle": 1}},
            {"unified": {"cpu.idle": "0"}},
            ["cpu.idle = 0", "cpu.weight = 59"],
            ["cpu.idle = 0", "cpu.weight = 59"],
        ),
        (
            {"cpu": {"shares": 512}, "unified": {"cpu.weight": "500"}},
            {"cpu": {"idle": 0}},
            ["cpu.idle = 0"],
            ["cpu.idle = 0", "cpu.weight = 500"],
        ),
        (
            {"unified": {"cpu.idle": "1", "cpu.max": "max"}},
            {"pids": {"limit": 5}},
            ["pids.max = 5"],
            ["pids.max = 5", "cpu.idle = 1", "cpu.max = max"],
        ),
        ({}, {"unified": {"cpu.idle": "2"}}, ["cpu.idle = 2"], ["cpu.idle = 2"]),
    ],
)
def test_update_of_an_idle_group_by_unified(
    saved: dict[str, Any], changes: dict[str, Any], asked: list[str], then: list[str]
) -> None:
    """Of an idle group the kernel refuses a weight, be it the one that is in force."""
    assert texts(limits.update(saved, changes, V2)) == asked
    assert late(limits.merge(saved, changes)) == then


def test_merge() -> None:
    merged = limits.merge(SAVED, {"cpu": {"quota": 1}, "pids": {"limit": 5}})
    assert merged == {
        "memory": SAVED["memory"],
        "cpu": {"quota": 1, "period": 20000, "shares": 512},
        "pids": {"limit": 5},
    }
    assert SAVED["cpu"]["quota"] == 50000


def test_merge_leaves_out_what_changes_nothing() -> None:
    zeros = {"memory": {"limit": 0, "reservation": 0}, "cpu": {"quota": 0, "cpus": ""}, "devices": [{"allow": True}]}
    assert limits.merge(SAVED, zeros) == SAVED
    assert limits.merge({}, {"cpu": {"burst": 0}}) == {"cpu": {"burst": 0}}


def test_merge_of_a_limit_that_is_lifted() -> None:
    """Swap was lifted along; the old number of it is history."""
    for swap in ({}, {"swap": 0}):
        merged = limits.merge(SAVED, {"memory": {"limit": -1, **swap}})
        assert merged["memory"] == {"limit": -1, "swap": -1}
        assert texts(limits.update(merged, {"memory": {"limit": 5 * GIB}}, V2))[0] == "memory.swap.max = max"


@pytest.mark.parametrize(
    ("unified", "changes", "left"),
    [
        ({"memory.max": "9", "memory.high": "8"}, {"memory": {"limit": GIB}}, {"memory.high": "8"}),
        ({"memory.max": "9"}, {"memory": {"limit": 0}}, {"memory.max": "9"}),
        ({"memory.swap.max": "9"}, {"memory": {"limit": -1}}, {}),
        ({"cpu.max": "max 50000", "cpuset.cpus": "0, 2"}, {"cpu": {"quota": 20000, "cpus": "1"}}, {}),
        ({"cpu.idle": "0", "cpu.weight": "50"}, {"cpu": {"idle": 1}}, {}),
        ({"cpu.weight": "50"}, {"cpu": {"idle": 0}}, {"cpu.weight": "50"}),
        ({"cpuset.cpus": ""}, {"cpu": {"mems": "0"}}, {"cpuset.cpus": ""}),
        ({"io.weight": "default 7\n8:0 9"}, {"blockIO": {"weight": 100}}, {"io.weight": "8:0 9"}),
        (
            {"io.max": "8:0 rbps=1\n8:16 rbps=2\n"},
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 7}]}},
            {"io.max": "8:16 rbps=2"},
        ),
        (
            {"io.max": "8:0 rbps=100 wbps=200\n8:16  wbps=3"},
            {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": minor, "rate": 7} for minor in (0, 16)]}},
            {"io.max": "8:0 wbps=200\n8:16 wbps=3"},
        ),
        (
            {"rdma.max": "mlx4_0 hca_handle=1 hca_object=2"},
            {"rdma": {"mlx4_0": {"hcaHandles": 3}}},
            {"rdma.max": "mlx4_0 hca_object=2"},
        ),
        ({"pids.max": "9"}, {"pids": {"limit": 5}, "unified": {"pids.max": "7"}}, {"pids.max": "7"}),
        ({}, {"pids": {"limit": 5}, "unified": {"pids.max": "7"}}, {"pids.max": "7"}),
    ],
)
def test_merge_of_unified_with_what_replaces_it(
    unified: dict[str, str], changes: dict[str, Any], left: dict[str, str]
) -> None:
    saved = {"unified": unified} if unified else {}
    merged = limits.merge(saved, changes)
    assert merged["unified"] == left
    # What is in force is what was asked for last.
    last = said_last((*limits.early(merged, V2), *limits.late(merged, V2)))
    assert last | said_last(limits.update(saved, changes, V2)) == last


def said_last(writes: tuple[Write, ...]) -> dict[tuple[str, ...], str]:
    """By file, subject and key."""
    found = {}
    for write in writes:
        words = write.value.split() if write.keys() else []
        for key, value in (word.split("=") for word in words[1:]):
            found[write.file, write.subject(), key] = value
        if not words:
            found[write.file, write.subject(), ""] = write.value
    return found


def test_merge_of_lists_goes_by_what_is_limited() -> None:
    saved = {
        "blockIO": {
            "weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 5}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 16, "rate": 2}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    }
    changes = {
        "blockIO": {
            "weightDevice": [{"major": 8, "minor": 0, "weight": 20}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 16, "rate": 3}, {"major": 9, "minor": 0, "rate": 4}],
        },
        "hugepageLimits": [{"pageSize": "1GB", "limit": 7}],
        "network": {"priorities": [{"name": "eth0", "priority": 1}]},
    }
    assert limits.merge(saved, changes) == {
        "blockIO": {
            "weightDevice": [{"major": 8, "minor": 0, "weight": 20, "leafWeight": 5}],
            "throttleReadBpsDevice": [
                {"major": 8, "minor": 0, "rate": 1},
                {"major": 8, "minor": 16, "rate": 3},
                {"major": 9, "minor": 0, "rate": 4},
            ],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 7}],
        "network": {"priorities": [{"name": "eth0", "priority": 1}]},
    }
