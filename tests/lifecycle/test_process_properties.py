# SPDX-License-Identifier: Apache-2.0
"""When, where and under whose eyes the program runs: scheduler, priorities, CPUs, memory, labels, keyring.

From outside, the kernel tells these of any process; so the program just sleeps, and is looked at.
"""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from .configs import with_user_namespace
from .harness import Container, eventually, status_field

differs = pytest.mark.differs
IGNORES = differs(runc="1.1.5 is older than this and ignores it")

SCHED_RESET_ON_FORK, SCHED_DEADLINE = 0x40000000, 6
CPUS = sorted(os.sched_getaffinity(0))
needs_two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


def exec_detached(container: Container, *command: str, options: tuple[str, ...] = (), **how: Any) -> int:
    """Run a program in a container, and give its pid on the host."""
    pid_file = container.bundle / "exec.pid"
    pid_file.unlink(missing_ok=True)
    container.exec(*command, options=("--detach", "--pid-file", str(pid_file), *options), **how).ok()
    return int(pid_file.read_text())


def process_file(container: Container, **changes: Any) -> tuple[str, str]:
    """The options for an exec of the container's process with changes; None leaves a property out."""
    process = {**container.process, "args": ["sleep", "1000"], **changes}
    path = container.bundle / "process.json"
    path.write_text(json.dumps({name: value for name, value in process.items() if value is not None}))
    return "--process", str(path)


def allowed(pid: int) -> str:
    """The CPUs that a process may run on, as a list of ranges."""
    return status_field(Path(f"/proc/{pid}/status").read_text(), "Cpus_allowed_list")


def nice(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


# The scheduler


def scheduled(pid: int) -> tuple[int, int, int]:
    return os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority, nice(pid)


@IGNORES
@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, (os.SCHED_OTHER, 0, 7)),
        ({"policy": "SCHED_BATCH", "nice": 3}, (os.SCHED_BATCH, 0, 3)),
        ({"policy": "SCHED_IDLE"}, (os.SCHED_IDLE, 0, 0)),
        ({"policy": "SCHED_OTHER", "nice": -5}, (os.SCHED_OTHER, 0, -5)),
        (
            {"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
            (os.SCHED_BATCH | SCHED_RESET_ON_FORK, 0, 0),
        ),
    ],
    ids=["nice", "batch", "idle", "above others", "reset on fork"],
)
@pytest.mark.parametrize("mapped", [False, True], ids=["host users", "own users"])
def test_a_scheduler(
    container: Container, scheduler: dict[str, Any], expected: tuple[int, int, int], mapped: bool
) -> None:
    container.process["scheduler"] = scheduler
    if mapped:
        with_user_namespace(container.config)
    container.launch()
    assert scheduled(container.pid) == expected
    assert scheduled(exec_detached(container, "sleep", "1000")) == expected


@IGNORES
@pytest.mark.parametrize("mapped", [False, True], ids=["host users", "own users"])
def test_a_real_time_scheduler(container: Container, mapped: bool) -> None:
    container.process["scheduler"] = {"policy": "SCHED_FIFO", "priority": 10}
    if mapped:
        with_user_namespace(container.config)
    if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        container.resources["cpu"] = {"realtimeRuntime": 400_000, "realtimePeriod": 1_000_000}
    result = container.create(args=["sleep", "1000"])
    if result.status and "operation not permitted" in result.err:
        assert "SCHED_FIFO" in result.err
        pytest.skip("needs real-time schedulers to be allowed to cgroups")
    container.start().ok()
    assert scheduled(container.pid)[:2] == (os.SCHED_FIFO, 10)


