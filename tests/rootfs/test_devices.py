# SPDX-License-Identifier: Apache-2.0
"""Nodes and links in /dev, where the image may have put anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.plan.devices import DEFAULT_DEVICES, LINKS
from pyoci.plan.model import Device, Link
from pyoci.rootfs.devices import make_devices
from pyoci.rootfs.root import Root
from tests.rootfs.roots import descriptors, in_root, mountinfo, refusal

pytestmark = pytest.mark.needs_root

ZERO = Device(path="/dev/zero", type="c", major=1, minor=5)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    (path / "dev/pts").mkdir(parents=True)
    return path


def made(
    image: Path, *devices: Device, links: tuple[Link, ...] = (), bind: bool = False, dev_is_ours: bool = True
) -> None:
    """Make them, in the image itself; no descriptor may stay open."""

    def inside(root: Root) -> None:
        before = descriptors()
        make_devices(root, devices, links, bind=bind, dev_is_ours=dev_is_ours)
        assert descriptors() == before

    in_root(image, inside)


def refused(
    image: Path, *devices: Device, links: tuple[Link, ...] = (), bind: bool = False, dev_is_ours: bool = True
) -> str:
    def inside(root: Root) -> str:
        before = descriptors()
        message = refusal(make_devices, root, devices, links, bind=bind, dev_is_ours=dev_is_ours)
        assert descriptors() == before
        return message

    return str(in_root(image, inside))


@pytest.mark.parametrize(("target", "place"), [("dev", "/dev"), ("dev/pts", "/dev/pts")])
@pytest.mark.parametrize("bind", [False, True])
def test_a_link_into_a_dev_that_is_not_ours(image: Path, target: str, place: str, bind: bool) -> None:
    """It may be the host's own, and then what is made there, too."""
    (image / "data").symlink_to(target)
    device = Device(path="/data/zero", type="c", major=1, minor=5)
    message = refused(image, device, bind=bind, dev_is_ours=False)
    assert message == f"make device /data/zero: it would come to {place}, which is bound, and not ours to fill"
    assert os.listdir(image / target) in ([], ["pts"])
    if not bind:
        made(image, device)
        made(image, Device(path="/devices/zero", type="c", major=1, minor=5), dev_is_ours=False)


def test_the_usual_devices_and_links(image: Path) -> None:
    made(image, *DEFAULT_DEVICES, links=LINKS)
    for device in DEFAULT_DEVICES:
        status = os.lstat(image / device.path[1:])
        assert status.st_mode == 0o020666
        assert status.st_rdev == os.makedev(device.major, device.minor)
        assert (status.st_uid, status.st_gid) == (0, 0)
    assert {link.path: os.readlink(image / link.path[1:]) for link in LINKS} == {
        link.path: link.target for link in LINKS
    }


@pytest.mark.parametrize(
    ("device", "mode", "number"),
    [
        (Device(path="/dev/b", type="b", major=7, minor=3, mode=0o600, uid=5, gid=6), 0o060600, (7, 3)),
        (Device(path="/dev/deep/er/c", type="c", major=1000, minor=70000), 0o020666, (1000, 70000)),
        (Device(path="/dev/p", type="p", major=9, minor=9, mode=0o622, gid=6), 0o010622, (0, 0)),
        (Device(path="/elsewhere", type="c", mode=0), 0o020000, (0, 0)),
    ],
)
def test_nodes_of_each_kind(image: Path, device: Device, mode: int, number: tuple[int, int]) -> None:
    made(image, device)
    status = os.lstat(image / device.path[1:])
    assert (status.st_mode, (os.major(status.st_rdev), os.minor(status.st_rdev))) == (mode, number)
    assert (status.st_uid, status.st_gid) == (device.uid, device.gid)


def test_the_same_node_is_there_already(image: Path) -> None:
    os.mknod(image / "dev/zero", 0o020600, os.makedev(1, 5))
    os.mkfifo(image / "dev/p")
    made(image, ZERO.replace(uid=7), Device(path="/dev/p", type="p"))
    assert os.lstat(image / "dev/zero").st_uid == 0  # it may be the host's


@pytest.mark.parametrize("what", ["other number", "other kind", "file", "directory", "link", "dangling link", "fifo"])
def test_something_else_is_there(image: Path, tmp_path: Path, what: str) -> None:
    place = image / "dev/zero"
    victim = tmp_path / "victim"
    victim.touch()
    if what == "other number":
        os.mknod(place, 0o020666, os.makedev(1, 3))
    elif what == "other kind":
        os.mknod(place, 0o060666, os.makedev(1, 5))
    elif what == "file":
        place.touch()
    elif what == "directory":
        place.mkdir()
    elif what == "link":
        place.symlink_to("../../../../../../.." / victim)
    elif what == "dangling link":
        place.symlink_to("/none")
    else:
        os.mkfifo(place)
    before = os.lstat(place)
    assert refused(image, ZERO.replace(uid=7)) == "device /dev/zero: the image has something else there already"
    assert os.lstat(place).st_uid == before.st_uid == 0
    assert os.stat(victim).st_uid == 0


def test_a_dev_that_is_a_link(image: Path, tmp_path: Path) -> None:
    """It leads to a place in the container, whatever it says (CVE-2026-41579)."""
    (image / "dev/pts").rmdir()
    (image / "dev").rmdir()
    (tmp_path / "victim").mkdir()
    (image / "dev").symlink_to("/../victim")
    (image / "victim").mkdir()
    made(image, ZERO)
    assert os.listdir(image / "victim") == ["zero"]
    assert os.listdir(tmp_path / "victim") == []


