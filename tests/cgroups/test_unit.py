# SPDX-License-Identifier: Apache-2.0
"""The unit that a container is to be: name, place and properties, and the plan that has it."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroups import layout
from pyoci.cgroups.plan import CgroupPlan, plan
from pyoci.cgroups.unit import Manager, expand
from pyoci.errors import CgroupError
from tests.cgroups import hosts

V1 = layout.parse(hosts.V1, hosts.V1_SELF)
HYBRID = layout.parse(hosts.HYBRID, hosts.HYBRID_SELF)
V2 = layout.parse(hosts.V2, hosts.V2_SELF)
SYSTEM = Manager(user=False, version=252, cgroup="")
USER = Manager(user=True, version=252, cgroup="/user.slice/user-1000.slice/user@1000.service")


def planned(
    path: str | None = None,
    found: layout.Layout = V2,
    systemd: Manager = SYSTEM,
    annotations: dict[str, str] | None = None,
    name: str = "box",
    **resources: Any,
) -> CgroupPlan:
    linux: dict[str, Any] = {"resources": resources}
    if path is not None:
        linux["cgroupsPath"] = path
    config = {"linux": linux, "annotations": annotations or {}}
    return plan(config, name, found, systemd=systemd, rootless=systemd.user)


def start(made: CgroupPlan) -> dict[str, Any]:
    assert made.unit is not None
    return {each.name: each.value for each in made.unit.properties}


def limits(made: CgroupPlan) -> dict[str, Any]:
    assert made.unit is not None
    return {each.name: each.value for each in made.unit.limits}


@pytest.mark.parametrize(
    ("path", "unit", "slice_name", "directory"),
    [
        ("system.slice:docker:1234", "docker-1234.scope", "system.slice", "/system.slice/docker-1234.scope"),
        (":libpod:1", "libpod-1.scope", "system.slice", "/system.slice/libpod-1.scope"),
        ("a-b-c.slice:p:n", "p-n.scope", "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        ("-.slice:p:n", "p-n.scope", "-.slice", "/p-n.scope"),
        ("-:p:n", "p-n.scope", "-.slice", "/p-n.scope"),
        ("cpu.slice:p:n", "p-n.scope", "cpu.slice", "/_cpu.slice/p-n.scope"),
        ("::n", "-n.scope", "system.slice", "/system.slice/-n.scope"),
        (None, "pyoci-box.scope", "system.slice", "/system.slice/pyoci-box.scope"),
        ("", "pyoci-box.scope", "system.slice", "/system.slice/pyoci-box.scope"),
    ],
)
def test_the_unit_and_its_place(path: str | None, unit: str, slice_name: str, directory: str) -> None:
    made = planned(path)
    assert made.unit is not None
    assert (made.unit.name, made.unit.slice, made.driver) == (unit, slice_name, "systemd")
    assert made.paths == {"": "/sys/fs/cgroup" + directory}
    assert start(made)["Slice"] == slice_name


def test_an_id_with_a_plus_is_escaped_as_systemd_wants_it() -> None:
    made = planned(name="a+b")
    assert made.unit is not None
    assert made.unit.name == r"pyoci-a\x2bb.scope"


def test_every_hierarchy_of_version_1_has_the_unit_in_the_same_place() -> None:
    made = planned("pods.slice:p:n", V1)
    assert {path.removeprefix(V1.hierarchies[name].mount_point) for name, path in made.paths.items()} == {
        "/pods.slice/p-n.scope"
    }


def test_an_ordinary_user_gets_it_from_his_own_systemd() -> None:
    made = planned(None, systemd=USER)
    assert made.unit is not None
    assert made.unit.user
    assert made.paths == {"": f"/sys/fs/cgroup{USER.cgroup}/user.slice/pyoci-box.scope"}
    assert "DevicePolicy" not in limits(made)
    assert not made.unprivileged  # systemd gives what it can give


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        (
            "/docker/box",
            'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "/docker/box"',
        ),
        ("a:b", "expected cgroupsPath to be of format"),
        ("a.slice:b:c:d", "expected cgroupsPath to be of format"),
        ("system:p:n", "invalid slice name: system"),
        (".slice:p:n", "invalid slice name: .slice"),
        ("a--b.slice:p:n", "invalid slice name: a--b.slice"),
        ("-a.slice:p:n", "invalid slice name: -a.slice"),
        ("a/b.slice:p:n", "invalid slice name: a/b.slice"),
        ("system.slice:p:a/../b", "is no name that systemd takes"),
        ("system.slice:p:" + "n" * 250, "is no name that systemd takes"),
        ("system.slice::pod.slice", "names a slice"),
    ],
)
def test_paths_that_lead_to_no_unit(path: str, fragment: str) -> None:
    with pytest.raises(CgroupError) as caught:
        planned(path)
    assert fragment in caught.value.message


def test_an_ordinary_user_needs_version_2() -> None:
    with pytest.raises(CgroupError, match="cgroup v2 only"):
        planned(None, V1, USER)


def test_a_slice_is_below_those_that_its_name_begins_with() -> None:
    assert expand("user-1000.slice") == ["user.slice", "user-1000.slice"]
    assert expand("-.slice") == []


def test_the_properties_of_a_scope() -> None:
    made = start(planned())
    for name in ("Delegate", "MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"):
        assert made[name] is True, name
    assert made["DefaultDependencies"] is False
    assert "BlockIOAccounting" in start(planned(found=V1))
    assert "PIDs" not in made  # known only when init is there


def test_limits_wait_until_init_has_made_its_mounts() -> None:
    made = planned(memory={"limit": 64 << 20}, pids={"limit": 0})
    assert "MemoryMax" not in start(made)
    assert limits(made)["MemoryMax"] == 64 << 20
    assert limits(made)["TasksMax"] == 1


def test_device_rules_that_systemd_cannot_be_told_of() -> None:
    """The files of version 1 it would write to: rather all is refused there for a while than allowed."""
    rules = [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "w"}]
    for found, policy in ((V2, "auto"), (V1, "strict"), (HYBRID, "strict")):
        assert limits(planned(found=found, devices=rules))["DevicePolicy"] == policy
        assert limits(planned(found=found, devices=rules[:1]))["DevicePolicy"] == "auto"


def test_the_file_gets_the_quota_that_systemd_comes_to() -> None:
    made = planned(cpu={"quota": 12_345, "period": 100_000})
    assert limits(made)["CPUQuotaPerSecUSec"] == 130_000
    assert [write.value for write in made.after if write.file == "cpu.max"] == ["13000 100000"]


def test_annotations_come_last() -> None:
    made = planned(annotations={"org.systemd.property.Delegate": "false", "other": "1"})
    assert made.unit is not None
    assert [each.value for each in made.unit.properties if each.name == "Delegate"] == [True, False]


def test_without_systemd_the_form_of_the_path_is_not_looked_at() -> None:
    made = plan({"linux": {"cgroupsPath": "a:b:c"}}, "box", V2, rootless=False)
    assert made.unit is None
    assert made.paths[""].endswith("/a:b:c")
