# SPDX-License-Identifier: Apache-2.0
"""Cgroups: where a container is put, and that its limits hold for what runs in it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .harness import CGROUP_ROOT, PATIENCE, SHORT_PATIENCE, Container, cgroups_named, eventually

differs = pytest.mark.differs
v1 = pytest.mark.needs_cgroup_v1
v2 = pytest.mark.needs_cgroup_v2


def value(container: Container, controller: str, file: str) -> str:
    """What is in a file of the container's cgroup: that of a version 1 controller, or "" for version 2."""
    if controller:
        return (CGROUP_ROOT / controller / container.id / file).read_text().strip()
    return (CGROUP_ROOT / cgroup_lines(container.pid)[""][1:] / file).read_text().strip()


def cgroup_lines(pid: int) -> dict[str, str]:
    """Hierarchy to path of a process; v2 is the empty name."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


# Where


def test_init_is_in_its_cgroup_when_create_returns(container: Container) -> None:
    """containerd reads /proc/PID/cgroup right then."""
    container.create().ok()
    groups = cgroup_lines(container.pid)
    for controller in ("cpu", "memory", "pids", "devices", "freezer") if "memory" in groups else ("",):
        assert groups[controller].endswith(f"/{container.id}"), controller


def test_an_absolute_path(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/{container.id}/deep/er"
    container.launch()
    assert cgroup_lines(container.pid).get("pids", f"/{container.id}/deep/er") == f"/{container.id}/deep/er"
    container.delete("--force").ok()
    # Only the last part was made for the container alone; what leads there may be shared with others.
    left = cgroups_named(container.id)
    for path in cgroups_named("deep") + left:
        if container.id in str(path):
            path.rmdir()


def test_without_a_path_the_id_names_the_cgroup(container: Container) -> None:
    del container.linux["cgroupsPath"]
    container.launch()
    group = cgroup_lines(container.pid)
    assert group.get("pids", group.get("")).endswith(f"/{container.id}")  # type: ignore[union-attr]


def test_a_path_with_dots_stays_below_the_mount(container: Container) -> None:
    container.linux["cgroupsPath"] = f"/../../../{container.id}"
    result = container.create()
    if result.status == 0:
        assert cgroup_lines(container.pid).get("pids", "").strip("/") in ("", container.id)
    assert not Path(f"/{container.id}").exists()


@differs(runc="1.1.5 shares the cgroup with the stranger")
def test_a_cgroup_with_processes_of_others_is_refused(container: Container) -> None:
    group = (
        next(path for path in (CGROUP_ROOT / "pids", CGROUP_ROOT) if (path / "cgroup.procs").exists()) / container.id
    )
    group.mkdir()
    stranger = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "1000")
    try:
        (group / "cgroup.procs").write_text(str(stranger))
        result = container.create()
        assert os.waitpid(stranger, os.WNOHANG) == (0, 0), "the stranger was killed"
        assert group.exists()
    finally:
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)
        if container.pid == 0:
            eventually("removal of the cgroup", lambda: remove(group))
    result.refused("cgroup")


def remove(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def test_cgroups_are_removed_with_the_container(container: Container) -> None:
    container.launch()
    assert cgroups_named(container.id)
    container.delete("--force").ok()
    assert not cgroups_named(container.id)


# What is written


@v1
@pytest.mark.parametrize(
    ("resources", "controller", "file", "expected"),
    [
        ({"memory": {"limit": 64 << 20}}, "memory", "memory.limit_in_bytes", str(64 << 20)),
        ({"memory": {"reservation": 32 << 20}}, "memory", "memory.soft_limit_in_bytes", str(32 << 20)),
        ({"memory": {"limit": 64 << 20, "swap": 96 << 20}}, "memory", "memory.memsw.limit_in_bytes", str(96 << 20)),
        ({"memory": {"limit": 64 << 20, "swap": 64 << 20}}, "memory", "memory.memsw.limit_in_bytes", str(64 << 20)),
        ({"memory": {"swappiness": 10}}, "memory", "memory.swappiness", "10"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_quota_us", "20000"),
        ({"cpu": {"quota": 20000, "period": 50000}}, "cpu", "cpu.cfs_period_us", "50000"),
        ({"cpu": {"quota": -1}}, "cpu", "cpu.cfs_quota_us", "-1"),
        ({"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"cpu": {"mems": "0"}}, "cpuset", "cpuset.mems", "0"),
        ({"pids": {"limit": 42}}, "pids", "pids.max", "42"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
    ],
    ids=lambda given: json.dumps(given) if isinstance(given, dict) else str(given),
)
def test_a_limit_is_written(
    container: Container, resources: dict[str, object], controller: str, file: str, expected: str
) -> None:
    container.resources.update(resources)
    container.create().ok()
    assert value(container, controller, file) == expected


@v1
def test_zeros_mean_leave_alone(container: Container) -> None:
    """docker gives zeros for all that was not asked for."""
    container.resources.update(
        {
            "memory": {"limit": 0, "reservation": 0, "swap": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0},
            "blockIO": {"weight": 0},
        }
    )
    container.create().ok()
    assert value(container, "cpu", "cpu.shares") == "1024"
    assert value(container, "cpu", "cpu.cfs_quota_us") == "-1"


@v1
def test_a_cpu_set_is_complete(container: Container) -> None:
    """A cpuset cgroup takes no process before both of its sets are filled, by those of its parents if need be."""
    container.linux["cgroupsPath"] = f"/{container.id}"
    container.create().ok()
    assert value(container, "cpuset", "cpuset.cpus")
    assert value(container, "cpuset", "cpuset.mems")


@pytest.mark.parametrize(
    ("resources", "word"),
    [
        ({"memory": {"limit": 64 << 20, "swap": 32 << 20}}, "memory"),
        ({"cpu": {"cpus": "4096"}}, "cpuset"),
        ({"cpu": {"quota": 1, "period": 1}}, "cpu"),
        ({"hugepageLimits": [{"pageSize": "3KB", "limit": 0}]}, "hugetlb"),
        ({"unified": {"memory.max": "1"}}, "unified"),
    ],
    ids=["swap below memory", "a cpu that is missing", "a period too short", "an unknown page size", "unified on v1"],
)
@v1
def test_a_limit_that_cannot_be_set_fails_the_create(
    container: Container, resources: dict[str, object], word: str
) -> None:
    container.resources.update(resources)
    result = container.create()
    assert result.status == 1, f"{result}"
    assert word in result.err.lower(), f"{result}"
    container.leaves_nothing()


# That they hold


def test_a_memory_limit_kills_the_greedy(container: Container) -> None:
    container.resources["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    container.mounts.append({"destination": "/big", "type": "tmpfs", "source": "tmpfs", "options": ["size=256m"]})
    container.launch("dd", "if=/dev/zero", "of=/big/file", "bs=1M", "count=200")
    assert container.wait() == 137
    assert container.status == "stopped"
    container.delete().ok()


def test_a_program_within_its_memory_lives(container: Container) -> None:
    container.resources["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    container.mounts.append({"destination": "/big", "type": "tmpfs", "source": "tmpfs", "options": ["size=256m"]})
    container.output("dd", "if=/dev/zero", "of=/big/file", "bs=1M", "count=10")


@pytest.mark.parametrize("limit", [4 << 20, 6 << 20, 10 << 20])
def test_little_memory_is_enough_to_start(container: Container, limit: int) -> None:
    """docker's least is 6 MB; the runtime itself must not be what does not fit."""
    if container.runtime.name == "runc" and limit == 4 << 20:
        pytest.xfail("runc 1.1.5 may or may not fit")
    container.resources["memory"] = {"limit": limit, "swap": limit}
    assert container.output("echo", "fits") == "fits\n"


