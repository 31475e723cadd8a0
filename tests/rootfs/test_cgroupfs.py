# SPDX-License-Identifier: Apache-2.0
"""What a container sees of its cgroups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.cgroups import layout, manage
from pyoci.plan.cgroup_view import plan_cgroup_view
from pyoci.plan.model import CgroupHierarchy, CgroupView, Link, Mount, Namespaces
from pyoci.plan.mounts import plan_mounts
from pyoci.rootfs.cgroupfs import mount_cgroups
from pyoci.rootfs.mounts import FilesystemRefused, Mounter
from pyoci.rootfs.root import Root
from tests.cgroups import worlds
from tests.rootfs.roots import descriptors, in_root, is_mounted, mountinfo, refusal

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups]

READ_ONLY = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "root/cg").mkdir(parents=True)
    return tmp_path / "root"


def mount(attributes: int = READ_ONLY) -> Mount:
    return Mount(destination="/cg", kind="cgroup", type="cgroup", attr_set=attributes)


def mount_with(*options: str) -> Mount:
    listed = [{"destination": "/cg", "type": "cgroup", "options": list(options)}]
    return plan_mounts(listed, "/", Namespaces(new=0))[0]


def view_of(path: str, namespaced: bool) -> CgroupView:
    return plan_cgroup_view(worlds.planned(path), layout.read(), namespaced)


def shown(image: Path, view: CgroupView, look: Any, attributes: int = READ_ONLY) -> Any:
    def inside(root: Root) -> Any:
        before = descriptors()
        mounter = Mounter(root, 0, "")
        mount_cgroups(mounter, mount(attributes), view)
        mounter.finish()
        assert descriptors() == before
        return look()

    return in_root(image, inside)


@pytest.mark.needs_cgroup_v1
@pytest.mark.parametrize("attributes", [READ_ONLY, k.MOUNT_ATTR_NOSUID])
def test_without_a_namespace_only_the_containers_own_is_shown(image: Path, attributes: int) -> None:
    path = worlds.fresh_path()
    plan = worlds.planned(path)
    with worlds.removed_afterwards(plan):
        manage.create(plan)
        view = view_of(path, namespaced=False)

        def look() -> list[Any]:
            names = [hierarchy.name for hierarchy in view.hierarchies]
            infos = [mountinfo(image / "cg" / name) for name in names]
            roots = {info["root"] for info in infos}
            options = {info["options"].split(",")[0] for info in (*infos, mountinfo(image / "cg"))}
            links = [os.readlink(image / "cg" / link.path) == link.target for link in view.links]
            return [names, sorted(roots), sorted(options), all(links)]

        names, roots, options, links = shown(image, view, look, attributes)
    assert "memory" in names
    assert path in roots
    assert set(roots) <= {path, "/"}, "but for hierarchies in which the container has no cgroup of its own"
    assert options == ["ro" if attributes == READ_ONLY else "rw"]
    assert links


@pytest.mark.needs_cgroup_v1
def test_in_a_namespace_each_hierarchy_is_mounted(image: Path) -> None:
    view = view_of(worlds.fresh_path(), namespaced=True)

    def inside(root: Root) -> list[Any]:
        k.unshare(k.CLONE_NEWCGROUP)
        mount_cgroups(Mounter(root, 0, ""), mount(), view)
        infos = [mountinfo(image / "cg" / hierarchy.name) for hierarchy in view.hierarchies]
        return [sorted({info["type"] for info in infos}), sorted({info["options"] for info in infos})]

    types, options = in_root(image, inside)
    assert types == ["cgroup"]
    assert options == ["ro,nosuid,relatime"]


def test_the_unified_hierarchy(image: Path) -> None:
    view = CgroupView(
        unified=True, namespaced=True, hierarchies=(CgroupHierarchy(name="", parameters=(), path="/none"),)
    )
    info = shown(image, view, lambda: mountinfo(image / "cg"))
    assert (info["type"], info["options"]) == ("cgroup2", "ro,nosuid,relatime")


@pytest.mark.parametrize("error", [PermissionError(1, ""), FilesystemRefused("VFS: Mount too revealing", 1)])
def test_where_it_may_not_be_mounted_it_is_bound(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/cgroup.procs").touch()
    view = CgroupView(
        unified=True, namespaced=False, hierarchies=(CgroupHierarchy(name="", parameters=(), path=f"{tmp_path}/own"),)
    )

    def forbidden(fstype: str) -> int:
        raise error

    monkeypatch.setattr(k, "fsopen", forbidden)

    def look() -> list[Any]:
        return [os.listdir(image / "cg"), mountinfo(image / "cg")["options"].split(",")[:2]]

    assert shown(image, view, look) == [["cgroup.procs"], ["ro", "nosuid"]]


def test_what_is_bound_does_not_hear_of_the_host(image: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    hierarchy = CgroupHierarchy(name="memory", parameters=(), path=str(own))
    view = CgroupView(unified=False, namespaced=False, hierarchies=(hierarchy,))

    def inside(root: Root) -> list[Any]:
        k.mount("tmpfs", str(own), "tmpfs", 0)
        k.mount(None, str(own), None, k.MS_SHARED)
        mount_cgroups(Mounter(root, 0, ""), mount(), view)
        return [bool(mountinfo(own)["propagation"]), mountinfo(image / "cg/memory")["propagation"]]

    assert in_root(image, inside) == [True, ""]


def test_what_cannot_be_shown_is_named(image: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    hierarchy = CgroupHierarchy(name="memory", parameters=(), path=f"{tmp_path}/file/sub")
    view = CgroupView(unified=False, namespaced=False, hierarchies=(hierarchy,))

    def inside(root: Root) -> str:
        return refusal(mount_cgroups, Mounter(root, 0, ""), mount(), view)

    assert in_root(image, inside) == "mount cgroup to /cg: not a directory"


def test_what_the_kernel_says_against_it_is_told(image: Path) -> None:
    def inside(root: Root) -> str:
        return refusal(mount_cgroups, Mounter(root, 0, ""), mount().replace(parameters=(("sise", None),)), UNIFIED)

    assert in_root(image, inside) == "mount cgroup to /cg: cgroup2: Unknown parameter 'sise' (invalid argument)"


@pytest.mark.parametrize("path", ["", "/no/such/cgroup"])
def test_without_a_cgroup_of_its_own_ours_is_shown_but_read_only(image: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "ours").mkdir()
    hierarchy = CgroupHierarchy(name="memory", parameters=(), path=path, ours=f"{tmp_path}/ours")
    view = CgroupView(unified=False, namespaced=False, hierarchies=(hierarchy,))

    def look() -> list[Any]:
        return [os.path.samefile(image / "cg/memory", tmp_path / "ours"), mountinfo(image / "cg/memory")["options"][:2]]

    assert shown(image, view, look, k.MOUNT_ATTR_NOSUID) == [True, "ro"]


def test_without_a_cgroup_of_its_own_the_unified_hierarchy_is_read_only(image: Path) -> None:
    view = CgroupView(
        unified=True, namespaced=True, hierarchies=(CgroupHierarchy(name="", parameters=(), path="", ours="/none"),)
    )
    assert seen_of(image, view, mount_with("rw")) == [["ro,relatime", ""]]


@pytest.mark.needs_cgroup_v1
def test_without_a_cgroup_of_its_own_each_hierarchy_is_read_only(image: Path) -> None:
    hierarchy = CgroupHierarchy(name="memory", parameters=(("memory", None),), path="", ours="/none")
    view = CgroupView(unified=False, namespaced=True, hierarchies=(hierarchy,))
    assert seen_of(image, view, mount_with("rw")) == [["rw,relatime", ""], ["ro,relatime", ""]]


def test_nothing_to_be_shown(image: Path) -> None:
    hierarchy = CgroupHierarchy(name="memory", parameters=(), path="")
    view = CgroupView(unified=False, namespaced=False, hierarchies=(hierarchy,))
    assert shown(image, view, lambda: os.listdir(image / "cg")) == []


@pytest.mark.parametrize("unified", [False, True])
def test_the_tmpfs_of_ours_is_labelled(image: Path, monkeypatch: pytest.MonkeyPatch, unified: bool) -> None:
    """The one that has the hierarchies below it, and the one that stands in for what cannot be shown; not those themselves."""
    told: list[list[str | None]] = []
    real, real_open = k.fsconfig, k.fsopen

    def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
        if key == "context":
            told.append([key, value])
        else:
            real(fd, command, key, value)

    def fsopen(fstype: str) -> int:
        if fstype == "cgroup2":
            raise PermissionError(1, "")
        return real_open(fstype)

    monkeypatch.setattr(k, "fsconfig", fsconfig)
    monkeypatch.setattr(k, "fsopen", fsopen)
    hierarchy = CgroupHierarchy(name="", parameters=(), path="")
    view = CgroupView(unified=unified, namespaced=False, hierarchies=(hierarchy,))

    def inside(root: Root) -> list[Any]:
        mount_cgroups(Mounter(root, 0, "system_u:object_r:x"), mount(), view)
        return [told, mountinfo(image / "cg")["type"]]

    assert in_root(image, inside) == [[["context", "system_u:object_r:x"]], "tmpfs"]


def test_links_beside_a_hierarchy(image: Path, tmp_path: Path) -> None:
    view = CgroupView(
        unified=False,
        namespaced=False,
        hierarchies=(CgroupHierarchy(name="cpu,cpuacct", parameters=(), path=str(tmp_path)),),
        links=(Link(path="cpu", target="cpu,cpuacct"), Link(path="cpuacct", target="cpu,cpuacct")),
    )

    def look() -> list[Any]:
        entries = {name: os.path.islink(image / "cg" / name) for name in os.listdir(image / "cg")}
        with pytest.raises(OSError, match="Read-only file system"):
            (image / "cg/new").touch()
        return [entries, is_mounted(image / "cg/cpu,cpuacct"), os.path.samefile(image / "cg/cpu", tmp_path)]

    assert shown(image, view, look) == [{"cpu": True, "cpuacct": True, "cpu,cpuacct": False}, True, True]


def seen_of(image: Path, view: CgroupView, wanted: Mount) -> list[list[str]]:
    """The options and the propagation of the mount on top, and of the one below it if there is one."""

    def inside(root: Root) -> list[list[str]]:
        mounter = Mounter(root, 0, "")
        mount_cgroups(mounter, wanted, view)
        mounter.finish()
        points = [point for point in (image / "cg", image / "cg/memory") if is_mounted(point)]
        infos = [mountinfo(point) for point in points]
        return [[info["options"], info["propagation"].partition(":")[0]] for info in infos]

    found: list[list[str]] = in_root(image, inside)
    return found


UNIFIED = CgroupView(
    unified=True, namespaced=True, hierarchies=(CgroupHierarchy(name="", parameters=(), path="/none"),)
)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["rro"], ["ro,relatime", ""]),
        (["ro", "rrw", "rnosuid"], ["rw,nosuid,relatime", ""]),
        (["rnoatime", "rshared"], ["rw,noatime", "shared"]),
    ],
)
def test_what_is_for_the_whole_tree_is_for_the_unified_hierarchy(
    image: Path, options: list[str], shown: list[str]
) -> None:
    assert seen_of(image, UNIFIED, mount_with(*options)) == [shown]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["rro"], [["ro,relatime", ""]] * 2),
        (["ro", "rrw", "rnosuid"], [["rw,nosuid,relatime", ""]] * 2),
        (["noatime"], [["rw,noatime", ""]] * 2),
        (["rnoatime", "rshared"], [["rw,noatime", "shared"]] * 2),
        (["shared"], [["rw,relatime", "shared"], ["rw,relatime", ""]]),
    ],
)
@pytest.mark.parametrize("namespaced", [False, pytest.param(True, marks=pytest.mark.needs_cgroup_v1)])
def test_what_is_for_the_whole_tree_is_for_each_hierarchy(
    image: Path, tmp_path: Path, options: list[str], shown: list[list[str]], namespaced: bool
) -> None:
    hierarchy = CgroupHierarchy(name="memory", parameters=(("memory", None),), path=str(tmp_path))
    view = CgroupView(unified=False, namespaced=namespaced, hierarchies=(hierarchy,))
    assert seen_of(image, view, mount_with(*options)) == shown
