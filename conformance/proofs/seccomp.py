# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Seccomp, and the container process state that goes to an agent."""

from __future__ import annotations

import array
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.lifecycle.harness import PATIENCE

from ..box import Box
from ..suite import each, proves
from .lifecycle import SEMVER, has_the_types_of_the_schema

CALL = "getsid"
"""A system call that the payload makes and no runtime needs; what it gets is in the report."""


def rule(action: str, **more: Any) -> dict[str, Any]:
    return {"names": [CALL], "action": action, **more}


def filtered(box: Box, *rules: dict[str, Any], **more: Any) -> None:
    box.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **more}


@each(
    {"default": (None, errno.EPERM), "other": (errno.EXDEV, errno.EXDEV)}, "create-properties", newer={"other": "1.1"}
)
def an_error_for_a_system_call(box: Box, case: tuple[int | None, int]) -> None:
    given, expected = case
    filtered(box, rule("SCMP_ACT_ERRNO", **({} if given is None else {"errnoRet": given})))
    report = box.look()
    assert report["sid"] == -expected
    assert report.status("Seccomp") == "2"


MATCHES: dict[str, tuple[int | None, int | None]] = {
    "SCMP_CMP_NE": (1, 0), "SCMP_CMP_LT": (1, 0), "SCMP_CMP_LE": (0, None), "SCMP_CMP_EQ": (0, 1),
    "SCMP_CMP_GE": (0, 1), "SCMP_CMP_GT": (None, 0), "SCMP_CMP_MASKED_EQ": (0, 1),
}  # fmt: skip
"""For each operator, a value which makes it true of the zero that the call has, and one that does not."""


@each({name: (name, *values) for name, values in MATCHES.items()}, "features-seccomp-operators")
def a_condition(box: Box, case: tuple[str, int | None, int | None]) -> None:
    operator, true, false = case
    condition: dict[str, Any] = {"index": 0, "op": operator}
    for value, matches in ((true, True), (false, False)):
        if value is None:
            continue
        condition |= {"value": 0xFF, "valueTwo": value} if operator == "SCMP_CMP_MASKED_EQ" else {"value": value}
        filtered(box, rule("SCMP_ACT_ERRNO", errnoRet=errno.EXDEV, args=[condition]))
        assert (box.look()["sid"] == -errno.EXDEV) == matches, condition


@each({"default": True, "rule": False}, "seccomp-default-errno", "seccomp-errno")
def an_errno_where_none_is_returned(box: Box, default: bool) -> None:
    if default:
        filtered(box, rule("SCMP_ACT_ERRNO"), defaultErrnoRet=errno.EXDEV)
    else:
        filtered(box, rule("SCMP_ACT_KILL", errnoRet=errno.EXDEV))
    box.refuses()


# The agent


class Agent:
    """Whoever listens at listenerPath."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening

    def take(self) -> tuple[dict[str, Any], list[int], bytes]:
        """One message: what it says, the descriptors of its first part, and what comes after it."""
        connection, _ = self.listening.accept()
        with connection:
            connection.settimeout(PATIENCE)
            text, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(64))
            descriptors = array.array("i")
            for level, kind, data in ancillary:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                descriptors.frombytes(data)
            while more := connection.recv(65536):
                text += more
        state, end = json.JSONDecoder().raw_decode(text.decode())
        return state, list(descriptors), text[end:].strip()


@contextmanager
def agent(box: Box, **more: Any) -> Iterator[Agent]:
    path = box.scratch / "agent"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(PATIENCE)
        filtered(box, rule("SCMP_ACT_NOTIFY"), listenerPath=str(path), **more)
        yield Agent(listening)


def told(box: Box, **more: Any) -> tuple[dict[str, Any], list[int], bytes]:
    """What an agent is told of a container that is created, and never started."""
    with agent(box, **more) as one:
        box.create().ok()
        state, descriptors, rest = one.take()
    box.kill("KILL").ok()
    box.wait()
    box.delete().ok()
    return state, descriptors, rest


@proves("process-state-json", "process-state-first", "seccomp-fd", "seccomp-socket")
def the_descriptor_for_an_agent(box: Box) -> None:
    state, descriptors, _ = told(box)
    try:
        assert state["fds"] == ["seccompFd"]
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in descriptors] == ["anon_inode:seccomp notify"]
    finally:
        for fd in descriptors:
            os.close(fd)


@proves("process-state-version", "process-state-pid", "process-state-state")
def what_an_agent_is_told(box: Box) -> None:
    state, _, _ = told(box, listenerMetadata="some words")
    assert SEMVER.fullmatch(state["ociVersion"])
    assert (state["pid"], state["metadata"]) == (box.pid, "some words")
    has_the_types_of_the_schema(state["state"])
    assert (state["state"]["id"], state["state"]["pid"]) == (box.id, box.pid)


@proves("seccomp-one-state", "seccomp-closed")
def one_message_for_an_agent(box: Box) -> None:
    """It is read to the end of the connection, while the container still exists."""
    with agent(box) as one:
        box.create().ok()
        _, _, rest = one.take()
        assert rest == b""
        assert box.status == "created"


@each({"nobody": False, "refused": True}, "seccomp-send-fails", "error-leaves-nothing")
def an_agent_that_cannot_be_told(box: Box, exists: bool) -> None:
    path = box.scratch / "agent"
    if exists:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
            bound.bind(str(path))
    filtered(box, rule("SCMP_ACT_NOTIFY"), listenerPath=str(path))
    box.refuses()
