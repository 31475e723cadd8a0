# SPDX-License-Identifier: Apache-2.0
"""podman with the runtime as its only one and systemd as its cgroup manager, as root or rootless, whoever runs this.

It keeps images and containers in a directory of its own, and all that it makes is removed by it at the end.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..lifecycle.harness import Runtime, eventually

pytestmark = [pytest.mark.needs_systemd, pytest.mark.needs_podman, pytest.mark.needs_busybox]

PATIENCE = 300
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done"


class Podman:
    """podman, told to use one runtime and nothing of the machine's."""

    def __init__(self, runtime: Runtime, place: Path) -> None:
        self.place = place
        self.words = [
            "podman",
            "--root",
            str(place / "root"),
            "--runroot",
            str(place / "run"),
            "--runtime",
            runtime.path,
        ]
        self.words += ["--cgroup-manager", "systemd", "--tmpdir", str(place / "tmp")]

    def call(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, **options
        )

    def __call__(self, *words: str) -> str:
        """What a call prints; it must succeed."""
        done = self.call(*words)
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def fails(self, *words: str) -> int:
        return self.call(*words).returncode

    def run(self, *words: str) -> str:
        """What a container prints that is run with these options and commands."""
        return self("run", "--rm", "--network", "none", *words)

    def start(self, *words: str) -> str:
        """The id of a container that runs detached."""
        return self("run", "--detach", "--network", "none", *words)

    def inspect(self, name: str, what: str) -> str:
        return self("inspect", "--format", f"{{{{{what}}}}}", name)

    def counted(self, name: str) -> int:
        return int((self("logs", name).split() or ["0"])[-1])


@pytest.fixture(scope="session")
def archive(place: Path, busybox: Callable[[Path], None]) -> Path:
    rootfs = place / "image"
    rootfs.mkdir()
    busybox(rootfs)
    path = place / "image.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(rootfs, ".")
    return path


@pytest.fixture
def podman(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Podman]:
    podman = Podman(runtime, tmp_path_factory.mktemp("podman"))
    podman("import", str(archive), "box")
    try:
        yield podman
    finally:
        podman.call("pod", "rm", "--force", "--all", "--time", "0")
        podman.call("rm", "--force", "--all", "--time", "0")
        podman.call("system", "reset", "--force")


def test_exit_codes(podman: Podman) -> None:
    assert podman.run("box", "echo", "hello") == "hello"
    assert podman.fails("run", "--rm", "--network", "none", "box", "sh", "-c", "exit 7") == 7
    assert podman.fails("run", "--rm", "--network", "none", "box", "none") == 127
    assert podman.fails("run", "--rm", "--network", "none", "box", "/etc/passwd") == 126