@IGNORES
def test_a_deadline_is_not_for_the_hooks_as_well(container: Container) -> None:
    """What has a deadline may not fork, unless that is told to go without (sched(7))."""
    deadline = {"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 100_000_000, "period": 100_000_000}
    container.process["scheduler"] = deadline
    container.config["hooks"] = {"startContainer": [{"path": "/bin/true"}]}
    container.create(args=["sleep", "1000"]).refused("startContainer", "SCHED_FLAG_RESET_ON_FORK")
    container.leaves_nothing()
    deadline["flags"] = ["SCHED_FLAG_RESET_ON_FORK"]
    result = container.create()
    if result.status and "operation not permitted" in result.err:
        pytest.skip("needs SCHED_DEADLINE to be allowed, which takes a host without cpusets")
    container.start().ok()
    eventually("the program", lambda: os.sched_getscheduler(container.pid) == SCHED_DEADLINE | SCHED_RESET_ON_FORK)


@IGNORES
def test_an_exec_may_have_a_scheduler_of_its_own(container: Container) -> None:
    container.process["scheduler"] = {"policy": "SCHED_OTHER", "nice": 7}
    container.launch()
    pid = exec_detached(container, options=process_file(container, scheduler={"policy": "SCHED_BATCH", "nice": 9}))
    assert scheduled(pid) == (os.SCHED_BATCH, 0, 9)
    pid = exec_detached(container, options=process_file(container, scheduler=None))
    assert scheduled(pid) == (os.SCHED_OTHER, 0, 7)


@IGNORES
@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        ({"policy": "SCHED_ISO"}, "SCHED_ISO"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "nice"),
        ({"policy": "SCHED_FIFO"}, "priority"),
        ({"policy": "SCHED_DEADLINE", "runtime": 5}, "SCHED_DEADLINE"),
    ],
)
def test_a_scheduler_that_does_not_exist(container: Container, scheduler: dict[str, Any], said: str) -> None:
    container.process["scheduler"] = scheduler
    container.create().refused(said)
    container.leaves_nothing()


# I/O


@IGNORES
@pytest.mark.parametrize(
    ("name", "level", "expected"),
    [("RT", 2, "realtime: prio 2\n"), ("BE", 6, "best-effort: prio 6\n"), ("IDLE", 0, "idle\n")],
)
@pytest.mark.parametrize("mapped", [False, True], ids=["host users", "own users"])
def test_an_io_priority(container: Container, name: str, level: int, expected: str, mapped: bool) -> None:
    container.process["ioPriority"] = {"class": f"IOPRIO_CLASS_{name}", "priority": level}
    if mapped:
        with_user_namespace(container.config)
    container.launch("sh", "-c", "ionice; exec sleep 1000")
    container.prints("\n")
    assert container.printed().startswith(expected.rstrip())
    assert container.exec("ionice").ok().out.startswith(expected.rstrip())


# CPUs


def on_one_cpu() -> None:
    os.sched_setaffinity(0, CPUS[:1])


@needs_two_cpus
@differs(runc="1.1.5 leaves the affinity as it is")
def test_the_callers_affinity_is_not_the_containers(container: Container) -> None:
    container.create(args=["sleep", "1000"], preexec_fn=on_one_cpu).ok()
    everything = allowed(os.getpid())
    assert allowed(container.pid) == everything
    container.start().ok()
    assert allowed(exec_detached(container, "sleep", "1000", preexec_fn=on_one_cpu)) == everything


@needs_two_cpus
def test_a_cpuset_holds_whatever_the_callers_affinity(container: Container) -> None:
    container.resources["cpu"] = {"cpus": str(CPUS[1])}
    container.create(args=["sleep", "1000"], preexec_fn=on_one_cpu).ok()
    assert allowed(container.pid) == str(CPUS[1])


@needs_two_cpus
@IGNORES
def test_the_cpus_of_an_exec(container: Container) -> None:
    first, second = str(CPUS[0]), str(CPUS[1])
    container.process["execCPUAffinity"] = {"initial": first, "final": second}
    container.launch()
    assert allowed(container.pid) == allowed(os.getpid()), "of no concern to init"
    assert allowed(exec_detached(container, "sleep", "1000")) == second
    pid = exec_detached(container, options=process_file(container, execCPUAffinity={"initial": first}))
    assert allowed(pid) == first
    pid = exec_detached(container, options=process_file(container, execCPUAffinity={"final": f" {first}, "}))
    assert allowed(pid) == first
    pid = exec_detached(container, options=process_file(container, execCPUAffinity=None))
    assert allowed(pid) == second


