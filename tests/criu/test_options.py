# SPDX-License-Identifier: Apache-2.0
"""What criu is asked for, without a criu."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.criu import options as criu
from pyoci.criu import rpc
from pyoci.criu.options import CriuOptions, Dumped
from pyoci.errors import UsageError
from pyoci.plan.model import CgroupHierarchy, CgroupView, Join, Namespaces

OPTIONS = CriuOptions(image_path="/images")
CONTAINER = Dumped(pid=7, rootfs="/bundle/rootfs", binds=("/vol",), masks=("/proc/kcore",))


class Planned:
    """As much of a plan as a restore looks at."""

    def __init__(self, *joins: Join, masked: tuple[str, ...] = ()) -> None:
        self.namespaces = Namespaces(new=0, join=joins)
        self.rootfs = type("Rootfs", (), {"masked": masked})()


def restored(*joins: Join, options: CriuOptions = OPTIONS, **changes: Any) -> dict[str, Any]:
    masked = changes.pop("masked", ())
    values: dict[str, Any] = {"root": "/root", "mounts": {}, "streams": [], "config_file": "", **changes}
    return criu.restore(options, Planned(*joins, masked=masked), **values)  # type: ignore[arg-type]


def test_every_name_is_one_of_criu_s() -> None:
    full = OPTIONS.replace(
        parent_path="../before",
        page_server=("host", 1),
        manage_cgroups_mode="soft",
        lsm_profile="a:b",
        lsm_mount_context="c",
    )
    dumped = criu.dump(full, CONTAINER.replace(freezer="/f", config_file="/c", inodes={k.CLONE_NEWNET: 1}))
    joined = restored(Join(type="ipc", path="/p", flag=k.CLONE_NEWIPC), options=full, streams=["pipe:[1]"])
    for asked in (dumped, joined | {"cg_root": criu.cgroup_roots("0::/a")}):
        content = rpc.encode(rpc.REQUEST, {"type": rpc.DUMP, "opts": asked})
        assert rpc.decode(rpc.REQUEST, content)["opts"].keys() == {name for name, value in asked.items() if value != []}


def test_a_dump() -> None:
    asked = criu.dump(OPTIONS, CONTAINER)
    assert asked["pid"] == 7 and asked["root"] == "/bundle/rootfs" and asked["log_file"] == "dump.log"
    assert asked["leave_running"] is False
    assert asked["ext_mnt"] == [{"key": "/vol", "val": "/vol"}, {"key": "/proc/kcore", "val": "/dev/null"}]
    assert not asked.keys() & {"freeze_cgroup", "ps", "parent_img", "track_mem", "config_file", "manage_cgroups_mode"}


@pytest.mark.parametrize(
    "name",
    "leave_running tcp_established tcp_skip_in_flight link_remap ext_unix_sk shell_job file_locks lazy_pages auto_dedup".split(),
)
def test_flags_of_a_dump(name: str) -> None:
    assert criu.dump(OPTIONS, CONTAINER)[name] is False
    assert criu.dump(OPTIONS.replace(**{name: True}), CONTAINER)[name] is True


def test_the_rest_of_a_dump() -> None:
    container = CONTAINER.replace(
        freezer="/sys/fs/cgroup/box", inodes={k.CLONE_NEWPID: 5, k.CLONE_NEWNET: 4, k.CLONE_NEWIPC: 3}, config_file="/c"
    )
    asked = criu.dump(
        OPTIONS.replace(parent_path="../before", page_server=("::1", 77), manage_cgroups_mode="ignore"), container
    )
    assert asked["freeze_cgroup"] == "/sys/fs/cgroup/box"
    assert asked["external"] == ["net[4]:extRootNetNS", "pid[5]:extRootPidNS"]
    assert asked["ps"] == {"address": "::1", "port": 77}
    assert (asked["parent_img"], asked["track_mem"]) == ("../before", True)
    assert asked["manage_cgroups_mode"] == 0
    assert asked["config_file"] == "/c"


def test_a_pre_dump_looks_at_no_mounts() -> None:
    assert "ext_mnt" not in criu.dump(OPTIONS.replace(pre_dump=True), CONTAINER)


def test_a_restore() -> None:
    asked = restored(mounts={"/vol": "/srv/vol"}, masked=("/proc/kcore",), config_file="/c")
    assert asked["log_file"] == "restore.log" and asked["root"] == "/root"
    assert asked["ext_mnt"] == [{"key": "/vol", "val": "/srv/vol"}, {"key": "/dev/null", "val": "/dev/null"}]
    assert asked["inherit_fd"] == [] and asked["join_ns"] == []
    assert "lsm_profile" not in asked


def test_streams_that_were_pipes_are_replaced() -> None:
    streams = ["/dev/null", "pipe:[11]", "pipe:[12]"]
    assert restored(streams=streams)["inherit_fd"] == [{"key": "pipe:[11]", "fd": 1}, {"key": "pipe:[12]", "fd": 2}]


def test_namespaces_of_somebody_elses() -> None:
    asked = restored(
        Join(type="ipc", path="/ipc", flag=k.CLONE_NEWIPC),
        Join(type="network", path="/net", flag=k.CLONE_NEWNET),
        Join(type="pid", path="/pid", flag=k.CLONE_NEWPID),
    )
    assert asked["join_ns"] == [{"ns": "ipc", "ns_file": "/ipc"}]
    assert asked["inherit_fd"] == [{"key": "extRootNetNS", "fd": 6}, {"key": "extRootPidNS", "fd": 7}]


def test_the_options_of_security_modules() -> None:
    asked = restored(options=OPTIONS.replace(lsm_profile="apparmor:web", lsm_mount_context="c1"))
    assert (asked["lsm_profile"], asked["lsm_mount_context"]) == ("apparmor:web", "c1")


def test_cgroup_roots() -> None:
    text = "3:cpu,cpuacct:/b\rox\n2:name=systemd:/slice\n0::/box\n"
    assert criu.cgroup_roots(text) == [
        {"ctrl": "cpu", "path": "/b\rox"},
        {"ctrl": "cpuacct", "path": "/b\rox"},
        {"ctrl": "name=systemd", "path": "/slice"},
        {"ctrl": "", "path": "/box"},
    ]


def test_cgroup_mounts() -> None:
    hierarchy = CgroupHierarchy(name="memory", parameters=(), path="/sys/fs/cgroup/memory/box")
    view = CgroupView(unified=False, namespaced=False, hierarchies=(hierarchy, hierarchy.replace(name="cpu", path="")))
    assert criu.cgroup_mounts("/cg", view) == {"/cg/memory": "/sys/fs/cgroup/memory/box"}
    assert criu.cgroup_mounts("/cg", view.replace(namespaced=True)) == {}
    assert criu.cgroup_mounts("/cg", view.replace(unified=True)) == {}


@pytest.mark.parametrize(
    ("annotations", "there", "chosen"),
    [
        ({}, [], "/etc/criu/runc.conf"),
        ({}, ["/etc/criu/pyoci.conf", "/etc/criu/runc.conf"], "/etc/criu/pyoci.conf"),
        ({"org.criu.config": "/own"}, ["/etc/criu/pyoci.conf"], "/own"),
        ({"org.criu.config": ""}, ["/etc/criu/pyoci.conf"], ""),
    ],
)
def test_config_file(annotations: dict[str, str], there: list[str], chosen: str) -> None:
    assert criu.config_file(annotations, there) == chosen


@pytest.mark.parametrize(
    ("text", "server"),
    [("host:80", ("host", 80)), ("10.0.0.1:65535", ("10.0.0.1", 65535)), ("[fe80::1]:9", ("fe80::1", 9))],
)
def test_page_server(text: str, server: tuple[str, int]) -> None:
    assert criu.page_server(text) == server


@pytest.mark.parametrize("text", ["host", ":80", "host:", "host:no", "host:0", "host:65536", "fe80::1:9", "host:-1"])
def test_what_is_no_page_server(text: str) -> None:
    with pytest.raises(UsageError, match="page-server"):
        criu.page_server(text)


def test_what_ends_a_container() -> None:
    assert OPTIONS.ends
    assert not OPTIONS.replace(leave_running=True).ends and not OPTIONS.replace(pre_dump=True).ends
    assert OPTIONS.log_directory == "/images" and OPTIONS.replace(work_path="/work").log_directory == "/work"