@v1  # version 2 does not count what a process had when it came
def test_a_limit_below_any_program_fails_with_a_word_about_memory(container: Container) -> None:
    container.resources["memory"] = {"limit": 4096, "swap": 4096}
    result = container.create()
    assert result.status == 1, f"{result}"
    assert "memory" in result.err.lower() or "oom" in result.err.lower(), f"{result}"
    container.leaves_nothing()


def test_a_pids_limit_stops_forks(container: Container) -> None:
    container.resources["pids"] = {"limit": 5}
    result = container.run(args=["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo survived"])
    assert "can't fork" in result.err
    assert "Resource temporarily unavailable" in result.err


@pytest.mark.parametrize(
    "resources", [{"memory": {"limit": 6 << 20}}, {"pids": {"limit": 1}}], ids=["6-MiB", "one-process"]
)
def test_a_tight_limit_is_the_programs_and_not_the_runtimes(container: Container, resources: dict[str, Any]) -> None:
    """What makes the container, and what enters it, is larger than many a program, and more than one process."""
    container.resources.update(resources)
    if container.runtime.name == "runc" and "pids" in resources:
        pytest.xfail("runc 1.1.5 is a program of many threads and needs more")
    container.launch()
    results = container.exec("echo", "inside"), container.exec("true", options=("--user", "65534"))
    if container.runtime.name == "runc" and any(result.status for result in results):
        pytest.xfail("runc 1.1.5 may or may not fit")
    assert [result.ok().out for result in results] == ["inside\n", ""]


