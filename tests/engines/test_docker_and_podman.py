# SPDX-License-Identifier: Apache-2.0
"""What docker and podman offer alike, each with every runtime."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..lifecycle.harness import Result, Runtime, eventually, status_field
from .engines import Engine
from .images import NAME


class Boxes:
    """Containers of one engine and one runtime; all are removed in the end, and must then be gone without a trace."""

    def __init__(self, engine: Engine, runtime: Runtime, fresh: Callable[[], str]) -> None:
        self.engine, self.runtime, self.fresh = engine, runtime, fresh
        self.names: list[str] = []
        self.ids: list[str] = []

    def run(self, *arguments: str) -> Result:
        """A container in the foreground, which its engine removes; `arguments` are options, then a command."""
        return self.engine.run(self.runtime, "--rm", *with_image(arguments))

    def output(self, *arguments: str) -> str:
        return self.run(*arguments).ok().out

    def start(self, *arguments: str) -> str:
        """The name of a container in the background; it sleeps if `arguments` are but options."""
        name = self.fresh()
        self.names.append(name)
        if "--" not in arguments:
            arguments = (*arguments, "--", "pause")
        result = self.engine.run(self.runtime, "--detach", "--name", name, *with_image(arguments)).ok()
        self.ids.append(result.out.strip())
        return name

    def id(self, name: str) -> str:
        return self.ids[self.names.index(name)]

    def call(self, *arguments: str) -> Result:
        return self.engine.call(*arguments)

    def exec(self, *arguments: str) -> Result:
        return self.engine.call("exec", *arguments)

    def ask(self, name: str, template: str) -> str:
        return self.call("inspect", "--format", template, name).ok().out.strip()

    def becomes(self, name: str, status: str) -> None:
        eventually(f"{name} {status}", lambda: self.ask(name, "{{.State.Status}}") == status)

    def remove(self) -> None:
        for name in self.names:
            self.call("rm", "--force", name).ok()
        for id in self.ids:
            eventually(f"the end of {id}'s cgroups", lambda id=id: not self.engine.world.cgroups_of(id))  # type: ignore[misc]
        assert not self.engine.kept(self.runtime) & set(self.ids)


def with_image(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The image in the place of the first `--`, which parts options from the command, or in front of all."""
    if "--" not in arguments:
        return (NAME, *arguments)
    at = arguments.index("--")
    return (*arguments[:at], NAME, *arguments[at + 1 :])


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def boxes(engine: Engine, runtime: Runtime, fresh: Callable[[], str]) -> Iterator[Boxes]:
    made = Boxes(engine, runtime, fresh)
    yield made
    made.remove()


@pytest.mark.parametrize("code", [0, 7, 255])
def test_the_exit_code_of_a_program(boxes: Boxes, code: int) -> None:
    result = boxes.run("sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert (result.status, result.out, result.err) == (code, "out\n", "err\n")


def test_the_exit_code_of_a_program_that_was_killed(boxes: Boxes) -> None:
    assert boxes.run("sh", "-c", "kill -KILL $$").status in (0, 137)  # init of a pid namespace does not hear itself
    assert boxes.run("--init", "--", "sh", "-c", "kill -KILL $$").status == 137


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("nonexistent", 127),
        ("/nonexistent", 127),
        ("/bin/not-executable", 126),
        ("/bin", 126),
    ],
)
def test_a_command_that_cannot_be_run(boxes: Boxes, command: str, code: int) -> None:
    result = boxes.run(command)
    assert result.status == code, result
    assert command in result.err


def test_standard_input(boxes: Boxes) -> None:
    command = boxes.engine.words(boxes.runtime, "run", "--rm", "--interactive", NAME, "cat")
    assert boxes.engine.call(*command, stdin="one\ntwo\n").ok().out == "one\ntwo\n"


def test_a_terminal(boxes: Boxes) -> None:
    command = boxes.engine.words(
        boxes.runtime, "run", "--rm", "--interactive", "--tty", NAME, "sh", "-c", "tty; read x; echo got $x; stty size"
    )
    shown = boxes.engine.world.typed(*boxes.engine.client(*command), text="hello\n")
    assert "/dev/pts/0\n" in shown
    assert "got hello\n" in shown


