# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Control groups: where a container is put, who owns that, and what is written there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.lifecycle.configs import with_user_namespace
from tests.lifecycle.harness import CGROUP_ROOT

from ..box import Box, cgroup2_alone
from ..suite import Skipped, each, proves

DELEGATE = Path("/sys/kernel/cgroup/delegate")
ROOT_OF_CONTAINER = 100_000


def on_version_2() -> bool:
    return (CGROUP_ROOT / "cgroup.controllers").exists()


def controllers() -> list[str]:
    """Those of version 2 that are to be had."""
    return (CGROUP_ROOT / "cgroup.controllers").read_text().split()


def has(controller: str) -> bool:
    """Whether the host lets us use a controller, of either version."""
    return controller in controllers() if on_version_2() else (CGROUP_ROOT / controller).is_dir()


# The path


@proves("cgroups-path-absolute", "cgroups-path-kind", "create-properties")
def an_absolute_path(box: Box) -> None:
    box.linux["cgroupsPath"] = f"/{box.id}"
    box.hold()
    top = CGROUP_ROOT if on_version_2() else CGROUP_ROOT / "pids"
    procs = (top / box.id / "cgroup.procs").read_text().split()
    assert procs == [str(box.pid)]
    box.end()


@each({"absolute": "/{}", "relative": "{}"}, "cgroups-path-same", "cgroups-path-kind")
def the_same_path_twice(box: Box, path: str) -> None:
    found = []
    for _ in range(2):
        box.linux["cgroupsPath"] = path.format(box.id)
        box.hold()
        found.append(Path(f"/proc/{box.pid}/cgroup").read_text())
        box.end()
    assert found[0] == found[1]
    assert box.id in found[0]


@proves("cgroups-path-invalid")
def a_path_that_is_none(box: Box) -> None:
    box.linux["cgroupsPath"] = 5
    box.refuses()


@proves("cgroup-unfit")
def a_cgroup_that_is_in_use(box: Box) -> None:
    """A runtime need not look. If it does, it has to say no, and leave who is there alone."""
    owner = box.another()
    owner.hold()
    box.linux["cgroupsPath"] = owner.linux["cgroupsPath"]
    if box.create().status == 0:
        box.kill("KILL").ok()
        box.wait()
        raise Skipped("it does not look")
    assert owner.status == "running"
    assert str(owner.pid) in (owner.cgroup("pids") / "cgroup.procs").read_text().split()
    owner.end()


# Limits

LIMITS: dict[str, Any] = {
    "memory": ({"memory": {"limit": 64 << 20}}, "memory.limit_in_bytes", "memory.max", str(64 << 20)),
    "pids": ({"pids": {"limit": 77}}, "pids.max", "pids.max", "77"),
    "cpu": ({"cpu": {"quota": 50000, "period": 100000}}, "cpu.cfs_quota_us", "cpu.max", "50000"),
    "cpuset": ({"cpu": {"cpus": "0"}}, "cpuset.cpus", "cpuset.cpus", "0"),
}


@each(LIMITS, "create-properties", "lifecycle-resources")
def a_limit_for_the_container(box: Box, case: Any) -> None:
    resources, old, new, value = case
    controller = old.partition(".")[0]
    if not has(controller):
        raise Skipped(f"the host has no {controller} controller for us")
    box.resources.update(resources)
    box.create().ok()
    file = box.cgroup(controller) / (new if on_version_2() else old)
    assert file.read_text().split()[0] == value
    box.kill("KILL").ok()
    box.wait()


@proves("pids-zero")
def no_process_at_all(box: Box) -> None:
    if not has("pids"):
        raise Skipped("the host has no pids controller for us")
    box.resources["pids"] = {"limit": 0}
    box.create().ok()
    # The same to a container, whose first process counts: nothing more can be forked.
    assert (box.cgroup("pids") / "pids.max").read_text().strip() in ("0", "1")
    box.kill("KILL").ok()
    box.wait()


# Owners


def owners(box: Box) -> dict[str, int]:
    """Who owns the container's cgroup, ".", and the files in it."""
    box.create().ok()
    cgroup = box.cgroup("pids")
    found = {name: (cgroup / name).stat().st_uid for name in os.listdir(cgroup)}
    found["."] = cgroup.stat().st_uid
    box.kill("KILL").ok()
    box.wait()
    box.delete().ok()
    return found