def test_exec_fits_into_a_pids_limit_of_two(container: Container) -> None:
    """Init is one, the program is the other: no helper of the runtime may need a third place."""
    container.resources["pids"] = {"limit": 2}
    container.launch()
    if container.runtime.name == "runc":
        pytest.xfail("runc 1.1.5 is a program of many threads and needs more")
    assert container.exec("echo", "fits").ok().out == "fits\n"


def cpu_seconds(container: Container) -> float:
    if (CGROUP_ROOT / "cpuacct").exists():
        return int(value(container, "cpuacct", "cpuacct.usage")) / 1e9
    return int(value(container, "", "cpu.stat").split()[1]) / 1e6


def test_a_cpu_quota_holds(container: Container) -> None:
    """A busy loop under a quota of 20000 of 100000 gets about a fifth of one CPU."""
    container.resources["cpu"] = {"quota": 20000, "period": 100000}
    container.launch("sh", "-c", "while :; do :; done")
    eventually("some work", lambda: cpu_seconds(container) > 0.1)
    since, before = time.monotonic(), cpu_seconds(container)
    time.sleep(1)
    share = (cpu_seconds(container) - before) / (time.monotonic() - since)
    assert share < 0.35


def test_a_cpu_set_holds(container: Container) -> None:
    container.resources["cpu"] = {"cpus": "0"}
    assert "Cpus_allowed_list:\t0\n" in container.output("cat", "/proc/self/status")


def test_a_frozen_container_stands_still(container: Container) -> None:
    container.launch("sh", "-c", "while :; do echo tick; sleep 0.01; done")
    container.prints("tick")
    container.call("pause", container.id).ok()
    before = container.printed()
    time.sleep(0.1)
    assert container.printed() == before
    container.call("resume", container.id).ok()
    eventually("another tick", lambda: len(container.printed()) > len(before))


def test_limits_hold_for_exec(container: Container) -> None:
    container.resources["pids"] = {"limit": 30}
    container.launch()
    result = container.exec("sh", "-c", "for i in $(seq 40); do sleep 1000 > /dev/null 2>&1 & done; wait")
    assert "can't fork" in result.err


# update


@v1
def test_update_from_standard_input(container: Container) -> None:
    container.create().ok()
    container.call(
        "update", "--resources", "-", container.id, stdin='{"pids": {"limit": 17}, "cpu": {"shares": 300}}'
    ).ok()
    assert (value(container, "pids", "pids.max"), value(container, "cpu", "cpu.shares")) == ("17", "300")