def test_logs(boxes: Boxes) -> None:
    name = boxes.start("--", "sh", "-c", "echo one; echo two >&2; exec pause")
    eventually("both lines", lambda: boxes.call("logs", name).ok().err)
    result = boxes.call("logs", name).ok()
    assert (result.out, result.err) == ("one\n", "two\n")


def test_exec(boxes: Boxes) -> None:
    name = boxes.start()
    result = boxes.exec(name, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (result.status, result.out, result.err) == (5, "out\n", "err\n")
    assert boxes.exec("--user", "user", name, "id", "-un").ok().out == "user\n"
    assert boxes.exec("--workdir", "/tmp", "--env", "A=b", name, "sh", "-c", "pwd; echo $A").ok().out == "/tmp\nb\n"


def test_exec_in_the_background(boxes: Boxes) -> None:
    name = boxes.start()
    boxes.exec("--detach", name, "sh", "-c", "echo done > /tmp/file; sleep 1000").ok()
    eventually("the file", lambda: boxes.exec(name, "cat", "/tmp/file").out == "done\n")
    assert "sleep 1000" in boxes.exec(name, "ps").ok().out


def test_exec_on_a_terminal(boxes: Boxes) -> None:
    name = boxes.start()
    command = boxes.engine.client("exec", "--interactive", "--tty", name, "sh", "-c", "tty; read x; echo got $x")
    shown = boxes.engine.world.typed(*command, text="hello\n")
    assert "/dev/pts/" in shown
    assert "got hello\n" in shown


@pytest.mark.parametrize(("command", "code"), [("nonexistent", 127), ("/bin/not-executable", 126)])
def test_exec_of_what_cannot_be_run(boxes: Boxes, command: str, code: int) -> None:
    result = boxes.exec(boxes.start(), command)
    # docker 20.10 takes one for the other here.
    assert result.status == code or (boxes.engine.name == "docker" and result.status == 126), result
    assert command in result.out + result.err


def test_stop_is_heard(boxes: Boxes) -> None:
    name = boxes.start("--", "sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    eventually("the trap", lambda: "ready" in boxes.call("logs", name).out)
    boxes.call("stop", name).ok()
    assert boxes.ask(name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 3"
    assert "bye" in boxes.call("logs", name).ok().out


def test_stop_of_who_does_not_listen(boxes: Boxes) -> None:
    name = boxes.start("--", "sleep", "1000")
    boxes.call("stop", "--time", "1", name).ok()
    assert boxes.ask(name, "{{.State.ExitCode}}") == "137"


def test_kill(boxes: Boxes) -> None:
    name = boxes.start("--", "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done")
    eventually("the trap", lambda: "ready" in boxes.call("logs", name).out)
    boxes.call("kill", "--signal", "USR1", name).ok()
    eventually("the signal", lambda: "usr1" in boxes.call("logs", name).out)
    boxes.call("kill", name).ok()
    boxes.becomes(name, "exited")
    assert boxes.call("kill", name).status != 0


def test_restart(boxes: Boxes) -> None:
    name = boxes.start("--", "sh", "-c", "echo started; exec pause")
    before = boxes.ask(name, "{{.State.Pid}}")
    boxes.call("restart", "--time", "1", name).ok()
    assert boxes.ask(name, "{{.State.Status}}") == "running"
    assert boxes.ask(name, "{{.State.Pid}}") != before
    eventually("the second start", lambda: boxes.call("logs", name).out.count("started") == 2)


def test_a_stopped_container_starts_again(boxes: Boxes) -> None:
    name = boxes.start("--", "sh", "-c", "echo x >> /count; wc -l < /count")
    boxes.becomes(name, "exited")
    boxes.call("start", name).ok()
    eventually("the second end", lambda: boxes.call("logs", name).out.split() == ["1", "2"])
    boxes.becomes(name, "exited")


def test_the_restart_policy(boxes: Boxes) -> None:
    name = boxes.start("--restart", "on-failure:2", "--", "sh", "-c", "echo try; exit 9")
    eventually("three tries", lambda: boxes.call("logs", name).out.count("try") == 3)
    boxes.becomes(name, "exited")
    assert boxes.ask(name, "{{.State.ExitCode}}") == "9"


def test_pause(boxes: Boxes) -> None:
    name = boxes.start("--", "sh", "-c", "while :; do date +%s%N > /tmp/now; sleep 0.01; done")
    boxes.call("pause", name).ok()
    assert boxes.ask(name, "{{.State.Status}}") == "paused"
    assert boxes.exec(name, "true").status != 0
    boxes.call("unpause", name).ok()
    assert boxes.ask(name, "{{.State.Status}}") == "running"
    first = boxes.exec(name, "cat", "/tmp/now").ok().out
    eventually("time going on", lambda: boxes.exec(name, "cat", "/tmp/now").ok().out != first)


def test_a_paused_container_can_be_killed(boxes: Boxes) -> None:
    name = boxes.start()
    boxes.call("pause", name).ok()
    boxes.call("rm", "--force", name).ok()
    boxes.names.remove(name)


def test_top_and_stats(boxes: Boxes) -> None:
    name = boxes.start("--memory", "64m", "--", "sh", "-c", "sleep 1000 & sleep 1001 & wait")
    eventually(
        "both sleeps",
        lambda: all(f"sleep 100{n}\n" in boxes.call("top", name).ok().out.replace(" \n", "\n") for n in (0, 1)),
    )
    stats = boxes.call("stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name).ok().out
    assert "64MiB" in stats or "67.11MB" in stats
    assert stats.split()[-1] == "3"


def test_limits_and_update(boxes: Boxes) -> None:
    name = boxes.start("--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50", "--cpus", "0.5")
    limits = boxes.engine.world.limits
    assert limits(boxes.id(name)) == {"memory": 64 << 20, "pids": 50, "cpu": 50}
    boxes.call("update", "--memory", "128m", "--memory-swap", "256m", "--cpus", "1.5", name).ok()
    assert limits(boxes.id(name)) == {"memory": 128 << 20, "pids": 50, "cpu": 150}


def test_the_memory_limit_kills(boxes: Boxes) -> None:
    """Not at once: containerd's shim looks for such an end only when `start` is done."""
    name = boxes.start("--memory", "16m", "--memory-swap", "16m", "--", "sh", "-c", "sleep 1; exec tail /dev/zero")
    boxes.becomes(name, "exited")
    assert boxes.ask(name, "{{.State.ExitCode}}") == "137"
    if boxes.engine.name == "docker":  # conmon's word for it comes late, if ever
        assert boxes.ask(name, "{{.State.OOMKilled}}") == "true"


def test_mounts(boxes: Boxes, place: Path) -> None:
    shared = place / f"{boxes.engine.name}-{boxes.runtime.name}"
    shared.mkdir()
    (shared / "file").write_text("from the host\n")
    script = (
        "cat /rw/file /ro/file; echo back > /rw/answer; ! touch /ro/x; df -k /small | tail -1 | awk '{print $2}';"
        "echo kept > /volume/file; stat -c %a /small; grep -c ' /rw ' /proc/self/mounts"
    )
    result = boxes.run(
        "--volume", f"{shared}:/rw", "--mount", f"type=bind,source={shared},target=/ro,readonly",
        "--tmpfs", "/small:size=1m,mode=700", "--volume", f"{shared.name}:/volume", "--", "sh", "-c", script
    ).ok()  # fmt: skip
    assert result.out.split("\n") == ["from the host", "from the host", "1024", "700", "1", ""]
    assert (shared / "answer").read_text() == "back\n"
    assert boxes.output("--volume", f"{shared.name}:/volume", "--", "cat", "/volume/file") == "kept\n"
    boxes.call("volume", "rm", shared.name).ok()
    shutil.rmtree(shared)


def test_users(boxes: Boxes) -> None:
    shown = boxes.output("--user", "user", "--", "id")
    assert shown.startswith("uid=1000(user) gid=1000(user) groups=")
    assert "2000(extra)" in shown
    assert boxes.output("--user", "1234:5678", "--group-add", "99", "--", "sh", "-c", "id -u; id -g; id -G") == (
        "1234\n5678\n5678 99\n"
    )


def test_a_users_program_owns_its_streams(boxes: Boxes) -> None:
    script = "echo a > /dev/stdout; echo b > /proc/self/fd/1; echo c > /dev/stderr"
    result = boxes.run("--user", "user", "--", "sh", "-c", script).ok()
    assert (result.out, result.err) == ("a\nb\n", "c\n")


def test_capabilities(boxes: Boxes) -> None:
    effective = status_field(boxes.output("cat", "/proc/self/status"), "CapEff")
    more = status_field(boxes.output("--cap-add", "SYS_TIME", "--", "cat", "/proc/self/status"), "CapEff")
    none = status_field(boxes.output("--cap-drop", "all", "--", "cat", "/proc/self/status"), "CapEff")
    assert int(more, 16) == int(effective, 16) | 1 << 25
    assert int(none, 16) == 0


def test_the_default_seccomp_profile(boxes: Boxes) -> None:
    assert status_field(boxes.output("cat", "/proc/self/status"), "Seccomp") == "2"
    if boxes.engine.name == "docker":  # podman's lets everybody make user namespaces
        assert boxes.run("unshare", "-U", "true").status != 0
    unfiltered = boxes.output("--security-opt", "seccomp=unconfined", "--", "cat", "/proc/self/status")
    assert status_field(unfiltered, "Seccomp") == "0"


def test_no_new_privileges(boxes: Boxes) -> None:
    status = boxes.output("--security-opt", "no-new-privileges", "--", "cat", "/proc/self/status")
    assert status_field(status, "NoNewPrivs") == "1"


def test_sysctls(boxes: Boxes) -> None:
    sysctl = ["--sysctl", "net.ipv4.ip_default_ttl=77", "--sysctl", "kernel.msgmax=9000"]
    script = "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax; ! echo 1 > /proc/sys/kernel/msgmax"
    assert boxes.output(*sysctl, "--", "sh", "-c", script).split() == ["77", "9000"]


def test_devices(boxes: Boxes) -> None:
    there = next(path for path in ("/dev/fuse", "/dev/loop-control", "/dev/net/tun") if Path(path).exists())
    device = ["--device", f"{there}:/dev/another:r"]
    assert boxes.output(*device, "--", "sh", "-c", "test -c /dev/another && : < /dev/another; echo $?") == "0\n"
    assert boxes.run(*device, "--", "sh", "-c", ": > /dev/another").status != 0
    assert boxes.run("sh", "-c", "mknod /tmp/kmsg c 1 11 && : < /tmp/kmsg").status != 0
    assert boxes.output("sh", "-c", "echo x > /dev/null; head -c 3 /dev/zero | wc -c; ls -l /dev/fd").startswith("3\n")


def test_read_only(boxes: Boxes) -> None:
    result = boxes.run(
        "--read-only", "--tmpfs", "/tmp", "--", "sh", "-c", "touch /tmp/x && ! touch /x && ! touch /etc/x"
    )
    assert result.status == 0, result


def test_masked_and_read_only_paths(boxes: Boxes) -> None:
    script = "cat /proc/kcore | wc -c; ls /sys/firmware | wc -l; ! echo h > /proc/sysrq-trigger; ! touch /sys/x"
    assert boxes.output("sh", "-c", script).split()[:2] == ["0", "0"]


def test_limits_of_resources(boxes: Boxes) -> None:
    options = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=300:400", "--ulimit", "core=0:0"]
    shown = boxes.output(*options, "--", "cat", "/proc/self/limits")
    lines = {line[:26].strip(): line[26:].split()[:2] for line in shown.splitlines()}
    assert lines["Max open files"] == ["100", "200"]
    assert lines["Max core file size"] == ["0", "0"]


def test_init(boxes: Boxes) -> None:
    name = boxes.start("--init", "--", "sh", "-c", "(sleep 0.1 &); exec sleep 1000")

    def orphans() -> list[str]:
        return [
            line for line in boxes.exec(name, "ps").ok().out.splitlines() if line.endswith(("sleep 0.1", "[sleep]"))
        ]

    eventually("the end of the orphan, which somebody must reap", lambda: not orphans())
    assert "init" in boxes.exec(name, "cat", "/proc/1/cmdline").ok().out


def test_namespaces_of_the_host_and_of_others(boxes: Boxes) -> None:
    name = boxes.start("--hostname", "first")
    assert boxes.output("--uts", "host", "--", "hostname") != "first\n"
    namespaces = "for kind in pid net ipc; do readlink /proc/self/ns/$kind; done"
    first = boxes.exec(name, "sh", "-c", namespaces).ok().out.split()
    joined = boxes.output("--pid", f"container:{name}", "--net", f"container:{name}", "--", "sh", "-c", namespaces)
    assert joined.split()[:2] == first[:2]
    assert joined.split()[2] != first[2]
    pids = boxes.output("--pid", "host", "--", "ps")
    assert "python" in pids  # the world's init


def test_the_end_of_a_container_in_another_pid_namespace(boxes: Boxes) -> None:
    """Nothing there dies with init: the runtime has to see to it (kill --all)."""
    host = boxes.start()
    name = boxes.start("--pid", f"container:{host}", "--", "sh", "-c", "sleep 1000 & sleep 1001 & wait")

    def sleeps() -> int:
        return sum("sleep 100" in line for line in boxes.exec(host, "ps").ok().out.splitlines())

    eventually("its processes", lambda: sleeps() == 3)
    boxes.call("rm", "--force", name).ok()
    eventually("their end", lambda: sleeps() == 0)


def test_a_health_check(boxes: Boxes) -> None:
    name = boxes.start("--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "--health-retries", "1")

    def health() -> str:
        if boxes.engine.name == "podman":  # systemd's timers would call this
            boxes.call("healthcheck", "run", name)
            return boxes.ask(name, "{{.State.Health.Status}}")
        return boxes.ask(name, "{{.State.Health.Status}}")

    eventually("bad health", lambda: health() == "unhealthy")
    boxes.exec(name, "touch", "/tmp/well").ok()
    eventually("good health", lambda: health() == "healthy")


def test_copy_and_diff(boxes: Boxes, place: Path) -> None:
    name = boxes.start("--", "sh", "-c", "echo made > /made; exec pause")
    eventually("the file", lambda: "/made" in boxes.call("diff", name).ok().out)
    copy = place / f"copy-{name}"
    boxes.call("cp", f"{name}:/made", str(copy)).ok()
    assert copy.read_text() == "made\n"
    boxes.call("cp", str(copy), f"{name}:/tmp/back").ok()
    assert boxes.exec(name, "cat", "/tmp/back").ok().out == "made\n"


def test_twenty_at_once(boxes: Boxes) -> None:
    names = [boxes.start("--", "sh", "-c", f"echo {number}; exec pause") for number in range(20)]
    for number, name in enumerate(names):
        eventually(f"the word of {name}", lambda n=number, name=name: boxes.call("logs", name).out == f"{n}\n")  # type: ignore[misc]
    boxes.call("stop", "--time", "5", *names).ok()
    assert {boxes.ask(name, "{{.State.Status}} {{.State.ExitCode}}") for name in names} == {"exited 0"}


def test_nothing_is_left_of_a_create_that_fails(boxes: Boxes) -> None:
    before = boxes.engine.kept(boxes.runtime)
    assert boxes.run("--workdir", "/etc/passwd", "--", "true").status != 0
    assert boxes.run("nonexistent").status == 127
    assert boxes.engine.kept(boxes.runtime) == before
