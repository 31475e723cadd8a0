# SPDX-License-Identifier: Apache-2.0
"""What is found out about the host, and from which texts."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pyoci import host as hosts
from pyoci import syscalls as k
from pyoci.cgroups import layout
from pyoci.cgroups.files import get
from pyoci.cgroups.layout import Layout
from pyoci.host import Host, HostMount, clean_path
from tests.forked import in_child
from tests.user_namespaces import user_namespace


def host(*mounts: HostMount, **facts: Any) -> Host:
    values: dict[str, Any] = {
        "cgroups": Layout(mode="none", hierarchies={}),
        "rootless": False,
        "last_capability": 40,
        "grantable_capabilities": 0,
        "seccomp_flags": (),
        "has_kcore": True,
        "mounts": mounts,
    }
    return Host(**{**values, **facts})


def mount(point: str, fstype: str = "ext4", root: str = "/") -> HostMount:
    return HostMount(point=point, root=root, fstype=fstype)


@pytest.mark.parametrize(
    ("line", "point", "root", "fstype"),
    [
        ("23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw", "/", "/", "ext4"),
        ("24 23 0:22 / /sys rw,nosuid - sysfs sysfs rw", "/sys", "/", "sysfs"),
        ("34 31 0:31 /a /b rw shared:13 master:2 propagate_from:1 - tmpfs none rw", "/b", "/a", "tmpfs"),
        (r"25 23 0:23 / /a\040b\011c\012d\134e\043f rw - tmpfs a\040-\040b rw", "/a b\tc\nd\\e#f", "/", "tmpfs"),
        (r"25 23 0:23 / /a\134040 rw - tmpfs none rw", r"/a\040", "/", "tmpfs"),
        ("25 23 0:23 / /a rw -", "/a", "/", ""),
        ("25 23 0:23 / /a\r\x0b\x1c\x85\u2028b rw - tmpfs none rw", "/a\r\x0b\x1c\x85\u2028b", "/", "tmpfs"),
        ("25 23 0:23 / /ä-b rw - fuse.x-y a-b rw,x=-", "/ä-b", "/", "fuse.x-y"),
    ],
)
def test_a_line_of_mountinfo(line: str, point: str, root: str, fstype: str) -> None:
    assert hosts._host_mount(*layout.mounts(line)) == HostMount(point=point, root=root, fstype=fstype)


@pytest.mark.parametrize(
    ("path", "point"),
    [
        ("/", "/"),
        ("/srv", "/srv"),
        ("/srv/a/b", "/srv"),
        ("/srv/data", "/srv/data"),
        ("/srv/data/x", "/srv/data"),
        ("/srv/database", "/srv"),
        ("/srvx", "/"),
    ],
)
def test_the_mount_that_a_path_lies_on(path: str, point: str) -> None:
    assert host(mount("/srv/data"), mount("/"), mount("/srv")).mount_point_of(path) == point


def test_no_mounts_at_all() -> None:
    assert host().mount_point_of("/srv") == "/"


def test_whole_views_of_the_host() -> None:
    seen = host(
        mount("/proc", "proc"),
        mount("/proc/sys", "proc", root="/sys"),
        mount("/sys", "sysfs"),
        mount("/sys/fs/cgroup", "cgroup2"),
        mount("/mnt/proc", "proc"),
        mount("/srv/root/proc", "proc"),
        mount("/srv/rootless/proc", "proc"),
    )
    assert seen.whole_views("/srv/root") == ("/proc", "/sys", "/mnt/proc", "/srv/rootless/proc")


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/", "/"),
        ("", "/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("//a///b/", "/a/b"),
        ("/a/./b/.", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/../..", "/"),
        ("/a/...", "/a/..."),
        ("a/b", "/a/b"),
    ],
)
def test_clean_paths(path: str, cleaned: str) -> None:
    assert clean_path(path) == cleaned


def test_real_paths(tmp_path: Path) -> None:
    (tmp_path / "real/sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    before = os.listdir("/proc/self/fd")
    assert hosts.real_path(f"{tmp_path}/link/sub") == f"{tmp_path}/real/sub"
    assert hosts.real_path(f"{tmp_path}/link/none") == f"{tmp_path}/link/none"
    assert os.listdir("/proc/self/fd") == before


def test_a_whole_file_is_read() -> None:
    with open("/proc/self/smaps", "rb") as file:
        assert len(file.read(1 << 20)) > 1 << 12
    text = get("/proc/self/mountinfo")
    assert text == Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    assert text.endswith("\n")


def test_the_facts_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "link").symlink_to("rootfs")
    own, other = "/proc/self/ns/net", "/proc/self/ns/uts"
    config: dict[str, Any] = {
        "root": {"path": "link"},
        "linux": {
            "namespaces": [
                {"type": "network", "path": own},
                {"type": "uts", "path": other},
                {"type": "pid"},
                {"type": "network", "path": "/nonexistent"},
            ]
        },
    }
    facts = hosts.gather(config, str(tmp_path))
    assert facts.real_paths == {f"{tmp_path}/link": f"{tmp_path}/rootfs"}
    assert facts.own_namespaces == {f"net:{own}": True, "net:/nonexistent": False}
    assert facts.is_own_namespace("net", own)
    assert not facts.is_own_namespace("net", "/nonexistent")
    assert not facts.is_own_namespace("net", "/proc/1/ns/net/other")
    assert facts.last_capability == int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert facts.has_kcore == os.path.exists("/proc/kcore")
    assert {mount.point for mount in facts.mounts} >= {"/", "/proc"}
    assert facts.seccomp_flags == ()
    assert hosts.gather({**config, "linux": {"seccomp": {}}}, str(tmp_path)).seccomp_flags == ()
    assert "LOG" in "".join(hosts.gather({**config, "linux": {"seccomp": {"a": 1}}}, "/").seccomp_flags)


def test_a_root_elsewhere() -> None:
    assert hosts.gather({"root": {"path": "/usr/../tmp/."}}, "/srv").real_paths == {"/tmp": "/tmp"}
    assert hosts.gather({}, "/usr").real_paths == {"/usr": "/usr"}


@pytest.mark.needs_root
def test_somebody_elses_network() -> None:
    def inside() -> list[bool]:
        path = f"/proc/{os.getppid()}/ns/net"
        before = hosts.gather({"linux": {"namespaces": [{"type": "network", "path": path}]}}, "/")
        k.unshare(k.CLONE_NEWNET)
        after = hosts.gather({"linux": {"namespaces": [{"type": "network", "path": path}]}}, "/")
        return [before.is_own_namespace("net", path), after.is_own_namespace("net", path)]

    assert in_child(inside) == [True, False]


def test_the_maps_of_a_user_namespace_that_is_joined() -> None:
    config: dict[str, Any] = {"linux": {"namespaces": [{"type": "user", "path": "/nonexistent"}, {"type": "pid"}]}}
    assert hosts.gather(config, "/").joined_maps is None
    assert hosts.gather({"linux": {"namespaces": [{"type": "user"}]}}, "/").joined_maps is None


@pytest.mark.needs_root
@pytest.mark.needs_user_namespaces
def test_they_are_those_that_were_written() -> None:
    with user_namespace("0 1000 5\n10 3000 1\n", "0 2000 1\n") as path:
        found = hosts.gather({"linux": {"namespaces": [{"type": "user", "path": path}]}}, "/").joined_maps
    assert found == (((0, 1000, 5), (10, 3000, 1)), ((0, 2000, 1),))


def test_rootless_is_as_one_is_told() -> None:
    assert hosts.gather({}, "/", rootless=True).rootless
    assert not hosts.gather({}, "/", rootless=False).rootless


@pytest.mark.needs_root
@pytest.mark.needs_user_namespaces
def test_root_and_rootless() -> None:
    def with_map(id_map: str) -> bool:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            k.unshare(k.CLONE_NEWUSER)
            theirs.send(b"u")
            theirs.recv(1)
            theirs.send(b"y" if hosts.is_rootless() else b"n")
            os._exit(0)
        ours.recv(1)
        Path(f"/proc/{pid}/uid_map").write_text(id_map)
        ours.send(b"g")
        answer = ours.recv(1)
        os.waitpid(pid, 0)
        return answer == b"y"

    def ordinary() -> bool:
        os.setresuid(65534, 65534, 65534)
        return hosts.is_rootless()

    assert in_child(ordinary)
    assert in_child(lambda: with_map("0 1000 1\n"))
    assert in_child(lambda: with_map("0 0 1000\n"))
    if os.readlink("/proc/self/ns/user") == "user:[4026531837]":
        assert not hosts.is_rootless()
        assert in_child(lambda: with_map("0 0 4294967295\n")), "the host's maps make no host"