@v1
def test_update_from_a_file(container: Container) -> None:
    container.create().ok()
    file = container.bundle / "resources.json"
    file.write_text('{"memory": {"limit": 67108864}}')
    container.call("update", f"--resources={file}", container.id).ok()
    assert value(container, "memory", "memory.limit_in_bytes") == str(64 << 20)


@v1
@pytest.mark.parametrize(
    ("option", "given", "controller", "file", "expected"),
    [
        ("--memory", "64m", "memory", "memory.limit_in_bytes", str(64 << 20)),
        ("--memory-reservation", "33554432", "memory", "memory.soft_limit_in_bytes", str(32 << 20)),
        ("--cpu-share", "100", "cpu", "cpu.shares", "100"),
        ("--cpu-quota", "30000", "cpu", "cpu.cfs_quota_us", "30000"),
        ("--cpu-period", "20000", "cpu", "cpu.cfs_period_us", "20000"),
        ("--cpuset-cpus", "0", "cpuset", "cpuset.cpus", "0"),
        ("--pids-limit", "9", "pids", "pids.max", "9"),
    ],
)
def test_update_by_options(
    container: Container, option: str, given: str, controller: str, file: str, expected: str
) -> None:
    container.create().ok()
    container.call("update", option, given, container.id).ok()
    assert value(container, controller, file) == expected


@v1
def test_update_leaves_the_rest_alone(container: Container) -> None:
    container.resources.update(
        {"memory": {"limit": 64 << 20}, "cpu": {"quota": 20000, "period": 50000}, "pids": {"limit": 20}}
    )
    container.create().ok()
    docker = '{"memory":{"limit":33554432,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":0,"period":0},"blockIO":{"weight":0}}\n'
    container.call("update", "--resources", "-", container.id, stdin=docker).ok()
    assert value(container, "memory", "memory.limit_in_bytes") == str(32 << 20)
    assert value(container, "cpu", "cpu.cfs_quota_us") == "20000"
    assert value(container, "cpu", "cpu.cfs_period_us") == "50000"
    assert value(container, "pids", "pids.max") == "20"


@v1
def test_update_raises_memory_above_the_old_swap(container: Container) -> None:
    container.resources["memory"] = {"limit": 32 << 20, "swap": 48 << 20}
    container.create().ok()
    text = json.dumps({"memory": {"limit": 128 << 20, "swap": 256 << 20}})
    container.call("update", "--resources", "-", container.id, stdin=text).ok()
    assert value(container, "memory", "memory.memsw.limit_in_bytes") == str(256 << 20)
    text = json.dumps({"memory": {"limit": 16 << 20, "swap": 24 << 20}})
    container.call("update", "--resources", "-", container.id, stdin=text).ok()
    assert value(container, "memory", "memory.memsw.limit_in_bytes") == str(24 << 20)


@v1
def test_update_keeps_the_device_rules(container: Container) -> None:
    container.create().ok()
    before = value(container, "devices", "devices.list")
    container.call("update", "--pids-limit", "9", container.id).ok()
    assert value(container, "devices", "devices.list") == before


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"pids": {"limit": "many"}}', ""])
def test_update_refuses_what_is_no_resources(container: Container, text: str) -> None:
    container.create().ok()
    result = container.call("update", "--resources", "-", container.id, stdin=text)
    assert result.status == 1, f"{result}"
    assert result.err


@v1
def test_update_of_a_paused_container(container: Container) -> None:
    container.launch()
    container.call("pause", container.id).ok()
    container.call("update", "--pids-limit", "9", container.id).ok()
    assert container.status == "paused"
    assert value(container, "pids", "pids.max") == "9"


