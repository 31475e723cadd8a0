# SPDX-License-Identifier: Apache-2.0
"""The root as a mount, entered in each way; paths masked and made read-only."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.plan.model import Rootfs
from pyoci.rootfs import enter
from pyoci.rootfs.root import Root
from tests.forked import in_child
from tests.rootfs.roots import descriptors, in_root, is_mounted, mountinfo, private_mounts, refusal

pytestmark = pytest.mark.needs_root

SLAVE = k.MS_SLAVE | k.MS_REC


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "dir/sub").mkdir(parents=True)
    (path / "proc").mkdir()
    (path / "file").write_text("secret")
    (path / "dir/file").write_text("secret")
    return path


def planned(path: Path, **more: Any) -> Rootfs:
    return Rootfs(**{"path": str(path), "entered_by": "pivot", "readonly": False, "propagation": SLAVE, **more})


def prepared(rootfs: Rootfs) -> Root:
    return enter.prepare_root(rootfs, os.open("/proc", os.O_PATH | os.O_DIRECTORY), -1)


def own_mounts() -> None:
    """A mount namespace whose mounts are all shared with another one, as those of a host with systemd are."""
    private_mounts()
    k.mount(None, "/", None, k.MS_SHARED | k.MS_REC)
    os.open("/proc/self/ns/mnt", os.O_RDONLY)  # stays open: the other one lives by it
    k.unshare(k.CLONE_NEWNS)


def entered(rootfs: Rootfs) -> Root:
    root = prepared(rootfs)
    enter.enter_root(rootfs, root)
    return root


# Preparing


def test_the_root_becomes_a_mount(image: Path) -> None:
    def inside() -> list[Any]:
        own_mounts()
        before = descriptors()
        root = prepared(planned(image))
        info = mountinfo(image)
        return [root.where(root.fd), info["propagation"][:7], len(descriptors()) - len(before)]

    assert in_child(inside) == ["/", "master:", 2]  # slave of the host's; open are the root and /proc


@pytest.mark.parametrize(("flags", "kind"), [(k.MS_PRIVATE | k.MS_REC, ""), (SLAVE, "master")])
def test_the_hosts_mounts_are_cut_off(image: Path, flags: int, kind: str) -> None:
    def inside() -> str:
        own_mounts()
        prepared(planned(image, propagation=flags))
        return mountinfo("/")["propagation"].partition(":")[0]

    assert in_child(inside) == kind


def test_a_shared_root_lies_on_a_private_mount(image: Path) -> None:
    """pivot_root takes nothing else; all the other mounts stay shared."""

    def inside() -> list[str]:
        own_mounts()
        k.mount(str(image), str(image), None, k.MS_BIND)
        k.mount(None, str(image), None, k.MS_SHARED)
        rootfs = planned(image, propagation=0, parent_mount=str(image), final_propagation=k.MS_SHARED | k.MS_REC)
        entered(rootfs)
        enter.set_propagation(rootfs)
        k.mount("proc", "/proc", "proc", 0)
        return [mountinfo("/")["propagation"].partition(":")[0], os.listdir("/dir")[0]]

    shared, listed = in_child(inside)
    assert shared == "shared"
    assert listed in ("sub", "file")


def test_a_root_that_the_launcher_opened(image: Path) -> None:
    def inside() -> list[Any]:
        own_mounts()
        tree = k.open_tree(k.AT_FDCWD, str(image), k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
        root = enter.prepare_root(planned(image), os.open("/proc", os.O_PATH), tree)
        return [root.fd == tree, mountinfo(image)["propagation"].partition(":")[0]]

    assert in_child(inside) == [True, "master"]


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none"

    def inside() -> list[str]:
        own_mounts()
        told = [refusal(prepared, planned(path)), refusal(prepared, planned(path, entered_by="chroot"))]
        return [*told, refusal(prepared, planned(path, propagation=0, parent_mount="/no/mount"))]

    assert in_child(inside) == [
        f"bind the root {path}: no such file or directory",
        f"open the root {path}: no such file or directory",
        "make /no/mount private: no such file or directory",
    ]


# Entering


@pytest.mark.parametrize("how", ["pivot", "move", "chroot"])
def test_entering(image: Path, how: str) -> None:
    (image / "marker").touch()

    def inside() -> list[Any]:
        if how != "chroot":
            own_mounts()
        root = entered(planned(image, entered_by=how))
        return [os.path.exists("/marker"), os.getcwd(), os.path.exists("/usr"), root.path, root.where(root.fd) == "/"]

    found = in_child(inside)
    assert found[:4] == [True, "/", False, ""]
    assert found[4] or how == "chroot"


def test_nothing_of_the_host_stays_mounted_behind_a_pivot(image: Path) -> None:
    def inside() -> list[Any]:
        own_mounts()
        before = descriptors()
        entered(planned(image))
        k.mount("proc", "/proc", "proc", 0)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [[line.split()[4] for line in lines], len(os.listdir("/proc/self/fd")) - len(before)]

    assert in_child(inside) == [["/", "/proc"], 2]


def test_the_host_keeps_its_mounts(image: Path, tmp_path: Path) -> None:
    """Those that are shared with us must not go away when we let go of ours."""
    for name in ("host", "place"):
        (tmp_path / name).mkdir()

    def inside() -> list[bool]:
        private_mounts()
        for name in ("host", "host/volume", "place"):
            (tmp_path / name).mkdir(exist_ok=True)
            k.mount("tmpfs", str(tmp_path / name), "tmpfs", 0)
        k.mount(None, "/", None, k.MS_SHARED | k.MS_REC)
        (tmp_path / "place/root").mkdir()
        pid = os.fork()
        if pid == 0:
            try:
                k.unshare(k.CLONE_NEWNS)
                entered(planned(tmp_path / "place/root", propagation=0, parent_mount=str(tmp_path / "place")))
                os._exit(7)
            finally:
                os._exit(1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return [status == 7, is_mounted(tmp_path / "host/volume")]

    assert in_child(inside) == [True, True]


def test_moving_takes_the_hosts_procfs_away(image: Path) -> None:
    """Out of a chroot a process of root's may get, and would find a whole procfs there, whatever is masked in ours."""

    def inside() -> list[Any]:
        own_mounts()
        old = os.open("/", os.O_PATH)
        views = tuple(place for place in ("/proc", "/sys") if mountinfo(place)["type"] in ("proc", "sysfs"))
        entered(planned(image, entered_by="move", host_views=views))
        os.fchdir(old)
        return [os.path.exists("proc/self"), os.path.exists("sys/kernel")]

    assert in_child(inside) == [False, False]