def test_a_dev_that_leads_nowhere(image: Path, tmp_path: Path) -> None:
    """To nowhere in the container yet: it is made there."""
    (image / "dev/pts").rmdir()
    (image / "dev").rmdir()
    (image / "dev").symlink_to("/../../nowhere")
    made(image, ZERO)
    assert os.listdir(image / "nowhere") == ["zero"]
    assert sorted(os.listdir(tmp_path)) == ["root"]


def test_links_that_are_there_are_left_alone(image: Path) -> None:
    (image / "dev/fd").symlink_to("elsewhere")
    (image / "dev/stdin").write_text("a file")
    made(image, links=LINKS)
    assert os.readlink(image / "dev/fd") == "elsewhere"
    assert (image / "dev/stdin").read_text() == "a file"


@pytest.mark.parametrize("what", ["node", "link"])
def test_but_for_ptmx(image: Path, what: str) -> None:
    if what == "node":
        os.mknod(image / "dev/ptmx", 0o020666, os.makedev(5, 2))
    else:
        (image / "dev/ptmx").symlink_to("/proc/1/root/dev/ptmx")
    made(image, links=LINKS)
    assert os.readlink(image / "dev/ptmx") == "pts/ptmx"


def test_a_ptmx_that_is_right_is_left_alone(image: Path) -> None:
    """It would be missing for a moment, and a file system that is read-only would not have it again."""
    (image / "dev/ptmx").symlink_to("pts/ptmx")
    before = os.lstat(image / "dev/ptmx").st_ino

    def inside(root: Root) -> None:
        k.mount_setattr(root.fd, k.MOUNT_ATTR_RDONLY)
        make_devices(root, (), (LINKS[-1],), bind=False)

    in_root(image, inside)
    assert os.lstat(image / "dev/ptmx").st_ino == before


@pytest.mark.parametrize("step", ["unlink", "symlink", "both"])
def test_another_container_makes_the_same_ptmx(image: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """It comes first with each of our steps in turn."""
    os.mknod(image / "dev/ptmx", 0o020666, os.makedev(5, 2))
    real = {"unlink": k.unlink, "symlink": k.symlink}
    rival = iter(("look", "made"))

    def unlink(name: str, *, dir_fd: int) -> None:
        if step != "symlink":
            real["unlink"](name, dir_fd=dir_fd)
        real["unlink"](name, dir_fd=dir_fd)

    def symlink(target: str, name: str, *, dir_fd: int) -> None:
        if step != "unlink" and next(rival, "") == "made":
            os.symlink("pts/ptmx", name, dir_fd=dir_fd)
        real["symlink"](target, name, dir_fd=dir_fd)

    monkeypatch.setattr(k, "unlink", unlink)
    monkeypatch.setattr(k, "symlink", symlink)
    made(image, links=LINKS[-1:])
    assert os.readlink(image / "dev/ptmx") == "pts/ptmx"


def test_a_ptmx_that_comes_back_each_time(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (image / "dev/ptmx").symlink_to("elsewhere")
    monkeypatch.setattr(k, "unlink", lambda name, *, dir_fd: None)
    assert refused(image, links=LINKS[-1:]) == "link /dev/ptmx to pts/ptmx: file exists"


def test_the_failure_names_the_device_or_the_link(image: Path) -> None:
    (image / "file").touch()
    assert refused(image, Device(path="/file/x", type="c")) == "make device /file/x: not a directory"
    assert refused(image, links=(Link(path="/file/x", target="y"),)) == "link /file/x to y: not a directory"


@pytest.mark.parametrize("exists", [False, True])
def test_nodes_of_the_host_are_bound(image: Path, exists: bool) -> None:
    if exists:
        (image / "dev/zero").touch()

    def inside(root: Root) -> list[Any]:
        before = descriptors()
        make_devices(root, (ZERO,), (), bind=True)
        status = os.stat(image / "dev/zero")
        return [status.st_rdev == os.makedev(1, 5), mountinfo(image / "dev/zero")["root"], descriptors() == before]

    bound, root, closed = in_root(image, inside)
    assert bound and closed
    assert root.endswith("/zero")
    assert (image / "dev/zero").stat().st_size == 0


def test_a_fifo_is_made_where_nodes_are_bound(image: Path) -> None:
    """Anybody may; the host may have none of that name, and one that it has would be shared."""
    made(image, Device(path="/dev/p", type="p", mode=0o622, gid=6), bind=True)
    status = os.lstat(image / "dev/p")
    assert (status.st_mode, status.st_gid) == (0o010622, 6)


def test_where_making_nodes_is_forbidden_they_are_bound(image: Path) -> None:
    def inside(root: Root) -> bool:
        effective, permitted, inheritable = k.capget()
        k.capset(effective & ~(1 << 27), permitted, inheritable)  # CAP_MKNOD
        make_devices(root, (ZERO,), (), bind=False)
        return os.stat(image / "dev/zero").st_rdev == os.makedev(1, 5) and bool(mountinfo(image / "dev/zero"))

    assert in_root(image, inside)
    assert (image / "dev/zero").is_file()


def test_a_device_that_the_host_has_not(image: Path) -> None:
    device = Device(path="/dev/no-such-device", type="c", major=1, minor=5)
    assert refused(image, device, bind=True) == "make device /dev/no-such-device: no such file or directory"


@pytest.mark.needs_root
def test_a_bound_node_must_be_the_device_that_was_asked_for(image: Path) -> None:
    device = Device(path="/dev/zero", type="c", major=1, minor=7)
    assert refused(image, device, bind=True).startswith("device /dev/zero: the host's node of that path is another one")


def test_nothing_to_make(image: Path) -> None:
    before = sorted(image.rglob("*"))
    made(image)
    assert sorted(image.rglob("*")) == before
