# SPDX-License-Identifier: Apache-2.0
"""File systems with long options are made as all others, and nothing is seen of how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.plan.model import Namespaces
from pyoci.plan.mounts import plan_mounts
from pyoci.rootfs import at_once
from pyoci.rootfs.mounts import FilesystemRefused, Mounter
from pyoci.rootfs.root import Root
from tests.rootfs.roots import descriptors, in_root, mountinfo, refusal

pytestmark = pytest.mark.needs_root

LONG = "n" * 300


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "root/dir").mkdir(parents=True)
    return tmp_path / "root"


def layer(place: Path, name: str) -> str:
    """A layer with a file of its name, at a path that alone is longer than fsconfig(2) takes."""
    path = place / ("d" * 150) / ("e" * 150) / name
    path.mkdir(parents=True)
    (path / name).write_text(f"of {name}")
    return str(path)


def made(image: Path, look: Any, fstype: str, source: str, *options: str) -> Any:
    """What there is to see of it at /dir. Nothing else may have been mounted, and no descriptor may stay open."""
    listed = [{"destination": "/dir", "type": fstype, "source": source, "options": list(options)}]
    (mount,) = plan_mounts(listed, "/", Namespaces(new=0))
    assert mount.at_once

    def inside(root: Root) -> Any:
        before, mounted, directory = descriptors(), Path("/proc/self/mountinfo").read_text(), os.getcwd()
        mounter = Mounter(root, 0, "", at_once.new_filesystem)
        mounter.make(mount)
        mounter.finish()
        assert (descriptors(), os.getcwd()) == (before, directory)
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        assert [line for line in lines if line.split()[4] != f"{image}/dir"] == mounted.splitlines()
        return look()

    return in_root(image, inside)


def test_an_overlay_with_long_layers(image: Path, tmp_path: Path) -> None:
    layers = [layer(tmp_path / "layers", name) for name in ("a", "b", "upper", "work")]
    options = (f"lowerdir={layers[0]}:{layers[1]}", f"upperdir={layers[2]}", f"workdir={layers[3]}", "nosuid")

    def look() -> list[Any]:
        (image / "dir/new").write_text("x")
        return [sorted(os.listdir(image / "dir")), mountinfo(image / "dir")["options"]]

    assert made(image, look, "overlay", "overlay", *options) == [["a", "b", "new", "upper"], "rw,nosuid,relatime"]
    assert (Path(layers[2]) / "new").exists()


def test_layers_in_the_root_itself(image: Path) -> None:
    """One that lies at the very place of the mount, for instance."""
    layers = [layer(image / name, name) for name in ("dir", "other")]
    names = made(image, lambda: os.listdir(image / "dir"), "overlay", "x", f"lowerdir={layers[0]}:{layers[1]}")
    assert sorted(names) == ["dir", "other"]


def test_layers_in_what_is_mounted_in_the_root(image: Path, tmp_path: Path) -> None:
    """And what is mounted there stays, though it would go wherever else it is, if it went from one place."""
    (image / "volume").mkdir()

    def inside(root: Root) -> list[Any]:
        mounter = Mounter(root, 0, "", at_once.new_filesystem)
        k.mount("tmpfs", str(image / "volume"), "tmpfs", 0)
        k.mount(None, str(image / "volume"), None, k.MS_SHARED)
        (image / "volume/sub").mkdir()
        k.mount("tmpfs", str(image / "volume/sub"), "tmpfs", 0)
        layers = [layer(image / "volume/sub", "a"), layer(image / "volume", "b")]
        options = [f"lowerdir={layers[0]}:{layers[1]}"]
        listed = [{"destination": "/dir", "type": "overlay", "source": "x", "options": options}]
        before = Path("/proc/self/mountinfo").read_text()
        mounter.make(plan_mounts(listed, "/", Namespaces(new=0))[0])
        after = Path("/proc/self/mountinfo").read_text()
        return [sorted(os.listdir(image / "dir")), after.startswith(before)]

    assert in_root(image, inside) == [["a", "b"], True]


@pytest.mark.parametrize(
    ("options", "shown", "of_the_file_system"),
    [
        ((), "rw,relatime", {"rw"}),
        (("noatime", "nodev"), "rw,nodev,noatime", {"rw"}),
        (("strictatime",), "rw", {"rw"}),
        (("ro",), "ro,relatime", {"rw"}),
        (("rro", "rnosuid"), "ro,nosuid,relatime", {"rw"}),
        (("sync", "dirsync", "lazytime", "size=64k"), "rw,relatime", {"rw", "sync", "dirsync", "lazytime", "size=64k"}),
        (("lazytime", "sync", "async", "nolazytime"), "rw,relatime", {"rw"}),
    ],
)
def test_attributes_and_flags(image: Path, options: tuple[str, ...], shown: str, of_the_file_system: set[str]) -> None:
    info = made(image, lambda: mountinfo(image / "dir"), "tmpfs", LONG, *options)
    assert (info["source"], info["options"]) == (LONG, shown)
    flags = {"rw", "ro", "sync", "dirsync", "lazytime", "size=64k"}
    assert flags & set(info["super"].split(",")) == of_the_file_system


def test_the_image_shows_through(image: Path) -> None:
    (image / "dir/sub").mkdir(mode=0o700)
    assert made(image, lambda: os.listdir(image / "dir"), "tmpfs", LONG, "tmpcopyup", "rro") == ["sub"]


def test_what_belongs_to_the_file_system_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, image: Path) -> None:
    """But a label with commas is in quotes again, in which it was for them (mount(8))."""
    told: list[Any] = []
    label, lower = "system_u:object_r:x:s0:c1,c2", r"/a\,b:/c"
    parameters = [("lowerdir", lower), ("context", label), ("mpol", "bind:0,1"), ("ro", None), ("x", None), ("y", "")]

    def inside(root: Root) -> Any:
        monkeypatch.setattr(k, "mount", lambda *arguments: told.append(arguments))
        os.close(at_once.new_filesystem(root.fd, "overlay", "", parameters, 0))
        return told

    data = rf'lowerdir={lower},context="{label}",mpol=bind:0,1,x,y='
    assert in_root(image, inside) == [[None, "new", "overlay", k.MS_RDONLY, data]]


def refused(image: Path, fstype: str, source: str, *options: str) -> str:
    """How it is refused; nothing may be left of it."""
    listed = [{"destination": "/dir", "type": fstype, "source": source, "options": list(options)}]
    (mount,) = plan_mounts(listed, "/", Namespaces(new=0))

    def inside(root: Root) -> list[Any]:
        before, mounted, directory = descriptors(), Path("/proc/self/mountinfo").read_text(), os.getcwd()
        message = refusal(Mounter(root, 0, "", at_once.new_filesystem).make, mount)
        unchanged = Path("/proc/self/mountinfo").read_text() == mounted
        return [message, unchanged, descriptors() == before, os.getcwd() == directory]

    message, *unchanged = in_root(image, inside)
    assert unchanged == [True] * 3
    return str(message)


def test_what_the_kernel_refuses(image: Path) -> None:
    assert refused(image, "tmpfs", LONG, "sise=1") == "mount tmpfs to /dir: invalid argument"
    assert refused(image, "overlay", "x", f"lowerdir=/{LONG}") == "mount overlay to /dir: file name too long"
    assert refused(image, "nosuchfs", LONG) == "mount nosuchfs to /dir: no such device"


def test_the_kernel_takes_a_page(image: Path) -> None:
    """What is more than that it leaves out in silence: here the last option, which it does not know."""
    room = 4095 - len("mode=,sise")
    message = refused(image, "tmpfs", "x", f"mode={'7':0>{room}},sise")
    assert message == "mount tmpfs to /dir: invalid argument"
    message = refused(image, "tmpfs", "x", f"mode={'7':0>{room + 1}},sise")
    assert message == "mount tmpfs to /dir: the options are 4096 bytes long, and mount(2) takes 4095"
    assert refused(image, "tmpfs", "x" * 4096, "mode=7") == (
        "mount tmpfs to /dir: the source is 4096 bytes long, and mount(2) takes 4095"
    )
    assert made(image, lambda: mountinfo(image / "dir")["source"], "tmpfs", "x" * 3000) == "x" * 3000


def test_only_where_it_takes_that() -> None:
    for length, expected in ((255, False), (256, True)):
        for mount in (
            {"type": "tmpfs", "source": "x" * length},
            {"type": "tmpfs", "options": ["mode=" + "0" * length]},
            {"type": "tmpfs", "options": ["x" * length]},
            {"type": "tmpfs", "source": "x" * (length - 2) + "\u00e9"},
        ):
            (planned,) = plan_mounts([{"destination": "/dir", **mount}], "/", Namespaces(new=0))
            assert planned.at_once == expected
    for options in (["bind"], ["remount"]):
        mount = {"destination": "/dir", "source": "/" + LONG, "options": options}
        assert not plan_mounts([mount], "/", Namespaces(new=0))[0].at_once


def test_a_long_option_of_what_is_there(image: Path) -> None:
    listed = [{"destination": "/", "type": "tmpfs", "options": ["remount", f"size={LONG}"]}]
    mounts = plan_mounts(listed, "/", Namespaces(new=0))

    def inside(root: Root) -> list[Any]:
        with pytest.raises(FilesystemRefused) as caught:
            Mounter(root, 0, "").make(mounts[0])
        return [caught.value.message, caught.value.errno]

    assert in_root(image, inside) == ["mount tmpfs to /: the option size is longer than 255 bytes", 22]
