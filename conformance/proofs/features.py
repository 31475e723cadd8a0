# SPDX-License-Identifier: Apache-2.0
"""features.md and features-linux.md: that what a runtime says of itself is true."""

from __future__ import annotations

import json
import re
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


CAPABILITIES = [
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
        "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
        "CHECKPOINT_RESTORE",
    )
]  # fmt: skip
"""By number, see capability.h."""


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
    """Those that we have are had; what is to become of others is not this test's business."""
    numbers = {name: number for number, name in enumerate(CAPABILITIES)}
    listed = features(box, "linux", "capabilities")
    names = [name for name in listed if name not in numbers or capabilities() >> numbers[name] & 1]
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


def said_of(box: Box, name: str, **seccomp: Any) -> str:
    """What the runtime says when it refuses a filter for the sake of a name in it, the name left out; nothing if it does
    not."""
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **seccomp}
    result = box.create()
    if result.status != 0:
        return re.sub(r'time="[^"]*"', "", result.err.replace(name, "NAME"))
    box.kill("KILL").ok()
    box.wait()
    box.delete().ok()
    return ""


@each({"architectures": "archs", "flags": "knownFlags"}, "features-seccomp-{}")
def names_that_are_known(box: Box, key: str) -> None:
    """One that the kernel or libseccomp cannot do here may be refused, but not in the words for one that nobody knows."""
    where = {"archs": "architectures", "knownFlags": "flags"}[key]
    names = features(box, "linux", "seccomp", key)
    unknown = said_of(box, "NO_SUCH_NAME", **{where: ["NO_SUCH_NAME"]})
    assert unknown, "it takes any name"
    for name in names:
        assert said_of(box, name, **{where: [name]}) != unknown, f"{name} is not known"


@proves("features-seccomp-flags")
def all_supported_flags(box: Box) -> None:
    for flag in features(box, "linux", "seccomp", "supportedFlags"):
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