def test_a_life(podman: Podman) -> None:
    podman.start("--name", "c", "box", "sh", "-c", f"trap 'exit 3' TERM; {COUNT}")
    assert podman.inspect("c", ".State.Status") == "running"
    assert podman("exec", "c", "echo", "here") == "here"
    assert podman.fails("exec", "c", "none") == 127
    assert podman("exec", "--tty", "c", "sh", "-c", "test -t 0 && echo yes") == "yes"
    podman("pause", "c")
    assert podman.inspect("c", ".State.Status") == "paused"
    podman("unpause", "c")
    eventually("some numbers", lambda: podman.counted("c") > 2)
    assert "c" in podman("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "c")
    podman("stop", "c")
    assert podman.inspect("c", ".State.ExitCode") == "3"
    podman("restart", "c")
    podman("kill", "c")
    assert podman("wait", "c") == "137"
    podman("rm", "c")


def test_limits(podman: Podman) -> None:
    """In the cgroup that systemd has made."""
    podman.start("--name", "c", "--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "box", "sleep", "1000")
    pid = podman.inspect("c", ".State.Pid")
    cgroup = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
    assert f"libpod-{podman.inspect('c', '.Id')}.scope" in cgroup
    directory = Path(f"/sys/fs/cgroup{cgroup}")
    assert (directory / "memory.max").read_text().strip() == str(64 << 20)
    assert (directory / "pids.max").read_text().strip() == "50"
    assert (directory / "cpu.max").read_text().split() == ["50000", "100000"]
    podman("update", "--memory", "96m", "c")
    assert (directory / "memory.max").read_text().strip() == str(96 << 20)
    podman("rm", "--force", "--time", "0", "c")
    eventually("the end of its cgroup", lambda: not directory.exists())


def test_confinement(podman: Podman) -> None:
    status = podman.run(
        "--cap-drop", "all", "--cap-add", "kill", "--user", "1000:2000", "box", "cat", "/proc/self/status"
    )
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(lines["CapBnd"], 16) == 1 << 5
    assert lines["Uid"].split()[0] == "1000" and lines["Gid"].split()[0] == "2000"
    assert lines["Seccomp"].split()[0] == "2"
    assert podman.run("--sysctl", "net.ipv4.ip_forward=1", "box", "cat", "/proc/sys/net/ipv4/ip_forward") == "1"
    assert podman.fails("run", "--rm", "--network", "none", "--read-only", "box", "touch", "/file") == 1
    assert podman.run("--hostname", "me", "--init", "box", "hostname") == "me"


def test_mounts(podman: Podman) -> None:
    shared = podman.place / "shared"
    shared.mkdir()
    (shared / "file").write_text("text")
    assert podman.run("--volume", f"{shared}:/vol:ro", "--tmpfs", "/scratch", "box", "cat", "/vol/file") == "text"
    assert (
        podman.run("--device", "/dev/null:/dev/nothing", "box", "sh", "-c", "test -c /dev/nothing && echo yes") == "yes"
    )


def test_user_namespaces(podman: Podman) -> None:
    how = ["--userns", "keep-id"] if os.geteuid() else ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    mapped = podman.run(*how, "box", "cat", "/proc/self/uid_map").split()
    assert mapped and mapped[2] != "4294967295"


def test_a_pod(podman: Podman) -> None:
    podman("pod", "create", "--name", "p", "--network", "none", "--infra-image", "box", "--infra-command", "sleep 1000")
    podman("run", "--detach", "--pod", "p", "--name", "c", "box", "sleep", "1000")
    podman("run", "--detach", "--pod", "p", "--name", "d", "box", "sleep", "1000")
    assert podman("exec", "c", "readlink", "/proc/self/ns/ipc") == podman("exec", "d", "readlink", "/proc/self/ns/ipc")
    podman("pod", "rm", "--force", "--time", "0", "p")


def test_health_checks(podman: Podman) -> None:
    podman.start(
        "--name", "c", "--health-cmd", "test -e /healthy", "--health-interval", "disable", "box", "sleep", "1000"
    )
    assert podman.fails("healthcheck", "run", "c") == 1
    podman("exec", "c", "touch", "/healthy")
    assert podman.fails("healthcheck", "run", "c") == 0


def test_a_build(podman: Podman) -> None:
    context = podman.place / "context"
    context.mkdir()
    (context / "Containerfile").write_text("FROM box\nRUN echo built >/file\n")
    podman("build", "--network", "none", "--tag", "built", str(context))
    assert podman.run("built", "cat", "/file") == "built"


def test_several_at_once(podman: Podman) -> None:
    words = [*podman.words, "run", "--rm", "--network", "none", "box", "echo"]
    calls = [subprocess.Popen([*words, str(number)], stdout=subprocess.PIPE, text=True) for number in range(8)]
    assert [call.communicate(timeout=PATIENCE)[0].strip() for call in calls] == [str(number) for number in range(8)]


@pytest.mark.needs_root
@pytest.mark.needs_criu
def test_checkpoint_and_restore(podman: Podman) -> None:
    podman.start("--name", "c", "box", "sh", "-c", COUNT)
    eventually("some numbers", lambda: podman.counted("c") > 3)
    podman("container", "checkpoint", "c")
    assert podman.inspect("c", ".State.Status") == "exited"
    last = podman.counted("c")
    podman("container", "restore", "c")
    eventually("more numbers", lambda: podman.counted("c") > last + 3)
    numbers = [int(line) for line in podman("logs", "c").split()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert podman("exec", "c", "echo", "here") == "here"
    saved = podman.place / "saved.tar.gz"
    podman("container", "checkpoint", "--export", str(saved), "c")
    last = podman.counted("c")
    podman("rm", "c")
    podman("container", "restore", "--import", str(saved), "--name", "d")
    eventually("more numbers", lambda: podman.counted("d") > last + 3)
    described = json.loads(podman("inspect", "d"))[0]
    assert described["State"]["Restored"] and described["State"]["Status"] == "running"
