# SPDX-License-Identifier: Apache-2.0
"""Where a container's cgroups are put, and the plan as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pyoci.cgroups import layout
from pyoci.cgroups.layout import Hierarchy, Layout
from pyoci.cgroups.plan import CgroupPlan, below, plan
from pyoci.errors import CgroupError
from tests.cgroups import hosts

V1 = layout.parse(hosts.V1, hosts.V1_SELF)
HYBRID = layout.parse(hosts.HYBRID, hosts.HYBRID_SELF)
V2 = layout.parse(hosts.V2, hosts.V2_SELF)
PRIVILEGED = [{"allow": True, "access": "rwm"}]


def planned(found: Layout, path: str | None = None, rootless: bool = False, **resources: Any) -> CgroupPlan:
    linux: dict[str, Any] = {"resources": resources}
    if path is not None:
        linux["cgroupsPath"] = path
    return plan({"linux": linux}, "box", found, rootless=rootless)


@pytest.mark.parametrize(
    ("path", "memory", "unified"),
    [
        ("/docker/box", "/docker/box", "/docker/box"),
        ("/a/../../../b/./c//", "/b/c", "/b/c"),
        ("pods/x", "/user.slice/user-1000.slice/pods/x", "/user.slice/user-1000.slice/pods/x"),
        ("../../x", "/user.slice/user-1000.slice/x", "/user.slice/user-1000.slice/x"),
        ("..", "/user.slice/user-1000.slice/box", "/user.slice/user-1000.slice/box"),
        (None, "/user.slice/user-1000.slice/box", "/user.slice/user-1000.slice/box"),
        ("", "/user.slice/user-1000.slice/box", "/user.slice/user-1000.slice/box"),
    ],
)
def test_cgroups_path(path: str | None, memory: str, unified: str) -> None:
    assert planned(V1, path).paths["memory"] == "/sys/fs/cgroup/memory" + memory
    assert planned(V2, path).paths == {"": "/sys/fs/cgroup" + unified}


def test_relative_paths_start_at_our_own_cgroup_of_each_hierarchy() -> None:
    paths = planned(HYBRID).paths
    assert paths["cpuset"] == "/sys/fs/cgroup/cpuset/box"
    assert paths["pids"] == "/sys/fs/cgroup/pids/user.slice/user-1000.slice/box"
    assert paths[""] == "/sys/fs/cgroup/unified/user.slice/user-1000.slice/session-1.scope/box"


@pytest.mark.parametrize("path", ["/", "//", "/..", "/a/.."])
def test_the_root_of_a_hierarchy_is_never_a_containers(path: str) -> None:
    with pytest.raises(CgroupError, match="root of the hierarchy"):
        planned(V2, path)


def test_where_only_part_of_a_hierarchy_is_mounted() -> None:
    """As in a container that runs containers, without a cgroup namespace."""
    inner = Hierarchy(mount_point="/sys/fs/cgroup", root="/docker/1", own="/docker/1/init")
    assert planned(Layout(mode="v2", hierarchies={"": inner})).paths[""] == "/sys/fs/cgroup/box"
    memory = Hierarchy(mount_point="/sys/fs/cgroup/memory", root="/docker/1", own="/docker/1")
    assert planned(Layout(mode="v1", hierarchies={"memory": memory}), devices=PRIVILEGED).paths == {
        "memory": "/sys/fs/cgroup/memory/box"
    }
    lost = memory.replace(own="/elsewhere")
    assert planned(Layout(mode="v1", hierarchies={"memory": lost}), devices=PRIVILEGED).paths["memory"] == (
        "/sys/fs/cgroup/memory/box"
    )


def test_v1_in_full() -> None:
    made = planned(V1, "/box", memory={"limit": 4096}, cpu={"cpus": "0", "realtimeRuntime": 5}, devices=PRIVILEGED)
    assert made.mode == "v1"
    assert list(made.paths) == [
        *("cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "net_cls", "net_prio", "freezer"),
        "name=systemd",
    ]
    assert made.paths["cpu"] == made.paths["cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct/box"
    assert len(made.directories) == len(made.paths) - 2
    assert made.mount_points["net_prio"] == "/sys/fs/cgroup/net_cls,net_prio"
    assert made.optional == ("name=systemd",)
    assert [write.text() for write in made.before] == ["cpuset.cpus = 0", "cpu.rt_runtime_us = 5"]
    assert [write.text() for write in made.after] == ["devices.allow = a *:* rwm", "memory.limit_in_bytes = 4096"]
    assert made.program is None and not made.devices_by_bpf


def test_v2_in_full() -> None:
    made = planned(V2, "/box", memory={"limit": 4096, "useHierarchy": True}, cpu={"cpus": "0"}, pids={"limit": 1})
    assert made.paths == {"": "/sys/fs/cgroup/box"}
    assert made.directories == ("/sys/fs/cgroup/box",)
    assert made.optional == ()
    assert made.needed == ("cpuset", "pids", "memory")
    assert [write.text() for write in made.before] == ["cpuset.cpus = 0"]
    assert [write.text() for write in made.after] == ["pids.max = 1", "memory.max = 4096"]
    assert made.devices_by_bpf and made.program
    assert made.notes == ("linux.resources.memory.useHierarchy is ignored: cgroup v1 only",)


def test_hybrid_needs_the_unified_hierarchy_only_for_its_controllers() -> None:
    assert "" in planned(HYBRID, "/box").optional
    limited = planned(HYBRID, "/box", hugepageLimits=[{"pageSize": "2MB", "limit": 1}])
    assert "" not in limited.optional
    assert limited.needed == ("hugetlb",)


def test_a_hybrid_host_without_the_devices_controller_uses_bpf() -> None:
    found = HYBRID.replace(hierarchies={k: v for k, v in HYBRID.hierarchies.items() if k != "devices"})
    made = planned(found, "/box")
    assert made.devices_by_bpf and made.program
    assert "" not in made.optional


def test_privileged_containers_get_no_program() -> None:
    made = planned(V2, "/box", devices=PRIVILEGED)
    assert made.devices_by_bpf and made.program is None


def test_device_rules_that_cannot_be_enforced() -> None:
    found = V1.replace(hierarchies={k: v for k, v in V1.hierarchies.items() if k != "devices"})
    with pytest.raises(CgroupError, match="no devices controller is mounted"):
        planned(found, "/box")
    assert planned(found, "/box", devices=PRIVILEGED).after == ()
    assert planned(found, rootless=True).after == ()
    with pytest.raises(CgroupError, match="no devices controller is mounted"):
        planned(Layout(mode="none", hierarchies={}))


def test_an_ordinary_user_may_do_without() -> None:
    made = planned(V1, rootless=True)
    assert made.unprivileged and made.devices_lenient
    assert all("EPERM" in write.tolerate and "ENOENT" in write.tolerate for write in made.after)
    assert not planned(V1, "/box", rootless=True).unprivileged
    assert not planned(V1).unprivileged


def test_a_config_without_linux() -> None:
    made = plan({"ociVersion": "1.0.0"}, "box", V2, rootless=False)
    assert made.paths == {"": "/sys/fs/cgroup/user.slice/user-1000.slice/box"}
    assert made.after == () and made.program


def test_a_plan_is_plain_data() -> None:
    text = json.dumps(planned(HYBRID, "/box", memory={"limit": 1 << 20}).asdict())
    assert '"file": "memory.limit_in_bytes"' in text


def test_below() -> None:
    paths = {"cpu": "/c/box", "memory": "/m/box"}
    assert below(paths, "sub/x") == {"cpu": "/c/box/sub/x", "memory": "/m/box/sub/x"}
    assert below(paths, "/sub/", ["cpu"]) == {"cpu": "/c/box/sub", "memory": "/m/box"}
    assert below(paths, "/") == paths
    with pytest.raises(CgroupError, match="bad sub cgroup path"):
        below(paths, "../other")
    with pytest.raises(CgroupError, match='unknown controller "pids"'):
        below(paths, "x", ["pids"])
