# SPDX-License-Identifier: Apache-2.0
"""linux.resources, property by property: what is in the cgroup's files afterwards, or what is said instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .harness import CGROUP_ROOT, Container, cgroups_named

differs = pytest.mark.differs
v1 = pytest.mark.needs_cgroup_v1
v2 = pytest.mark.needs_cgroup_v2

OLD = differs(runc="1.1.5 is older than this and ignores it")

MIB = 1 << 20
DISK = "DISK"
"""Stands for the numbers of a block device of this host."""


def disk() -> tuple[int, int]:
    """A block device that is no part of another one, and whose requests can be counted."""
    for directory in sorted(Path("/sys/block").iterdir()):
        virtual = directory.name.startswith(("loop", "ram", "zram", "nbd", "sr", "fd"))
        if not virtual and (directory / "size").read_text().strip() != "0":
            major, minor = (directory / "dev").read_text().strip().split(":")
            return int(major), int(minor)
    pytest.skip("needs a disk")


def on_disk(value: Any) -> Any:
    """A copy of resources or of a file's content with the numbers of the disk in it."""
    if isinstance(value, str):
        return value.replace(DISK, "{}:{}".format(*disk())) if DISK in value else value
    if isinstance(value, list):
        return [on_disk(item) for item in value]
    if isinstance(value, dict):
        numbers = dict(zip(("major", "minor"), disk(), strict=True)) if value.get("major") == DISK else {}
        return {key: on_disk(item) for key, item in value.items()} | numbers
    return value


def files(container: Container, name: str) -> list[Path]:
    """The files of this name in the container's cgroups."""
    return [directory / name for directory in cgroups_named(container.id) if (directory / name).exists()]


def lines(container: Container, name: str) -> list[str]:
    (file,) = files(container, name)
    return file.read_text().splitlines()


def rate(kind: str, value: int) -> dict[str, Any]:
    return {"blockIO": {f"throttle{kind}Device": [{"major": DISK, "minor": 0, "rate": value}]}}


@v1
@pytest.mark.parametrize(
    ("resources", "file", "line"),
    [
        ({"memory": {"disableOOMKiller": True}}, "memory.oom_control", "oom_kill_disable 1"),
        ({"memory": {"useHierarchy": True}}, "memory.use_hierarchy", "1"),
        pytest.param(
            {"memory": {"kernelTCP": 64 * MIB}},
            "memory.kmem.tcp.limit_in_bytes",
            str(64 * MIB),
            marks=differs(runc="leaves out the limit of TCP buffers"),
        ),
        pytest.param({"cpu": {"quota": 20000, "period": 50000, "burst": 1000}}, "cpu.cfs_burst_us", "1000", marks=OLD),
        pytest.param({"cpu": {"idle": 1}}, "cpu.idle", "1", marks=OLD),
        ({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}}, "cpu.rt_runtime_us", "1000"),
        ({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 500_000}}, "cpu.rt_period_us", "500000"),
        ({"blockIO": {"weight": 500}}, "blkio.bfq.weight", "500"),
        (rate("ReadBps", MIB), "blkio.throttle.read_bps_device", f"{DISK} {MIB}"),
        (rate("WriteBps", MIB), "blkio.throttle.write_bps_device", f"{DISK} {MIB}"),
        (rate("ReadIOPS", 100), "blkio.throttle.read_iops_device", f"{DISK} 100"),
        (rate("WriteIOPS", 100), "blkio.throttle.write_iops_device", f"{DISK} 100"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_file_of_version_1(container: Container, resources: dict[str, Any], file: str, line: str) -> None:
    probe = CGROUP_ROOT / file.partition(".")[0] / f"{container.id}-probe"
    probe.mkdir()  # the root of a hierarchy does not have all the files
    try:
        if not (probe / file).exists():
            pytest.skip(f"needs {file}")
    finally:
        probe.rmdir()
    container.resources.update(on_disk(resources))
    container.create().ok()
    assert on_disk(line) in lines(container, file)


@v2
@pytest.mark.parametrize(
    ("resources", "file", "line"),
    [
        ({"memory": {"limit": 64 * MIB}}, "memory.max", str(64 * MIB)),
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}, "memory.swap.max", str(32 * MIB)),
        ({"memory": {"reservation": 32 * MIB}}, "memory.low", str(32 * MIB)),
        ({"cpu": {"shares": 1024}}, "cpu.weight", "100"),
        ({"cpu": {"quota": 20000, "period": 50000}}, "cpu.max", "20000 50000"),
        pytest.param({"cpu": {"quota": 20000, "period": 50000, "burst": 1000}}, "cpu.max.burst", "1000", marks=OLD),
        pytest.param({"cpu": {"idle": 1}}, "cpu.idle", "1", marks=OLD),
        ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "0"),
        ({"cpu": {"mems": "0"}}, "cpuset.mems", "0"),
        ({"pids": {"limit": 42}}, "pids.max", "42"),
        (rate("ReadBps", MIB), "io.max", f"{DISK} rbps={MIB} wbps=max riops=max wiops=max"),
        (rate("WriteBps", MIB), "io.max", f"{DISK} rbps=max wbps={MIB} riops=max wiops=max"),
        (rate("ReadIOPS", 100), "io.max", f"{DISK} rbps=max wbps=max riops=100 wiops=max"),
        (rate("WriteIOPS", 100), "io.max", f"{DISK} rbps=max wbps=max riops=max wiops=100"),
        ({"unified": {"memory.high": str(48 * MIB), "pids.max": "17"}}, "memory.high", str(48 * MIB)),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_file_of_version_2(container: Container, resources: dict[str, Any], file: str, line: str) -> None:
    container.resources.update(on_disk(resources))
    container.create().ok()
    assert on_disk(line) in lines(container, file)


