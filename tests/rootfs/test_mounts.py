# SPDX-License-Identifier: Apache-2.0
"""Mounts are made as planned, where they belong, and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.plan.model import Mount, Namespaces
from pyoci.plan.mounts import plan_mounts
from pyoci.rootfs import mounts as rootfs_mounts
from pyoci.rootfs.mounts import FilesystemRefused, Mounter, new_filesystem
from pyoci.rootfs.root import Root
from tests.forked import in_child
from tests.rootfs.roots import descriptors, in_root, is_mounted, mountinfo, private_mounts, refusal

pytestmark = pytest.mark.needs_root


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    for name in ("dir", "proc", "sys", "tmp"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    (path / "file").write_text("of the image")
    (path / "link").symlink_to("/dir")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/inner").write_text("of the volume")
    return path


def made(
    image: Path, mounts: list[Mount], look: Callable[[], Any] = lambda: None, *, propagation: int = 0, label: str = ""
) -> Any:
    """What there is to see, from the image's directory, when the mounts have been made. No descriptor may stay open."""

    def inside(root: Root) -> Any:
        os.chdir(image)
        before = descriptors()
        mounter = Mounter(root, propagation, label)
        for mount in mounts:
            mounter.make(mount)
        mounter.finish()
        assert descriptors() == before
        os.chdir(image)
        return look()

    return in_root(image, inside)


def refused(image: Path, mount: Mount, **options: Any) -> str:
    """How a mount is refused; nothing may have been mounted then."""

    def inside(root: Root) -> list[Any]:
        before = Path("/proc/self/mountinfo").read_text()
        message = refusal(Mounter(root, 0, "").make, mount, **options)
        return [message, Path("/proc/self/mountinfo").read_text() == before]

    message, unchanged = in_root(image, inside)
    assert unchanged
    return str(message)


def new(destination: str, fstype: str = "tmpfs", **more: Any) -> Mount:
    return Mount(destination=destination, kind="new", type=fstype, source=more.pop("source", fstype), **more)


def bind(source: Path | str, destination: str, **more: Any) -> Mount:
    return Mount(destination=destination, kind="bind", source=str(source), **more)


# New file systems


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        (0, "rw,relatime"),
        (k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC, "rw,nosuid,nodev,noexec,relatime"),
        (k.MOUNT_ATTR_RDONLY, "ro,relatime"),
        (k.MOUNT_ATTR_NOATIME | k.MOUNT_ATTR_NODIRATIME, "rw,noatime,nodiratime"),
        (k.MOUNT_ATTR_STRICTATIME, "rw"),
        (k.MOUNT_ATTR_NOSYMFOLLOW, "rw,relatime,nosymfollow"),
    ],
)
def test_attributes_of_a_new_file_system(image: Path, attributes: int, options: str) -> None:
    info = made(image, [new("/dir", attr_set=attributes, source="name")], lambda: mountinfo(image / "dir"))
    assert (info["options"], info["type"], info["source"]) == (options, "tmpfs", "name")


def test_parameters_of_a_file_system(image: Path) -> None:
    parameters = (("size", "64k"), ("nr_inodes", "17"), ("mode", "0710"), ("ro", None))
    info = made(image, [new("/dir", parameters=parameters)], lambda: mountinfo(image / "dir")["super"])
    assert set(info.split(",")) >= {"ro", "size=64k", "nr_inodes=17", "mode=710"}


