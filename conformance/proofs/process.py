# SPDX-License-Identifier: Apache-2.0
"""config.md, Process: what the container's process is, and what it may."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

from tests.lifecycle.harness import console_socket, read_until

from ..box import PAYLOAD, Box, capabilities
from ..suite import Skipped, each, proves

CAP_SYS_NICE, CAP_SYS_RESOURCE = 23, 24
CAPABILITY_SETS = {
    "bounding": "CapBnd", "permitted": "CapPrm", "effective": "CapEff", "inheritable": "CapInh", "ambient": "CapAmb",
}  # fmt: skip
BITS = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_NET_BIND_SERVICE": 10}


# Program, environment, user


@proves("start-runs", "lifecycle-program")
def arguments_and_environment(box: Box) -> None:
    box.process["args"] += ["", "two words", "*"]
    box.process["env"] = ["PATH=/bin", "EMPTY=", "EQUALS=a=b"]
    report = box.look()
    assert report["argv"] == [PAYLOAD, "report", "", "two words", "*"]
    given = {"PATH=/bin", "EMPTY=", "EQUALS=a=b"}
    assert given <= set(report["env"])
    assert {entry.partition("=")[0] for entry in set(report["env"]) - given} <= {"HOME"}


@proves("args-required", "start-runs")
def a_program_that_is_searched_for(box: Box) -> None:
    box.process["args"] = ["payload", "report"]
    box.process["env"] = ["PATH=/nowhere:/"]
    assert box.look()["argv"] == ["payload", "report"]


@proves("start-runs")
def the_working_directory(box: Box) -> None:
    (box.rootfs / "some" / "where").mkdir(parents=True)
    box.process["cwd"] = "/some/where"
    assert box.look()["cwd"] == "/some/where"


@proves("start-runs")
def the_user(box: Box) -> None:
    box.process["user"] = {"uid": 1234, "gid": 2345, "additionalGids": [7, 3456], "umask": 0o027}
    report = box.look()
    assert (report["uid"], report["gid"], report["umask"]) == (1234, 2345, 0o027)
    assert set(report["groups"]) - {2345} == {7, 3456}
    assert report.status("Uid").split() == ["1234"] * 4
    assert report.status("Gid").split() == ["2345"] * 4


@proves("user-umask")
def the_umask_of_the_caller(box: Box) -> None:
    os.umask(0o031)
    assert box.look()["umask"] == 0o031


@each({"set": True, "unset": False}, "start-runs")
def no_new_privileges(box: Box, value: bool) -> None:
    box.process["noNewPrivileges"] = value
    assert box.look()["no_new_privileges"] == value


# Terminal


@proves("start-runs", "default-devices")
def a_terminal(box: Box) -> None:
    box.process["terminal"] = True
    box.process["consoleSize"] = {"height": 31, "width": 97}
    with console_socket(box.scratch) as (path, receive):
        box.process["args"] += ["/dev/console", "/dev/tty"]
        box.create("--console-socket", path).ok()
        master = receive()
        box.start().ok()
        said = read_until(master, b"}\r\n").decode()
    assert '"terminal": [1, 1, 1]' in said, said
    assert '"rows": 31, "columns": 97' in said, said
    assert '"/dev/console": {"kind": "c"' in said, said
    box.wait()


@proves("console-size-ignored")
def a_console_size_without_a_terminal(box: Box) -> None:
    box.process["consoleSize"] = {"height": 31, "width": 97}
    report = box.look()
    assert report["terminal"] == [0, 0, 0]
    assert report["rows"] == 0


# Limits


def lowered(name: str) -> tuple[int, int]:
    """A soft and a hard limit that this process may set."""
    _, hard = resource.getrlimit(getattr(resource, name))
    hard = 1 << 24 if hard == resource.RLIM_INFINITY else hard
    return hard // 2, hard


LIMITS = {
    name: name
    for name in (
        "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
        "RLIMIT_SIGPENDING", "RLIMIT_STACK",
    )
}  # fmt: skip


@each(LIMITS, "rlimit-known", "rlimit-soft", "rlimit-hard")
def a_limit(box: Box, name: str) -> None:
    soft, hard = lowered(name)
    if name == "RLIMIT_AS":
        soft, hard = 1 << 40, 1 << 41  # room for a runtime that sets it before it has become the program
    box.process["rlimits"] = [{"type": name, "soft": soft, "hard": hard}]
    assert box.look()["rlimits"][name] == [soft, hard]


# Capabilities


@each(CAPABILITY_SETS, "start-runs")
def a_set_of_capabilities(box: Box, line: str) -> None:
    """Each set smaller than the one before it; those that no longer are there after execve by root come back by nature."""
    own = ["CAP_CHOWN", "CAP_KILL"]
    box.process["user"] = {"uid": 1000, "gid": 1000}
    box.process["capabilities"] = {
        "bounding": [*own, "CAP_NET_BIND_SERVICE"], "permitted": own, "inheritable": own, "effective": own,
        "ambient": own,
    }  # fmt: skip
    expected = box.process["capabilities"][next(name for name, one in CAPABILITY_SETS.items() if one == line)]
    assert int(box.look().status(line), 16) == sum(1 << BITS[name] for name in expected)


def without_failing(box: Box, name: str) -> None:
    for kind in ("bounding", "permitted", "effective"):
        box.process["capabilities"][kind].append(name)
    result = box.create().ok()
    assert name.removeprefix("CAP_").lower() in result.err.lower(), f"no warning of {name}: {result}"
    box.start().ok()
    box.wait()
    assert int(box.report().status("CapEff"), 16)


@proves("capability-warning", "capability-no-failure")
def a_capability_that_nobody_knows(box: Box) -> None:
    without_failing(box, "CAP_NO_SUCH_THING")


@proves("capability-warning", "capability-no-failure")
def a_capability_that_cannot_be_had(box: Box) -> None:
    if capabilities() >> CAP_SYS_RESOURCE & 1:
        raise Skipped("root has all capabilities here")
    without_failing(box, "CAP_SYS_RESOURCE")


# The kernel's attitude to it


@proves("oom-score-set")
def a_score_for_the_oom_killer(box: Box) -> None:
    box.process["oomScoreAdj"] = 500
    assert box.look()["files"]["/proc/self/oom_score_adj"].strip() == "500"


@proves("oom-score-unset")
def no_score_for_the_oom_killer(box: Box) -> None:
    Path("/proc/self/oom_score_adj").write_text("123")
    box.process.pop("oomScoreAdj", None)
    assert box.look()["files"]["/proc/self/oom_score_adj"].strip() == "123"


FAIR, REAL_TIME = (0, 3), (1, 2)
POLICIES: dict[str, Any] = {
    "SCHED_OTHER": ({"policy": "SCHED_OTHER", "nice": 7}, (0, 7, 0)),
    "SCHED_BATCH": ({"policy": "SCHED_BATCH", "nice": 3}, (3, 3, 0)),
    "SCHED_IDLE": ({"policy": "SCHED_IDLE"}, (5, 0, 0)),
    "SCHED_FIFO": ({"policy": "SCHED_FIFO", "priority": 9}, (1, 0, 9)),
    "SCHED_RR": ({"policy": "SCHED_RR", "priority": 8}, (2, 0, 8)),
}


@each(POLICIES, "scheduler-defaults")
def a_scheduling_policy(box: Box, case: Any) -> None:
    asked, (policy, nice, priority) = case
    if not capabilities() >> CAP_SYS_NICE & 1:
        raise Skipped("root has no CAP_SYS_NICE here")
    if policy in REAL_TIME and Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        raise Skipped("a new cgroup has no real-time scheduling here")
    os.nice(5)
    box.process["scheduler"] = asked
    found = box.look()["scheduler"]
    assert (found["policy"], found["priority"]) == (policy, priority)
    if policy in FAIR:
        assert found["nice"] == nice


@each({"IOPRIO_CLASS_BE": (2, 6), "IOPRIO_CLASS_IDLE": (3, 4)}, "start-runs", since="1.1")
def a_priority_for_input_and_output(box: Box, case: tuple[int, int]) -> None:
    number, priority = case
    box.process["ioPriority"] = {"class": {2: "IOPRIO_CLASS_BE", 3: "IOPRIO_CLASS_IDLE"}[number], "priority": priority}
    assert box.look()["io_priority"] == number << 13 | priority


@proves("create-properties", since="1.0.2")
def a_personality(box: Box) -> None:
    box.linux["personality"] = {"domain": "LINUX32"}
    report = box.look()
    assert report["personality"] & 0xFF == 8
    assert not report["machine"].endswith("64")


@each({"hostname": "hostname", "domainname": "domainname"}, "create-properties", newer={"domainname": "1.1"})
def a_name_of_the_container(box: Box, key: str) -> None:
    box.config[key] = "a-name"
    assert box.look()[key] == "a-name"


@proves("create-properties")
def kernel_parameters(box: Box) -> None:
    box.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4321"}
    report = box.look("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax")
    assert report["paths"]["/proc/sys/net/ipv4/ip_forward"]["content"] == "1\n"
    assert report["paths"]["/proc/sys/kernel/msgmax"]["content"] == "4321\n"


@proves("start-runs")
def open_descriptors(box: Box) -> None:
    """runtime-linux.md: the standard streams, and no more by default."""
    found = set(box.look()["descriptors"]) - {""}
    assert found == {"0", "1", "2"}


# What nobody knows


@each(
    {"top": [], "process": ["process"], "user": ["process", "user"], "root": ["root"], "linux": ["linux"]},
    "unknown-properties",
)
def a_property_that_nobody_knows(box: Box, path: list[str]) -> None:
    place = box.config
    for name in path:
        place = place[name]
    place["comExampleUnknown"] = {"a": ["b", 1]}
    box.look()


@each({"foreign": "com.example.x", "reserved": "org.opencontainers.no.such.key"}, "annotations-unknown")
def an_annotation_that_nobody_knows(box: Box, key: str) -> None:
    box.config["annotations"] = {key: "value", "com.example.empty": ""}
    box.look()
