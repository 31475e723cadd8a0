# SPDX-License-Identifier: Apache-2.0
"""`run`: exit codes, signals, detaching; `kill` and `delete --force`."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from .harness import PATIENCE, Container, eventually, exit_code, is_gone_or_zombie

differs = pytest.mark.differs

TRAP_TERM = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_run_exits_as_the_program_does(container: Container, code: int) -> None:
    assert container.run(args=["sh", "-c", f"exit {code}"]).status == code
    container.leaves_nothing()


@pytest.mark.parametrize("name", ["KILL", "SEGV", "USR1"])
def test_run_shows_death_by_a_signal(container: Container, name: str) -> None:
    """Pid 1 gets no signal from inside that it does not handle, so the program runs in the host's pid namespace."""
    container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "pid"]
    number = int(getattr(signal, f"SIG{name}"))
    assert container.run(args=["sh", "-c", f"ulimit -c 0; kill -{name} $$"]).status == 128 + number


def test_run_passes_standard_streams_through(container: Container) -> None:
    result = container.run(args=["sh", "-c", "cat; echo complaint >&2"], stdin="from outside\n").ok()
    assert result.out == "from outside\n"
    assert result.err == "complaint\n"


def test_run_deletes_the_container(container: Container) -> None:
    container.run(args=["true"]).ok()
    container.call("state", container.id).refused("does not exist")
    container.leaves_nothing()


def test_run_keeps_the_container_if_told_to(container: Container) -> None:
    container.run("--keep", args=["true"]).ok()
    assert container.status == "stopped"
    container.delete().ok()


def test_run_writes_the_pid_file(container: Container) -> None:
    process = background_run(container, "sleep 1000", "--pid-file", str(container.pid_file))
    eventually("the pid file", container.pid_file.exists)
    pid = int(container.pid_file.read_text())
    eventually("running", lambda: container.state()["status"] == "running")
    assert container.state()["pid"] == pid
    container.kill("KILL").ok()
    assert process.wait(PATIENCE) == 137


def background_run(container: Container, script: str, *options: str) -> subprocess.Popen[bytes]:
    container.process["args"] = ["sh", "-c", script]
    container.write_config()
    process = container.background("run", *options, "--bundle", str(container.bundle), container.id)
    container.output_file = container.bundle / f"stdout.{container.calls}"
    return process


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1", "USR2"])
def test_run_forwards_signals(container: Container, name: str) -> None:
    process = background_run(container, f"trap 'exit 7' {name}; echo ready; while :; do sleep 0.01; done")
    container.prints("ready")
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.wait(PATIENCE) == 7
    container.leaves_nothing()


def test_run_outlives_a_signal_the_program_ignores(container: Container) -> None:
    process = background_run(container, "trap '' HUP; trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done")
    container.prints("ready")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 3


def test_run_ends_with_the_program_though_others_hold_its_output(container: Container) -> None:
    """A process of the container that was left behind dies with its pid namespace."""
    process = background_run(container, "sleep 1000 & echo ready")
    assert process.wait(PATIENCE) == 0
    container.leaves_nothing()


def test_run_detached_returns_at_once(container: Container) -> None:
    container.run("--detach", "--pid-file", str(container.pid_file), args=["sh", "-c", TRAP_TERM]).ok()
    container.pid = int(container.pid_file.read_text())
    assert container.status == "running"
    container.prints("ready")
    container.kill("TERM").ok()
    assert container.wait() == 7
    assert container.status == "stopped"


def test_run_reports_a_missing_program(container: Container) -> None:
    container.run(args=["no-such-program"]).refused('exec: "no-such-program": executable file not found in $PATH')
    container.leaves_nothing()


def test_run_reaps_nobody_elses_orphans(container: Container) -> None:
    """With --no-subreaper the orphans of the container's processes go to the caller."""
    container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "pid"]
    script = "(sleep 0.2 & echo $! > /orphan) & wait; sleep 0.05"
    container.run("--no-subreaper", args=["sh", "-c", script]).ok()
    eventually("end of the orphan", lambda: not container.reap())


# kill


@pytest.mark.parametrize("spelling", ["TERM", "SIGTERM", "term", "sigterm", "15"])
def test_kill_takes_names_and_numbers(container: Container, spelling: str) -> None:
    container.launch("sh", "-c", TRAP_TERM)
    container.prints("ready")
    container.kill(spelling).ok()
    assert container.wait() == 7


@pytest.mark.parametrize("signal", [[], [""]])
def test_kill_sends_TERM_by_default(container: Container, signal: list[str]) -> None:
    container.launch("sh", "-c", TRAP_TERM)
    container.prints("ready")
    container.call("kill", container.id, *signal).ok()
    assert container.wait() == 7


def test_kill_sends_realtime_signals(container: Container) -> None:
    container.launch("sh", "-c", "trap 'exit 9' 37; echo ready; while :; do sleep 0.01; done")
    container.prints("ready")
    container.kill("37").ok()
    assert container.wait() == 9