def test_moving_covers_what_cannot_be_taken_away(image: Path) -> None:
    def inside() -> list[Any]:
        own_mounts()
        old = os.open("/", os.O_PATH)
        real = k.umount2

        def locked(path: str, flags: int) -> None:
            raise PermissionError(1, "")

        k.umount2 = locked
        try:
            entered(planned(image, entered_by="move", host_views=("/proc",)))
        finally:
            k.umount2 = real
        os.fchdir(old)
        return os.listdir("proc")

    assert in_child(inside) == []


@pytest.mark.parametrize(
    ("flags", "shown"),
    [(k.MS_SHARED | k.MS_REC, "shared"), (k.MS_UNBINDABLE, "unbindable"), (0, "master")],
)
def test_the_roots_propagation_in_the_end(image: Path, flags: int, shown: str) -> None:
    def inside() -> str:
        own_mounts()
        rootfs = planned(image, final_propagation=flags)
        entered(rootfs)
        enter.set_propagation(rootfs)
        k.mount("proc", "/proc", "proc", 0)
        return mountinfo("/")["propagation"].partition(":")[0]

    assert in_child(inside) == shown


def test_a_failure_says_how_it_was_entered(image: Path) -> None:
    def inside() -> str:
        own_mounts()
        root = prepared(planned(image))
        k.mount(None, str(image), None, k.MS_SHARED)
        return refusal(enter.enter_root, planned(image), root)

    assert in_child(inside) == f"enter the root {image} (pivot): invalid argument"


def test_a_read_only_root(image: Path) -> None:
    def inside(root: Root) -> list[str]:
        k.mount("tmpfs", str(image / "dir"), "tmpfs", 0)
        enter.make_root_readonly(root)
        (image / "dir/x").touch()
        with pytest.raises(OSError, match="Read-only file system"):
            (image / "x").touch()
        return [mountinfo(image)["options"][:2], mountinfo(image / "dir")["options"][:2]]

    assert in_root(image, inside) == ["ro", "rw"]
    (image / "x").touch()  # only the container's mount of it


