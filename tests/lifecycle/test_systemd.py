# SPDX-License-Identifier: Apache-2.0
"""--systemd-cgroup on a host of systemd's (`hack/vm -- python3 -m pytest tests/lifecycle/test_systemd.py`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import CGROUP_ROOT, Container, Result, eventually

pytestmark = pytest.mark.needs_systemd
differs = pytest.mark.differs

IS_ROOT = os.geteuid() == 0
SLICE = "system.slice" if IS_ROOT else "user.slice"
"""Where a unit is that does not say where: in the system's systemd, or in that of an ordinary user."""
WHOSE = [] if IS_ROOT else ["--user"]


@pytest.fixture(autouse=True)
def in_a_scope(container: Container) -> Iterator[None]:
    """A cgroupsPath in systemd's form, and nothing of the unit left at the end."""
    container.linux["cgroupsPath"] = f"{SLICE}:test:{container.id}"
    yield
    container.clean_up()
    eventually(f"the end of {unit(container)}", lambda: show(container, "LoadState") == "not-found")


def unit(container: Container) -> str:
    return f"test-{container.id}.scope"


def show(container: Container, name: str) -> str:
    """A property of the container's unit."""
    found = subprocess.run(
        ["systemctl", *WHOSE, "show", "--property", name, "--value", unit(container)],
        check=True,
        capture_output=True,
        text=True,
    )
    return found.stdout.strip()


def create(container: Container, *options: str) -> Result:
    container.write_config()
    result = container.call(
        "--systemd-cgroup", "create", "--bundle", str(container.bundle), "--pid-file", str(container.pid_file), *options,
        container.id,
    )  # fmt: skip
    if result.status == 0:
        container.pid = int(container.pid_file.read_text())
    return result


def directory(container: Container) -> Path:
    """The container's cgroup as the kernel says it: version 2, or that of `pids` of version 1."""
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{container.pid}/cgroup").read_text().splitlines())
    return CGROUP_ROOT / "pids" / groups["pids"][1:] if "pids" in groups else CGROUP_ROOT / groups[""][1:]


def is_v1() -> bool:
    return (CGROUP_ROOT / "pids").exists()


def file(container: Container, name: str) -> Path:
    """A file of the container's cgroup, of the controller that it is named after."""
    groups = directory(container)
    if is_v1():
        groups = CGROUP_ROOT / name.partition(".")[0] / groups.relative_to(CGROUP_ROOT / "pids")
    return groups / name


def update(container: Container, **resources: Any) -> Result:
    return container.call("update", "--resources", "-", container.id, stdin=json.dumps(resources)).ok()


def reload() -> None:
    """After which systemd writes to the files as it sees fit."""
    subprocess.run(["systemctl", *WHOSE, "daemon-reload"], check=True)


def launch(container: Container) -> None:
    container.process["args"] = ["sleep", "1000"]
    create(container).ok()
    container.start().ok()


def test_the_container_is_a_scope_in_its_slice(container: Container) -> None:
    launch(container)
    assert str(directory(container)).endswith(f"/{SLICE}/{unit(container)}")
    assert show(container, "ActiveState") == "active"
    assert show(container, "Slice") == SLICE
    assert show(container, "Delegate") == "yes"
    assert show(container, "DefaultDependencies") == "no"
    container.delete("--force").ok()


def test_a_slice_within_slices(container: Container) -> None:
    container.linux["cgroupsPath"] = f"pyoci-tests-a.slice:test:{container.id}"
    launch(container)
    assert str(directory(container)).endswith(f"/pyoci.slice/pyoci-tests.slice/pyoci-tests-a.slice/{unit(container)}")
    container.delete("--force").ok()
    subprocess.run(["systemctl", *WHOSE, "stop", "pyoci.slice"], check=True)


@differs(runc="names it after itself")
def test_without_a_path_the_id_names_the_unit(container: Container) -> None:
    del container.linux["cgroupsPath"]
    launch(container)
    assert directory(container).name == f"{container.runtime.name}-{container.id}.scope"
    container.delete("--force").ok()
    assert container.runtime.name == "pyoci"