@pytest.mark.parametrize("wrong", ["NOSUCH", "SIG", "0x9", "9x", "-9", "1.5"])
def test_kill_refuses_what_is_no_signal(container: Container, wrong: str) -> None:
    container.launch()
    result = container.call("kill", "--", container.id, wrong)
    assert result.status != 0, f"{result}"
    assert container.status == "running"


@pytest.mark.parametrize("wrong", ["65", "99", "4096"])
def test_kill_refuses_numbers_beyond_the_last_signal(container: Container, wrong: str) -> None:
    container.launch()
    assert container.kill(wrong).status != 0
    assert container.status == "running"


def test_kill_sends_to_init_alone(container: Container) -> None:
    container.launch("sh", "-c", f"sh -c \"trap 'echo child' TERM; while :; do sleep 0.01; done\" & {TRAP_TERM}")
    container.prints("ready")
    container.kill("TERM").ok()
    assert container.wait() == 7
    assert "child" not in container.printed()


def test_kill_all_reaches_every_process(container: Container) -> None:
    container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "pid"]
    container.launch("sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait")
    container.prints("ready")
    container.kill("--all", "KILL").ok()
    assert container.wait() == 137
    eventually("the end of all", lambda: not container.reap())


def test_kill_all_works_after_the_end_of_init(container: Container) -> None:
    """Without a pid namespace others of the container live on; containerd then sends `kill --all ID 9`."""
    container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "pid"]
    container.launch("sh", "-c", "sleep 1000 & echo ready")
    container.prints("ready")
    container.wait()
    assert container.status == "stopped"
    container.kill("--all", "9").ok()
    eventually("the end of all", lambda: not container.reap())


def test_kill_wakes_a_paused_container(container: Container) -> None:
    container.launch()
    container.call("pause", container.id).ok()
    container.kill("KILL").ok()
    assert container.wait() == 137


def test_kill_all_KILL_wakes_a_paused_container(container: Container) -> None:
    container.launch("sh", "-c", "sleep 1000 & wait")
    container.call("pause", container.id).ok()
    container.kill("--all", "KILL").ok()
    assert container.wait() == 137


# delete --force


def test_delete_force_of_a_running_container(container: Container) -> None:
    container.launch()
    container.delete("--force").ok()
    assert container.wait() == 137
    container.leaves_nothing()


def test_delete_force_of_a_paused_container(container: Container) -> None:
    container.launch()
    container.call("pause", container.id).ok()
    container.delete("--force").ok()
    container.leaves_nothing()


def test_delete_force_takes_everybody_along(container: Container) -> None:
    """Init is gone, others of the container are not: they end with it."""
    container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "pid"]
    container.launch("sh", "-c", "sleep 1000 & sleep 1000 & echo ready; exit")
    container.prints("ready")
    container.wait()
    container.delete("--force").ok()
    container.leaves_nothing()


def test_delete_force_removes_a_state_directory_without_state(container: Container) -> None:
    (container.root / container.id).mkdir(parents=True)
    container.delete("--force").ok()
    assert not (container.root / container.id).exists()


@differs(runc="1.1.5 cannot delete what it cannot read")
def test_delete_force_removes_a_broken_state(container: Container) -> None:
    container.launch("true")
    container.wait()
    (container.root / container.id / "state.json").write_text("{")
    container.delete("--force").ok()
    assert not (container.root / container.id).exists()
    container.leaves_nothing()


@pytest.mark.parametrize("namespaced", [True, pytest.param(False, marks=pytest.mark.needs_cgroup_v1)])
def test_cgroups_the_container_made_are_deleted(container: Container, namespaced: bool) -> None:
    """In the unified hierarchy it sees its own cgroup alone only in a cgroup namespace."""
    container.mounts[-1]["options"] = ["nosuid", "noexec", "nodev"]
    if namespaced:
        container.linux["namespaces"].append({"type": "cgroup"})
    container.launch("sh", "-ec", "mkdir -p /sys/fs/cgroup/pids/a/b; echo $$ > /sys/fs/cgroup/pids/a/b/cgroup.procs; "
                     "echo ready; sleep 1000")  # fmt: skip
    container.prints("ready")
    container.delete("--force").ok()
    container.leaves_nothing()


def test_a_process_that_took_the_pid_of_init_is_left_alone(container: Container) -> None:
    """The state names pid and start time: another process with that pid is not the container."""
    container.launch("true")
    container.wait()
    stranger = take_pid(container.pid)
    try:
        assert container.status == "stopped"
        container.kill("KILL").refused("container not running")
        container.delete("--force").ok()
        assert not is_gone_or_zombie(stranger)
    finally:
        os.kill(stranger, signal.SIGKILL)
        assert exit_code(os.waitpid(stranger, 0)[1]) == 137


def take_pid(pid: int) -> int:
    """Fork a sleeping process with the given pid, by telling the kernel which was the last one it gave out."""
    for _ in range(50):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
        child = os.fork()
        if child == 0:
            time.sleep(1000)
            os._exit(0)
        if child == pid:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    pytest.skip("another process was always faster in taking the pid")
