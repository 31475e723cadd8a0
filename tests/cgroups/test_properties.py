# SPDX-License-Identifier: Apache-2.0
"""Limits, device rules and annotations as properties of a unit."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroups import devices, v1, v2
from pyoci.cgroups.limits import early, late
from pyoci.cgroups.properties import Property, annotated, device_rules, limits, oom_policy, rounded, unkept
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError

INFINITY = (1 << 64) - 1
NEW, OLD = 257, 239


def as_dict(found: tuple[Property, ...]) -> dict[str, Any]:
    return {each.name: each.value for each in found}


def of(version: int = NEW, unified: dict[str, str] | None = None, **resources: Any) -> dict[str, Any]:
    writes = (*early(resources, {""}), *late(resources, {""}), *v2.unified(unified or {}))
    return as_dict(limits(writes, version))


@pytest.mark.parametrize(
    ("resources", "properties"),
    [
        ({}, {}),
        ({"memory": {"limit": 1 << 20}}, {"MemoryMax": 1 << 20}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        (
            {"memory": {"limit": 10, "swap": 30, "reservation": 5}},
            {"MemoryMax": 10, "MemorySwapMax": 20, "MemoryLow": 5},
        ),
        ({"memory": {"limit": 10, "swap": 10}}, {"MemoryMax": 10, "MemorySwapMax": 0}),
        ({"pids": {"limit": 10}}, {"TasksMax": 10}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"shares": 512, "idle": 0}}, {"CPUWeight": 59}),
        ({"cpu": {"idle": 0}}, {"CPUWeight": 100}),
        ({"cpu": {"quota": 50_000}}, {"CPUQuotaPerSecUSec": 500_000, "CPUQuotaPeriodUSec": 100_000}),
        ({"cpu": {"quota": 1, "period": 100_000}}, {"CPUQuotaPerSecUSec": 10_000, "CPUQuotaPeriodUSec": 100_000}),
        ({"cpu": {"quota": -1, "period": 5000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 5000}),
        ({"cpu": {"period": 5000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 5000}),
        ({"cpu": {"cpus": "0-2,9", "mems": "0"}}, {"AllowedCPUs": b"\x07\x02", "AllowedMemoryNodes": b"\x01"}),
        ({"blockIO": {"weight": 100}, "hugepageLimits": []}, {"IOWeight": 100}),
        ({"blockIO": {"weight": 10}}, {"IOWeight": 10}),
        ({"blockIO": {"weight": 500}}, {"IOWeight": 4500}),
        ({"blockIO": {"weight": 1000}}, {"IOWeight": 10_000}),
        ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 9}]}}, {}),
    ],
)
def test_resources(resources: dict[str, Any], properties: dict[str, Any]) -> None:
    assert of(**resources) == properties


@pytest.mark.parametrize(
    ("key", "value", "properties"),
    [
        ("memory.high", "64M", {"MemoryHigh": 64 << 20}),
        ("memory.min", " 4096 ", {"MemoryMin": 4096}),
        ("memory.max", "max", {"MemoryMax": INFINITY}),
        ("memory.max", "much", {}),
        ("pids.max", "0", {"TasksMax": 1}),
        ("cpu.max", "max", {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 100_000}),
        ("cpu.max", "20000 40000", {"CPUQuotaPerSecUSec": 500_000, "CPUQuotaPeriodUSec": 40_000}),
        ("cpu.max", "a b", {}),
        ("cpu.weight", "77", {"CPUWeight": 77}),
        ("cpu.idle", "1", {"CPUWeight": 0}),
        ("cpu.idle", "0", {"CPUWeight": 100}),
        ("cpuset.cpus", "1, 3-4", {"AllowedCPUs": b"\x1a"}),
        ("cpuset.cpus", "", {}),
        ("cpuset.cpus", "0-10:2/4", {"AllowedCPUs": b"\x33\x03"}),
        ("cpuset.cpus", "0-6:3/4,9", {"AllowedCPUs": b"\x77\x02"}),
        ("cpuset.cpus", "0-2:5/9", {"AllowedCPUs": b"\x07"}),
        ("cpuset.cpus", "0-7:0/4", {}),
        ("cpuset.cpus", "0-7:4/2", {}),
        ("cpuset.cpus", "0-7:2", {}),
        ("cpuset.cpus", "0-N", {}),
        ("cpuset.cpus", "all", {}),
        ("cpuset.cpus", "4-3", {}),
        ("io.max", "8:0 rbps=1", {}),
        ("io.weight", "default 77", {"IOWeight": 77}),
        ("io.weight", "77\n8:0 99", {"IOWeight": 77}),
        ("io.weight", "10001", {}),
        ("io.weight", "0", {}),
        ("io.bfq.weight", "101", {"IOWeight": 111}),
        ("memory.zswap.max", "4096", {"MemoryZSwapMax": 4096}),
        ("memory.max", str(INFINITY), {"MemoryMax": INFINITY}),
        ("memory.max", str(INFINITY + 1), {}),
        ("memory.high", "16777215t", {"MemoryHigh": 16777215 << 40}),
        ("memory.high", "16777216t", {}),
        pytest.param("memory.max", "9" * 4301, {}, id="memory.max-endless"),
        ("memory.max", "\u0661", {}),
        ("pids.max", str(1 << 64), {}),
        pytest.param("cpuset.cpus", "9" * 4301, {}, id="cpuset.cpus-endless"),
        ("cpuset.cpus", "\u0661", {}),
        ("cpu.max", f"{(1 << 44) - 1} 1", {"CPUQuotaPerSecUSec": 17592186044415 * 10**6, "CPUQuotaPeriodUSec": 1}),
        ("cpu.max", f"{1 << 44} 1000", {}),
        ("cpu.max", f"max {1 << 64}", {}),
        pytest.param("cpu.max", "9" * 4301, {}, id="cpu.max-endless"),
    ],
)
def test_unified(key: str, value: str, properties: dict[str, Any]) -> None:
    assert of(unified={key: value}) == properties


def test_unified_has_the_last_word() -> None:
    assert of(memory={"limit": 10}, unified={"memory.max": "20"}) == {"MemoryMax": 20}


def test_what_an_old_systemd_does_not_know_is_left_to_the_files() -> None:
    assert of(OLD, cpu={"quota": 50_000, "cpus": "0", "idle": 1}) == {"CPUQuotaPerSecUSec": 500_000}
    assert of(251, cpu={"idle": 0}) == {}
    assert of(252, unified={"memory.zswap.max": "max"}) == {}
    assert device_rules(devices.rules([]), OLD, overwritten=False) == ()


def test_version_1() -> None:
    writes = (
        *v1.memory({"limit": 10}),
        *v1.cpu({"shares": 512, "quota": 12_345, "period": 50_000}),
        *v1.block_io({"weight": 500}),
        *v1.pids({"limit": -1}),
    )
    assert as_dict(limits(writes, NEW)) == {
        "MemoryLimit": 10,
        "CPUShares": 512,
        "BlockIOWeight": 500,
        "TasksMax": INFINITY,
        "CPUQuotaPerSecUSec": 250_000,
        "CPUQuotaPeriodUSec": 50_000,
    }
    assert {write.file: write.value for write in rounded(writes)}["cpu.cfs_quota_us"] == "12500"
    for idle in (0, 1):  # CPUWeight would count for more than CPUShares, and is no way to say it here
        assert limits(v1.cpu({"idle": idle}), NEW) == ()


@pytest.mark.parametrize(
    ("present", "then"),
    [
        ("12345 100000", "13000 100000"),
        ("max 100000", "max 100000"),
        ("1", "1000 100000"),
        ("x", "x"),
        (f"{(1 << 63) - 1} 1000", f"{(1 << 63) - 1} 1000"),
    ],
)
def test_quotas_are_rounded_up_to_a_percent(present: str, then: str) -> None:
    (write,) = rounded([Write(controller="", file="cpu.max", value=present, why="")])
    assert write.value == then


@pytest.mark.parametrize(
    ("resources", "available", "lost"),
    [
        ({"cpu": {"period": 50_000, "cpus": "0", "shares": 512}}, {""}, ["cpuset.cpus", "cpu.weight", "cpu.max"]),
        ({"blockIO": {"weight": 500}, "pids": {"limit": 9}}, {""}, ["pids.max", "io.bfq.weight"]),
        ({"blockIO": {"weight": 500}, "pids": {"limit": 9}}, {"blkio", "pids"}, ["pids.max", "blkio.weight"]),
        ({"cpu": {"period": 50_000, "quota": -1}}, {"cpu"}, ["cpu.cfs_period_us", "cpu.cfs_quota_us"]),
        (
            {"unified": {"memory.oom.group": "1", "memory.zswap.max": "9"}},
            {""},
            ["memory.oom.group", "memory.zswap.max"],
        ),
        ({"unified": {"memory.reclaim": "9", "cgroup.freeze": "1", "io.max": "8:0 rbps=1"}}, {""}, []),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, {""}, []),
    ],
)
def test_what_systemd_may_undo(resources: dict[str, Any], available: set[str], lost: list[str]) -> None:
    assert [write.file for write in unkept((*early(resources, available), *late(resources, available)))] == lost


def test_what_is_said_twice_is_written_once() -> None:
    """And at once: 64 MB may be in use where 100 MB were allowed last."""
    resources = {
        "memory": {"limit": 64_000_000, "checkBeforeUpdate": True},
        "blockIO": {"weight": 20, "weightDevice": [{"major": 8, "minor": 0, "weight": 30}]},
        "unified": {"memory.max": "100000000", "io.bfq.weight": "default 50\n8:16 60"},
    }
    assert [(write.text(), write.above) for write in unkept(late(resources, {""}))] == [
        ("memory.max = 100000000", ""),
        ("io.bfq.weight = default 50", ""),
        ("io.bfq.weight = 8:0 30", ""),
        ("io.bfq.weight = 8:16 60", ""),
    ]
    assert [write.above for write in unkept(late({"memory": resources["memory"]}, {""}))] == [""]


def test_what_is_told_can_be_sent() -> None:
    """D-Bus has no numbers of more than 64 bits, and the specification's quota has 63."""
    jeepney = pytest.importorskip("jeepney", reason="needs python3-jeepney")
    most = (1 << 63) - 1
    asked = (
        {"cpu": {"quota": most, "period": 1000}},
        {"cpu": {"quota": most, "period": (1 << 64) - 1}},
        {"memory": {"limit": most, "swap": most}, "pids": {"limit": most}},
        {"cpu": {"shares": (1 << 64) - 1}},
        {"unified": {"memory.max": "9" * 20, "memory.high": "20000000t", "cpu.max": "max " + "9" * 20}},
    )
    for resources in asked:
        told = [(each.name, (each.signature, each.value)) for each in limits(late(resources, {""}), NEW)]
        address = jeepney.DBusAddress("/", bus_name="a.b", interface="a.b")
        jeepney.new_method_call(address, "SetUnitProperties", "sba(sv)", ("u", True, told)).serialise(1)


