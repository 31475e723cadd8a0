# SPDX-License-Identifier: Apache-2.0
"""From `linux.seccomp` to a plan, and what the kernel makes of a loaded filter."""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from pyoci import seccomp
from pyoci.errors import PyociError, SpecError
from pyoci.seccomp import Comparison, Filter, Rule, SeccompPlan, plan_seccomp
from pyoci.syscalls import PR_SET_NO_NEW_PRIVS, prctl
from tests.forked import in_child

EVERY_FLAG = tuple(seccomp.FLAGS)


def config(*syscalls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(syscalls), **more}


def rule(name: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": action, **more}


def plan(*syscalls: dict[str, Any], **more: Any) -> SeccompPlan:
    planned = plan_seccomp(config(*syscalls, **more), EVERY_FLAG)
    assert planned is not None
    return planned


def refusal(*syscalls: dict[str, Any], supported: tuple[str, ...] = EVERY_FLAG, **more: Any) -> str:
    with pytest.raises(SpecError) as caught:
        plan_seccomp(config(*syscalls, **more), supported)
    return caught.value.message


@pytest.mark.parametrize("empty", [{}, {"defaultAction": ""}, {"defaultAction": "", "syscalls": []}])
def test_no_default_action_and_no_rules_is_no_filter(empty: dict[str, Any]) -> None:
    assert plan_seccomp(empty, EVERY_FLAG) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, 0x00050001),
        ({"errnoRet": 0}, 0x00050000),
        ({"errnoRet": 38}, 0x00050026),
        ({"action": "SCMP_ACT_TRACE", "errnoRet": 5}, 0x7FF00005),
        ({"action": "SCMP_ACT_TRACE"}, 0x7FF00001),
        ({"errnoRet": 4095}, 0x00050FFF),
        ({"action": "SCMP_ACT_TRACE", "errnoRet": 65535}, 0x7FF0FFFF),
        ({"action": "SCMP_ACT_KILL", "errnoRet": 5}, 0),
        ({"action": "SCMP_ACT_KILL_PROCESS"}, 0x80000000),
    ],
)
def test_actions(more: dict[str, Any], expected: int) -> None:
    assert plan({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", **more}).rules[0].action == expected


@pytest.mark.parametrize(
    ("action", "number", "highest"),
    [("SCMP_ACT_ERRNO", 4096, 4095), ("SCMP_ACT_ERRNO", 65536, 4095), ("SCMP_ACT_TRACE", 65536, 65535)],
)
def test_a_number_that_does_not_fit_is_not_cut(action: str, number: int, highest: int) -> None:
    wrong = f"{action} cannot give {number}: the highest is {highest}"
    assert refusal(rule("mkdir", action, errnoRet=number)) == f"linux.seccomp.syscalls[0]: {wrong}"
    assert refusal(defaultAction=action, defaultErrnoRet=number) == f"linux.seccomp: {wrong}"


def test_a_rule_that_does_what_happens_anyway_is_left_out() -> None:
    planned = plan(
        rule("a"), rule("b", errnoRet=2), rule("c", errnoRet=1), defaultAction="SCMP_ACT_ERRNO", defaultErrnoRet=2
    )
    assert [item.names for item in planned.rules] == [("a",), ("c",)]
    assert planned.named == ("b",)


def test_conditions() -> None:
    arguments = [
        {"index": 0, "value": 2**64 - 1, "op": "SCMP_CMP_EQ"},
        {"index": 5, "value": 7, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"},
    ]
    assert plan(rule("clone", args=arguments)).rules == (
        Rule(
            names=("clone",),
            action=0x00050001,
            conditions=(
                Comparison(index=0, operator="SCMP_CMP_EQ", value=2**64 - 1),
                Comparison(index=5, operator="SCMP_CMP_MASKED_EQ", value=7, second=1),
            ),
        ),
    )


def test_flags() -> None:
    allow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
    assert plan().flags == 4
    assert plan(flags=None).flags == 4
    assert plan(flags=[]).flags == 0
    assert plan(flags=["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"]).flags == 2
    planned = plan_seccomp(config(), ())
    assert planned is not None and planned.flags == 0
    assert refusal(flags=[allow], supported=()) == f"linux.seccomp.flags: {allow} is not supported by this kernel"
    assert refusal(flags=["X"]) == "linux.seccomp.flags: 'X' is not a known flag"


def test_notifications() -> None:
    notify = rule("mkdir", "SCMP_ACT_NOTIFY")
    planned = plan(notify, listenerPath="/run/agent", listenerMetadata="m")
    assert (planned.flags, planned.listener_path, planned.listener_metadata) == (4 | 8, "/run/agent", "m")
    killable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    assert plan(notify, listenerPath="/run/agent", flags=[killable]).flags == 8 | 32
    assert plan(flags=[killable]).flags == 0  # nobody receives
    assert "default action" in refusal(defaultAction="SCMP_ACT_NOTIFY")
    assert "write syscall" in refusal(rule("write", "SCMP_ACT_NOTIFY"), listenerPath="/run/agent")
    assert "needs a listenerPath" in refusal(notify)
    assert "needs a listenerPath" in refusal(listenerMetadata="m")


def test_what_is_wrong_is_named_with_its_place() -> None:
    assert refusal(rule("a"), rule("b", "X")) == "linux.seccomp.syscalls[1]: 'X' is no seccomp action"
    bad = {"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}
    assert refusal(rule("a", args=[bad])).startswith("linux.seccomp.syscalls[0].args[0]: no comparison")


def statement(code: int, k: int, jt: int = 0, jf: int = 0) -> bytes:
    return struct.pack("@HBBI", code, jt, jf, k)


ALLOW_ALL = statement(0x06, seccomp.ALLOW)


@pytest.mark.needs_seccomp
def test_supported_flags_are_what_the_kernel_takes() -> None:
    def inside() -> list[int]:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        flags = [name for name in seccomp.supported_flags() if name in EVERY_FLAG[:3]]
        return [Filter(ALLOW_ALL, seccomp.FLAGS[name]).load() for name in flags]

    answers = in_child(inside, sealed=True)
    assert answers and set(answers) == {-1}


@pytest.mark.needs_seccomp
def test_probing_loads_no_filter() -> None:
    def inside() -> str:
        seccomp.supported_flags()
        return next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Seccomp:"))

    assert in_child(inside).split()[1] == Path("/proc/self/status").read_text().split("Seccomp:")[1].split()[0]


@pytest.mark.needs_seccomp
def test_a_program_the_kernel_refuses() -> None:
    def inside() -> str:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        with pytest.raises(PyociError) as caught:
            Filter(statement(0x05, 99), 0).load()
        return caught.value.message

    assert in_child(inside) == "unable to init seccomp: load the filter: invalid argument"


@pytest.mark.needs_seccomp
def test_a_listener_reaches_the_agent(tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def inside() -> int:
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            listener = Filter(ALLOW_ALL, seccomp.FLAG_NEW_LISTENER).load()
            seccomp.send_listener(path, b'{"fds":["seccompFd"]}', listener)
            return listener

        assert in_child(inside) >= 0
        connection, _ = server.accept()
        payload, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        assert payload == b'{"fds":["seccompFd"]}'
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in fds] == ["anon_inode:seccomp notify"]
        for fd in fds:
            os.close(fd)
        connection.close()


def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PyociError) as caught:
        seccomp.send_listener(f"{tmp_path}/none", b"x", 0)
    assert caught.value.message == (
        f"connect to the seccomp agent {tmp_path}/none: {os.strerror(errno.ENOENT).lower()}"
    )
