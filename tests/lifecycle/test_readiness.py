# SPDX-License-Identifier: Apache-2.0
"""sd_notify(3) across the border: a caller that is to be told when the program is ready, and of nothing else.

The tests are the caller's service manager on the one side; on the other they speak for the program, to its socket.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .configs import without_namespace
from .harness import PATIENCE, Container, eventually

differs = pytest.mark.differs

INSIDE = "/run/notify/notify.sock"


@dataclass
class Manager:
    """A service manager, as far as it listens: what it was told, line by line, and the barriers it was asked to pass."""

    socket: socket.socket
    name: str
    barriers: list[int] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": self.name}

    def hear(self) -> str:
        """The next message, without its line's end. A barrier's descriptor is kept open."""
        text, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
        self.barriers += descriptors
        return text.decode().rstrip("\n")

    def silent(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)
        return False

    def lift(self) -> None:
        """Let whoever waits at a barrier go on."""
        while self.barriers:
            os.close(self.barriers.pop())


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, container: Container) -> Iterator[Manager]:
    abstract = request.param == "an abstract name"
    # runc 1.1.5 knows no name of more than 107 bytes.
    directory_name = "" if container.runtime.name == "runc" else "long" * 20
    name = f"@{container.id}" if abstract else str(container.scratch / directory_name / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as endpoint:
        if abstract:
            endpoint.bind(b"\0" + name[1:].encode())
        else:
            Path(name).parent.mkdir(exist_ok=True)
            directory = os.open(Path(name).parent, os.O_PATH)
            endpoint.bind(f"/proc/self/fd/{directory}/notify.sock")
            os.close(directory)
        endpoint.settimeout(PATIENCE)
        manager = Manager(endpoint, name)
        yield manager
        manager.lift()


def not_runc(container: Container, why: str) -> None:
    """Where it would take a test's whole patience to see another runtime fail."""
    if container.runtime.name == "runc":
        pytest.skip(f"runc 1.1.5 {why}")