def delegation(box: Box) -> None:
    """A config for which a cgroup of version 2 should be given away: its namespaces, and a mount to write to."""
    with_user_namespace(box.config, ROOT_OF_CONTAINER)
    box.linux["namespaces"].append({"type": "cgroup"})
    for entry in box.mounts:
        if entry["destination"] == "/sys/fs/cgroup":
            entry["options"].remove("ro")


@proves("ownership-v1")
def a_cgroup_of_version_1(box: Box) -> None:
    if on_version_2():
        raise Skipped("needs cgroup v1")
    delegation(box)
    assert set(owners(box).values()) == {0}


@proves("ownership-writable", "ownership-files", "ownership-present", "ownership-others")
def a_cgroup_to_be_given_away(box: Box) -> None:
    cgroup2_alone()
    delegation(box)
    names = [".", *DELEGATE.read_text().split()]
    found = owners(box)
    given = {name for name, uid in found.items() if uid == ROOT_OF_CONTAINER}
    assert given == {name for name in names if name in found}, given
    assert {uid for name, uid in found.items() if name not in given} == {0}


@proves("ownership-missing")
def a_cgroup_without_some_files(box: Box) -> None:
    """No cgroup has all that the kernel names: some are of controllers."""
    cgroup2_alone()
    delegation(box)
    if set(DELEGATE.read_text().split()) <= set(owners(box)):
        raise Skipped("all files that may be given away are there")


def without_namespace(box: Box) -> None:
    box.linux["namespaces"] = [entry for entry in box.linux["namespaces"] if entry["type"] != "cgroup"]


def read_only(box: Box) -> None:
    next(entry for entry in box.mounts if entry["destination"] == "/sys/fs/cgroup")["options"].append("ro")


def without_mount(box: Box) -> None:
    box.mounts[:] = [entry for entry in box.mounts if entry["destination"] != "/sys/fs/cgroup"]


@each({"namespace": without_namespace, "writable": read_only, "no-mount": without_mount}, "ownership-{}")
def a_cgroup_to_be_kept(box: Box, change: Any) -> None:
    cgroup2_alone()
    delegation(box)
    change(box)
    assert set(owners(box).values()) == {0}


# Files of version 2


@proves("unified-unknown")
def a_file_that_no_runtime_knows(box: Box) -> None:
    cgroup2_alone()
    box.resources["unified"] = {"cgroup.max.descendants": "7"}
    box.create().ok()
    assert (box.cgroup("") / "cgroup.max.descendants").read_text().strip() == "7"
    box.kill("KILL").ok()
    box.wait()


@proves("unified-controllers")
def a_controller_that_is_not_on_yet(box: Box) -> None:
    cgroup2_alone()
    files = {"pids": "pids.max", "memory": "memory.max", "hugetlb": "hugetlb.2MB.max"}
    usable = [name for name in files if name in controllers()]
    if not usable:
        raise Skipped("no controller of cgroup v2 is to be had")
    value = str(16 << 20)
    box.resources["unified"] = {files[usable[0]]: value}
    box.create().ok()
    assert (box.cgroup("") / files[usable[0]]).read_text().strip() == value
    box.kill("KILL").ok()
    box.wait()


@each({"unknown": "nosuch.max", "hybrid": "memory.max"}, "unified-missing")
def a_controller_that_is_not_there(box: Box, file: str) -> None:
    cgroup2_alone()
    if file.partition(".")[0] in controllers():
        raise Skipped("the host has the controller")
    box.resources["unified"] = {file: "1000000"}
    box.refuses()


ONLY_OF_VERSION_1: dict[str, Any] = {
    "swappiness": {"memory": {"swappiness": 50}},
    "OOM killer": {"memory": {"disableOOMKiller": True}},
    "TCP buffers": {"memory": {"kernelTCP": 64 << 20}},
    "class of packets": {"network": {"classID": 0x100001}},
    "priority of packets": {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
}


@each(ONLY_OF_VERSION_1, "unified-conversion", "create-cannot-apply")
def a_limit_that_version_2_has_not(box: Box, resources: dict[str, Any]) -> None:
    cgroup2_alone()
    box.resources.update(resources)
    box.refuses()
