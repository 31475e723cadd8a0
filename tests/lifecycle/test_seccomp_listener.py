# SPDX-License-Identifier: Apache-2.0
"""SCMP_ACT_NOTIFY: system calls that wait for the answer of an agent, which is us."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .configs import with_user_namespace
from .harness import PATIENCE, SHORT_PATIENCE, Container, eventually

differs = pytest.mark.differs
pytestmark = pytest.mark.needs_seccomp

# linux/seccomp.h: struct seccomp_notif (80 bytes: id, pid, flags, data) and struct seccomp_notif_resp.
RECEIVE, SEND = 0xC0502100, 0xC0182101
RESPONSE = struct.Struct("=QqiI")
CONTINUE = 1


@dataclass
class Agent:
    """Whoever listens at listenerPath: the messages that came, and the listeners, in order."""

    socket: socket.socket
    path: str
    messages: list[dict[str, Any]] = field(default_factory=list)
    listeners: list[int] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def meet(self) -> dict[str, Any]:
        """Take one message; the connection may stay open, and is there to be looked at."""
        self.connections.append(self.socket.accept()[0])
        self.connections[-1].settimeout(PATIENCE)
        text, descriptors, _, _ = socket.recv_fds(self.connections[-1], 65536, 8)
        self.listeners += descriptors
        assert len(descriptors) == 1
        self.messages.append(json.loads(text))
        return self.messages[-1]

    def answer(self, error: int = 0, flags: int = 0, listener: int = -1) -> int:
        """Answer the next call with an error, or have it carried out; the pid of its caller."""
        fd = self.listeners[listener]
        assert select.select([fd], [], [], PATIENCE)[0], "nobody asks"
        asked = ctypes.create_string_buffer(80)
        fcntl.ioctl(fd, RECEIVE, asked)
        number, pid = struct.unpack_from("=QI", asked)
        fcntl.ioctl(fd, SEND, RESPONSE.pack(number, 0, -error, flags))
        return int(pid)


@pytest.fixture
def agent(container: Container) -> Iterator[Agent]:
    path = container.scratch / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(PATIENCE)
        agent = Agent(listening, str(path))
        yield agent
        for connection in agent.connections:
            connection.close()
        for fd in agent.listeners:
            os.close(fd)


def ask(container: Container, agent: Agent, *names: str) -> None:
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent.path,
        "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
    }


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("mapped", [False, True], ids=["host users", "own users"])
def test_the_agent_has_the_say(container: Container, agent: Agent, no_new_privileges: bool, mapped: bool) -> None:
    container.process["noNewPrivileges"] = no_new_privileges
    if mapped:
        with_user_namespace(container.config)
        (container.rootfs / "tmp").chmod(0o1777)
    ask(container, agent, "mkdir", "mkdirat")
    container.create(args=["sh", "-c", "mkdir /tmp/denied; mkdir /tmp/made; echo done"]).ok()
    agent.meet()
    container.start().ok()
    assert agent.answer(errno.EXDEV)
    assert agent.answer(flags=CONTINUE)
    container.prints("done")
    eventually("the error", lambda: "link" in container.error_file.read_text())
    assert sorted(path.name for path in (container.rootfs / "tmp").iterdir()) == ["made"]


def test_what_the_agent_is_told(container: Container, agent: Agent) -> None:
    container.config["annotations"] = {"a": "b"}
    ask(container, agent, "mkdir", "mkdirat")
    container.create(args=["sleep", "1000"]).ok()
    message = agent.meet()
    assert "metadata" not in message
    assert message["ociVersion"]
    assert message["fds"] == ["seccompFd"]
    assert message["pid"] == container.pid
    state = message["state"]
    assert state["annotations"]["a"] == "b"
    assert (state["id"], state["status"], state["pid"]) == (container.id, "creating", container.pid)


def test_the_agent_is_given_what_the_config_has_for_it(container: Container, agent: Agent) -> None:
    ask(container, agent, "mkdir", "mkdirat")
    container.linux["seccomp"]["listenerMetadata"] = "for the agent: \u263a"
    container.create(args=["sleep", "1000"]).ok()
    assert agent.meet()["metadata"] == "for the agent: \u263a"


def test_metadata_without_anybody_to_have_it(container: Container, agent: Agent) -> None:
    ask(container, agent)
    del container.linux["seccomp"]["listenerPath"]
    container.linux["seccomp"] |= {"listenerMetadata": "x", "syscalls": []}
    result = container.create()
    if container.runtime.name == "runc" and result.status == 0:
        pytest.xfail("runc 1.1.5 does not look at it without a listener")
    result.refused("listenerMetadata")
    container.leaves_nothing()


@differs(runc="1.1.5 tells of a running container")
def test_what_the_agent_is_told_of_an_exec(container: Container, agent: Agent) -> None:
    ask(container, agent, "mkdir", "mkdirat")
    container.create(args=["sleep", "1000"]).ok()
    agent.meet()
    pid_file = container.bundle / "exec.pid"
    container.exec("sleep", "1000", options=("--detach", "--pid-file", str(pid_file))).ok()
    message = agent.meet()
    assert message["pid"] == int(pid_file.read_text())
    assert message["state"]["pid"] == container.pid
    assert message["state"]["status"] == "created"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_an_exec_has_a_listener_of_its_own(container: Container, agent: Agent, no_new_privileges: bool) -> None:
    container.process["noNewPrivileges"] = no_new_privileges
    ask(container, agent, "mkdir", "mkdirat")
    container.launch()
    agent.meet()
    run = container.background("exec", container.id, "mkdir", "/tmp/x")
    agent.meet()
    agent.answer(errno.EXDEV)
    eventually("the end of exec", lambda: run.poll() is not None)
    assert run.returncode == 1


def test_calls_of_the_runtime_itself_may_wait_for_the_agent(container: Container, agent: Agent) -> None:
    """From the filter's loading to execve there are calls to make; each waits until the agent has its descriptor."""
    container.process["noNewPrivileges"] = False
    container.process["user"] = {"uid": 1000, "gid": 1000}
    ask(container, agent, "setresuid", "capset", "chdir")
    container.process["args"] = ["id", "-u"]
    container.write_config()
    create = container.background("create", "--bundle", str(container.bundle), container.id)
    output = container.bundle / f"stdout.{container.calls}"
    agent.meet()
    while create.poll() is None:
        if select.select([agent.listeners[-1]], [], [], 0.05)[0]:
            agent.answer(flags=CONTINUE)
    assert create.returncode == 0
    container.start().ok()
    container.becomes("stopped")
    assert output.read_text() == "1000\n"


@differs(runc="1.1.5 closes it when it ends itself")
def test_one_message_makes_a_connection(container: Container, agent: Agent) -> None:
    """Closed at once, and not when the runtime ends: an exec in front lives as long as its program."""
    ask(container, agent, "mkdir", "mkdirat")
    container.launch()
    agent.meet()
    container.background("exec", container.id, "sleep", "1000")
    agent.meet()
    agent.connections[-1].settimeout(SHORT_PATIENCE)
    assert agent.connections[-1].recv(1) == b""


def test_no_notification_no_listener(container: Container, agent: Agent) -> None:
    ask(container, agent)
    container.linux["seccomp"]["syscalls"] = [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]
    container.launch()
    agent.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        agent.socket.accept()


def test_an_exec_that_the_agent_cannot_be_told_of_does_not_run(container: Container, agent: Agent) -> None:
    ask(container, agent, "mkdir", "mkdirat")
    container.launch()
    agent.meet()
    agent.socket.close()
    container.exec("touch", "/tmp/ran").refused("connect", status=255)
    assert not Path(container.rootfs / "tmp" / "ran").exists()
