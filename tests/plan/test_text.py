# SPDX-License-Identifier: Apache-2.0
"""What a person reads of a plan."""

from __future__ import annotations

import pytest

from pyoci import syscalls as k
from pyoci.capabilities import NUMBERS, CapabilityPlan
from pyoci.cgroups.plan import CgroupPlan
from pyoci.cgroups.writes import Write
from pyoci.plan.model import (
    CgroupView,
    Device,
    Hooks,
    IdMap,
    Join,
    Limit,
    Link,
    Mount,
    Namespaces,
    Plan,
    Process,
    Rootfs,
)
from pyoci.plan.text import device_line, mount_line, namespace_lines, process_lines, render, rootfs_lines
from pyoci.seccomp import ALLOW, ERRNO, Comparison, Rule, SeccompPlan

PROCESS = Process(
    args=("sh", "-c", "echo hi"),
    env=(),
    cwd="/srv",
    uid=1000,
    gid=100,
    groups=(4, 5),
    umask=None,
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
    seccomp=SeccompPlan(
        default_action=ERRNO | 1,
        rules=(
            Rule(names=("a", "b", "c", "d", "e", "f"), action=ALLOW),
            Rule(names=("g",), action=0x7FF00000 | 9, conditions=(Comparison(index=0, operator="EQ", value=1),)),
        ),
    ),
    hooks=Hooks(prestart=({"path": "/usr/bin/net"},), poststop=({"path": "/usr/bin/off"},)),
    warnings=("a doubt",),
)


def test_a_whole_plan() -> None:
    assert render(PLAN) == (
        "container web from the bundle /srv/web\n"
        "\nnamespaces\n"
        "    new: pid\n"
        "    shared with the host: user, ipc, uts, network, time, cgroup, mount\n"
        "\ncgroup\n"
        "    make /sys/fs/cgroup/web\n"
        "    write memory.max = 64 (memory.limit)\n"
        "    attach a device filter of 3 BPF instructions\n"
        "\nhooks, in the runtime's namespaces\n"
        "    prestart: /usr/bin/net\n"
        "\nmounts\n"
        "    mount proc on /proc\n"
        "\ndevices\n"
        "    make /dev/null: c 1:3 mode 0666 owner 0:0\n"
        "    link /dev/fd -> /proc/self/fd\n"
        "\nroot file system\n"
        "    /srv/web/rootfs becomes / (pivot, read-only)\n"
        "\nkernel settings\n"
        "    hostname: web\n"
        "    sysctl net/ipv4/ip_forward = 1\n"
        "\nprocess\n"
        "    run sh -c 'echo hi' in /srv\n"
        "    as user 1000:100, groups 4,5\n"
        "    on the caller's standard input and output\n"
        "    no new privileges: yes\n"
        "    capabilities, bounding: kill\n"
        "    capabilities, effective: none\n"
        "    capabilities, permitted: none\n"
        "    capabilities, inheritable: none\n"
        "    capabilities, ambient: none\n"
        "    limit RLIMIT_NOFILE: 1024, at most unlimited\n"
        "    oom_score_adj: -5\n"
        "    apparmor: docker-default\n"
        "\nsystem call filter\n"
        "    default: errno 1\n"
        "    allow: a, b, c, d and 2 more\n"
        "    trace 9: g, under 1 condition\n"
        "\nhooks, later on\n"
        "    poststop: /usr/bin/off\n"
        "\nwarnings\n"
        "    a doubt\n"
        "    kernel memory is ignored\n"
    )


def test_what_is_not_there_has_no_section() -> None:
    text = render(PLAN.replace(seccomp=None, hooks=Hooks(), warnings=(), mounts=()))
    assert "filter\n    default" not in text
    assert "hooks" not in text
    assert "\nmounts\n" not in text


def test_namespaces() -> None:
    namespaces = Namespaces(
        new=k.CLONE_NEWUSER | k.CLONE_NEWTIME | k.CLONE_NEWNS | k.CLONE_NEWPID | k.CLONE_NEWIPC | k.CLONE_NEWUTS,
        join=(Join(type="network", path="/run/netns/a", flag=k.CLONE_NEWNET),),
        uid_map=(IdMap(container=0, host=1000, size=1), IdMap(container=1, host=100000, size=65535)),
        gid_map=(IdMap(container=0, host=100, size=1),),
        time_offsets=(("monotonic", 5, 7),),
    )
    assert list(namespace_lines(namespaces)) == [
        "new: user, ipc, uts, pid, time, mount",
        "join network: /run/netns/a",
        "shared with the host: cgroup",
        "uid 0 is 1000 on the host",
        "uid 1-65535 is 100000-165534 on the host",
        "gid 0 is 100 on the host",
        "clock monotonic is ahead by 5.000000007 s",
    ]


@pytest.mark.parametrize(
    ("mount", "line"),
    [
        (
            Mount(destination="/data", kind="bind", source="/srv/data", options=("rbind", "ro")),
            "bind /srv/data to /data (rbind,ro)",
        ),
        (Mount(destination="/", kind="remount", options=("remount", "ro")), "remount / (remount,ro)"),
        (Mount(destination="/sys/fs/cgroup", kind="cgroup", type="cgroup"), "mount cgroup on /sys/fs/cgroup"),
        (
            Mount(destination="/x", kind="new", type="tmpfs", options=("size=1k", "nodev")),
            "mount tmpfs on /x (size=1k,nodev)",
        ),
    ],
)
def test_mounts(mount: Mount, line: str) -> None:
    assert mount_line(mount) == line


def test_devices() -> None:
    device = Device(path="/dev/loop0", type="b", major=7, minor=0, mode=0o640, uid=1, gid=2)
    assert device_line(device) == "make /dev/loop0: b 7:0 mode 0640 owner 1:2"
    assert device_line(Device(path="/dev/pipe", type="p")) == "make /dev/pipe: p mode 0666 owner 0:0"


def test_the_root() -> None:
    rootfs = Rootfs(
        path="/r",
        entered_by="move",
        readonly=False,
        propagation=0,
        masked=("/proc/keys",),
        readonly_paths=("/proc/sys",),
    )
    assert list(rootfs_lines(rootfs)) == ["/r becomes / (move)", "read-only: /proc/sys", "masked: /proc/keys"]


def test_a_terminal() -> None:
    assert "on a terminal of its own" in process_lines(PROCESS.replace(terminal=True))


def test_control_characters_are_spelled_out() -> None:
    text = render(PLAN.replace(process=PROCESS.replace(args=("a\x1b[2J", "\n"))))
    assert "run a\\x1b[2J '\\n' in /srv" in text