@needs_two_cpus
def test_a_caller_in_front_goes_back_to_its_cpus(container: Container) -> None:
    container.process["execCPUAffinity"] = {"initial": str(CPUS[0])}
    container.launch()
    caller = container.background("exec", container.id, "sh", "-c", "echo ready; exec sleep 1000")
    eventually("the program", lambda: "ready" in (container.bundle / f"stdout.{container.calls}").read_text())
    assert allowed(caller.pid) == allowed(os.getpid())


@IGNORES
@pytest.mark.parametrize("when", ["initial", "final"])
def test_cpus_that_do_not_exist(container: Container, when: str) -> None:
    container.launch()
    options = process_file(container, execCPUAffinity={when: "60000"})
    container.exec(options=options).refused("60000", "execCPUAffinity", status=255)


# Memory, personality


@differs(runc="1.1.5 is older than this and ignores it", always=False)
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0-0"}, "interleave:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_memory_policy(container: Container, policy: dict[str, Any], shown: str) -> None:
    container.linux["memoryPolicy"] = policy
    container.launch()
    for pid in (container.pid, exec_detached(container, "sleep", "1000")):
        assert f" {shown} " in Path(f"/proc/{pid}/numa_maps").read_text()


@IGNORES
def test_memory_that_does_not_exist(container: Container) -> None:
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "900"}
    container.create().refused("MPOL_BIND", "900")
    container.leaves_nothing()


@IGNORES
def test_a_personality(container: Container) -> None:
    container.linux["personality"] = {"domain": "LINUX32"}
    container.launch()
    for pid in (container.pid, exec_detached(container, "sleep", "1000")):
        assert int(Path(f"/proc/{pid}/personality").read_text(), 16) == 8


@pytest.mark.needs_seccomp
@IGNORES
def test_a_personality_under_a_filter_that_forbids_to_have_one(container: Container) -> None:
    container.process["noNewPrivileges"] = False
    container.linux["personality"] = {"domain": "LINUX32"}
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality", "set_mempolicy"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    container.launch()
    assert int(Path(f"/proc/{container.pid}/personality").read_text(), 16) == 8


# When memory is short


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_the_oom_score_of_a_user_namespace(container: Container) -> None:
    with_user_namespace(container.config)
    container.process["oomScoreAdj"] = 321
    container.launch()
    assert oom_score(container.pid) == 321
    assert oom_score(exec_detached(container, "sleep", "1000")) == 321


def test_the_oom_score_of_an_exec(container: Container) -> None:
    container.process["oomScoreAdj"] = 100
    container.launch()
    assert oom_score(exec_detached(container, options=process_file(container, oomScoreAdj=None))) == 100


# Limits, masks and identity of an exec


@differs(runc="1.1.5 gives it its caller's")
def test_an_exec_has_the_limits_of_its_container(container: Container) -> None:
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99}]
    container.launch()
    pid = exec_detached(container, options=process_file(container, rlimits=None))
    assert "77                   99" in Path(f"/proc/{pid}/limits").read_text()


def test_an_exec_does_not_have_the_limits_of_its_caller(container: Container) -> None:
    del container.process["rlimits"]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    container.launch()
    pid = exec_detached(container, "sleep", "1000")
    fields = next(
        line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if line.startswith("Max open files")
    )
    assert [int(field) for field in fields.split()[3:5]] == list(before), "what we had ourselves, and not more"


@differs(runc="1.1.5 gives it its caller's")
def test_the_umask_of_an_exec_is_that_of_its_container(container: Container) -> None:
    container.process["user"]["umask"] = 0o27
    container.launch()
    assert container.exec("sh", "-c", "umask", umask=0o77).ok().out == "0027\n"
    options = process_file(container, args=["sh", "-c", "umask"], user={"uid": 0, "gid": 0})
    assert container.exec(options=options, umask=0o77).ok().out == "0027\n"


@differs(runc="1.1.5 gives it its caller's")
def test_the_umask_of_an_exec_is_022_when_its_container_has_none(container: Container) -> None:
    """As for the container itself; so files have the same mode whoever called, and whichever of the two made them."""
    container.launch()
    assert container.exec("sh", "-c", "umask", umask=0o77).ok().out == "0022\n"
    options = process_file(container, args=["sh", "-c", "umask"], user={"uid": 0, "gid": 0})
    assert container.exec(options=options, umask=0o77).ok().out == "0022\n"