def program_says(container: Container, text: str) -> None:
    """Send a message the way the program would, to the socket that is in /run/notify for it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as endpoint:
        place = container.root / container.id / "notify" / "notify.sock"
        eventually("the program's socket", place.exists)
        directory = os.open(place.parent, os.O_PATH)
        try:
            endpoint.sendto(text.encode(), f"/proc/self/fd/{directory}/notify.sock")
        finally:
            os.close(directory)


def created(container: Container, manager: Manager) -> None:
    container.create(args=["sleep", "1000"], env=manager.environment).ok()


def started(container: Container, manager: Manager) -> subprocess.Popen[bytes]:
    """A `start` that waits for its program."""
    created(container, manager)
    return container.background("start", container.id, env=manager.environment)


def ends(command: subprocess.Popen[bytes]) -> int:
    eventually("the end of the command", lambda: command.poll() is not None)
    assert command.returncode is not None
    return command.returncode


def test_start_waits_for_the_program(container: Container, manager: Manager) -> None:
    start = started(container, manager)
    program_says(container, "READY=1\nSTATUS=up")
    assert manager.hear() == "READY=1"
    assert manager.hear() == f"MAINPID={container.pid}"
    if container.runtime.name != "runc":  # 1.1.5 knows of no barriers
        assert manager.hear() == "BARRIER=1"
        assert start.poll() is None, "systemd has not looked its sender up yet"
        manager.lift()
    assert ends(start) == 0


def test_a_detached_run_waits_too(container: Container, manager: Manager) -> None:
    container.process["args"] = ["sleep", "1000"]
    container.write_config()
    options = ("--detach", "--pid-file", str(container.pid_file))
    run = container.background(
        "run", "--bundle", str(container.bundle), *options, container.id, env=manager.environment
    )
    program_says(container, "READY=1")
    assert manager.hear() == "READY=1"
    assert manager.hear() == f"MAINPID={container.pid_file.read_text()}"
    if container.runtime.name != "runc":
        manager.hear()
        manager.lift()
    assert ends(run) == 0


def test_a_run_in_front_stays_the_main_process(container: Container, manager: Manager) -> None:
    container.process["args"] = ["sh", "-c", "while [ ! -e /tmp/end ]; do sleep 0.01; done; exit 9"]
    container.write_config()
    run = container.background("run", "--bundle", str(container.bundle), container.id, env=manager.environment)
    program_says(container, "STATUS=coming")
    program_says(container, "READY=1")
    assert manager.hear() == "READY=1"
    assert manager.hear() == f"MAINPID={run.pid}"
    (container.rootfs / "tmp" / "end").touch()
    assert ends(run) == 9
    assert manager.silent()
    container.leaves_nothing()


@pytest.mark.parametrize(
    "text", ["MAINPID=1", "NOTREADY=1", "READY=0", "STATUS=READY=1", "BARRIER=1", "FDSTORE=1", "STOPPING=1\nERRNO=2"]
)
def test_nothing_else_is_passed_on(container: Container, manager: Manager, text: str) -> None:
    not_runc(container, "waits until the program's parent has reaped it")
    start = started(container, manager)
    program_says(container, text)
    program_says(container, "WATCHDOG=1")
    assert manager.silent()
    assert start.poll() is None
    container.kill("KILL").ok()
    assert ends(start) == 0
    assert manager.silent()


def test_a_program_that_ends_is_waited_for_no_longer(container: Container, manager: Manager) -> None:
    not_runc(container, "waits until the program's parent has reaped it")
    container.create(args=["true"], env=manager.environment).ok()
    assert container.call("start", container.id, env=manager.environment).ok()
    assert manager.silent()


def test_the_socket_of_the_program(container: Container, manager: Manager) -> None:
    """It is its own, open to whoever it runs as, and the directory shows nothing else and cannot be written to."""
    not_runc(container, "waits until the program's parent has reaped it")
    container.process["user"] = {"uid": 1000, "gid": 1000}
    script = f"echo $NOTIFY_SOCKET; ls {os.path.dirname(INSIDE)}; test -w {INSIDE} && echo open; touch /run/notify/x"
    container.create(args=["sh", "-c", script], env=manager.environment).ok()
    container.call("start", container.id, env=manager.environment).ok()
    container.becomes("stopped")
    assert container.printed() == f"{INSIDE}\nnotify.sock\nopen\n"
    assert "Read-only" in container.error_file.read_text()


def test_nobody_wants_to_know(container: Container) -> None:
    assert container.sh("echo [$NOTIFY_SOCKET]; ls /run") == "[]\n"


def test_a_variable_of_the_config_gives_way(container: Container, manager: Manager) -> None:
    not_runc(container, "waits until the program's parent has reaped it")
    container.process["env"].append("NOTIFY_SOCKET=/elsewhere")
    container.create(args=["sh", "-c", "echo $NOTIFY_SOCKET"], env=manager.environment).ok()
    container.call("start", container.id, env=manager.environment).ok()
    container.becomes("stopped")
    assert container.printed() == f"{INSIDE}\n"


@differs(runc="1.1.5 starts the program first")
def test_a_manager_that_is_gone(container: Container, manager: Manager) -> None:
    created(container, manager)
    environment = {**manager.environment, "NOTIFY_SOCKET": str(container.scratch / "nobody")}
    container.call("start", container.id, env=environment).refused("NOTIFY_SOCKET", "nobody")
    assert container.status == "created"


def test_a_start_without_a_manager(container: Container, manager: Manager) -> None:
    created(container, manager)
    container.start().ok()
    assert container.status == "running"


def test_a_create_without_a_manager(container: Container, manager: Manager) -> None:
    if container.runtime.name == "runc":
        pytest.xfail("runc 1.1.5 fails to bind a socket where there is no directory")
    container.create(args=["sleep", "1000"]).ok()
    container.call("start", container.id, env=manager.environment).ok()
    assert container.status == "running"


def test_without_a_mount_namespace_there_is_no_way(container: Container, manager: Manager) -> None:
    if container.runtime.name == "runc":
        pytest.skip("runc 1.1.5 refuses")
    without_namespace(container.config, "mount")
    container.mounts.clear()
    container.linux["maskedPaths"] = container.linux["readonlyPaths"] = []
    result = container.run(args=["sh", "-c", "echo [$NOTIFY_SOCKET]"], env=manager.environment).ok()
    assert result.out == "[]\n"
    assert "NOTIFY_SOCKET" in result.err
    assert not (container.rootfs / "run" / "notify").exists()


def test_all_is_gone_in_the_end(container: Container, manager: Manager) -> None:
    created(container, manager)
    container.kill("KILL").ok()
    container.init_becomes_zombie()
    container.delete().ok()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(container.pid, 0)
    container.leaves_nothing()