# The working directory


def in_entered(image: Path, cwd: str) -> str:
    """What comes of making a directory in a root that has been entered."""

    def inside() -> str:
        own_mounts()
        os.umask(0)
        root = entered(planned(image))
        before = descriptors_in(root.proc)
        try:
            enter.make_cwd(root, cwd)
        except PyociError as error:
            return error.message
        return "" if descriptors_in(root.proc) == before else "a descriptor is left open"

    return str(in_child(inside))


def descriptors_in(proc: int) -> list[str]:
    fd = os.open("self/fd", os.O_RDONLY, dir_fd=proc)
    try:
        return sorted(os.listdir(fd))
    finally:
        os.close(fd)


def test_the_working_directory_is_made(image: Path) -> None:
    assert in_entered(image, "/a/b/../c") == ""
    status = (image / "a/c").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o755)


@pytest.mark.parametrize("cwd", ["/", "/dir", "/file", "/loop"])
def test_what_is_there_is_left_as_it_is(image: Path, cwd: str) -> None:
    """Whether it is one that can be entered shows when that is done."""
    (image / "loop").symlink_to("loop")
    before = sorted(image.rglob("*"))
    assert in_entered(image, cwd) == ""
    assert sorted(image.rglob("*")) == before


def test_a_link_on_the_way_to_it_stays_in_the_root(image: Path) -> None:
    (image / "link").symlink_to("/../../dir")
    assert in_entered(image, "/link/new/er") == ""
    assert (image / "dir/new/er").is_dir()


def test_a_link_that_leads_nowhere_is_followed_to_it(image: Path) -> None:
    (image / "dangling").symlink_to("/../none/none")
    assert in_entered(image, "/dangling/x") == ""
    assert (image / "none/none/x").is_dir()


# Closing paths


def closed(image: Path, look: Any, *, masked: tuple[str, ...] = (), readonly: tuple[str, ...] = (), **more: Any) -> Any:
    """What there is to see when paths are closed. No descriptor may stay open."""

    def inside(root: Root) -> Any:
        before = descriptors()
        null = enter.clone_null() if masked else -1
        enter.close_paths(root, planned(image, masked=masked, readonly_paths=readonly, **more), null)
        assert descriptors() == before
        return look()

    return in_root(image, inside)


def test_masks(image: Path) -> None:
    def look() -> list[Any]:
        null = os.stat(image / "file")
        with pytest.raises(OSError, match="Read-only file system"):
            (image / "dir/new").touch()
        info = mountinfo(image / "dir")
        return [
            null.st_rdev == os.makedev(1, 3),
            os.listdir(image / "dir"),
            info["type"],
            info["options"],
            info["super"],
        ]

    null, listed, kind, options, parameters = closed(image, look, masked=("/file", "/dir"))
    assert (null, listed, kind, options.split(",")[0]) == (True, [], "tmpfs", "ro")
    assert "nr_inodes=1" in parameters