def test_exec_without_a_pid_namespace(container: Container) -> None:
    container.linux["namespaces"] = [item for item in container.linux["namespaces"] if item["type"] != "pid"]
    container.launch()
    pid = exec_detached(container, "sleep", "1000")
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    assert os.readlink(f"/proc/{pid}/root") == os.readlink(f"/proc/{container.pid}/root")
    result = container.exec("sh", "-c", "kill -9 $$")
    assert result.status == 137


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_caller_that_ignores_its_childrens_end(container: Container, command: str) -> None:
    """An ignored SIGCHLD is inherited, and has the kernel throw exit codes away."""

    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    if command == "run":
        assert container.run(args=["sh", "-c", "true & wait; exit 7"], preexec_fn=ignore).status == 7
    else:
        container.create(args=["sleep", "1000"], preexec_fn=ignore).ok()
        container.start().ok()
        assert container.exec("sh", "-c", "exit 7", preexec_fn=ignore).status == 7


# Labels


@pytest.mark.skipif(Path("/sys/module/apparmor/parameters/enabled").exists(), reason="AppArmor is here")
def test_an_apparmor_profile_that_nobody_would_heed(container: Container) -> None:
    container.process["apparmorProfile"] = "some-profile"
    result = container.create().refused("some-profile" if container.runtime.name != "runc" else "apparmor")
    assert "apparmor" in result.err.lower()
    container.leaves_nothing()
    del container.process["apparmorProfile"]
    container.launch()
    result = container.exec("true", options=("--apparmor", "some-profile"))
    assert result.status == 255
    assert "apparmor" in result.err.lower()


@pytest.mark.skipif(Path("/sys/fs/selinux/enforce").exists(), reason="SELinux is here")
def test_an_selinux_label_that_nobody_would_heed(container: Container) -> None:
    container.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    result = container.create()
    assert result.status == 1
    assert "selinux" in result.err.lower()
    container.leaves_nothing()


@differs(runc="1.1.5 asks only at create")
@pytest.mark.skipif(Path("/sys/fs/selinux/enforce").exists(), reason="SELinux is here")
def test_an_selinux_label_of_an_exec_that_nobody_would_heed(container: Container) -> None:
    container.launch()
    label = "system_u:system_r:container_t:s0"
    result = container.exec("true", options=("--process-label", label)).refused(status=255)
    assert "SELinux" in result.err


# Keys


needs_keyrings = pytest.mark.skipif(not Path("/proc/keys").exists(), reason="a kernel without keyrings")


def keyring(text: str, name: str) -> list[str]:
    """The fields of a keyring in what /proc/keys shows: serial, flags, uses, expiry, permissions, uid, gid..."""
    (line,) = (line for line in text.splitlines() if name in line)
    return line.split()


@needs_keyrings
@pytest.mark.parametrize(("mapped", "permissions"), [(False, "3f1b0000"), (True, "3f130008")])
def test_who_may_use_the_session_keyring(container: Container, mapped: bool, permissions: str) -> None:
    container.linux["maskedPaths"] = []
    if mapped:
        with_user_namespace(container.config)
    assert keyring(container.output("cat", "/proc/keys"), f"_ses.{container.id}")[4] == permissions


@needs_keyrings
@differs(runc="1.1.5 gives each exec a keyring of its own", always=False)
def test_exec_joins_the_keyring_of_its_container(container: Container) -> None:
    container.linux["maskedPaths"] = []
    container.launch("sh", "-c", "cat /proc/keys; exec sleep 1000")
    container.prints(f"_ses.{container.id}")
    theirs = keyring(container.printed(), f"_ses.{container.id}")[0]
    assert keyring(container.exec("cat", "/proc/keys").ok().out, f"_ses.{container.id}")[0] == theirs


@needs_keyrings
def test_exec_has_no_keyring_of_its_own_where_its_container_has_none(container: Container) -> None:
    container.linux["maskedPaths"] = []
    container.create("--no-new-keyring", args=["sleep", "1000"]).ok()
    container.start().ok()
    assert f"_ses.{container.id}" not in container.exec("cat", "/proc/keys").ok().out