@v1
def test_update_with_units(container: Container) -> None:
    container.create().ok()
    container.call("update", "--memory", "48M", "--memory-reservation=1.5m", "--memory-swap", "96mb", container.id).ok()
    assert value(container, "memory", "memory.limit_in_bytes") == str(48 << 20)
    assert value(container, "memory", "memory.soft_limit_in_bytes") == str(3 << 19)
    assert value(container, "memory", "memory.memsw.limit_in_bytes") == str(96 << 20)


@v1
def test_update_lifts_limits(container: Container) -> None:
    container.resources.update(
        {"memory": {"limit": 32 << 20, "swap": 48 << 20}, "pids": {"limit": 5}, "cpu": {"quota": 5000}}
    )
    container.create().ok()
    container.call("update", "--memory", "-1", "--pids-limit", "-1", "--cpu-quota", "-1", container.id).ok()
    assert int(value(container, "memory", "memory.limit_in_bytes")) > 1 << 60
    assert int(value(container, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60
    assert value(container, "pids", "pids.max") == "max"
    assert value(container, "cpu", "cpu.cfs_quota_us") == "-1"


@v1
@differs(runc="1.1.5 sets back only what it had set before")
def test_update_does_all_or_nothing(container: Container) -> None:
    container.create().ok()
    before = {name: value(container, *name) for name in LIMITS}
    text = json.dumps(
        {"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"shares": 77, "quota": 9000, "cpus": "4095"}}
    )
    container.call("update", "--resources", "-", container.id, stdin=text).refused("cpuset.cpus")
    assert {name: value(container, *name) for name in LIMITS} == before
    text = json.dumps({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"shares": 77, "quota": 1}})
    container.call("update", "--resources", "-", container.id, stdin=text).refused("cpu.cfs_quota_us")
    assert {name: value(container, *name) for name in LIMITS} == before


LIMITS = (
    ("memory", "memory.limit_in_bytes"),
    ("pids", "pids.max"),
    ("cpu", "cpu.shares"),
    ("cpu", "cpu.cfs_quota_us"),
    ("cpuset", "cpuset.cpus"),
)


@v1
def test_update_knows_what_an_earlier_one_has_set(container: Container) -> None:
    """A limit of memory alone keeps to the swap limit in force, which the config of create knew nothing of."""
    container.create().ok()
    container.call("update", "--memory", "32m", "--memory-swap", "48m", container.id).ok()
    container.call("update", "--memory", "64m", container.id).refused("memory")
    assert value(container, "memory", "memory.limit_in_bytes") == str(32 << 20)
    container.call("update", "--memory", "40m", container.id).ok()
    assert value(container, "memory", "memory.memsw.limit_in_bytes") == str(48 << 20)


@v1
def test_update_of_a_running_container_holds(container: Container) -> None:
    container.launch()
    container.call("update", "--pids-limit", "30", container.id).ok()
    result = container.exec("sh", "-c", "for i in $(seq 40); do sleep 1000 > /dev/null 2>&1 & done; wait")
    assert "can't fork" in result.err


@pytest.mark.parametrize(
    "options",
    [
        ["--memory", "64x"],
        ["--memory", "much"],
        ["--cpu-period", "-5"],
        ["--cpu-quota", "1.5"],
        ["--cpu-share", "many"],
        ["--pids-limit", "few"],
        ["--resources", "/nonexistent"],
        ["--l3-cache-schema", "L3:0=f"],
    ],
    ids=" ".join,
)
def test_update_refuses_what_makes_no_sense(container: Container, options: list[str]) -> None:
    container.create().ok()
    container.call("update", *options, container.id).refused()


def test_update_of_a_stopped_container(container: Container) -> None:
    container.launch("true")
    container.becomes("stopped")
    container.call("update", "--pids-limit", "9", container.id).refused("container not running")


@v2
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--memory", "64m"], {"memory.max": str(64 << 20)}),
        (["--memory=64m", "--memory-swap=96m"], {"memory.max": str(64 << 20), "memory.swap.max": str(32 << 20)}),
        (["--memory-reservation", "16m"], {"memory.low": str(16 << 20)}),
        (["--cpu-quota", "20000"], {"cpu.max": "20000 100000"}),
        (["--cpu-period", "50000"], {"cpu.max": "max 50000"}),
        (["--cpuset-cpus", "0"], {"cpuset.cpus": "0"}),
        (["--pids-limit", "9"], {"pids.max": "9"}),
    ],
    ids=lambda given: " ".join(given),
)
def test_update_by_options_on_v2(container: Container, options: list[str], expected: dict[str, str]) -> None:
    container.create().ok()
    container.call("update", *options, container.id).ok()
    assert {file: value(container, "", file) for file in expected} == expected