@pytest.mark.parametrize(
    ("fstype", "context", "attribute"),
    [("tmpfs", True, False), ("proc", False, False), ("sysfs", False, False), ("mqueue", False, True)],
)
def test_labels_of_new_file_systems(
    image: Path, fstype: str, context: bool, attribute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given when it is made, or afterwards where that cannot be, and to none that is the kernel's own; no SELinux is needed."""
    told: list[tuple[str, str | bytes | None]] = []
    real = k.fsconfig

    def fsconfig(fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
        if key == "context":
            told.append((key, value))
        else:
            real(fd, command, key, value)

    monkeypatch.setattr(k, "fsconfig", fsconfig)
    monkeypatch.setattr(k, "setxattr", lambda fd, name, value: told.append((name, value.decode())))

    def inside(root: Root) -> list[Any]:
        Mounter(root, 0, "system_u:object_r:x").make(new("/dir", fstype))
        return told

    found = in_root(image, inside)
    wanted = [["context", "system_u:object_r:x"]] if context else []
    assert found == (wanted or ([["security.selinux", "system_u:object_r:x\0"]] if attribute else []))


@pytest.mark.parametrize(("name", "mode"), [("tmp", 0o1777), ("dir", 0o755), ("missing", 0o1777)])
def test_a_tmpfs_takes_over_the_permissions_of_what_it_hides(image: Path, name: str, mode: int) -> None:
    assert made(image, [new(f"/{name}")], lambda: os.stat(name).st_mode & 0o7777) == mode


def test_a_tmpfs_with_a_mode_of_its_own(image: Path) -> None:
    assert made(image, [new("/tmp", parameters=(("mode", "700"),))], lambda: os.stat("tmp").st_mode & 0o7777) == 0o700


@pytest.mark.parametrize("attributes", [{"attr_set": k.MOUNT_ATTR_RDONLY}, {"rec_set": k.MOUNT_ATTR_RDONLY}])
def test_a_read_only_tmpfs_takes_mount_points_until_the_end(image: Path, attributes: dict[str, int]) -> None:
    mounts = [new("/dir", **attributes), new("/dir/deeper/still")]

    def look() -> list[Any]:
        with pytest.raises(OSError, match="Read-only file system"):
            (image / "dir/x").touch()
        (image / "dir/deeper/still/x").touch()
        return [mountinfo(image / name)["options"] for name in ("dir", "dir/deeper/still")]

    assert made(image, mounts, look) == ["ro,relatime", "rw,relatime"]


@pytest.mark.parametrize(
    ("single", "whole", "options"),
    [
        ((), ("rro",), "ro,relatime"),
        (("rw",), ("rro",), "ro,relatime"),
        (("ro",), ("rrw", "rnosuid"), "rw,nosuid,relatime"),
    ],
)
def test_what_is_for_the_whole_tree_counts(
    image: Path, single: tuple[str, ...], whole: tuple[str, ...], options: str
) -> None:
    (image / "dir/sub").mkdir()
    listed = [{"destination": "/dir", "type": "tmpfs", "options": ["tmpcopyup", *single, *whole]}]
    mounts = list(plan_mounts(listed, "/", Namespaces(new=0)))
    assert made(image, mounts, lambda: [mountinfo(image / "dir")["options"], os.listdir("dir")]) == [options, ["sub"]]


def test_what_the_kernel_does_not_know(image: Path) -> None:
    assert refused(image, new("/dir", parameters=(("sise", "1"),))) == (
        "mount tmpfs to /dir: tmpfs: Unknown parameter 'sise' (invalid argument)"
    )
    assert refused(image, new("/dir", "nosuchfs")) == "mount nosuchfs to /dir: no such device"
    assert refused(image, new("/dir", parameters=(("mode", "abc"),))).startswith("mount tmpfs to /dir: ")


def test_a_refusal_leaves_nothing_open() -> None:
    def inside() -> bool:
        private_mounts()
        before = descriptors()
        for parameters in ([("sise", None)], [("size", "x")]):
            with pytest.raises((FilesystemRefused, OSError)):
                new_filesystem("tmpfs", "", parameters, 0)
        return descriptors() == before

    assert in_child(inside)


def test_a_sysfs_that_would_show_what_is_covered_is_bound(image: Path) -> None:
    """The kernel refuses root of a user namespace in words, not by a number alone, as of 6.18."""

    def inside(_: Root) -> list[Any]:
        k.mount("tmpfs", "/sys/kernel", "tmpfs", 0)
        k.unshare(k.CLONE_NEWUSER | k.CLONE_NEWNET | k.CLONE_NEWNS)
        root = Root(os.open(image, os.O_PATH), str(image), os.open("/proc", os.O_PATH))
        Mounter(root, 0, "").make(new("/sys", "sysfs", attr_set=k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOEXEC))
        infos = [mountinfo(image / name) for name in ("sys", "sys/kernel")]
        return [[info["type"], {"nosuid", "noexec"} <= set(info["options"].split(","))] for info in infos]

    assert in_root(image, inside) == [["sysfs", True], ["tmpfs", True]]


@pytest.mark.parametrize(
    ("option", "shown"),
    [("ro", "ro,relatime"), ("rro", "ro,relatime"), ("noatime", "rw,noatime"), ("rnoatime", "rw,noatime")],
)
def test_what_is_asked_of_a_sysfs_that_is_bound_is_for_all_of_it(
    image: Path, monkeypatch: pytest.MonkeyPatch, option: str, shown: str
) -> None:
    def forbidden(fstype: str) -> int:
        raise PermissionError(1, "")

    listed = [{"destination": "/sys", "type": "sysfs", "options": [option]}]
    (mount,) = plan_mounts(listed, "/", Namespaces(new=0))

    def inside(root: Root) -> list[str]:
        k.mount("tmpfs", "/sys", "tmpfs", 0)
        os.mkdir("/sys/sub")
        k.mount("tmpfs", "/sys/sub", "tmpfs", 0)
        monkeypatch.setattr(k, "fsopen", forbidden)
        Mounter(root, 0, "").make(mount)
        return [mountinfo(image / name)["options"] for name in ("sys", "sys/sub")]

    assert in_root(image, inside) == [shown, shown]


def test_the_destination_is_made(image: Path) -> None:
    assert made(image, [new("/a/b/c")], lambda: [is_mounted(image / "a/b/c"), os.stat("a/b").st_mode & 0o7777]) == [
        True,
        0o755,
    ]


def test_the_image_shows_through(image: Path) -> None:
    (image / "dir/sub").mkdir()
    (image / "dir/sub/file").write_text("copied")

    def look() -> list[str]:
        return [Path("dir/sub/file").read_text(), mountinfo(image / "dir")["type"]]

    assert made(image, [new("/dir", copy_up=True)], look) == ["copied", "tmpfs"]
    assert made(image, [new("/missing", copy_up=True)], lambda: os.listdir("missing")) == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/proc", "/proc cannot be mounted over, it is inside /proc"),
        ("/proc/self/fd", "cannot be mounted over, it is inside /proc"),
        ("/tmp", "/tmp cannot be copied, it is a procfs"),
        ("/tmp/tty", "/tmp/tty cannot be copied, it is a procfs"),
        ("/", "it would hide the root file system itself"),
    ],
)
def test_only_what_may_be_covered_is_copied(
    image: Path, monkeypatch: pytest.MonkeyPatch, target: str, words: str
) -> None:
    """A link of the image leads to where there is no end of reading."""
    (image / "srv").symlink_to(target)

    def copied(*_: int) -> None:
        raise AssertionError("it was copied")

    def inside(root: Root) -> list[Any]:
        mounter = Mounter(root, 0, "")
        for place in ("/proc", "/tmp"):
            k.mount("proc", str(image) + place, "proc", 0)
        monkeypatch.setattr(rootfs_mounts, "copy_tree", copied)
        message = refusal(mounter.make, new("/srv", copy_up=True))
        return [message, mountinfo(image / "tmp")["type"]]

    message, kind = in_root(image, inside)
    assert (message[:12], kind) == ("mount /srv: ", "proc")
    assert message.endswith(words)


