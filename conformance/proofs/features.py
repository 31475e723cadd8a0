# SPDX-License-Identifier: Apache-2.0
"""features.md and features-linux.md: that what a runtime says of itself is true."""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.lifecycle.configs import bind, mount

from ..box import Box, capabilities, host_mount
from ..catalogue import version
from ..suite import Skipped, each, proves

TOP = {
    "ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations",
    "potentiallyUnsafeConfigAnnotations",
}  # fmt: skip
OF_LINUX = {
    "namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "mountExtensions",
    "netDevices", "memoryPolicy",
}  # fmt: skip
MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip


BIG_ENDIAN = {
    f"SCMP_ARCH_{name}"
    for name in ("M68K", "MIPS", "MIPS64", "MIPS64N32", "PARISC", "PARISC64", "PPC", "PPC64", "S390", "S390X", "SHEB")
}


def output(box: Box) -> str:
    result = box.call("features")
    if result.status != 0:
        raise Skipped("it does not tell its features, and need not")
    return result.out


def features(box: Box, *path: str) -> Any:
    """The whole structure, or what is at `path` in it. Skips the test if nothing is."""
    found = json.loads(output(box))
    for name in path:
        found = found.get(name)
        if found is None:
            raise Skipped(f"its features say nothing of {name}")
    return found


@each({"minimum": "ociVersionMin", "maximum": "ociVersionMax"}, "features-{}")
def a_version(box: Box, name: str) -> None:
    box.config["ociVersion"] = features(box)[name]
    box.works()


@proves("features-range")
def the_range_of_versions(box: Box) -> None:
    found = features(box)
    assert version(found["ociVersionMin"]) <= version(found["ociVersionMax"])


@proves("features-known")
def the_names_of_features(box: Box) -> None:
    found = features(box)
    assert set(found) <= TOP
    assert set(found.get("linux", {})) <= OF_LINUX


@proves("features-static")
def features_without_a_host(box: Box) -> None:
    """The same with no cgroups, no security modules and no namespaces to be seen."""
    assert features(box)
    before = output(box)
    host_mount("none", "/sys", "tmpfs")
    host_mount("none", "/proc/sys", "tmpfs")
    assert output(box) == before


@proves("features-annotations")
def annotations_of_features(box: Box) -> None:
    for key, value in features(box, "annotations").items():
        assert key and isinstance(value, str), (key, value)


@proves("features-mount-options", "options-custom")
def all_mount_options(box: Box) -> None:
    """Each is no word for tmpfs, which refuses those that it does not know; a runtime that knew none would fail."""
    names = features(box, "mountOptions")
    elsewhere = {"idmap", "ridmap", "remount", "mand", "acl", "noacl"}  # tested alone, or words of file systems, too
    for name in set(names) - elsewhere:
        if name.removeprefix("r") in ("bind", "private", "shared", "slave", "unbindable"):
            box.mounts.append(bind("/var", f"/{name}", "rbind", name))
        else:
            box.mounts.append(mount(f"/{name}", "tmpfs", "tmpfs", name))
    box.works()


@proves("features-mount-options-data")
def no_mount_options_of_file_systems(box: Box) -> None:
    """Of tmpfs, devpts and overlay: what the mount call hands on as it is."""
    words = {"size", "mode", "uid", "gid", "nr_inodes", "ptmxmode", "newinstance", "lowerdir", "upperdir", "hidepid"}
    assert not words & {name.partition("=")[0] for name in features(box, "mountOptions")}


@proves("features-capabilities")
def all_capabilities(box: Box) -> None:
    """None of them makes create fail, and those that we have are had."""
    names = features(box, "linux", "capabilities")
    box.process["capabilities"] = {kind: names for kind in ("bounding", "effective", "permitted")}
    assert int(box.look().status("CapEff"), 16) & capabilities() == capabilities()


def accepts(box: Box, **seccomp: Any) -> None:
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **seccomp}
    box.works()


@proves("features-seccomp-actions")
def all_actions(box: Box) -> None:
    """Each for a system call that nobody makes. One for an agent needs one, and is tested elsewhere."""
    actions = [name for name in features(box, "linux", "seccomp", "actions") if name != "SCMP_ACT_NOTIFY"]
    calls = ("kcmp", "vhangup", "acct", "swapon", "swapoff", "quotactl", "lookup_dcookie", "uselib", "syslog")
    rules = [{"names": [call], "action": action} for call, action in zip(calls, actions, strict=False)]
    assert len(rules) == len(actions)
    accepts(box, syscalls=rules)


@proves("features-seccomp-operators")
def all_operators(box: Box) -> None:
    conditions = [
        {"index": 0, "value": 1, "valueTwo": 1, "op": operator}
        for operator in features(box, "linux", "seccomp", "operators")
    ]
    accepts(
        box, syscalls=[{"names": ["kcmp"], "action": "SCMP_ACT_ERRNO", "args": [condition]} for condition in conditions]
    )


@proves("features-seccomp-archs")
def all_architectures(box: Box) -> None:
    """Those of this machine's byte order, each alone: libseccomp makes no filter for the other, known as its machines may be."""
    for name in set(features(box, "linux", "seccomp", "archs")) - (BIG_ENDIAN if sys.byteorder == "little" else set()):
        accepts(box, architectures=[name], syscalls=[{"names": ["kcmp"], "action": "SCMP_ACT_ERRNO"}])


@each({"known": "knownFlags", "supported": "supportedFlags"}, "features-seccomp-flags")
def all_flags(box: Box, name: str) -> None:
    for flag in features(box, "linux", "seccomp", name):
        accepts(box, flags=[flag], syscalls=[{"names": ["kcmp"], "action": "SCMP_ACT_ERRNO"}])


@proves("features-idmap")
def mappings_of_mounts(box: Box) -> None:
    """A runtime that knows them says so. That it knows them, where it says so, is for a_mount_with_ids_of_its_own to see."""
    enabled = features(box, "linux", "mountExtensions", "idmap", "enabled")
    ids = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    with box.volume() as volume:
        box.mounts.append({**bind(volume, "/data", "bind", "idmap"), "uidMappings": ids, "gidMappings": ids})
        assert enabled or box.create().status != 0


@proves("features-memory-policy", "create-properties")
def all_memory_policies(box: Box) -> None:
    for mode in features(box, "linux", "memoryPolicy", "modes"):
        box.linux["memoryPolicy"] = {"mode": mode}
        if mode not in ("MPOL_DEFAULT", "MPOL_LOCAL"):
            box.linux["memoryPolicy"]["nodes"] = "0"
        box.process["args"] = ["/payload", "report"]
        assert box.look()["memory_policy"] == MODES[mode], mode


@proves("features-memory-policy")
def all_flags_of_memory_policies(box: Box) -> None:
    for flag in features(box, "linux", "memoryPolicy", "flags"):
        box.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0", "flags": [flag]}
        assert box.look()["memory_policy"] & 0xFF == MODES["MPOL_BIND"], flag
