# SPDX-License-Identifier: Apache-2.0
"""containerd, through its own client, which shows what the shim makes of the runtime's answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..lifecycle.harness import Result, Runtime, eventually, status_field
from .engines import Containerd
from .images import NAME

CAP_SYS_TIME = 25


class Tasks:
    """Containers of one runtime; all are removed in the end, and must then be gone without a trace."""

    def __init__(self, engine: Containerd, runtime: Runtime, fresh: Callable[[], str]) -> None:
        self.engine, self.runtime, self.fresh = engine, runtime, fresh
        self.names: list[str] = []

    def run(self, *arguments: str) -> Result:
        """A container in the foreground; `arguments` are options of ctr, then after `--` a command."""
        options, command = parted(arguments)
        return self.engine.run(self.runtime, self.fresh(), *command, options=("--rm", *options))

    def output(self, *arguments: str) -> str:
        """What a container prints.  ctr at times loses what a program says that ends at once, whatever the runtime."""
        return eventually("output", lambda: self.run(*arguments).ok().out)

    def start(self, *arguments: str) -> str:
        options, command = parted(arguments)
        self.names.append(self.fresh())
        self.engine.run(self.runtime, self.names[-1], *(command or ["pause"]), options=("--detach", *options)).ok()
        return self.names[-1]

    def call(self, *arguments: str) -> Result:
        return self.engine.call("task", *arguments)

    def exec(self, name: str, *command: str, options: tuple[str, ...] = ()) -> Result:
        return self.call("exec", "--exec-id", self.fresh(), *options, name, *command)

    def told(self, name: str, *command: str, options: tuple[str, ...] = ()) -> str:
        """What a further process prints, as with `output`."""
        return eventually("output", lambda: self.exec(name, *command, options=options).ok().out)

    def status(self, name: str) -> str:
        for line in self.call("list").ok().out.splitlines():
            if line.split()[0] == name:
                return line.split()[2]
        return "gone"

    def becomes(self, name: str, status: str) -> None:
        eventually(f"{name} {status}", lambda: self.status(name) == status)

    def kill_and_delete(self, name: str) -> None:
        if self.status(name) != "STOPPED":
            self.call("kill", "--signal", "KILL", name).ok()
        self.becomes(name, "STOPPED")
        self.call("delete", name).ok()

    def remove(self) -> None:
        for name in self.names:
            if self.status(name) != "gone":
                self.kill_and_delete(name)
            self.engine.call("container", "delete", name).ok()
            assert not self.engine.world.cgroups_of(name)
            assert not self.engine.world.path(f"/run/{self.runtime.name}/default/{name}").exists()
        self.names.clear()


def parted(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if "--" not in arguments:
        return arguments, ()
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1 :]


@pytest.fixture
def tasks(containerd: Containerd, runtime: Runtime, fresh: Callable[[], str]) -> Iterator[Tasks]:
    made = Tasks(containerd, runtime, fresh)
    yield made
    made.remove()


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_of_a_program(tasks: Tasks, code: int) -> None:
    result = tasks.run("--", "sh", "-c", f"echo out; echo err >&2; sleep 0.2; exit {code}")
    assert (result.status, result.out, result.err) == (code, "out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("nonexistent", 'exec: "nonexistent": executable file not found in $PATH'),
        ("/nonexistent", 'exec: "/nonexistent": stat /nonexistent: no such file or directory'),
        ("/bin/not-executable", 'exec: "/bin/not-executable": permission denied'),
    ],
)
def test_a_command_that_cannot_be_run(tasks: Tasks, command: str, reason: str) -> None:
    result = tasks.run("--", command)
    assert result.status == 1
    assert "OCI runtime create failed: " in result.err
    assert reason in result.err


def test_a_terminal(tasks: Tasks) -> None:
    engine = tasks.engine
    command = engine.words(
        tasks.runtime, tasks.fresh(), "sh", "-c", "tty; read x; echo got $x", options=("--rm", "--tty")
    )
    shown = engine.world.typed(*engine.client(*command), text="hello\n")
    assert "/dev/pts/0\n" in shown
    assert "got hello\n" in shown


def test_exec(tasks: Tasks) -> None:
    name = tasks.start()
    result = tasks.exec(name, "sh", "-c", "echo out; echo err >&2; sleep 0.3; exit 5")
    assert (result.status, result.out, result.err) == (5, "out\n", "err\n")
    assert tasks.told(name, "id", "-un", options=("--user", "user")) == "user\n"
    assert "OCI runtime exec failed: " in (result := tasks.exec(name, "nonexistent")).err
    assert 'exec: "nonexistent": executable file not found in $PATH' in result.err


def test_exec_on_a_terminal(tasks: Tasks) -> None:
    name = tasks.start()
    words = ("task", "exec", "--exec-id", tasks.fresh(), "--tty", name, "sh", "-c", "tty; read x; echo got $x")
    shown = tasks.engine.world.typed(*tasks.engine.client(*words), text="hello\n")
    assert "/dev/pts/" in shown
    assert "got hello\n" in shown


def test_ps_and_metrics(tasks: Tasks) -> None:
    name = tasks.start("--memory-limit", str(64 << 20))
    tasks.call("exec", "--detach", "--exec-id", "second", name, "sleep", "1000").ok()
    shown = tasks.call("ps", name).ok().out
    assert "second" in shown
    metrics = json.loads(tasks.call("metrics", "--format", "json", name).ok().out)
    assert int(metrics["pids"]["current"]) >= 2
    assert metrics["memory"]["usage"]["limit"] == 64 << 20


def test_pause(tasks: Tasks) -> None:
    name = tasks.start()
    tasks.call("pause", name).ok()
    assert tasks.status(name) == "PAUSED"
    tasks.call("resume", name).ok()
    assert tasks.status(name) == "RUNNING"
    tasks.call("pause", name).ok()


def test_kill(tasks: Tasks) -> None:
    name = tasks.start("--", "sh", "-c", "trap 'exit 3' TERM; touch /tmp/ready; while :; do sleep 0.1; done")
    eventually("the trap", lambda: tasks.exec(name, "test", "-e", "/tmp/ready").status == 0)
    tasks.call("kill", name).ok()
    tasks.becomes(name, "STOPPED")
    refused = tasks.call("kill", name)
    assert refused.status != 0
    assert "not found" in refused.err  # what the shim makes of "container not running"
    assert "exit code 3" in tasks.call("delete", name).ok().err


def test_kill_of_all_processes(tasks: Tasks) -> None:
    name = tasks.start("--", "sh", "-c", "sleep 1000 & sleep 1000 & wait")
    tasks.call("kill", "--all", "--signal", "KILL", name).ok()
    tasks.becomes(name, "STOPPED")


def test_delete_of_what_runs(tasks: Tasks) -> None:
    name = tasks.start()
    assert tasks.call("delete", name).status != 0
    tasks.call("delete", "--force", name)
    assert tasks.status(name) == "gone"


def test_limits(tasks: Tasks) -> None:
    name = tasks.start("--memory-limit", str(64 << 20), "--cpus", "0.5")
    world = tasks.engine.world
    memory = world.cgroup(name, "memory")
    file = memory / ("memory.max" if (memory / "memory.max").exists() else "memory.limit_in_bytes")
    assert int(file.read_text()) == 64 << 20


def test_what_the_container_is_given(tasks: Tasks, place: Path) -> None:
    shared = place / f"containerd-{tasks.runtime.name}"
    shared.mkdir()
    (shared / "file").write_text("from the host\n")
    assert tasks.output(
        "--mount", f"type=bind,src={shared},dst=/mnt,options=rbind:ro", "--env", "A=b", "--cwd", "/tmp", "--read-only",
        "--", "sh", "-c", "cat /mnt/file; ! touch /mnt/x; ! touch /x; echo $A; pwd"
    ).split("\n") == ["from the host", "b", "/tmp", ""]  # fmt: skip


def test_capabilities_and_seccomp(tasks: Tasks) -> None:
    def status(*options: str) -> str:
        return tasks.output(*options, "--", "cat", "/proc/self/status")

    plain, more = status(), status("--seccomp", "--cap-add", "CAP_SYS_TIME")
    assert int(status_field(more, "CapEff"), 16) == int(status_field(plain, "CapEff"), 16) | 1 << CAP_SYS_TIME
    assert (status_field(plain, "Seccomp"), status_field(more, "Seccomp")) == ("0", "2")
    assert status_field(plain, "NoNewPrivs") == "1"
    assert status_field(status("--allow-new-privs"), "NoNewPrivs") == "0"


def test_devices(tasks: Tasks) -> None:
    there = next(path for path in ("/dev/fuse", "/dev/loop-control", "/dev/net/tun") if Path(path).exists())
    assert tasks.output("--device", there, "--", "sh", "-c", f": < {there}; echo $?") == "0\n"
    assert tasks.run("--", "sh", "-c", f": < {there}").status != 0


def test_namespaces_of_others(tasks: Tasks) -> None:
    name = tasks.start()
    pid = next(line.split()[1] for line in tasks.call("list").out.splitlines() if line.split()[0] == name)
    there = tasks.told(name, "readlink", "/proc/self/ns/ipc")
    joined = tasks.start("--with-ns", f"ipc:/proc/{pid}/ns/ipc", "--with-ns", f"pid:/proc/{pid}/ns/pid", "--", "pause")
    assert tasks.told(joined, "readlink", "/proc/self/ns/ipc") == there
    assert tasks.told(joined, "ps").count("{pause}") == 2
    tasks.kill_and_delete(joined)  # nothing dies with this init, so the shim has to ask for all


def test_a_user_namespace(tasks: Tasks) -> None:
    options = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    assert tasks.output(*options, "--", "sh", "-c", "id -u; cat /proc/self/uid_map").split() == [
        "0", "0", "100000", "65536"
    ]  # fmt: skip


def test_without_pivot_root(tasks: Tasks) -> None:
    assert tasks.output("--no-pivot", "--", "sh", "-c", "ls / | wc -l; echo here").endswith("here\n")


@pytest.mark.needs_criu
def test_a_checkpoint(tasks: Tasks, containerd: Containerd) -> None:
    """A program that counts goes on where it was, in another container, which has its files, too."""
    log = containerd.world.scratch / f"{tasks.fresh()}.log"
    script = "i=0; while :; do i=$((i+1)); echo $i; echo $i > /new; mv /new /count; sleep 0.1; done"
    first, second = tasks.start("--log-uri", f"file://{log}", "--", "sh", "-c", script), tasks.fresh()

    def said() -> list[int]:
        return [int(line) for line in log.read_text().split()]

    def counted() -> int:
        return int(tasks.told(second, "cat", "/count"))

    eventually("some numbers", lambda: len(said()) >= 3)
    image = f"localhost/{first}:saved"
    containerd.call("containers", "checkpoint", "--rw", "--image", "--task", first, image).ok()
    last = said()[-1]
    eventually("more numbers, as ctr lets it go on", lambda: said()[-1] > last)
    tasks.remove()
    tasks.names.append(second)
    containerd.call("containers", "restore", "--rw", "--live", second, image).ok()
    assert 3 <= counted() < said()[-1] + 100
    last = counted()
    eventually("more numbers", lambda: counted() >= last + 3)


def test_twenty_at_once(tasks: Tasks) -> None:
    names = [tasks.start() for _ in range(20)]
    assert {tasks.status(name) for name in names} == {"RUNNING"}
    for name in names:
        tasks.call("kill", name).ok()
    for name in names:
        tasks.becomes(name, "STOPPED")


def test_the_image_is_left_as_it_was(tasks: Tasks) -> None:
    assert tasks.output("--", "sh", "-c", "echo x > /made; cat /made") == "x\n"
    assert tasks.run("--", "cat", "/made").status == 1
    assert NAME in tasks.engine.call("images", "list", "--quiet").ok().out
