# SPDX-License-Identifier: Apache-2.0
"""Whose a container's cgroup is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroups import layout, ownership
from pyoci.cgroups.plan import plan
from pyoci.errors import CgroupError
from tests.cgroups import hosts

V1 = layout.parse(hosts.V1, hosts.V1_SELF)
V2 = layout.parse(hosts.V2, hosts.V2_SELF)
OWN, USERS = {"type": "cgroup"}, {"type": "user"}
JOINED = {"type": "user", "path": "/run/user-ns"}
MAPPINGS = [{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 5000, "size": 1}]


def owner(
    *options: str,
    namespaces: list[dict[str, str]] | None = None,
    mappings: list[dict[str, int]] | None = None,
    uid: int = 0,
    destination: str = "/sys/fs/cgroup",
    source: str | None = "cgroup",
    fstype: str = "cgroup",
    found: layout.Layout = V2,
    rootless: bool = False,
    joined: tuple[tuple[int, int, int], ...] = (),
) -> int:
    config: dict[str, Any] = {
        "process": {"user": {"uid": uid}},
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": destination, "type": fstype, "options": list(options)},
        ],
        "linux": {"namespaces": [OWN] if namespaces is None else namespaces, "uidMappings": mappings},
    }
    if source is not None:
        config["mounts"][1]["source"] = source
    return plan(config, "box", found, rootless=rootless, joined_uids=joined).owner


def test_who_may_write_in_a_view_of_his_own() -> None:
    assert owner("rw") == 0
    assert owner(uid=33) == 33
    assert owner(destination="/sys//fs/./cgroup/") == 0
    assert owner(fstype="cgroup2") == 0
    assert owner(namespaces=[OWN, USERS], mappings=MAPPINGS) == 100_000
    assert owner(namespaces=[OWN, USERS], mappings=MAPPINGS, uid=1000) == 5000


def test_whose_cgroup_stays_ours() -> None:
    assert owner("nosuid", "ro") == -1
    assert owner("rro") == -1
    assert owner(namespaces=[]) == -1
    assert owner(namespaces=[{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]) == -1
    assert owner(destination="/mnt") == -1
    assert owner(source="cgroup2", fstype="cgroup2") == -1
    assert owner(source=None) == -1
    assert owner(fstype="tmpfs") == -1
    assert owner(found=V1) == -1
    assert owner(rootless=True) == -1
    assert owner(namespaces=[OWN, USERS], mappings=MAPPINGS, uid=1001) == -1


def test_in_a_joined_user_namespace_it_is_its_maps_that_count() -> None:
    lines = ((0, 7000, 10), (1000, 5000, 1))
    assert owner(namespaces=[OWN, JOINED], joined=lines) == 7000
    assert owner(namespaces=[JOINED, OWN], joined=lines, uid=1000) == 5000
    assert owner(namespaces=[OWN, JOINED], joined=lines, mappings=MAPPINGS) == 7000
    assert owner(namespaces=[OWN, JOINED], joined=lines, uid=10) == -1


def test_without_them_it_stays_ours() -> None:
    assert owner(namespaces=[OWN, JOINED]) == -1
    assert owner(namespaces=[OWN, JOINED], mappings=MAPPINGS) == -1


@pytest.mark.needs_root
def test_the_files_that_the_kernel_names_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tmp_path / "delegate"
    names.write_text("cgroup.procs\ncgroup.threads\nmemory.reclaim\n")
    monkeypatch.setattr(ownership, "_DELEGATE", str(names))
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.max"):
        (cgroup / name).touch()
    ownership.give(str(cgroup), 4711)
    assert {path.name for path in (cgroup, *cgroup.iterdir()) if path.stat().st_uid == 4711} == {
        "cgroup",
        "cgroup.procs",
        "cgroup.threads",
    }
    names.unlink()
    ownership.give(str(cgroup), 4712)
    assert (cgroup / "cgroup.subtree_control").stat().st_uid == 4712
    assert (cgroup / "memory.max").stat().st_uid == os.getuid()


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"give .*/none to user 1: no such file or directory"):
        ownership.give(str(tmp_path / "none"), 1)
