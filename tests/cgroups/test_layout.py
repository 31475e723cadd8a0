# SPDX-License-Identifier: Apache-2.0
"""What is made of the kernel's lists of mounts and cgroups."""

from __future__ import annotations

import pytest

from pyoci.cgroups import layout
from pyoci.cgroups.layout import Hierarchy
from tests.cgroups import hosts


def test_v1_has_a_hierarchy_for_each_controller_and_name() -> None:
    found = layout.parse(hosts.V1, hosts.V1_SELF)
    assert found.mode == "v1"
    assert set(found.hierarchies) == {
        *("cpu", "cpuacct", "memory", "devices", "freezer", "cpuset", "pids", "net_cls", "net_prio", "blkio"),
        "name=systemd",
    }
    assert found.hierarchies["cpuacct"] == found.hierarchies["cpu"]
    assert found.hierarchies["cpu"] == Hierarchy(mount_point="/sys/fs/cgroup/cpu,cpuacct", own="/user.slice")
    assert found.hierarchies["name=systemd"].own == "/user.slice/user-1000.slice/session-1.scope"


def test_hybrid_has_the_unified_hierarchy_beside() -> None:
    found = layout.parse(hosts.HYBRID, hosts.HYBRID_SELF)
    assert found.mode == "hybrid"
    assert found.hierarchies[""].mount_point == "/sys/fs/cgroup/unified"
    assert "memory" in found.hierarchies


def test_v2_has_nothing_else() -> None:
    found = layout.parse(hosts.V2, hosts.V2_SELF)
    assert found.mode == "v2"
    assert found.hierarchies == {
        "": Hierarchy(mount_point="/sys/fs/cgroup", own="/user.slice/user-1000.slice/session-1.scope")
    }
    assert found.asdict()["hierarchies"] == {
        "": {"mount_point": "/sys/fs/cgroup", "root": "/", "own": "/user.slice/user-1000.slice/session-1.scope"}
    }


def test_a_v1_controller_elsewhere_does_not_make_a_v2_host_hybrid() -> None:
    mounts = hosts.V2 + "90 23 0:50 / /opt/vpn/net_cls rw - cgroup net_cls rw,net_cls\n"
    assert layout.parse(mounts, "1:net_cls:/\n" + hosts.V2_SELF).mode == "v2"


def test_nothing_mounted() -> None:
    assert layout.parse(hosts.ROOT, hosts.V2_SELF) == layout.Layout(mode="none", hierarchies={})


def test_mounts_that_are_covered_do_not_count() -> None:
    """As after `unshare -m; mount -t tmpfs none /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup`."""
    mounts = (
        hosts.HYBRID
        + "70 31 0:60 / /sys/fs/cgroup rw,relatime - tmpfs none rw\n71 70 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n"
    )
    found = layout.parse(mounts, hosts.HYBRID_SELF)
    assert found.mode == "v2"
    assert found.hierarchies[""].mount_point == "/sys/fs/cgroup"


@pytest.mark.parametrize("place", ["/sys", "/sys/fs"])
def test_mounts_below_a_later_mount_on_a_parent_directory_are_covered(place: str) -> None:
    mounts = hosts.V2 + f"80 24 0:70 / {place} rw - tmpfs none rw\n"
    assert layout.parse(mounts, hosts.V2_SELF).mode == "none"


def test_of_two_mounts_of_one_hierarchy_the_usual_place_counts() -> None:
    copy = "25 23 0:31 / /var/lib/thing/memory rw - cgroup cgroup rw,memory\n"
    found = layout.parse(hosts.ROOT + copy + hosts.V1.removeprefix(hosts.ROOT), hosts.V1_SELF)
    assert found.hierarchies["memory"].mount_point == "/sys/fs/cgroup/memory"
    found = layout.parse(hosts.ROOT + copy, hosts.V1_SELF)
    assert found.hierarchies["memory"].mount_point == "/var/lib/thing/memory"


def test_escapes_and_deleted_cgroups() -> None:
    mounts = hosts.ROOT + "31 24 0:28 /a\\040b /mnt/x\\134y\\011z rw - cgroup2 none rw\n"
    found = layout.parse(mounts, "0::/a b/c:d (deleted)\n").hierarchies[""]
    assert found == Hierarchy(mount_point="/mnt/x\\y\tz", root="/a b", own="/a b/c:d")
    assert found.directory(found.own) == "/mnt/x\\y\tz/c:d"


@pytest.mark.parametrize("end", list("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"))
def test_names_with_what_ends_a_line_elsewhere(end: str) -> None:
    """A container can rename the directory that is mounted, and its cgroups; of these only a newline is escaped."""
    mounts = hosts.V2 + f"90 24 254:1 /s{end}ub /vol/s{end}ub rw - ext4 /dev/vda rw\n"
    assert layout.parse(mounts, f"0::/a{end}b\n").hierarchies[""].own == f"/a{end}b"
    assert layout.mounts(mounts)[-1][3:5] == [f"/s{end}ub", f"/vol/s{end}ub"]


def test_lines_that_are_none() -> None:
    assert layout.parse(f"\nx\n{hosts.V2}7 1 0:1 / /a\n", f"x\n{hosts.V2_SELF}") == layout.parse(
        hosts.V2, hosts.V2_SELF
    )


def test_directory_of_a_cgroup() -> None:
    whole = Hierarchy(mount_point="/sys/fs/cgroup")
    assert whole.directory("/") == "/sys/fs/cgroup"
    assert whole.directory("/a/b") == "/sys/fs/cgroup/a/b"
    assert whole.directory("/../a") is None
    part = Hierarchy(mount_point="/sys/fs/cgroup", root="/docker/1")
    assert part.directory("/docker/1") == "/sys/fs/cgroup"
    assert part.directory("/docker/1/b") == "/sys/fs/cgroup/b"
    assert part.directory("/docker/11") is None


def test_the_controllers_of_a_directory() -> None:
    found = layout.parse(hosts.HYBRID, hosts.HYBRID_SELF)
    for name, place in (("memory", "/sys/fs/cgroup/memory/a"), ("", "/sys/fs/cgroup/unified/a")):
        assert found.named(place) == {name: place}
    place = "/sys/fs/cgroup/cpu,cpuacct/a"
    assert layout.parse(hosts.V1, hosts.V1_SELF).named(place) == {"cpu": place, "cpuacct": place}


def test_this_host_is_understood() -> None:
    found = layout.read()
    assert found.mode in ("v1", "hybrid", "v2", "none")
    assert all(hierarchy.mount_point.startswith("/") for hierarchy in found.hierarchies.values())