def test_limits_are_known_to_both(container: Container) -> None:
    container.resources.update(
        {
            "memory": {"limit": 64 << 20},
            "pids": {"limit": 33},
            "cpu": {"shares": 512, "quota": 20_000, "period": 50_000},
        }
    )
    launch(container)
    assert show(container, "TasksMax") == "33"
    if is_v1():
        assert show(container, "MemoryLimit") == str(64 << 20)
        assert show(container, "CPUShares") == "512"
        assert show(container, "CPUQuotaPerSecUSec") == "400ms"
        assert (directory(container) / "pids.max").read_text().strip() == "33"
        return
    assert show(container, "MemoryMax") == str(64 << 20)
    assert show(container, "CPUQuotaPerSecUSec") == "400ms"
    files = directory(container)
    for _ in range(2):
        assert (files / "pids.max").read_text().strip() == "33"
        assert (files / "memory.max").read_text().strip() == str(64 << 20)
        assert (files / "cpu.max").read_text().split() == ["20000", "50000"]
        reload()
    weight = (files / "cpu.weight").read_text().strip()
    assert show(container, "CPUWeight") == weight


def test_devices_stay_closed_when_systemd_reloads(container: Container) -> None:
    container.resources["devices"] = [{"allow": False, "access": "rwm"}]
    container.process["capabilities"] = {
        kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted", "inheritable")
    }
    launch(container)
    for _ in range(2):
        container.exec("sh", "-c", "echo > /dev/null && mknod /tmp/kmsg c 1 11 && ! cat /tmp/kmsg && rm /tmp/kmsg").ok()
        reload()


@differs(runc="1.1.5 does not set again what systemd undoes", always=False)
def test_a_device_that_alone_is_refused_stays_so(container: Container) -> None:
    """systemd has no words for this. It writes rules of its own wherever they are files, as in version 1."""
    container.resources["devices"] = [
        {"allow": True, "access": "rwm"},
        {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rw"},
    ]
    container.process["capabilities"] = {
        kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted", "inheritable")
    }
    launch(container)
    container.exec("mknod", "/tmp/kmsg", "c", "1", "11").ok()

    def as_configured() -> None:
        container.exec("sh", "-c", "echo > /dev/null && ! head -c 1 /tmp/kmsg 2>/tmp/said && cat /tmp/said").ok()
        assert "not permitted" in (container.rootfs / "tmp" / "said").read_text()

    as_configured()
    for limit in (64, 65):
        update(container, memory={"limit": limit << 20})
        as_configured()
    reload()
    as_configured()


def test_no_device_is_refused_during_an_update(container: Container) -> None:
    """systemd refuses all of version 1, and then allows one after the other."""
    script = "echo > /ready; while echo > /dev/null; do :; done; echo > /refused"
    container.process["args"] = ["sh", "-c", script]
    create(container).ok()
    container.start().ok()
    eventually("the container's program", lambda: (container.rootfs / "ready").exists())
    for limit in range(50, 56):
        update(container, pids={"limit": limit})
    assert not (container.rootfs / "refused").exists()
    container.call("pause", container.id).ok()
    update(container, pids={"limit": 50})
    assert container.status == "paused"
    container.call("resume", container.id).ok()
    assert container.status == "running"


def test_annotations_are_properties(container: Container) -> None:
    container.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    }
    launch(container)
    assert show(container, "TimeoutStopUSec") == "7s"
    assert show(container, "CollectMode") == "inactive-or-failed"


def test_a_property_that_systemd_does_not_know(container: Container) -> None:
    container.config["annotations"] = {"org.systemd.property.Nonsense": "true"}
    create(container).refused("Nonsense")
    container.leaves_nothing()


@pytest.mark.parametrize("path", ["/no/slice", "a:b", "no:p:n", "a--b.slice:p:n"])
def test_a_path_of_another_form(container: Container, path: str) -> None:
    container.linux["cgroupsPath"] = path
    create(container).refused()
    container.leaves_nothing()


def test_exec_goes_by_the_state(container: Container) -> None:
    """Engines give --systemd-cgroup to create alone."""
    launch(container)
    pid_file = container.bundle / "exec-pid"
    container.exec("sleep", "1000", options=("--detach", "--pid-file", str(pid_file))).ok()
    assert pid_file.read_text() in (directory(container) / "cgroup.procs").read_text().split()


def test_update_tells_both(container: Container) -> None:
    launch(container)
    update(container, pids={"limit": 44})
    assert show(container, "TasksMax") == "44"
    assert (directory(container) / "pids.max").read_text().strip() == "44"


