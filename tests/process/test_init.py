# SPDX-License-Identifier: Apache-2.0
"""Init's steps: in which order, and what becomes of a step that fails."""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.process import channel as messages
from pyoci.process import init as init_process
from pyoci.process.channel import Channel, pair
from pyoci.process.init import STEPS, Handed, Init, run
from pyoci.process.program import Program
from pyoci.process.waiting import Waiting
from tests.forked import in_child
from tests.plan.hosts import config, planned
from tests.rootfs.roots import refusal

NAMES = [step.__name__ for step in STEPS]


@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        ("become_root", "join_namespaces", "what is joined may belong to the user namespace"),
        ("join_namespaces", "set_names", "the names belong to the uts namespace"),
        ("join_namespaces", "make_root", "mounts belong to the mount namespace"),
        ("make_root", "make_mounts", "they are made in it"),
        ("make_mounts", "make_devices", "devices go into what is mounted at /dev"),
        ("make_devices", "run_hooks", "hooks see the root complete"),
        ("run_hooks", "enter_root", "and the host still there"),
        ("enter_root", "set_up_terminal", "/dev/pts is the container's"),
        ("enter_root", "make_cwd", "links of the image end in it"),
        ("make_cwd", "close_root", "nothing can be made in what is read-only"),
        ("set_up_terminal", "close_root", "/dev may become read-only"),
        ("close_root", "become_program", "it takes rights that the program may not have"),
        ("prepare_waiting", "become_program", "so does the procfs for the fifo"),
        ("close_root", "find_home", "what is masked is no passwd file for the program"),
        ("find_home", "take_limits", "it takes descriptors"),
        ("take_limits", "become_program", "so do limits"),
    ],
)
def test_the_order_of_steps(first: str, then: str, why: str) -> None:
    assert NAMES.index(first) < NAMES.index(then), why


def test_every_step_says_something_or_is_plain() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert NAMES[:2] == ["enter_cgroups", "become_root"]
    assert NAMES[-1] == "become_program"


def an_init(channel: Channel, **changes: Any) -> Init:
    plan = planned(config(**changes))
    handed = Handed(
        proc=os.open("/proc", os.O_PATH | os.O_DIRECTORY),
        fifo=-1,
        console=-1,
        joins=[],
        sources=None,
        preserve_fds=0,
        program=Program(plan.process, b"", 0, in_user_namespace=False),
        state={"id": "box"},
    )
    return Init(plan, handed, channel)


def test_a_step_that_fails_is_told_and_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def fail(init: Init) -> None:
        raise PyociError("the step failed \udcff")

    steps = (lambda init: done.append("first"), fail, lambda init: os.kill(os.getppid(), signal.SIGKILL))
    monkeypatch.setattr(init_process, "STEPS", steps)
    ours, theirs = pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        one = an_init(theirs)
        run(one.plan, one.handed, theirs)
    theirs.close()
    kind, text = ours.receive()
    assert (kind, text.decode()) == (messages.FAILED, "the step failed \\udcff")
    assert ours.receive()[0] == messages.CLOSED
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    ours.close()