def test_a_mask_has_the_label_of_the_mounts(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No SELinux is needed: what the kernel would be told is enough."""
    told: list[str | None] = []
    real = k.fsconfig

    def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
        if key == "context":
            told.append(value)
        else:
            real(fd, command, key, value)

    monkeypatch.setattr(k, "fsconfig", fsconfig)
    assert closed(image, lambda: told, masked=("/dir",), mount_label="system_u:object_r:x") == ["system_u:object_r:x"]


def test_what_is_not_there_needs_no_mask(image: Path) -> None:
    masked = ("/none", "/none/deeper", "/dir/file")
    assert closed(image, lambda: (image / "dir/file").read_bytes() == b"", masked=masked, readonly=masked[:2])


def test_what_cannot_be_looked_for_is_not_taken_to_be_missing(image: Path) -> None:
    """A file in the way of a directory: an image has its way with that, and a mask that is left out protects nothing."""

    def inside(root: Root) -> list[str]:
        null = enter.clone_null()
        enter.enter_root(planned(image), root)
        return [
            refusal(enter.close_paths, root, planned(image, **{kind: ("/file/below",)}), null)
            for kind in ("masked", "readonly_paths")
        ]

    assert in_root(image, inside) == [
        "mask /file/below: not a directory",
        "make read-only /file/below: not a directory",
    ]


def test_the_same_path_twice(image: Path) -> None:
    masked = ("/dir", "/file", "/dir", "/file", "/dir/file")
    assert closed(
        image, lambda: [os.listdir(image / "dir"), (image / "file").read_bytes().decode()], masked=masked
    ) == [
        [],
        "",
    ]


def test_links_are_followed_within_the_root(image: Path) -> None:
    (image / "link").symlink_to("/file")
    (image / "up").symlink_to("../../../../etc")
    (image / "etc").mkdir()
    (image / "etc/x").touch()

    def look() -> list[Any]:
        return [(image / "file").read_bytes().decode(), os.listdir(image / "etc"), bool(os.listdir("/etc"))]

    assert closed(image, look, masked=("/link", "/up")) == ["", [], True]


def test_a_loop_is_a_failure(image: Path) -> None:
    (image / "loop").symlink_to("loop")

    def inside(root: Root) -> list[str]:
        masks = planned(image, masked=("/loop",))
        views = planned(image, readonly_paths=("/loop",))
        return [
            refusal(enter.close_paths, root, masks, enter.clone_null()),
            refusal(enter.close_paths, root, views, -1),
        ]

    assert in_root(image, inside) == [
        "mask /loop: too many levels of symbolic links",
        "make read-only /loop: too many levels of symbolic links",
    ]


def test_many_masks_and_read_only_paths_with_few_descriptors(image: Path) -> None:
    names = [f"{kind}{number}" for number in range(60) for kind in ("f", "d", "r")]
    for name in names:
        (image / name).touch() if name[0] == "f" else (image / name).mkdir()
    masked = tuple(f"/{name}" for name in names if name[0] != "r")
    readonly = tuple(f"/{name}" for name in names if name[0] == "r")

    def inside(root: Root) -> list[int]:
        null = enter.clone_null()
        room = max(map(int, descriptors())) + 8
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        enter.close_paths(root, planned(image, masked=masked, readonly_paths=readonly), null)
        return [sum(is_mounted(image / name) for name in names if name[0] == kind) for kind in "fdr"]

    assert in_root(image, inside) == [60, 60, 60]


def test_read_only_paths(image: Path) -> None:
    def look() -> list[Any]:
        for name in ("dir/new", "dir/sub/new"):
            with pytest.raises(OSError, match="Read-only file system"):
                (image / name).touch()
        with pytest.raises(OSError, match="Read-only file system"):
            (image / "file").write_text("x")
        (image / "new").touch()
        return [(image / "file").read_text(), sorted(os.listdir(image / "dir"))]

    assert closed(image, look, readonly=("/dir", "/file")) == ["secret", ["file", "sub"]]


def test_read_only_keeps_what_is_mounted_below_and_its_flags(image: Path) -> None:
    def inside(root: Root) -> list[str]:
        k.mount("tmpfs", str(image / "dir"), "tmpfs", k.MS_NOSUID | k.MS_NODEV)
        (image / "dir/below").mkdir()
        k.mount("tmpfs", str(image / "dir/below"), "tmpfs", k.MS_NOEXEC)
        (image / "dir/below/marker").touch()
        enter.close_paths(root, planned(image, readonly_paths=("/dir",)), -1)
        options = [mountinfo(image / name)["options"] for name in ("dir", "dir/below")]
        return [*options, *os.listdir(image / "dir/below")]

    assert in_root(image, inside) == ["ro,nosuid,nodev,relatime", "rw,noexec,relatime", "marker"]


def test_masks_win_over_read_only_paths(image: Path) -> None:
    look = lambda: [os.listdir(image / "dir"), is_mounted(image / "dir")]  # noqa: E731
    assert closed(image, look, masked=("/dir",), readonly=("/dir",)) == [[], True]


def test_null_is_the_null_device(tmp_path: Path) -> None:
    def inside() -> list[Any]:
        private_mounts()
        good = enter.clone_null()
        answers: list[Any] = [os.fstat(good).st_rdev == os.makedev(1, 3)]
        for kind in (["--bind", "/dev/zero"], ["--bind", "/etc/passwd"]):
            subprocess.run(["mount", *kind, "/dev/null"], check=True)
            answers.append(refusal(enter.clone_null))
        return answers

    assert in_child(inside) == [True, *["the host's /dev/null is not the null device"] * 2]
