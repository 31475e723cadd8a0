# SPDX-License-Identifier: Apache-2.0
"""podman without root: the runtime is root in a user namespace of podman's, and may not write to any cgroup."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..lifecycle.harness import Result, Runtime, eventually, status_field
from .engines import RootlessPodman
from .images import NAME


class Boxes:
    """Containers of one runtime; all are removed in the end, and must then be gone without a trace."""

    def __init__(self, engine: RootlessPodman, runtime: Runtime, fresh: Callable[[], str]) -> None:
        self.engine, self.runtime, self.fresh = engine, runtime, fresh
        self.names: list[str] = []

    def run(self, *arguments: str, **how: str) -> Result:
        return self.engine.run(self.runtime, "--rm", *arguments, **how)

    def output(self, *arguments: str) -> str:
        return self.run(*arguments).ok().out

    def start(self, *arguments: str) -> str:
        self.names.append(self.fresh())
        self.engine.run(self.runtime, "--detach", "--name", self.names[-1], *arguments).ok()
        return self.names[-1]

    def call(self, *arguments: str) -> Result:
        return self.engine.call(*arguments)

    def status(self, name: str) -> str:
        return self.call("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name).ok().out.strip()

    def remove(self) -> None:
        for name in self.names:
            self.call("rm", "--force", "--time", "1", name).ok()
        assert not self.engine.kept(self.runtime)


@pytest.fixture
def boxes(rootless: RootlessPodman, runtime: Runtime, fresh: Callable[[], str]) -> Iterator[Boxes]:
    made = Boxes(rootless, runtime, fresh)
    yield made
    made.remove()


def test_the_state_is_the_users(boxes: Boxes) -> None:
    boxes.start(NAME, "pause")
    state = boxes.engine.world.path(boxes.engine.state(boxes.runtime))
    assert state.stat().st_uid == boxes.engine.uid
    assert len(boxes.engine.kept(boxes.runtime)) == 1
    assert not boxes.engine.world.path(f"/run/{boxes.runtime.name}").exists()


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("false", 1), ("nonexistent", 127), ("/bin/not-executable", 126)]
)
def test_exit_codes(boxes: Boxes, command: str, code: int) -> None:
    result = boxes.run(NAME, command)
    assert result.status == code, result
    assert result.err == "" or code > 1


def test_standard_streams(boxes: Boxes) -> None:
    assert boxes.run("--interactive", NAME, "cat", stdin="one\ntwo\n").ok().out == "one\ntwo\n"
    result = boxes.run("--user", "user", NAME, "sh", "-c", "echo a > /dev/stdout; echo b > /dev/stderr").ok()
    assert (result.out, result.err) == ("a\n", "b\n")


def test_a_terminal(boxes: Boxes) -> None:
    words = boxes.engine.words(
        boxes.runtime, "run", "--rm", "--interactive", "--tty", NAME, "sh", "-c", "tty; read x; echo got $x"
    )
    shown = boxes.engine.world.typed(*boxes.engine.client(*words), text="hello\n")
    assert "/dev/pts/0\n" in shown
    assert "got hello\n" in shown


def test_exec_and_logs(boxes: Boxes) -> None:
    name = boxes.start(NAME, "sh", "-c", "echo said; exec pause")
    result = boxes.call("exec", name, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (result.status, result.out, result.err) == (5, "out\n", "err\n")
    assert boxes.call("exec", "--user", "user", name, "id", "-un").ok().out == "user\n"
    assert boxes.call("exec", name, "nonexistent").status == 127
    shown = boxes.engine.world.typed(*boxes.engine.client("exec", "--tty", name, "tty"))
    assert "/dev/pts/" in shown
    assert boxes.call("logs", name).ok().out == "said\n"


def test_stop_and_start_again(boxes: Boxes) -> None:
    name = boxes.start(NAME, "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    eventually("the trap", lambda: "ready" in boxes.call("logs", name).out)
    boxes.call("stop", name).ok()
    assert boxes.status(name) == "exited 3"
    boxes.call("start", name).ok()
    eventually("the trap again", lambda: boxes.call("logs", name).out.count("ready") == 2)
    boxes.call("kill", name).ok()
    eventually("the end", lambda: boxes.status(name) == "exited 137")


def test_the_users_ids(boxes: Boxes) -> None:
    first, count = boxes.engine.ids
    maps = boxes.output(NAME, "cat", "/proc/self/uid_map").split()
    assert maps == ["0", str(boxes.engine.uid), "1", "1", str(first), str(count)]
    assert boxes.output("--userns", "keep-id", NAME, "id", "-u") == f"{boxes.engine.uid}\n"
    assert boxes.output("--user", "1234:5678", NAME, "sh", "-c", "id -u; id -g") == "1234\n5678\n"


def test_volumes_belong_to_the_user(boxes: Boxes) -> None:
    shared = boxes.engine.home / boxes.runtime.name
    boxes.engine.world.call("install", "-d", "-o", str(boxes.engine.uid), str(shared)).ok()
    boxes.run("--volume", f"{shared}:/mnt", NAME, "sh", "-c", "echo x > /mnt/file && chown 1000 /mnt/file").ok()
    assert (shared / "file").stat().st_uid == boxes.engine.ids[0] + 999
    script = "cat /mnt/file; ! touch /mnt/x"
    assert boxes.output("--volume", f"{shared}:/mnt:ro", NAME, "sh", "-c", script) == "x\n"


def test_rights(boxes: Boxes) -> None:
    status = boxes.output("--cap-drop", "all", "--cap-add", "NET_ADMIN", NAME, "cat", "/proc/self/status")
    assert int(status_field(status, "CapEff"), 16) == 1 << 12
    assert status_field(status, "Seccomp") == "2"
    script = "touch /tmp/x && ! touch /x && ! touch /etc/x && cat /proc/kcore | wc -c"
    assert boxes.output("--read-only", "--tmpfs", "/tmp", NAME, "sh", "-c", script) == "0\n"
    assert boxes.output("--privileged", NAME, "sh", "-c", "mount -t tmpfs x /home && echo mounted") == "mounted\n"
    assert boxes.output("--sysctl", "kernel.msgmax=9000", NAME, "cat", "/proc/sys/kernel/msgmax") == "9000\n"


def test_the_hosts_namespaces(boxes: Boxes) -> None:
    shown = boxes.output("--network", "host", "--pid", "host", NAME, "sh", "-c", "ps; ls /sys/class/net")
    assert "python" in shown  # the world's init
    assert shown.endswith("lo\n")


def test_a_pod(boxes: Boxes) -> None:
    pod = boxes.fresh()
    create = ("pod", "create", "--name", pod, "--infra-command", "/bin/pause", "--share", "pid,ipc,net,uts")
    boxes.call(*boxes.engine.words(boxes.runtime, *create)).ok()
    boxes.start("--pod", pod, NAME, "pause")
    assert boxes.output("--pod", pod, NAME, "ps").count("{pause}") == 2
    assert boxes.output("--pod", pod, NAME, "hostname") == f"{pod}\n"
    boxes.call("pod", "rm", "--force", "--time", "1", pod).ok()
    boxes.names.clear()


def test_init_and_health(boxes: Boxes) -> None:
    name = boxes.start("--init", "--health-cmd", "test -e /tmp/well", "--health-retries", "1", NAME, "sleep", "1000")
    assert "init" in boxes.call("exec", name, "cat", "/proc/1/cmdline").ok().out
    assert boxes.call("healthcheck", "run", name).status == 1
    boxes.call("exec", name, "touch", "/tmp/well").ok()
    assert boxes.call("healthcheck", "run", name).status == 0


@pytest.mark.parametrize("isolation", ["oci", "rootless"])
def test_a_build(boxes: Boxes, tmp_path: Path, isolation: str) -> None:
    image = f"localhost/{boxes.fresh()}"
    context = boxes.engine.home / boxes.fresh()
    context.mkdir()
    (context / "Dockerfile").write_text(
        f"FROM {NAME}\nRUN id -u > /first\nUSER 1000\nRUN id -u > /tmp/second\nCMD cat /first /tmp/second\n"
    )
    build = ("build", "--network", "none", "--isolation", isolation, "--tag", image, str(context))
    boxes.call(*boxes.engine.words(boxes.runtime, *build)).ok()
    assert boxes.output(image) == "0\n1000\n"
    (context / "Dockerfile").write_text(f"FROM {NAME}\nRUN exit 3\n")
    assert boxes.call(*boxes.engine.words(boxes.runtime, *build)).status == 3


def test_ten_at_once(boxes: Boxes) -> None:
    names = [boxes.start(NAME, "pause") for _ in range(10)]
    boxes.call("stop", "--time", "5", *names).ok()
    assert {boxes.status(name) for name in names} == {"exited 0"}