def test_the_policy_for_want_of_memory() -> None:
    for value, policy in (("0", ["continue"]), ("1", ["kill"]), ("2", [])):
        writes = v2.unified({"memory.oom.group": value})
        assert [each.value for each in oom_policy(writes, NEW)] == policy
        assert oom_policy(writes, 252) == ()


ALL = {"allow": True, "access": "rwm"}
DEFAULT = {
    "char-*": "m",
    "block-*": "m",
    "char-136": "rwm",
    **{f"/dev/char/{number}": "rwm" for number in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "10:200")},
}


def test_devices_are_a_list_of_what_is_allowed() -> None:
    found = device_rules(
        devices.rules([{"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}]), NEW, False
    )
    assert [(each.name, each.signature) for each in found] == [
        ("DevicePolicy", "s"),
        ("DeviceAllow", "a(ss)"),
        ("DeviceAllow", "a(ss)"),
    ]
    assert found[0].value == "strict"
    assert found[1].value == []
    listed: Any = found[2].value
    assert dict(listed) == DEFAULT | {"/dev/block/8:0": "r"}


def device(allow: bool, kind: str, major: int | None, minor: int | None, access: str = "rwm") -> dict[str, Any]:
    return {"allow": allow, "type": kind, "major": major, "minor": minor, "access": access}


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ([ALL, device(False, "c", 1, 1, "w")], DEFAULT | {"block-*": "rwm"}),
        ([ALL, device(False, "c", 1, 1), device(False, "b", 8, None)], DEFAULT),
        ([device(True, "c", None, 7)], DEFAULT),
        ([device(True, "c", None, 7), device(True, "b", 8, 1, "r")], DEFAULT | {"/dev/block/8:1": "r"}),
        ([device(True, "c", 4, None), device(False, "c", 4, 1)], DEFAULT),
        ([ALL, device(False, "c", 1, 3)], DEFAULT | {"char-*": "rwm", "block-*": "rwm"}),
    ],
)
def test_devices_that_systemd_cannot_list(rules: list[dict[str, Any]], told: dict[str, str]) -> None:
    """They are left to a program of ours; the files of version 1 are systemd's as well, and it fails closed there."""
    ruled = devices.rules(rules)
    assert [each.value for each in device_rules(ruled, NEW, overwritten=False)] == ["auto", []]
    policy, nothing, listed = (each.value for each in device_rules(ruled, NEW, overwritten=True))
    assert (policy, nothing) == ("strict", [])
    assert dict(listed) == told


@pytest.mark.parametrize("overwritten", [False, True])
def test_all_devices(overwritten: bool) -> None:
    assert [each.value for each in device_rules(devices.rules([ALL]), NEW, overwritten)] == ["auto", []]


def test_an_old_systemd_knows_terminals_by_name() -> None:
    *_, listed = device_rules(devices.rules([]), OLD, overwritten=True)
    entries: Any = listed.value
    assert dict(entries) == {"char-pts" if path == "char-136" else path: access for path, access in DEFAULT.items()}


@pytest.mark.parametrize(
    ("name", "text", "then"),
    [
        ("TimeoutStopUSec", "uint64 5", ("TimeoutStopUSec", "t", 5)),
        ("TimeoutStopSec", "5", ("TimeoutStopUSec", "t", 5_000_000)),
        ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", "t", 1_500_000)),
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", "s", "inactive-or-failed")),
    ],
)
def test_annotations(name: str, text: str, then: tuple[str, str, Any]) -> None:
    (found,) = annotated({f"org.systemd.property.{name}": text, "org.example": "x"})
    assert (found.name, found.signature, found.value) == then


@pytest.mark.parametrize(
    ("name", "text", "fragment"),
    [
        ("Ab", "1", "name incorrect"),
        ("A1b", "1", "name incorrect"),
        ("", "1", "name incorrect"),
        ("Slice", "system.slice", "value parse error: 'system' is no value"),
        ("TimeoutStopSec", "'5'", "is no number of seconds"),
        ("TimeoutStopSec", "-1", "is no number of seconds"),
        ("TimeoutStopSec", "true", "is no number of seconds"),
    ],
)
def test_annotations_that_are_no_properties(name: str, text: str, fragment: str) -> None:
    with pytest.raises(CgroupError) as caught:
        annotated({f"org.systemd.property.{name}": text})
    assert fragment in caught.value.message


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Property(name="MemoryMax", signature="t", value=INFINITY), "MemoryMax = infinity"),
        (Property(name="AllowedCPUs", signature="ay", value=b"\x05"), "AllowedCPUs = 0,2"),
        (Property(name="DeviceAllow", signature="a(ss)", value=[("a", "r"), ("b", "w")]), "DeviceAllow = a r, b w"),
    ],
)
def test_for_people(found: Property, text: str) -> None:
    assert found.text() == text