@v2
@differs(runc="1.1.5 gives more swap as the limit of both grows")
def test_update_goes_on_from_an_earlier_one_on_v2(container: Container) -> None:
    container.resources.update({"memory": {"limit": 32 << 20, "swap": 48 << 20}, "cpu": {"quota": 20000}})
    container.create().ok()
    container.call("update", "--cpu-period", "50000", container.id).ok()
    assert value(container, "", "cpu.max") == "20000 50000"
    container.call("update", "--memory", "40m", container.id).ok()
    assert value(container, "", "memory.swap.max") == str(8 << 20)
    container.call("update", "--memory", "-1", "--cpu-quota", "-1", "--pids-limit", "-1", container.id).ok()
    files = ("memory.max", "memory.swap.max", "cpu.max", "pids.max")
    assert [value(container, "", file).split()[0] for file in files] == ["max"] * 4


@v2
@differs(runc="1.1.5 sets back only what it had set before")
def test_update_does_all_or_nothing_on_v2(container: Container) -> None:
    container.create().ok()
    files = ("memory.max", "cpu.max", "cpu.weight", "cpu.idle", "pids.max", "cpuset.cpus.effective")
    before = [value(container, "", file) for file in files]
    changes = {
        "memory": {"limit": 64 << 20},
        "cpu": {"quota": 30000, "idle": 1, "cpus": "0"},
        "pids": {"limit": 9},
        "unified": {"memory.high": "nonsense"},
    }
    container.call("update", "--resources", "-", container.id, stdin=json.dumps(changes)).refused("memory.high")
    assert [value(container, "", file) for file in files] == before


@v2
@differs(runc="1.1.5 does not know of the check")
def test_update_may_check_what_is_in_use(container: Container) -> None:
    container.create().ok()
    changes = '{"memory": {"limit": 4096, "checkBeforeUpdate": true}}'
    container.call("update", "--resources", "-", container.id, stdin=changes).refused("rejecting memory")
    assert value(container, "", "memory.max") == "max"


# events


def test_events_give_numbers(container: Container) -> None:
    container.launch()
    event = json.loads(container.call("events", "--stats", container.id).ok().out)
    assert (event["type"], event["id"]) == ("stats", container.id)
    data = event["data"]
    assert data["pids"]["current"] == 1
    assert data["memory"]["usage"]["usage"] > 0
    assert data["cpu"]["usage"]["total"] > 0


@v1
def test_events_have_the_shape_that_engines_know(container: Container) -> None:
    container.resources.update({"memory": {"limit": 64 << 20, "swap": 64 << 20}, "pids": {"limit": 20}})
    container.launch()
    data = json.loads(container.call("events", "--stats", container.id).ok().out)["data"]
    assert set(data) == {
        *("cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"),
    }
    assert set(data["cpu"]["usage"]) == {"total", "percpu", "percpu_kernel", "percpu_user", "kernel", "user"}
    assert len(data["cpu"]["usage"]["percpu"]) == os.cpu_count()
    assert data["cpuset"]["cpus"] == sorted(os.sched_getaffinity(0))
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert data["memory"]["swap"]["limit"] == 64 << 20
    assert data["memory"]["usage"]["max"] >= data["memory"]["usage"]["usage"]
    assert data["memory"]["raw"]["hierarchical_memory_limit"] == 64 << 20
    assert data["pids"] == {"current": 1, "limit": 20}
    assert data["network_interfaces"] is None
    assert data["intel_rdt"] == {}


