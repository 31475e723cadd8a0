# SPDX-License-Identifier: Apache-2.0
"""One more process in a container that is there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import CgroupError, PyociError, StageFailed
from pyoci.plan.model import Process
from pyoci.plan.namespaces import FLAGS
from pyoci.process import joiner
from pyoci.process.joiner import Join, Launched, launch
from pyoci.terminal import receive_master
from tests.container.boxes import Box
from tests.process.test_program import process
from tests.rootfs.roots import descriptors

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


@pytest.fixture
def running(boxes: Callable[[], Box]) -> Box:
    box = boxes()
    box.run("sleep", "1000")
    return box


def join(box: Box, wanted: Process, **more: Any) -> Join:
    flags = sum(FLAGS[entry["type"]] for entry in box.config["linux"]["namespaces"])
    values: dict[str, Any] = {
        "process": wanted,
        "pidfd": os.pidfd_open(box.pid),
        "namespaces": flags,
        "root": -1,
        "seccomp": b"",
        "seccomp_flags": 0,
        "console": -1,
        "preserve_fds": 0,
        "keyring": "",
    }
    return Join(**{**values, **more})


def ended(launched: Launched) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(launched.pid, 0)[1])


def test_it_is_in_the_container(running: Box) -> None:
    def inside() -> list[Any]:
        placed: list[int] = []
        wanted = join(running, process("sh", "-c", "echo $$ > /proof; readlink /proc/self/ns/uts >> /proof; exit 7"))
        (running.rootfs / "bin/readlink").symlink_to("busybox")
        before = descriptors()
        launched = launch(wanted, lambda pid, entered: placed.append(pid))
        opened = len(descriptors()) - len(before)
        return [placed == [launched.pid], ended(launched), opened, os.readlink(f"/proc/{running.pid}/ns/uts")]

    placed, code, opened, uts = running.apart(inside)
    assert (placed, code, opened) == (True, 7, 1), "what stays open is the pidfd"
    pid, found = (running.rootfs / "proof").read_text().split()
    assert int(pid) < 100, "a pid of the container's"
    assert found == uts


def test_a_program_that_there_is_not(running: Box) -> None:
    def inside() -> list[Any]:
        with pytest.raises(StageFailed) as caught:
            launch(join(running, process("none")), lambda pid, entered: None)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return [caught.value.message]

    assert running.apart(inside) == ['exec: "none": executable file not found in $PATH']


def test_an_interrupt_does_not_bring_it_back_into_our_code(running: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the process is born, and counts when it is the container's: there, it is the end of it."""
    original = joiner._clone

    def interrupted(wanted: Join) -> tuple[int, int, bool]:
        pid, pidfd, born_there = original(wanted)
        if pid == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return pid, pidfd, born_there

    monkeypatch.setattr(joiner, "_clone", interrupted)

    def inside() -> list[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with pytest.raises(StageFailed) as caught:
            try:
                launch(join(running, process("true")), lambda pid, entered: None)
            except KeyboardInterrupt:
                (running.bundle / "escaped").touch()
                raise
        return [caught.value.message, signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before]

    assert running.apart(inside) == ["the process was killed before it got to its program", True]
    assert not (running.bundle / "escaped").exists()


def test_a_cgroup_that_cannot_be_joined(running: Box) -> None:
    """The process must not run without its limits, and not be left behind."""

    def refuse(pid: int, entered: list[str]) -> None:
        raise CgroupError("no")

    def inside() -> bool:
        with pytest.raises(CgroupError):
            launch(join(running, process("sh", "-c", "echo x > /proof")), refuse)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return True

    assert running.apart(inside)
    assert not (running.rootfs / "proof").exists()


def test_a_process_that_is_killed_on_its_way(running: Box) -> None:
    def kill(pid: int, entered: list[str]) -> None:
        os.kill(pid, k.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def inside() -> str:
        with pytest.raises(StageFailed) as caught:
            launch(join(running, process("true")), kill)
        return caught.value.message

    assert running.apart(inside) == "the process was killed before it got to its program"


def test_what_fails_before_it_is_placed(running: Box) -> None:
    """It has ended when it is told that it is in its cgroup, and what it said counts, not that nobody listens."""

    def inside() -> str:
        with pytest.raises(StageFailed) as caught:
            wanted = join(running, process("true", terminal=True), console=os.open("/dev/null", os.O_RDWR))
            launch(wanted, lambda pid, entered: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT))
        return caught.value.message

    (running.rootfs / "dev").mkdir(exist_ok=True)
    assert "terminal" in running.apart(inside) or "socket" in running.apart(inside)


def test_it_is_placed_before_it_runs(running: Box) -> None:
    proof = running.rootfs / "proof"

    def inside() -> bool:
        seen: list[bool] = []
        launched = launch(join(running, process("touch", "/proof")), lambda pid, entered: seen.append(proof.exists()))
        return ended(launched) == 0 and seen == [False]

    assert running.apart(inside)
    assert proof.exists()


def test_its_terminal_is_attached_before_it_runs(running: Box) -> None:
    proof = running.rootfs / "proof"

    def inside() -> bool:
        ours, theirs = k.stream_pair()
        seen: list[bool] = []

        def attach() -> None:
            receive_master(ours)
            time.sleep(0.2)
            seen.append(proof.exists())

        wanted = join(running, process("touch", "/proof", terminal=True), console=theirs)
        launched = launch(wanted, lambda pid, entered: None, attach)
        os.waitpid(launched.pid, 0)
        return seen == [False]

    assert running.apart(inside)


def test_why_there_is_no_terminal_to_attach(boxes: Callable[[], Box]) -> None:
    box = boxes()
    box.config["mounts"] = [mount for mount in box.config["mounts"] if mount["type"] != "devpts"]
    box.run("sleep", "1000")

    def inside() -> str:
        ours, theirs = k.stream_pair()
        with pytest.raises(StageFailed) as caught:
            wanted = join(box, process("true", terminal=True), console=theirs)
            launch(wanted, lambda pid, entered: None, lambda: receive_master(ours))
        return caught.value.message

    assert "/dev/pts" in box.apart(inside)


def test_a_terminal_that_cannot_be_attached(running: Box) -> None:
    """The process waits to be told that it may go on, and has nothing to say."""

    def refuse() -> None:
        raise PyociError("no")

    def inside() -> str:
        _, theirs = k.stream_pair()
        with pytest.raises(PyociError) as caught:
            launch(join(running, process("true", terminal=True), console=theirs), lambda pid, entered: None, refuse)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return caught.value.message

    assert running.apart(inside) == "no"