@differs(runc="1.1.5 looks for it in version 1 alone", always=False)
def test_huge_pages(container: Container) -> None:
    """Both those in use and those reserved, for whichever version has the controller."""
    unified = [path for path in (CGROUP_ROOT, CGROUP_ROOT / "unified") if (path / "cgroup.controllers").exists()]
    there = any("hugetlb" in (path / "cgroup.controllers").read_text() for path in unified)
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() or not (
        there or (CGROUP_ROOT / "hugetlb").exists()
    ):
        pytest.skip("needs huge pages of 2 MB and their controller")
    container.resources["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MIB}]
    container.create().ok()
    found = [
        file.read_text().strip()
        for name in ("max", "limit_in_bytes", "rsvd.max", "rsvd.limit_in_bytes")
        for file in files(container, f"hugetlb.2MB.{name}")
    ]
    assert found == [str(4 * MIB)] * 2


@v1
@differs(runc="1.1.5 only ever sets it")
def test_an_update_takes_the_choice_of_victims_back(container: Container) -> None:
    container.resources["memory"] = {"disableOOMKiller": True}
    container.launch()
    container.call("update", "--resources", "-", container.id, stdin='{"memory": {"disableOOMKiller": false}}').ok()
    assert "oom_kill_disable 0" in lines(container, "memory.oom_control")


@differs(runc="1.1.5 leaves it out without a word")
def test_what_the_kernel_limits_no_more_is_told(container: Container) -> None:
    container.resources["memory"] = {"kernel": 64 * MIB}
    assert "linux.resources.memory.kernel is ignored" in container.create().ok().err


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        ({"blockIO": {"leafWeight": 500}}, "leaf"),
        ({"blockIO": {"weightDevice": [{"major": DISK, "minor": 0, "leafWeight": 500}]}}, "leaf"),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}, "rdma"),
        ({"memory": {"swappiness": 101}}, "swappiness"),
        pytest.param({"cpu": {"quota": 10_000, "burst": 20_000}}, "burst", marks=OLD),
        pytest.param({"cpu": {"idle": 2}}, "idle", marks=OLD),
        ({"devices": [{"allow": True}]}, "access"),
        ({"network": {"classID": 1_048_577}}, "net_cls"),
        ({"network": {"priorities": [{"name": "lo", "priority": 5}]}}, "net_prio"),
    ],
    ids=[
        *("leafWeight", "leafWeight of a device", "rdma", "swappiness", "burst", "idle", "a device without access"),
        *("classID", "priorities"),
    ],
)
def test_what_cannot_be_limited_is_refused(container: Container, resources: dict[str, Any], said: str) -> None:
    if "network" in resources and any((CGROUP_ROOT / name).exists() for name in ("net_cls", "net_prio")):
        pytest.skip("needs a host without these controllers")
    if "rdma" in resources and Path("/sys/class/infiniband").exists():
        pytest.skip("needs a host without RDMA")
    container.resources.update(on_disk(resources))
    container.create().refused(said)
    container.leaves_nothing()