# Bind mounts


def test_a_bind_mount(image: Path, tmp_path: Path) -> None:
    def look() -> list[str]:
        return [Path("dir/inner").read_text(), mountinfo(image / "dir")["options"]]

    mounts = [bind(tmp_path / "source", "/dir", attr_set=k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID)]
    assert made(image, mounts, look) == ["of the volume", "ro,nosuid,relatime"]
    (tmp_path / "source/still").touch()  # the source itself has not become read-only


@pytest.mark.parametrize("destination", ["/file", "/new", "/a/b/new"])
def test_a_file_is_bound_to_a_file(image: Path, tmp_path: Path, destination: str) -> None:
    mounts = [bind(tmp_path / "source/inner", destination)]
    assert made(image, mounts, lambda: Path(destination[1:]).read_text()) == "of the volume"
    assert (image / destination[1:]).read_text() in ("", "of the image")


def test_a_file_over_a_link_that_leads_nowhere(image: Path, tmp_path: Path) -> None:
    """As /etc/resolv.conf often is one: what it would lead to is not made, on no account outside."""
    (image / "resolv.conf").symlink_to(tmp_path / "outside")
    mounts = [bind(tmp_path / "source/inner", "/resolv.conf")]
    assert made(image, mounts, lambda: Path("resolv.conf").read_text()) == "of the volume"
    assert not (tmp_path / "outside").exists()
    assert (image / "resolv.conf").is_symlink()


