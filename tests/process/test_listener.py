# SPDX-License-Identifier: Apache-2.0
"""How a listener gets from the process under the filter to the launcher, and on to its agent."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.process import channel as messages
from pyoci.process.channel import Channel, pair
from pyoci.process.listener import Agent, hand_over
from pyoci.seccomp import ALLOW, FLAG_NEW_LISTENER, NOTIFY, Rule, SeccompPlan

CONTENT = b"as if it were a listener"


def plan(path: Path, *names: str) -> SeccompPlan:
    return SeccompPlan(
        default_action=ALLOW,
        flags=FLAG_NEW_LISTENER,
        rules=(Rule(names=names or ("mkdir",), action=NOTIFY),),
        listener_path=str(path),
        listener_metadata="of use to the agent",
    )


def process(channel: Channel, launcher: Channel) -> int:
    """A child that hands a pipe with CONTENT in it over, and ends with 0 if it was let go on."""
    pid = os.fork()
    if pid == 0:
        try:
            launcher.close()
            reading, writing = os.pipe()
            os.write(writing, CONTENT)
            hand_over(channel, reading)
            os.fstat(reading)
        except OSError as error:
            os._exit(0 if error.errno == errno.EBADF else 3)
        os._exit(4)
    return pid


def hand(agent: Agent, path: Path) -> dict[str, Any]:
    """One listener on its whole way: what the agent was told. What it got must be the child's."""
    ours, theirs = pair()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        pid = process(theirs, ours)
        theirs.close()
        pidfd = os.pidfd_open(pid)
        try:
            kind, number = ours.receive()
            assert kind == messages.LISTENER
            agent.introduce(ours, number, pid, pidfd, 1234)
            connection, _ = listening.accept()
            with connection:
                text, (received,), _, _ = socket.recv_fds(connection, 4096, 2)
                assert connection.recv(1) == b""
            assert os.read(received, 100) == CONTENT
            os.close(received)
        finally:
            ours.close()
            os.close(pidfd)
            assert os.waitpid(pid, 0)[1] == 0, "the process goes on, and without its listener"
    told: dict[str, Any] = json.loads(text)
    assert told["pid"] == pid
    return told


def test_the_launcher_takes_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "agent"
    told = hand(Agent(plan(path), {"id": "web", "status": "creating"}), path)
    assert told["fds"] == ["seccompFd"]
    assert told["metadata"] == "of use to the agent"
    assert told["state"] == {"id": "web", "status": "creating", "pid": 1234}


def refuse(_pidfd: int, _number: int) -> int:
    raise PermissionError(errno.EPERM, "not permitted")


def test_a_launcher_that_may_not_is_sent_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k, "pidfd_getfd", refuse)
    path = tmp_path / "agent"
    hand(Agent(plan(path), {}), path)


@pytest.mark.parametrize("name", ["read", "getsockname", "getsockopt", "sendmsg"])
def test_a_profile_can_close_both_ways(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process would wait for an agent that has no listener yet."""
    monkeypatch.setattr(k, "pidfd_getfd", refuse)
    ours, theirs = pair()
    theirs.close()  # or we would wait, too
    with pytest.raises(PyociError, match=f"CAP_SYS_PTRACE, and .* SCMP_ACT_NOTIFY for {name}"):
        Agent(plan(tmp_path / "agent", "mkdir", name), {}).introduce(ours, b"5", 1, -1, 1)
    ours.close()


def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    ours, theirs = pair()
    pid = process(theirs, ours)
    theirs.close()
    pidfd = os.pidfd_open(pid)
    _, number = ours.receive()
    with pytest.raises(PyociError, match=r"connect to the seccomp agent .*nobody"):
        Agent(plan(tmp_path / "nobody"), {}).introduce(ours, number, pid, pidfd, 1)
    ours.close()
    os.close(pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, "what nobody answers for does not go on"
