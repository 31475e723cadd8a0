# SPDX-License-Identifier: Apache-2.0
"""What a person reads of a plan."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.capabilities import NUMBERS, CapabilityPlan
from pyoci.cgroups.plan import CgroupPlan
from pyoci.cgroups.writes import Write
from pyoci.errors import PyociError
from pyoci.plan.model import (
    CgroupHierarchy,
    CgroupView,
    Device,
    Hooks,
    IdMap,
    IntelRdt,
    Join,
    Limit,
    Link,
    Mapping,
    Mount,
    Namespaces,
    NetDevice,
    Plan,
    Process,
    Rootfs,
)
from pyoci.plan.scheduling import Affinity, IoPriority, MemoryPolicy, Scheduler, Scheduling
from pyoci.plan.text import render
from pyoci.record import Record
from pyoci.seccomp import ALLOW, ERRNO, Rule, SeccompPlan
from pyoci.thirdparty import load
from tests.conftest import skip_or_fail

PROCESS = Process(
    args=("sh", "-c", "echo hi"),
    env=(),
    cwd="/srv",
    uid=1000,
    gid=100,
    groups=(4, 5),
    umask=0o022,
    terminal=False,
    console_size=(0, 0),
    no_new_privileges=True,
    capabilities=CapabilityPlan(bounding=1 << NUMBERS["CAP_KILL"], last=40),
    limits=(Limit(name="RLIMIT_NOFILE", number=7, soft=1024, hard=(1 << 64) - 1),),
    oom_score_adj=-5,
    apparmor="docker-default",
    selinux="",
    keyring=True,
)
PLAN = Plan(
    id="web",
    bundle="/srv/web",
    oci_version="1.3.0",
    annotations={},
    namespaces=Namespaces(new=k.CLONE_NEWPID),
    cgroup=CgroupPlan(
        mode="v2",
        paths={"": "/sys/fs/cgroup/web"},
        directories=("/sys/fs/cgroup/web",),
        mount_points={"": "/sys/fs/cgroup"},
        before=(Write(controller="", file="memory.max", value="64", why="memory.limit"),),
        program=bytes(24),
        notes=("kernel memory is ignored",),
    ),
    rootfs=Rootfs(path="/srv/web/rootfs", entered_by="pivot", readonly=True, propagation=0),
    mounts=(Mount(destination="/proc", kind="new", type="proc"),),
    cgroup_view=CgroupView(unified=True, namespaced=True, hierarchies=()),
    set_up_dev=True,
    devices=(Device(path="/dev/null", type="c", major=1, minor=3),),
    links=(Link(path="/dev/fd", target="/proc/self/fd"),),
    hostname="web",
    domainname="",
    sysctl=(("net/ipv4/ip_forward", "1"),),
    process=PROCESS,
    seccomp=None,
    hooks=Hooks(prestart=({"path": "/usr/bin/net"},), poststop=({"path": "/usr/bin/off"},)),
    warnings=("a doubt",),
)


@pytest.fixture
def libseccomp() -> None:
    try:
        load("seccomp")
    except PyociError as error:
        skip_or_fail(f"needs libseccomp's Python binding: {error.message}")


def test_a_whole_plan() -> None:
    assert render(PLAN) == (
        "plan for container web, bundle /srv/web\n"
        "\n"
        "1. warnings\n"
        "   a doubt\n"
        "\n"
        "2. cgroup: made before the process is\n"
        "   mkdir /sys/fs/cgroup/web\n"
        "   memory.max = 64\n"
        "\n"
        "3. namespaces\n"
        "   pid      new\n"
        "   (host)   user, ipc, uts, network, time, cgroup, mount\n"
        "\n"
        "4. host name\n"
        "   host name web\n"
        "\n"
        "5. root\n"
        "   /srv/web/rootfs, as a mount of its own\n"
        "\n"
        "6. mounts, in this order\n"
        "   /proc  proc\n"
        "\n"
        "7. devices\n"
        "   /dev/null  c 1:3             mode 0666, owner 0:0\n"
        "   /dev/fd    -> /proc/self/fd\n"
        "\n"
        "8. cgroup: set when the root is complete\n"
        "   devices: an eBPF program of 3 instructions\n"
        "\n"
        "9. hooks, before the root is entered\n"
        "   prestart: /usr/bin/net (/usr/bin/net)\n"
        "\n"
        "10. entering the root\n"
        "   pivot_root into it, let go of the host's mounts\n"
        "\n"
        "11. kernel parameters, below /proc/sys\n"
        "   net/ipv4/ip_forward = 1\n"
        "\n"
        "12. closing paths\n"
        "   / read-only\n"
        "\n"
        "13. process\n"
        "   user 1000, group 100, additional groups 4, 5\n"
        "   working directory /srv\n"
        "   umask 0022\n"
        "   capabilities, bounding: CAP_KILL\n"
        "   capabilities, effective: none\n"
        "   capabilities, permitted: none\n"
        "   capabilities, inheritable: none\n"
        "   capabilities, ambient: none\n"
        "   no new privileges\n"
        "   oom_score_adj -5\n"
        "   RLIMIT_NOFILE 1024 (soft), 18446744073709551615 (hard)\n"
        "   AppArmor profile docker-default\n"
        "   a session keyring of its own\n"
        "\n"
        "14. then, at `pyoci start`\n"
        "   execute sh -c 'echo hi'\n"
        "\n"
        "15. after the end, at `pyoci delete`\n"
        "   poststop: /usr/bin/off (/usr/bin/off)\n"
    )


def lines_of(plan: Plan, title: str) -> list[str]:
    """The lines of one section; none if it is left out."""
    for section in render(plan).split("\n\n")[1:]:
        heading, *lines = section.rstrip("\n").split("\n")
        if heading.partition(". ")[2] == title:
            return [line.removeprefix("   ") for line in lines]
    return []


def test_what_is_not_there_has_no_section_and_no_number() -> None:
    text = render(PLAN.replace(hooks=Hooks(), warnings=(), mounts=()))
    for absent in ("seccomp", "hooks", "warnings", "mounts, in"):
        assert absent not in text
    numbers = [int(line.partition(".")[0]) for line in text.splitlines() if line[:1].isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_namespaces() -> None:
    namespaces = Namespaces(
        new=k.CLONE_NEWUSER | k.CLONE_NEWTIME | k.CLONE_NEWNS | k.CLONE_NEWPID | k.CLONE_NEWIPC | k.CLONE_NEWUTS,
        join=(Join(type="network", path="/run/netns/a", flag=k.CLONE_NEWNET),),
        uid_map=(IdMap(container=0, host=1000, size=1), IdMap(container=1, host=100000, size=65535)),
        gid_map=(IdMap(container=0, host=100, size=1),),
        time_offsets=(("monotonic", 5, 7),),
    )
    assert lines_of(PLAN.replace(namespaces=namespaces), "namespaces") == [
        "user     new",
        "ipc      new",
        "uts      new",
        "network  join /run/netns/a",
        "pid      new",
        "time     new",
        "mount    new",
        "(host)   cgroup",
        "uid map: 0 in the container is 1000 on the host, for 1",
        "uid map: 1 in the container is 100000 on the host, for 65535",
        "gid map: 0 in the container is 100 on the host, for 1",
        "clock monotonic: 5 s and 7 ns ahead",
    ]


@pytest.mark.parametrize(
    ("mount", "line"),
    [
        (
            Mount(destination="/data", kind="bind", source="/srv/data", recursive=True, attr_set=k.MOUNT_ATTR_RDONLY),
            "/data  rbind /srv/data  ro",
        ),
        (Mount(destination="/", kind="remount", attr_clear=k.MOUNT_ATTR_NOSUID), "/  remount  not nosuid"),
        (Mount(destination="/sys/fs/cgroup", kind="cgroup", type="cgroup"), "/sys/fs/cgroup  cgroup"),
        (
            Mount(
                destination="/x",
                kind="new",
                type="tmpfs",
                attr_set=k.MOUNT_ATTR_NOATIME,
                attr_clear=k.MOUNT_ATTR__ATIME,
                rec_set=k.MOUNT_ATTR_NODEV,
                parameters=(("size", "1k"), ("sync", None)),
                propagation=(k.MS_SLAVE | k.MS_REC, k.MS_SHARED),
                copy_up=True,
            ),
            "/x  tmpfs  noatime, nodev (recursive), size=1k, sync, rslave, shared, with what the image has there",
        ),
    ],
)
def test_mounts(mount: Mount, line: str) -> None:
    assert lines_of(PLAN.replace(mounts=(mount,)), "mounts, in this order") == [line]


def test_what_the_cgroup_mount_shows() -> None:
    view = CgroupView(
        unified=False,
        namespaced=False,
        hierarchies=(
            CgroupHierarchy(name="cpu,cpuacct", parameters=(), path="/cg/box"),
            CgroupHierarchy(name="memory", parameters=(), path="", ours="/m/us"),
        ),
        links=(Link(path="cpu", target="cpu,cpuacct"),),
    )
    mounts = (Mount(destination="/cg", kind="cgroup", type="cgroup"),)
    assert lines_of(PLAN.replace(mounts=mounts, cgroup_view=view), "what the cgroup mount shows") == [
        "cpu,cpuacct, bound from the host's: /cg/box",
        "memory, bound from the host's: /m/us (read-only)",
        "cpu -> cpu,cpuacct",
    ]
    second = CgroupView(
        unified=True, namespaced=True, hierarchies=(CgroupHierarchy(name="", parameters=(), path="/cg2/box"),)
    )
    mounts = (*mounts, *(Mount(destination=f"/cg2-{n}", kind="cgroup", type="cgroup2") for n in range(2)))
    both = PLAN.replace(mounts=mounts, cgroup_view=view, cgroup2_view=second)
    assert lines_of(both, "what the cgroup mount shows")[3:] == [
        "the unified hierarchy, of a cgroup namespace of its own: /cg2/box"
    ]


def test_a_filter(libseccomp: None) -> None:
    rule = Rule(names=("read", "no_such_call"), action=ALLOW)
    filtered, skipped = lines_of(PLAN.replace(seccomp=SeccompPlan(default_action=ERRNO | 1, rules=(rule,))), "seccomp")
    assert filtered.startswith("1 rules for 2 system calls: a program of ")
    assert skipped == "unknown to libseccomp and left out: no_such_call"


def test_control_characters_are_spelled_out() -> None:
    text = render(PLAN.replace(process=PROCESS.replace(args=("a\x1b[2J", "b")), id="x\x07"))
    assert "execute 'a\\x1b[2J' b" in text
    assert "container x\\x07," in text
    assert text.isascii()


OTHER: dict[type[Record], dict[str, Any]] = {
    Plan: {
        "id": "other",
        "bundle": "/other",
        "namespaces": Namespaces(new=k.CLONE_NEWNET),
        "hostname": "other",
        "domainname": "other",
        "set_up_dev": False,
        "links": (),
        "sysctl": (),
        "hooks": Hooks(poststart=({"path": "/other"},)),
        "net_devices": (NetDevice(name="eth0", inside="eth1"),),
        "intel_rdt": IntelRdt(group="/sys/fs/resctrl/box", own=True, made_if_missing=True, schemata=("L3:0=f",)),
        "listen_fds": 2,
        "notifies": True,
        "warnings": ("other",),
        "seccomp": SeccompPlan(default_action=ALLOW),
    },
    Process: {
        "args": ("other",),
        "env": ("A=1",),
        "cwd": "/other",
        "uid": 7,
        "gid": 7,
        "groups": (7,),
        "umask": 0o77,
        "terminal": True,
        "console_size": (24, 80),
        "no_new_privileges": False,
        "capabilities": CapabilityPlan(last=40),
        "limits": (),
        "oom_score_adj": None,
        "apparmor": "other",
        "selinux": "other",
        "keyring": False,
        "scheduling": Scheduling(personality=8),
    },
    Rootfs: {
        "path": "/other",
        "entered_by": "chroot",
        "readonly": False,
        "propagation": k.MS_SLAVE,
        "final_propagation": k.MS_SHARED,
        "parent_mount": "/srv",
        "masked": ("/other",),
        "readonly_paths": ("/other",),
        "mount_label": "other",
        "host_views": ("/proc",),
        "on_host": True,
    },
    Mount: {
        "destination": "/other",
        "kind": "remount",
        "type": "other",
        "attr_set": k.MOUNT_ATTR_NOSYMFOLLOW,
        "attr_clear": k.MOUNT_ATTR_RDONLY,
        "rec_set": k.MOUNT_ATTR_RDONLY,
        "rec_clear": k.MOUNT_ATTR_RDONLY,
        "parameters": (("size", "1"),),
        "propagation": (k.MS_UNBINDABLE,),
        "copy_up": True,
        "mapping": Mapping(user_namespace="/run/ns"),
        "at_once": True,
    },
    Scheduling: {
        "scheduler": Scheduler(name="SCHED_FIFO", policy=1, priority=3),
        "io_priority": IoPriority(name="IOPRIO_CLASS_IDLE", io_class=3, level=2),
        "affinity": Affinity(final=(1, 2, 3)),
        "memory_policy": MemoryPolicy(name="MPOL_BIND", mode=2, nodes=(0, 1)),
        "personality": 8,
    },
}
"""For each field another value, which must show."""

NOT_SHOWN = {
    Plan: {
        "oci_version",
        "annotations",
        "cgroup",
        "rootfs",
        "mounts",
        "cgroup_view",
        "cgroup2_view",
        "devices",
        "process",
    },
    Mount: {"source", "recursive", "options"},
    Process: set(),
    Rootfs: set(),
    Scheduling: set(),
}
"""What is carried out nowhere, or shown by its own fields, or of bind mounts only."""


def with_other(kind: type[Record], field: str) -> Plan:
    value = OTHER[kind][field]
    process = PROCESS.replace(terminal=field == "console_size")
    if kind is Plan:
        return PLAN.replace(**{field: value})
    if kind is Process:
        return PLAN.replace(process=process.replace(**{field: value}))
    if kind is Rootfs:
        return PLAN.replace(rootfs=PLAN.rootfs.replace(**{field: value}))
    if kind is Scheduling:
        return PLAN.replace(process=PROCESS.replace(scheduling=Scheduling(**{field: value})))
    return PLAN.replace(mounts=(PLAN.mounts[0].replace(**{field: value}),))


@pytest.mark.parametrize("kind", OTHER, ids=lambda kind: str(kind.__name__))
def test_nothing_is_done_that_is_not_shown(kind: type[Record], libseccomp: None) -> None:
    """A field that is new to a plan is new to its text, or written down here."""
    assert set(kind._fields) == set(OTHER[kind]) | NOT_SHOWN[kind]
    for field in OTHER[kind]:
        process = PROCESS.replace(terminal=field == "console_size") if kind is Process else PROCESS
        assert render(with_other(kind, field)) != render(PLAN.replace(process=process)), field