@differs(runc="1.1.5 does not set again what systemd undoes", always=False)
def test_a_period_without_a_quota_stays(container: Container) -> None:
    """systemd writes its own whenever it is told of some limit of the CPU controller's."""
    container.resources["cpu"] = {"period": 50_000}
    launch(container)
    cgroup = directory(container)
    file, expected = ("cpu.cfs_period_us", "50000") if is_v1() else ("cpu.max", "max 50000")
    if is_v1():
        cgroup = CGROUP_ROOT / "cpu" / cgroup.relative_to(CGROUP_ROOT / "pids")
    for shares in ("200", "300"):
        container.call("update", "--cpu-share", shares, container.id).ok()
        assert (cgroup / file).read_text().strip() == expected


@differs(runc="takes plain lists of processors alone")
def test_processors_by_groups_of_them(container: Container) -> None:
    """A list that is more than a plain one reaches systemd, too: what it was told before it would write again."""
    last = max(os.sched_getaffinity(0))
    container.resources["cpu"] = {"cpus": f"0-{last}"}
    launch(container)
    cpus = file(container, "cpuset.cpus")
    update(container, cpu={"cpus": f"0-{last}:1/{last + 1}"}, memory={"limit": 64 << 20})
    for _ in range(2):
        assert cpus.read_text().strip() == "0"
        reload()


def test_processors_that_systemd_cannot_be_told_of(container: Container) -> None:
    container.resources["cpu"] = {"cpus": "0-N"}
    if create(container).status:
        pytest.skip("this kernel takes no such list")
    cpus = file(container, "cpuset.cpus")
    expected = cpus.read_text()
    assert expected.strip()
    update(container, memory={"limit": 64 << 20})
    for _ in range(2):
        assert cpus.read_text() == expected
        reload()


@differs(runc="1.1.5 does not set again what systemd undoes", always=False)
def test_an_update_leaves_alone_what_it_is_not_about(container: Container) -> None:
    """Told of one limit, systemd writes all that it has, whether it was told of them or not."""
    container.resources["pids"] = {"limit": 55}
    if not is_v1():
        container.resources["unified"] = {"memory.oom.group": "1", "memory.low": "8192"}
    launch(container)
    names = ("blkio.bfq.weight", "io.bfq.weight", "io.weight", "memory.oom.group", "memory.low", "pids.max")
    files = {name: path for name in names if (path := file(container, name)).exists()}
    weight = next((name for name in files if "weight" in name), "")  # as the kernel has it
    if weight:
        update(container, blockIO={"weight": 500})
        assert files[weight].read_text().split()[-1] in ("500", "4950")
    before = {name: path.read_text() for name, path in files.items()}
    for size in (64, 65):
        update(container, memory={"limit": size << 20})
        assert {name: path.read_text() for name, path in files.items()} == before
    reload()
    if weight == "io.bfq.weight":
        assert files[weight].read_text() == before[weight]


@differs(runc="1.1.5 knows no idle groups", always=False)
def test_a_group_that_is_idle_no_more_stays_so(container: Container) -> None:
    """systemd takes being idle for a weight, which it goes on writing until it is told of another one."""
    container.resources["cpu"] = {"idle": 1}
    launch(container)
    idle = file(container, "cpu.idle")
    assert idle.read_text().strip() == "1"
    update(container, cpu={"idle": 0}, memory={"limit": 64 << 20})
    for _ in range(2):
        assert idle.read_text().strip() == "0"
        reload()
    update(container, cpu={"shares": 512})
    weight, expected = ("cpu.shares", "512") if is_v1() else ("cpu.weight", "59")
    assert file(container, weight).read_text().strip() == expected


@differs(runc="1.1.5 knows no idle groups", always=False)
def test_a_group_that_unified_makes_idle_has_no_weight_until_it_is_idle_no_more(container: Container) -> None:
    if is_v1():
        pytest.skip("unified is for cgroup v2 alone")
    container.resources["cpu"] = {"shares": 512}
    container.resources["unified"] = {"cpu.idle": "1"}
    launch(container)
    idle, weight = file(container, "cpu.idle"), file(container, "cpu.weight")
    for step in range(2):
        update(container, memory={"limit": (64 + step) << 20})
        for _ in range(2):
            assert idle.read_text().strip() == "1"
            reload()
        update(container, unified={"cpu.idle": "0"})
        assert (idle.read_text().strip(), weight.read_text().strip()) == ("0", "59")
        update(container, unified={"cpu.idle": "1"})
    update(container, unified={"cpu.idle": "0", "cpu.weight": "500"})
    update(container, cpu={"idle": 0})
    for _ in range(2):
        assert (idle.read_text().strip(), weight.read_text().strip()) == ("0", "500")
        reload()