@pytest.mark.parametrize("error", [KeyError("k"), MemoryError(), KeyboardInterrupt(), SystemExit(0), OSError(28, "")])
def test_whatever_it_is(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing gets past `run`: what comes after it in the process is the launcher's."""

    def fail(init: Init) -> None:
        raise error

    monkeypatch.setattr(init_process, "STEPS", (fail,))
    ours, theirs = pair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            one = an_init(theirs)
            run(one.plan, one.handed, theirs)
        finally:
            os._exit(77)
    theirs.close()
    assert ours.receive()[0] == messages.FAILED
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    ours.close()


def test_when_the_launcher_is_gone_so_is_init() -> None:
    for ask in (lambda init: init.expect(messages.PLACED), lambda init: init.ask(messages.HOOKS)):
        ours, theirs = pair()
        pid = os.fork()
        if pid == 0:
            try:
                ours.close()
                signal.signal(signal.SIGPIPE, signal.SIG_IGN)
                ask(an_init(theirs))
            except BrokenPipeError:
                os._exit(1)
            finally:
                os._exit(77)
        theirs.close()
        ours.close()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_reporting_to_nobody() -> None:
    ours, theirs = pair()
    ours.close()
    one = an_init(theirs)
    one.report(PyociError("whatever"))  # raises nothing
    os.close(one.handed.proc)
    theirs.close()


def test_being_placed_is_waited_for_once() -> None:
    ours, theirs = pair()
    one = an_init(theirs)
    ours.send(messages.PLACED)
    one.await_placed()
    one.await_placed()
    assert one.placed
    os.close(one.handed.proc)
    ours.close()
    theirs.close()


def test_a_cgroup_namespace_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(flags: int) -> None:
        raise OSError(errno.ENOSPC, "")

    one = an_init(Channel(-1), linux={"namespaces": [{"type": "cgroup"}]})
    one.placed = True
    monkeypatch.setattr(k, "unshare", refuse)
    assert refusal(one.enter_cgroup_namespace) == "make the container's cgroup namespace: no space left on device"
    os.close(one.handed.proc)


def test_a_fifo_that_cannot_be_opened_is_told_before_the_launcher_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pair()
    one = an_init(theirs)
    one.waiting = Waiting(one.handed.fifo, one.handed.proc)
    assert refusal(one.await_start).startswith("open the exec fifo")
    theirs.close()
    assert ours.receive()[0] == messages.CLOSED, "not READY"
    ours.close()
    os.close(one.handed.proc)


@pytest.mark.needs_root
def test_names_of_the_host() -> None:
    def inside() -> list[str]:
        k.unshare(k.CLONE_NEWUTS)
        linux = {"namespaces": [{"type": "uts"}]}
        an_init(Channel(-1), hostname="box", domainname="example.org", linux=linux).set_names()
        return [os.uname().nodename, Path("/proc/sys/kernel/domainname").read_text().strip()]

    assert in_child(inside) == ["box", "example.org"]


@pytest.mark.needs_root
def test_a_name_that_cannot_be() -> None:
    def inside() -> str:
        k.unshare(k.CLONE_NEWUTS)
        return refusal(an_init(Channel(-1), hostname="x" * 65).set_names)

    assert in_child(inside) == f"sethostname {'x' * 65}: invalid argument"


@pytest.mark.needs_root
def test_kernel_parameters_go_to_the_kernel() -> None:
    """Whatever is mounted at /proc by then (CVE-2025-52881)."""

    def inside() -> list[Any]:
        k.unshare(k.CLONE_NEWIPC | k.CLONE_NEWNS)
        k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)
        one = an_init(Channel(-1), linux={"sysctl": {"kernel.shmmax": "123456"}})
        proc = one.handed.proc
        k.mount("tmpfs", "/proc", "tmpfs", 0)
        os.makedirs("/proc/sys/kernel")
        Path("/proc/sys/kernel/shmmax").write_text("decoy")
        one.set_sysctls()
        fd = os.open("sys/kernel/shmmax", os.O_RDONLY, dir_fd=proc)
        return [os.read(fd, 99).decode().strip(), Path("/proc/sys/kernel/shmmax").read_text()]

    assert in_child(inside) == ["123456", "decoy"]


@pytest.mark.needs_root
def test_a_kernel_parameter_that_is_refused() -> None:
    def inside() -> list[str]:
        k.unshare(k.CLONE_NEWIPC | k.CLONE_NEWNET)
        wrong = {"kernel.shmmax": "many"}, {"net.no_such": "1"}, {"kernel.shmmax": "5 6"}, {"kernel.msgmax": ""}
        return [refusal(an_init(Channel(-1), linux={"sysctl": values}).set_sysctls) for values in wrong]

    assert in_child(inside) == [
        "set sysctl kernel.shmmax = many: invalid argument",
        "set sysctl net.no_such = 1: no such file or directory",
        "set sysctl kernel.shmmax = 5 6: invalid argument",
        "set sysctl kernel.msgmax = : invalid argument",
    ]


@pytest.mark.needs_root
def test_an_empty_kernel_parameter() -> None:
    """A write of nothing would leave the value that a namespace has which is joined."""

    def inside() -> list[str]:
        k.unshare(k.CLONE_NEWNET)
        one, name = an_init(Channel(-1)), "net/ipv4/ip_local_reserved_ports"
        seen = []
        for value in ("8080,9000-9002", ""):
            one.plan = one.plan.replace(sysctl=((name, value),))
            one.set_sysctls()
            seen.append(Path("/proc/sys", name).read_text())
        return seen

    assert in_child(inside) == ["8080,9000-9002\n", "\n"]


def test_what_a_hook_in_the_container_is_told() -> None:
    one = an_init(Channel(-1))
    assert json.loads(one.state_json()) == {"id": "box", "status": "created", "pid": os.getpid()}
    os.close(one.handed.proc)