def test_recursive_or_not(image: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir()

    def inside(root: Root) -> list[Any]:
        k.mount("tmpfs", str(source / "sub"), "tmpfs", 0)
        mounter = Mounter(root, 0, "")
        mounter.make(bind(source, "/plain"))
        mounter.make(bind(source, "/tree", recursive=True, rec_set=k.MOUNT_ATTR_NOEXEC, attr_set=k.MOUNT_ATTR_NODEV))
        tree = [mountinfo(image / name)["options"] for name in ("tree", "tree/sub")]
        return [is_mounted(image / "plain/sub"), tree]

    assert in_root(image, inside) == [False, ["rw,nodev,noexec,relatime", "rw,noexec,relatime"]]


@pytest.mark.parametrize(
    ("flags", "here", "below"),
    [
        ((k.MS_SHARED,), "shared", ""),
        ((k.MS_SHARED | k.MS_REC,), "shared", "shared"),
        ((k.MS_SHARED | k.MS_REC, k.MS_PRIVATE), "", "shared"),
        ((k.MS_UNBINDABLE,), "unbindable", ""),
    ],
)
def test_propagation(image: Path, tmp_path: Path, flags: tuple[int, ...], here: str, below: str) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir()

    def inside(root: Root) -> list[str]:
        k.mount("tmpfs", str(source / "sub"), "tmpfs", 0)
        Mounter(root, 0, "").make(bind(source, "/tree", recursive=True, propagation=flags))
        return [mountinfo(image / name)["propagation"].partition(":")[0] for name in ("tree", "tree/sub")]

    assert in_root(image, inside) == [here, below]


def test_a_source_that_the_launcher_opened(image: Path, tmp_path: Path) -> None:
    """It comes from the host's mount namespace, and takes on what the others have been given here."""

    def inside(root: Root) -> list[Any]:
        k.mount("tmpfs", str(tmp_path / "source"), "tmpfs", 0)
        k.mount(None, str(tmp_path / "source"), None, k.MS_SHARED)
        tree = k.open_tree(k.AT_FDCWD, str(tmp_path / "source"), k.OPEN_TREE_CLONE)
        before = descriptors()
        Mounter(root, k.MS_SLAVE | k.MS_REC, "").make(bind("/no/such/place", "/dir"), tree)
        return [mountinfo(image / "dir")["propagation"].partition(":")[0], len(before) - len(descriptors())]

    assert in_root(image, inside) == ["master", 1]


def test_a_source_that_is_not_there(image: Path) -> None:
    assert refused(image, bind("/no/such", "/dir")) == (
        "bind mount /no/such to /dir: the source: no such file or directory"
    )


def test_files_and_directories_do_not_go_over_each_other(image: Path, tmp_path: Path) -> None:
    assert refused(image, bind(tmp_path / "source/inner", "/dir")) == (
        "mount to /dir: the source is not a directory and the destination is one: not a directory"
    )
    assert refused(image, bind(tmp_path / "source", "/file")) == (
        "mount to /file: the source is a directory and the destination is none: not a directory"
    )


def test_links_of_the_image_are_followed_within_it(image: Path, tmp_path: Path) -> None:
    (image / "escape").symlink_to("../../../../../../../../tmp")
    mounts = [bind(tmp_path / "source", "/link/new"), bind(tmp_path / "source", "/escape/new2")]
    assert made(image, mounts, lambda: [is_mounted(image / "dir/new"), is_mounted(image / "tmp/new2")]) == [True, True]
    assert not Path("/tmp/new2").exists()


# Remounts


def test_a_remount_changes_what_is_there(image: Path) -> None:
    remount = Mount(destination="/dir", kind="remount", attr_set=k.MOUNT_ATTR_RDONLY, attr_clear=k.MOUNT_ATTR_NOSUID)
    mounts = [new("/dir", attr_set=k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV), remount]
    assert made(image, mounts, lambda: mountinfo(image / "dir")["options"]) == "ro,nodev,relatime"


def test_a_remount_of_nothing(image: Path) -> None:
    remount = Mount(destination="/dir/none", kind="remount", attr_set=k.MOUNT_ATTR_RDONLY)
    assert refused(image, remount).endswith(": no such file or directory")
    assert "nothing is mounted there" in refused(image, remount.replace(destination="/dir"))


# Where nothing may be mounted


def test_nothing_hides_the_root(image: Path, tmp_path: Path) -> None:
    (image / "dot").symlink_to(".")
    for destination in ("/", "/dot", "/dir/.."):
        assert refused(image, bind(tmp_path / "source", destination)) == (
            f"mount {destination}: it would hide the root file system itself"
        )


@pytest.mark.parametrize("destination", ["/proc", "/proc/self/attr", "/proc/sys", "/shortcut", "/shortcut/sys"])
def test_what_hides_procfs_is_refused(image: Path, tmp_path: Path, destination: str) -> None:
    (image / "shortcut").symlink_to("proc")

    def inside(root: Root) -> str:
        mounter = Mounter(root, 0, "")
        mounter.make(new("/proc", "proc"))
        return refusal(mounter.make, bind(tmp_path / "source", destination))

    assert "cannot be mounted over, it is inside /proc" in in_root(image, inside)


def test_even_where_there_is_no_procfs_yet(image: Path, tmp_path: Path) -> None:
    assert "inside /proc" in refused(image, bind(tmp_path / "source", "/proc"))
    assert "inside /proc" in refused(image, bind(tmp_path / "source/inner", "/proc/self"))


def test_what_may_go_over_procfs(image: Path, tmp_path: Path) -> None:
    def inside(root: Root) -> list[Any]:
        mounter = Mounter(root, 0, "")
        mounter.make(new("/proc", "proc"))
        for name in ("uptime", "meminfo", "sys/kernel/ns_last_pid"):
            mounter.make(bind(tmp_path / "source/inner", f"/proc/{name}"))
        mounter.make(bind("/proc", "/proc"))  # the host's procfs is one too
        return [mountinfo(image / "proc/uptime")["type"] != "proc", mountinfo(image / "proc")["type"]]

    assert in_root(image, inside) == [True, "proc"]


@pytest.mark.parametrize("fstype", ["proc", "sysfs"])
def test_procfs_and_sysfs_go_through_no_link(image: Path, fstype: str) -> None:
    (image / "proc-link").symlink_to("proc")
    for destination in ("/proc-link", "/link/sub"):
        message = refused(image, new(destination, fstype))
        assert message == f"mount to {destination}: open or make the place: too many levels of symbolic links"


def test_other_file_systems_do(image: Path) -> None:
    assert made(image, [new("/link", "tmpfs")], lambda: is_mounted(image / "dir"))
