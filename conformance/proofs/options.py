# SPDX-License-Identifier: Apache-2.0
"""config.md, Linux mount options: one test for each option of the table that is not in proofs/mounts.py."""

from __future__ import annotations

from tests.lifecycle.configs import bind, mount

from ..box import MS_SHARED, Box, host_mount
from ..suite import each

Options = tuple[list[str], set[str], set[str]]
"""The options of a mount, and which words of mountinfo(5) it must and must not have."""

OF_A_MOUNT: dict[str, Options] = {
    "atime": (["noatime", "atime"], set(), {"noatime"}),
    "defaults": (["defaults"], {"rw"}, {"ro", "nosuid", "nodev", "noexec", "sync"}),
    "dev": (["nodev", "dev"], set(), {"nodev"}),
    "diratime": (["nodiratime", "diratime"], set(), {"nodiratime"}),
    "exec": (["noexec", "exec"], set(), {"noexec"}),
    "noatime": (["noatime"], {"noatime"}, {"relatime"}),
    "nodev": (["nodev"], {"nodev"}, set()),
    "nodiratime": (["nodiratime"], {"nodiratime"}, set()),
    "noexec": (["noexec"], {"noexec"}, set()),
    "norelatime": (["norelatime"], {"rw"}, {"noatime"}),
    "nostrictatime": (["strictatime", "nostrictatime"], {"relatime"}, set()),
    "nosuid": (["nosuid"], {"nosuid"}, set()),
    "nosymfollow": (["nosymfollow"], {"nosymfollow"}, set()),
    "relatime": (["relatime"], {"relatime"}, {"noatime"}),
    "ro": (["ro"], {"ro"}, {"rw"}),
    "rw": (["ro", "rw"], {"rw"}, {"ro"}),
    "strictatime": (["strictatime"], set(), {"relatime", "noatime"}),
    "suid": (["nosuid", "suid"], set(), {"nosuid"}),
    "symfollow": (["nosymfollow", "symfollow"], set(), {"nosymfollow"}),
}

OF_A_FILE_SYSTEM: dict[str, Options] = {
    "async": (["sync", "async"], set(), {"sync"}),
    "dirsync": (["dirsync"], {"dirsync"}, set()),
    "iversion": (["iversion"], set(), set()),
    "lazytime": (["lazytime"], {"lazytime"}, set()),
    "loud": (["silent", "loud"], set(), set()),
    "noiversion": (["iversion", "noiversion"], set(), set()),
    "nolazytime": (["lazytime", "nolazytime"], set(), {"lazytime"}),
    "silent": (["silent"], set(), set()),
    "sync": (["sync"], {"sync"}, set()),
}
"""The kernel shows nothing of some. That they are no words for tmpfs is plain from its taking them: it refuses others."""


def agrees(case: Options, found: set[str], point: str = "/data") -> None:
    words, wanted, unwanted = case
    assert wanted <= found, f"{words} made {found} of {point}"
    assert not unwanted & found, f"{words} made {found} of {point}"


@each(OF_A_MOUNT, "option-{}", "options-must", "options-mount8", "features-mount-options")
def an_option_of_a_mount(box: Box, case: Options) -> None:
    box.mounts.append(mount("/data", "tmpfs", "tmpfs", *case[0]))
    agrees(case, box.look().mount("/data").options)


@each(OF_A_FILE_SYSTEM, "option-{}", "options-must", "options-mount8", "features-mount-options")
def an_option_of_a_file_system(box: Box, case: Options) -> None:
    box.mounts.append(mount("/data", "tmpfs", "tmpfs", *case[0]))
    agrees(case, box.look().mount("/data").super_options)


@each({name: name for name in ("nosuid", "nodev", "noexec", "noatime", "nodiratime", "ro")}, "option-{}", "option-bind")
def an_option_of_a_bind_mount(box: Box, word: str) -> None:
    with box.volume() as volume:
        box.mounts.append(bind(volume, "/data", "rbind", word))
        report = box.look()
        assert word in report.mount("/data").options
        assert word not in report.mount("/data/below").options


PROPAGATION: dict[str, tuple[set[str], bool]] = {
    "private": (set(), False), "rprivate": (set(), True), "shared": ({"shared"}, False), "rshared": ({"shared"}, True),
    "slave": ({"master"}, False), "rslave": ({"master"}, True), "unbindable": ({"unbindable"}, False),
    "runbindable": ({"unbindable"}, True),
}  # fmt: skip


@each(
    {name: (name, *value) for name, value in PROPAGATION.items()}, "option-{}", "options-must", "features-mount-options"
)
def an_option_for_propagation(box: Box, case: tuple[str, set[str], bool]) -> None:
    word, tags, recursive = case
    with box.volume(shared=True) as volume:
        host_mount("none", volume / "below", flags=MS_SHARED)  # for a word to change
        box.mounts.append(bind(volume, "/data", "rbind", word))
        report = box.look()
        for point in ("/data", "/data/below") if recursive else ("/data",):
            found = report.mount(point).propagation - {"propagate_from"}
            if tags == {"shared"}:
                found.discard("master")  # it may at the same time be the slave of what it was bound from
            assert found == tags, f"{word} made {found} of {point}"


RECURSIVE: dict[str, Options] = {
    "ratime": (["rnoatime", "ratime"], set(), {"noatime"}),
    "rdev": (["rnodev", "rdev"], set(), {"nodev"}),
    "rdiratime": (["rnodiratime", "rdiratime"], set(), {"nodiratime"}),
    "rexec": (["rnoexec", "rexec"], set(), {"noexec"}),
    "rnoatime": (["rnoatime"], {"noatime"}, set()),
    "rnodiratime": (["rnodiratime"], {"nodiratime"}, set()),
    "rnoexec": (["rnoexec"], {"noexec"}, set()),
    "rnorelatime": (["rnorelatime"], set(), {"noatime"}),
    "rnostrictatime": (["rnostrictatime"], {"relatime"}, set()),
    "rnosuid": (["rnosuid"], {"nosuid"}, set()),
    "rnosymfollow": (["rnosymfollow"], {"nosymfollow"}, set()),
    "rrelatime": (["rrelatime"], {"relatime"}, set()),
    "rro": (["rro"], {"ro"}, set()),
    "rrw": (["rro", "rrw"], {"rw"}, {"ro"}),
    "rstrictatime": (["rstrictatime"], set(), {"relatime", "noatime"}),
    "rsuid": (["rnosuid", "rsuid"], set(), {"nosuid"}),
    "rsymfollow": (["rnosymfollow", "rsymfollow"], set(), {"nosymfollow"}),
}


@each(RECURSIVE, "option-{}", "options-should", "features-mount-options")
def an_option_for_all_mounts_below(box: Box, case: Options) -> None:
    with box.volume() as volume:
        box.mounts.append(bind(volume, "/data", "rbind", *case[0]))
        report = box.look()
        for point in ("/data", "/data/below"):
            agrees(case, report.mount(point).options, point)