def test_events_of_a_paused_container(container: Container) -> None:
    container.launch()
    container.call("pause", container.id).ok()
    assert json.loads(container.call("events", "--stats", container.id).ok().out)["data"]["pids"]["current"] == 1


def test_events_of_a_stopped_container(container: Container) -> None:
    container.launch("true")
    container.becomes("stopped")
    container.call("events", "--stats", container.id).refused("not running")
    container.call("events", container.id).refused("not running")


@pytest.mark.parametrize("interval", ["0s", "-1s", "soon", "5"])
def test_events_want_an_interval(container: Container, interval: str) -> None:
    container.launch()
    container.call("events", "--interval", interval, container.id).refused("interval")


def lines(container: Container, number: int) -> list[dict[str, Any]]:
    """What the command started with that number has written."""
    text = (container.bundle / f"stdout.{number}").read_text()
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_events_go_on_until_the_container_is_gone(container: Container) -> None:
    container.launch()
    follower = container.background("events", "--interval", "20ms", container.id)
    number = container.calls
    eventually("three events", lambda: len(lines(container, number)) >= 3)
    container.delete("--force").ok()
    assert follower.wait(PATIENCE) == 0
    assert {(event["type"], event["id"]) for event in lines(container, number)} == {("stats", container.id)}
    usages = [event["data"]["cpu"]["usage"] for event in lines(container, number)]
    while container.runtime.name == "runc" and "total" not in usages[-1]:
        del usages[-1]  # 1.1.5 may go on counting when the cgroup is gone
    totals = [usage["total"] for usage in usages]
    assert totals == sorted(totals)


def test_events_tell_of_too_little_memory(container: Container) -> None:
    container.resources["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    container.mounts.append({"destination": "/big", "type": "tmpfs", "source": "tmpfs", "options": ["size=256m"]})
    container.launch("sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done; dd if=/dev/zero of=/big/f bs=1M count=200")
    follower = container.background("events", "--interval", "20ms", container.id)
    number = container.calls
    eventually("an event", lambda: lines(container, number))
    container.exec("touch", "/go").ok()
    eventually("an oom event", lambda: {"type": "oom", "id": container.id} in lines(container, number))
    container.delete("--force").ok()
    assert follower.wait(PATIENCE) == 0


@v1
@differs(runc="1.1.5 goes on until the cgroup is removed")
def test_events_end_with_the_container_and_miss_nothing(container: Container) -> None:
    """The process that takes too much is init itself, so its death is the end."""
    container.resources["memory"] = {"limit": 32 << 20, "swap": 32 << 20}
    container.mounts.append({"destination": "/big", "type": "tmpfs", "source": "tmpfs", "options": ["size=256m"]})
    script = "while [ ! -e /go ]; do sleep 0.02; done; exec dd if=/dev/zero of=/big/f bs=1M count=200"
    container.launch("sh", "-c", script)
    follower = container.background("events", "--interval", "1h", container.id)
    number = container.calls
    eventually("a watch for events", lambda: "anon_inode:[eventfd]" in open_files(follower.pid))
    container.exec("touch", "/go").ok()
    try:
        assert follower.wait(SHORT_PATIENCE) == 0
    finally:
        follower.kill()
    assert lines(container, number) == [{"type": "oom", "id": container.id}]


def open_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(link))
    return found


@differs(runc="1.1.5 finds out when it next writes")
def test_events_end_when_nobody_reads_them(container: Container) -> None:
    container.launch()
    reading, writing = os.pipe()
    follower = container.background("events", "--interval", "1h", container.id, stdout=writing)
    os.close(writing)
    os.close(reading)
    try:
        follower.wait(SHORT_PATIENCE)
    finally:
        follower.kill()
        follower.wait()
