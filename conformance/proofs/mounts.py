# SPDX-License-Identifier: Apache-2.0
"""config.md, Root and Mounts; config-linux.md on the root's propagation and on paths that are hidden or not written to."""

from __future__ import annotations

import errno
import os
from typing import Any

from tests.lifecycle.configs import bind, mount, with_user_namespace

from ..box import Box
from ..suite import Skipped, each, proves

IDS = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]


@each({"read-only": True, "writable": False}, "root-readonly")
def the_root(box: Box, readonly: bool) -> None:
    box.config["root"]["readonly"] = readonly
    (box.rootfs / "file").write_text("")
    found = box.look("/", "/file")["paths"]
    assert {found["/"]["write"], found["/file"]["write"]} == {-errno.EROFS if readonly else 0}


@proves("create-properties")
def a_root_with_an_absolute_path(box: Box) -> None:
    box.config["root"]["path"] = str(box.rootfs)
    box.look()


@proves("mounts-order")
def the_order_of_mounts(box: Box) -> None:
    box.mounts.extend(mount(path, "tmpfs", "tmpfs") for path in ("/a", "/a/b", "/c/d", "/c"))
    report = box.look("/a", "/c")
    assert report["paths"]["/a"]["entries"] == ["b"]
    assert report["paths"]["/c"]["entries"] == []
    points = [one.point for one in report.mounts() if one.point[:2] in ("/a", "/c")]
    assert points == ["/a", "/a/b", "/c/d", "/c"]


@proves("mounts-relative")
def a_relative_destination(box: Box) -> None:
    box.mounts.append(mount("some/where", "tmpfs", "tmpfs"))
    box.process["cwd"] = "/proc"
    assert box.look().mount("/some/where").kind == "tmpfs"


@proves("default-filesystems", "lifecycle-environment")
def the_usual_file_systems(box: Box) -> None:
    report = box.look()
    kinds = {point: report.mount(point).kind for point in ("/proc", "/sys", "/dev/pts", "/dev/shm")}
    assert kinds == {"/proc": "proc", "/sys": "sysfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs"}


@proves("option-bind", "options-must")
def a_bind_mount(box: Box) -> None:
    with box.volume() as volume:
        box.mounts.append(bind(volume, "/data", "bind"))
        found = box.look("/data/file", "/data/below/file")["paths"]
        assert found["/data/file"]["content"] == "outer"
        assert found["/data/below/file"]["error"] == -errno.ENOENT


@proves("option-rbind", "options-must")
def a_recursive_bind_mount(box: Box) -> None:
    with box.volume() as volume:
        box.mounts.append(bind(volume, "/data", "rbind"))
        found = box.look("/data/file", "/data/below/file")["paths"]
        assert (found["/data/file"]["content"], found["/data/below/file"]["content"]) == ("outer", "inner")


@proves("option-bind")
def a_bind_mount_of_a_relative_path(box: Box) -> None:
    (box.bundle / "volume").mkdir()
    (box.bundle / "volume" / "file").write_text("in the bundle")
    box.mounts.append({"destination": "/data", "source": "volume", "options": ["bind"]})
    assert box.look("/data/file")["paths"]["/data/file"]["content"] == "in the bundle"


@proves("option-remount", "options-must", "options-mount8")
def a_remount(box: Box) -> None:
    box.mounts.append(mount("/data", "tmpfs", "tmpfs", "nosuid"))
    box.mounts.append(mount("/data", "tmpfs", "tmpfs", "remount", "ro", "noexec"))
    report = box.look("/data")
    assert {"ro", "noexec"} <= report.mount("/data").options
    assert report["paths"]["/data"]["write"] == -errno.EROFS
    assert len([one for one in report.mounts() if one.point == "/data"]) == 1


@proves("options-data")
def an_option_of_the_file_system(box: Box) -> None:
    box.mounts.append(mount("/data", "tmpfs", "tmpfs", "size=1m", "mode=711", "nr_inodes=99"))
    report = box.look("/data")
    assert {"size=1024k", "mode=711", "nr_inodes=99"} <= report.mount("/data").super_options
    assert report["paths"]["/data"]["mode"] == 0o711