def test_pause_and_resume(container: Container) -> None:
    launch(container)
    container.call("pause", container.id).ok()
    assert container.status == "paused"
    container.call("resume", container.id).ok()
    assert container.status == "running"


def test_the_unit_goes_with_the_container(container: Container) -> None:
    launch(container)
    cgroup = directory(container)
    container.kill("KILL").ok()
    container.becomes("stopped")
    container.delete().ok()
    assert show(container, "LoadState") == "not-found"
    assert not cgroup.exists()


@differs(runc="1.1.5 takes the name from who has it", always=False)
def test_a_name_that_is_taken(container: Container) -> None:
    taken = subprocess.Popen(
        ["systemd-run", *WHOSE, "--quiet", "--scope", "--unit", unit(container), "sleep", "1000"],
        start_new_session=True,
    )
    try:
        eventually("the stranger's unit", lambda: show(container, "ActiveState") == "active")
        create(container).refused()
        assert show(container, "ActiveState") == "active", "the stranger's unit was stopped"
        assert taken.poll() is None
    finally:
        os.killpg(taken.pid, signal.SIGKILL)
        taken.wait()
        eventually("the end of the stranger's unit", lambda: show(container, "ActiveState") != "active")


@differs(runc="1.1.5 leaves it", always=False)
def test_a_failed_unit_of_that_name_is_in_nobodys_way(container: Container) -> None:
    scope = ["systemd-run", *WHOSE, "--quiet", "--scope", "--unit", unit(container), "--property", "RuntimeMaxSec=1"]
    subprocess.run([*scope, "sleep", "1000"], check=False)
    eventually("a failed unit", lambda: show(container, "ActiveState") == "failed")
    launch(container)
    assert show(container, "ActiveState") == "active"


@differs(runc="1.1.5 has no record by then", always=False)
@pytest.mark.parametrize("milliseconds", [200, 500, 800, 1100, 1400])
def test_what_is_left_of_a_create_that_was_killed_can_be_deleted(container: Container, milliseconds: int) -> None:
    container.process["args"] = ["sleep", "1000"]
    container.write_config()
    command = container.background("--systemd-cgroup", "create", "--bundle", str(container.bundle), container.id)
    time.sleep(milliseconds / 1000)
    command.kill()
    command.wait()
    container.live.remove(command)
    container.delete("--force").ok()
    container.leaves_nothing()


def test_a_plan_names_the_unit(container: Container) -> None:
    if container.runtime.name != "pyoci":
        pytest.skip("only pyoci plans")
    container.write_config()
    planned = container.call("--systemd-cgroup", "plan", "--bundle", str(container.bundle), "--format", "json")
    assert json.loads(planned.ok().out)["cgroup"]["unit"]["name"] == unit(container)


def test_who_may_write_in_his_cgroup_may_divide_it(container: Container) -> None:
    if is_v1():
        pytest.skip("cgroups of version 1 are not given away")
    for mount in container.mounts:
        if mount["type"].startswith("cgroup"):
            container.mounts.remove(mount)
    container.mounts.append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]})
    container.process["user"] = {"uid": 1000, "gid": 1000}
    if not any(namespace["type"] == "cgroup" for namespace in container.linux["namespaces"]):
        container.linux["namespaces"].append({"type": "cgroup"})
    launch(container)
    cgroup = directory(container)
    assert cgroup.stat().st_uid == 1000
    assert (cgroup / "cgroup.procs").stat().st_uid == 1000
    assert (cgroup / "memory.max").stat().st_uid == 0
    container.exec(
        "sh", "-c", "mkdir /sys/fs/cgroup/a && echo 0 > /sys/fs/cgroup/a/cgroup.procs", options=("--user", "1000")
    ).ok()
    container.delete("--force").ok()
    assert not cgroup.exists()


def test_a_limit_that_cannot_be_had_leaves_no_unit(container: Container) -> None:
    container.resources["cpu"] = {"cpus": "4000"}
    create(container).refused("cpuset.cpus")
    container.leaves_nothing()
    assert show(container, "LoadState") == "not-found"
