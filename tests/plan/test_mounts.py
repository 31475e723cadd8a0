# SPDX-License-Identifier: Apache-2.0
"""Mount options, each taken for what it is."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import SpecError
from pyoci.plan.model import Mount, Namespaces
from pyoci.plan.mounts import (
    ATTRIBUTES,
    PROPAGATIONS,
    RECURSIVE_ATTRIBUTES,
    SUPERBLOCK_FLAGS,
    option_names,
    plan_mounts,
    unheeded_words,
)

ATIME = k.MOUNT_ATTR__ATIME
HOST = Namespaces(new=k.CLONE_NEWNS)


def planned(*options: str, **more: Any) -> Mount:
    entry = {"destination": "/data", "type": "tmpfs", "source": "name", "options": list(options), **more}
    return plan_mounts([entry], "/bundle", HOST)[0]


def refusal(*options: str, **more: Any) -> str:
    with pytest.raises(SpecError) as caught:
        planned(*options, **more)
    return caught.value.message


def test_a_new_file_system() -> None:
    assert planned() == Mount(destination="/data", kind="new", type="tmpfs", source="name")


def test_in_the_order_of_the_config() -> None:
    entries = [{"destination": name, "type": "tmpfs"} for name in ("/b", "/a", "/b")]
    assert [mount.destination for mount in plan_mounts(entries, "/bundle", HOST)] == ["/b", "/a", "/b"]
    assert plan_mounts((), "/bundle", HOST) == ()


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        (["ro"], k.MOUNT_ATTR_RDONLY, 0),
        (["rw"], 0, k.MOUNT_ATTR_RDONLY),
        (["ro", "rw"], 0, k.MOUNT_ATTR_RDONLY),
        (["rw", "ro"], k.MOUNT_ATTR_RDONLY, 0),
        (["nosuid", "nodev", "noexec"], k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC, 0),
        (["suid", "dev", "exec"], 0, k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC),
        (["noatime"], k.MOUNT_ATTR_NOATIME, ATIME),
        (["strictatime"], k.MOUNT_ATTR_STRICTATIME, ATIME),
        (["relatime"], 0, ATIME),
        (["noatime", "strictatime"], k.MOUNT_ATTR_STRICTATIME, ATIME),
        (["strictatime", "atime"], 0, ATIME),
        (["nodiratime", "noatime"], k.MOUNT_ATTR_NODIRATIME | k.MOUNT_ATTR_NOATIME, ATIME),
        (["nosymfollow"], k.MOUNT_ATTR_NOSYMFOLLOW, 0),
        (["nosymfollow", "symfollow"], 0, k.MOUNT_ATTR_NOSYMFOLLOW),
        (["defaults", "silent", "iversion"], 0, 0),
    ],
)
def test_attributes(options: list[str], present: int, absent: int) -> None:
    """What is set and cleared goes to mount_setattr(2) as it is, which wants all of ATIME cleared to set some."""
    mount = planned(*options)
    assert (mount.attr_set, mount.attr_clear, mount.rec_set, mount.rec_clear) == (present, absent, 0, 0)
    assert mount.parameters == ()
    tree = planned(*(f"r{option}" for option in options if option in ATTRIBUTES))
    if all(option in ATTRIBUTES for option in options):
        assert (tree.attr_set, tree.attr_clear, tree.rec_set, tree.rec_clear) == (0, 0, present, absent)


@pytest.mark.parametrize("option", ATTRIBUTES)
def test_each_attribute_is_one_that_the_kernel_takes(option: str) -> None:
    mount = planned(option)
    times = mount.attr_set & ATIME
    assert times in (0, k.MOUNT_ATTR_NOATIME, k.MOUNT_ATTR_STRICTATIME)
    assert not times or mount.attr_clear & ATIME == ATIME
    assert mount.attr_set & mount.attr_clear & ~ATIME == 0
    assert RECURSIVE_ATTRIBUTES[f"r{option}"] == ATTRIBUTES[option]


@pytest.mark.parametrize(("option", "flags"), PROPAGATIONS.items())
def test_propagation(option: str, flags: int) -> None:
    assert planned(option).propagation == (flags,)
    assert bool(flags & k.MS_REC) == option.startswith("r")
    kinds = {"private": k.MS_PRIVATE, "shared": k.MS_SHARED, "slave": k.MS_SLAVE, "unbindable": k.MS_UNBINDABLE}
    assert flags & ~k.MS_REC == kinds[option.removeprefix("r")]


def test_several_propagations_one_after_the_other() -> None:
    assert planned("rslave", "shared").propagation == (k.MS_SLAVE | k.MS_REC, k.MS_SHARED)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        (["size=64k"], (("size", "64k"),)),
        (["mode=755", "size=1m"], (("mode", "755"), ("size", "1m"))),
        (["a,b=c,,d"], (("a", None), ("b", "c"), ("d", None))),
        (["lowerdir=/a:/b=c,upperdir=/d"], (("lowerdir", "/a:/b=c"), ("upperdir", "/d"))),
        (
            ['context="system_u:object_r:x:s0:c1,c2",mode=1'],
            (("context", "system_u:object_r:x:s0:c1,c2"), ("mode", "1")),
        ),
        (["x="], (("x", ""),)),
        (["sync", "nolazytime"], (("sync", None), ("nolazytime", None))),
        ([""], ()),
    ],
)
def test_data_for_the_file_system(options: list[str], parameters: tuple[tuple[str, str | None], ...]) -> None:
    assert planned(*options).parameters == parameters


@pytest.mark.parametrize(
    ("fstype", "options", "parameters"),
    [
        ("overlay", [r"lowerdir=/a\,b:/c\:d,upperdir=/d"], (("lowerdir", r"/a\,b:/c\:d"), ("upperdir", "/d"))),
        ("overlay", [r"lowerdir=/a\\,upperdir=/d"], (("lowerdir", r"/a\\"), ("upperdir", "/d"))),
        ("overlay", ["lowerdir=/a\\"], (("lowerdir", "/a\\"),)),
        ("overlay", [r"lowerdir=/a\"b\,c"], (("lowerdir", r"/a\"b\,c"),)),
        ("overlay", ["lowerdir=/a,0=b"], (("lowerdir", "/a"), ("0", "b"))),
        ("tmpfs", ["mpol=interleave:0,2-3,size=1m"], (("mpol", "interleave:0,2-3"), ("size", "1m"))),
        ("tmpfs", ["mpol=bind:0", "nosuid", "1", "size=1m"], (("mpol", "bind:0,1"), ("size", "1m"))),
        ("tmpfs", [r"x=\,mode=1", ""], (("x", "\\"), ("mode", "1"))),
        ("ext4", [r"x=\,y=0,1"], (("x", "\\"), ("y", "0"), ("1", None))),
        ("ext4", ['context="a:c1', 'c2"'], (("context", "a:c1,c2"),)),
        ("ext4", ['fscontext="a:c1,c2",x'], (("fscontext", "a:c1,c2"), ("x", None))),
        ("cifs", ['password=a"b', "user=c"], (("password", 'a"b'), ("user", "c"))),
    ],
)
def test_commas_that_belong_to_what_is_told(
    fstype: str, options: list[str], parameters: tuple[tuple[str, str | None], ...]
) -> None:
    """Whoever makes the list of options may have parted it at each comma: to mount(2) it is one text, after all."""
    assert planned(*options, type=fstype).parameters == parameters


def test_what_is_given_as_options_is_kept() -> None:
    assert planned("ro", "size=1k", "rslave").options == ("ro", "size=1k", "rslave")


@pytest.mark.parametrize(("options", "recursive"), [(["bind"], False), (["rbind"], True), (["bind", "rbind"], True)])
@pytest.mark.parametrize("fstype", ["bind", "none", "", "tmpfs", "cgroup"])
def test_bind_mounts(options: list[str], recursive: bool, fstype: str) -> None:
    mount = planned(*options, "ro", type=fstype, source="/srv/a")
    assert (mount.kind, mount.type, mount.source, mount.recursive) == ("bind", "", "/srv/a", recursive)
    assert mount.attr_set == k.MOUNT_ATTR_RDONLY


def test_relative_sources_lie_in_the_bundle() -> None:
    assert planned("bind", source="volumes/a").source == "/bundle/volumes/a"
    assert planned(source="volumes/a").source == "volumes/a", "the source of a new file system is only a name"


def test_a_bind_mount_takes_no_data() -> None:
    assert refusal("bind", "size=1k", "x") == "mount /data: a bind mount takes no data, yet it has size=1k, x"
    assert planned("bind", "sync", "lazytime", "defaults").parameters == ()


def test_the_type_bind_alone_is_no_file_system() -> None:
    assert 'add "bind" or "rbind"' in refusal(type="bind")


@pytest.mark.parametrize("fstype", ["cgroup", "cgroup2"])
def test_cgroups(fstype: str) -> None:
    mount = planned("ro", type=fstype, destination="/sys/fs/cgroup")
    assert (mount.kind, mount.type, mount.attr_set) == ("cgroup", fstype, k.MOUNT_ATTR_RDONLY)


def test_remounts() -> None:
    assert planned("remount", "ro", "nosuid").kind == "remount"
    assert planned("remount", "bind", "ro").kind == "remount"


def test_copy_up() -> None:
    assert planned("tmpcopyup").copy_up
    assert planned("tmpcopyup").parameters == ()
    assert not planned().copy_up


@pytest.mark.parametrize(
    ("destination", "place"), [("/a/../b/", "/b"), ("a", "/a"), ("/../../a", "/a"), ("//a//b", "/a/b"), ("/", "/")]
)
def test_destinations_are_written_plainly(destination: str, place: str) -> None:
    assert planned(destination=destination).destination == place


@pytest.mark.parametrize("missing", ["options", "source", "type"])
def test_what_may_be_missing(missing: str) -> None:
    for value in (None, "" if missing != "options" else []):
        mount = planned(**{missing: value})
        assert mount.destination == "/data"


def test_a_disk_that_is_only_read_is_opened_for_reading() -> None:
    assert planned(type="ext4", options=["ro"]).parameters == (("ro", None),)
    assert planned(type="ext4", options=["ro", "rw"]).parameters == ()
    assert planned(options=["bind", "ro"]).parameters == ()


@pytest.mark.parametrize("fstype", ["tmpfs", "sysfs", "proc", "devtmpfs"])
def test_what_others_see_as_well_is_read_only_as_a_mount_alone(fstype: str) -> None:
    """The kernel has one devtmpfs, which is the host's /dev: to mount it is to change it for all."""
    mount = planned(type=fstype, options=["ro"])
    assert (mount.attr_set, mount.parameters) == (k.MOUNT_ATTR_RDONLY, ())


def test_words_that_change_nothing_are_told_of() -> None:
    mounts = [
        {"destination": "/a", "type": "ext4", "options": ["sync", "iversion", "defaults", "loud"]},
        {"destination": "/b", "options": ["bind", "ro", "sync", "defaults"]},
        {"destination": "/c"},
        {"destination": "d/e"},
    ]
    assert unheeded_words(mounts) == [
        "mount /a: the option iversion is left out: that is up to the file system",
        "mount /b: the option sync is left out: a bind mount has the file system of its source",
        "mount d/e: a relative destination is deprecated, and taken from /",
    ]


def test_known_options() -> None:
    names = option_names()
    assert names == sorted(set(names))
    assert {
        *ATTRIBUTES,
        *RECURSIVE_ATTRIBUTES,
        *PROPAGATIONS,
        *SUPERBLOCK_FLAGS,
        "bind",
        "rbind",
        "remount",
        "tmpcopyup",
    } <= set(names)
