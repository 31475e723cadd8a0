# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Namespaces: new ones, those of others, and the runtime's own."""

from __future__ import annotations

from pathlib import Path

from tests.lifecycle.configs import with_user_namespace, without_namespace

from ..box import CLONE_NEWNS, Box, namespaces, unshared
from ..suite import Skipped, each, proves

LINKS = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup",
    "time": "time",
}  # fmt: skip
"""What the config calls a kind, and what /proc/PID/ns does."""


TIME = {"time": "1.1"}


def ask_for(box: Box, kind: str) -> None:
    """Have the container get a new namespace of this kind, if the base config has none."""
    if kind == "user":
        with_user_namespace(box.config)
    elif kind not in [entry["type"] for entry in box.linux["namespaces"]]:
        box.linux["namespaces"].append({"type": kind})


@each(
    {kind: kind for kind in LINKS},
    "namespace-new",
    "namespace-types",
    "features-namespaces",
    "create-properties",
    newer=TIME,
)
def a_new_namespace(box: Box, kind: str) -> None:
    if not Path(f"/proc/self/ns/{LINKS[kind]}").exists():
        raise Skipped(f"the kernel has no {kind} namespaces")
    ask_for(box, kind)
    found = box.look()["namespaces"]
    assert found[LINKS[kind]] != namespaces()[LINKS[kind]]


@each({kind: kind for kind in LINKS if kind != "mount"}, "namespace-joined", newer=TIME)
def the_namespace_of_another(box: Box, kind: str) -> None:
    owner = box.another()
    ask_for(owner, kind)
    owner.hold()
    ask_for(box, kind)
    joined = ["user", "network", "ipc", "uts", "pid", "cgroup"] if kind == "user" else [kind]
    for entry in box.linux["namespaces"]:
        if entry["type"] in joined:
            entry["path"] = f"/proc/{owner.pid}/ns/{LINKS[entry['type']]}"
    if kind == "user":
        del box.linux["uidMappings"], box.linux["gidMappings"]
    if kind in ("uts", "user"):
        del box.config["hostname"]
    box.hold()
    for one in joined:
        if any(entry["type"] == one for entry in box.linux["namespaces"]):
            assert box.namespaces()[LINKS[one]] == owner.namespaces()[LINKS[one]], one
    box.end()
    owner.end()


@proves("namespace-joined")
def a_mount_namespace_that_was_there(box: Box) -> None:
    """Not that of a container, whose root would change for both."""
    with unshared(CLONE_NEWNS) as pid:
        (entry,) = [entry for entry in box.linux["namespaces"] if entry["type"] == "mount"]
        entry["path"] = f"/proc/{pid}/ns/mnt"
        report = box.hold()
        assert report["namespaces"]["mnt"] == namespaces(pid)["mnt"]
        box.end()


@each({kind: kind for kind in LINKS if kind != "mount"}, "namespace-inherited")
def the_namespace_of_the_runtime(box: Box, kind: str) -> None:
    without_namespace(box.config, kind)
    if kind == "uts":
        del box.config["hostname"]
    report = box.look()
    assert report["namespaces"][LINKS[kind]] == namespaces()[LINKS[kind]]


@each({"other kind": "/proc/self/ns/uts", "file": "/etc/passwd", "directory": "/proc"}, "namespace-wrong-kind")
def a_path_to_something_else(box: Box, path: str) -> None:
    (entry,) = [entry for entry in box.linux["namespaces"] if entry["type"] == "network"]
    entry["path"] = path
    box.refuses()


@proves("mapping-ownership", "create-properties")
def users_of_their_own(box: Box) -> None:
    with_user_namespace(box.config)
    (box.rootfs / "file").write_text("")
    report = box.look("/file")
    assert report["uid"] == 0
    assert report.status("Uid").split()[0] == "0"
    assert report["paths"]["/file"]["uid"] == 65534
    assert {path.stat().st_uid for path in (box.rootfs, *box.rootfs.iterdir())} == {0}


@proves("create-properties", since="1.1")
def other_clocks(box: Box) -> None:
    if not Path("/proc/self/ns/time").exists():
        raise Skipped("the kernel has no time namespaces")
    box.linux["namespaces"].append({"type": "time"})
    box.linux["timeOffsets"] = {"monotonic": {"secs": 12345}, "boottime": {"secs": 54321, "nanosecs": 5}}
    lines = box.look()["files"]["/proc/self/timens_offsets"].splitlines()
    assert [line.split() for line in lines] == [["monotonic", "12345", "0"], ["boottime", "54321", "5"]]
