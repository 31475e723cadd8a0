# SPDX-License-Identifier: Apache-2.0
"""What a container will see of its cgroups, on hosts of each kind."""

from __future__ import annotations

import pytest

from pyoci.cgroups import layout
from pyoci.cgroups.layout import Layout
from pyoci.cgroups.plan import CgroupPlan
from pyoci.plan.cgroup_view import plan_cgroup_view
from pyoci.plan.model import CgroupHierarchy, CgroupView, Link
from tests.cgroups import hosts

V1 = layout.parse(hosts.V1, hosts.V1_SELF)
HYBRID = layout.parse(hosts.HYBRID, hosts.HYBRID_SELF)
SESSION = "/user.slice/user-1000.slice/session-1.scope"
V2 = layout.parse(hosts.V2, hosts.V2_SELF)


def cgroup(mode: str, **paths: str) -> CgroupPlan:
    return CgroupPlan(mode=mode, paths=paths, directories=(), mount_points={})


@pytest.mark.parametrize(("namespaced", "path"), [(True, "/sys/fs/cgroup/box"), (False, "/sys/fs/cgroup")])
def test_version_2(namespaced: bool, path: str) -> None:
    plan = CgroupPlan(mode="v2", paths={"": "/sys/fs/cgroup/box"}, directories=(), mount_points={})
    assert plan_cgroup_view(plan, V2, namespaced) == CgroupView(
        unified=True,
        namespaced=namespaced,
        hierarchies=(CgroupHierarchy(name="", parameters=(), path=path, ours=f"/sys/fs/cgroup{SESSION}"),),
    )


def test_version_2_without_a_cgroup_of_its_own() -> None:
    view = plan_cgroup_view(cgroup("v2"), V2, True)
    assert [(hierarchy.path, hierarchy.ours) for hierarchy in view.hierarchies] == [("", f"/sys/fs/cgroup{SESSION}")]


@pytest.mark.parametrize("found", [V1, HYBRID])
def test_version_1(found: Layout) -> None:
    """The unified hierarchy of a hybrid host is not among them: the container has nothing in it."""
    view = plan_cgroup_view(cgroup("v1", memory="/m/box", cpu="/c/box", cpuacct="/c/box"), found, True)
    assert (view.unified, view.namespaced) == (False, True)
    shown = {hierarchy.name: hierarchy for hierarchy in view.hierarchies}
    assert set(shown) == {
        "systemd",
        "cpu,cpuacct",
        "memory",
        "devices",
        "freezer",
        "cpuset",
        "pids",
        "blkio",
        "net_cls,net_prio",
    }
    ours = "/sys/fs/cgroup/memory/user.slice/user-1000.slice"
    assert shown["memory"] == CgroupHierarchy(name="memory", parameters=(("memory", None),), path="/m/box", ours=ours)
    assert shown["cpu,cpuacct"].parameters == (("cpu", None), ("cpuacct", None))
    assert shown["cpu,cpuacct"].path == "/c/box"
    assert shown["systemd"].parameters == (("none", None), ("name", "systemd"))
    assert shown["pids"].path == "", "where the container has no cgroup of its own"
    assert shown["pids"].ours == "/sys/fs/cgroup/pids/user.slice/user-1000.slice"
    assert set(view.links) == {
        Link(path="cpu", target="cpu,cpuacct"),
        Link(path="cpuacct", target="cpu,cpuacct"),
        Link(path="net_cls", target="net_cls,net_prio"),
        Link(path="net_prio", target="net_cls,net_prio"),
    }


@pytest.mark.parametrize(
    ("namespaced", "path"), [(True, "/sys/fs/cgroup/unified/box"), (False, "/sys/fs/cgroup/unified")]
)
def test_version_2_beside_version_1(namespaced: bool, path: str) -> None:
    """As it would be alone: what the container has in v1 does not show."""
    plan = CgroupPlan(
        mode="hybrid", paths={"memory": "/m/box", "": "/sys/fs/cgroup/unified/box"}, directories=(), mount_points={}
    )
    view = plan_cgroup_view(plan, HYBRID, namespaced, unified=True)
    (shown,) = view.hierarchies
    assert (view.unified, view.namespaced, view.links) == (True, namespaced, ())
    assert (shown.name, shown.parameters, shown.path) == ("", (), path)
    assert shown.ours.startswith("/sys/fs/cgroup/unified")


def test_version_2_where_nobody_has_mounted_it() -> None:
    view = plan_cgroup_view(cgroup("v1", memory="/m/box"), V1, True, unified=True)
    assert view.hierarchies == (CgroupHierarchy(name="", parameters=(), path="", ours=""),)


def test_no_cgroups() -> None:
    view = plan_cgroup_view(cgroup("none"), Layout(mode="none", hierarchies={}), False)
    assert view == CgroupView(unified=False, namespaced=False, hierarchies=())