@proves("options-data")
def an_option_that_no_file_system_knows(box: Box) -> None:
    box.mounts.append(mount("/data", "tmpfs", "tmpfs", "nosuchoption"))
    box.refuses()


# Mappings of mounts


def mapped(box: Box, source: Any, option: str, **more: Any) -> None:
    box.mounts.append({**bind(source, "/data", "rbind", *filter(None, [option])), **more})


@each(
    {"idmap": False, "ridmap": True},
    "option-{}",
    "option-{}-maps",
    "option-{}-not-data",
    "options-should",
    "features-idmap",
)
def a_mount_with_ids_of_its_own(box: Box, recursive: bool) -> None:
    with box.volume() as volume:
        for path in (volume / "file", volume / "below" / "file"):
            os.chown(path, 3, 4)
        mapped(box, volume, "ridmap" if recursive else "idmap", uidMappings=IDS, gidMappings=IDS)
        found = box.look("/data/file", "/data/below/file")["paths"]
        owners = [(found[path]["uid"], found[path]["gid"]) for path in ("/data/file", "/data/below/file")]
        assert owners == [(100_003, 100_004), (100_003, 100_004) if recursive else (3, 4)]


@each({"idmap": "idmap", "ridmap": "ridmap"}, "option-{}-maps", "option-{}")
def a_mount_with_the_ids_of_the_container(box: Box, option: str) -> None:
    """A runtime may use the mappings of the container's user namespace, or refuse."""
    with_user_namespace(box.config)
    with box.volume() as volume:
        os.chown(volume / "file", 3, 4)
        mapped(box, volume, option)
        if box.create().status != 0:
            raise Skipped("it refuses, as it may")
        box.kill("KILL").ok()
        box.wait()
        box.delete().ok()
        found = box.look("/data/file")["paths"]["/data/file"]
        assert (found["uid"], found["gid"]) == (3, 4)


@each({"idmap": "idmap", "ridmap": "ridmap"}, "option-{}-none")
def a_mapping_that_nobody_gives(box: Box, option: str) -> None:
    with box.volume() as volume:
        mapped(box, volume, option)
        box.refuses()


@each({"uidMappings": "uidMappings", "gidMappings": "gidMappings"}, "mount-maps-both")
def half_a_mapping(box: Box, name: str) -> None:
    with box.volume() as volume:
        mapped(box, volume, "", **{name: IDS})
        box.refuses()


# The root's propagation, and paths


@each({"shared": {"shared"}, "slave": {"master"}, "private": set(), "unbindable": {"unbindable"}}, "create-properties")
def the_propagation_of_the_root(box: Box, tags: set[str]) -> None:
    names = {frozenset({"shared"}): "shared", frozenset({"master"}): "slave", frozenset(): "private"}
    box.linux["rootfsPropagation"] = names.get(frozenset(tags), "unbindable")
    with box.volume(shared=True) as volume:
        # A root that lies on a mount which sends and receives: slaves must have a master.
        root = volume / "root"
        root.mkdir()
        box.fill_root(root)
        box.config["root"]["path"] = str(root)
        found = box.look().mount("/").propagation
        assert found - {"propagate_from"} == tags, f"the root is {found or 'private'}"


@proves("create-properties")
def masked_paths(box: Box) -> None:
    (box.rootfs / "secret").write_text("secret")
    (box.rootfs / "hidden").mkdir()
    (box.rootfs / "hidden" / "secret").write_text("secret")
    box.linux["maskedPaths"] += ["/secret", "/hidden", "/no/such/path"]
    found = box.look("/secret", "/hidden", "/hidden/secret")["paths"]
    assert found["/secret"].get("content", "") == ""
    assert found["/hidden"]["entries"] == []
    assert found["/hidden/secret"]["error"] == -errno.ENOENT


@proves("create-properties")
def read_only_paths(box: Box) -> None:
    (box.rootfs / "file").write_text("text")
    (box.rootfs / "directory").mkdir()
    box.linux["readonlyPaths"] += ["/file", "/directory", "/no/such/path"]
    found = box.look("/file", "/directory", "/")["paths"]
    assert (found["/file"]["write"], found["/directory"]["write"]) == (-errno.EROFS, -errno.EROFS)
    assert (found["/file"]["content"], found["/"]["write"]) == ("text", 0)
