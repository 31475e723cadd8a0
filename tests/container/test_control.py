# SPDX-License-Identifier: Apache-2.0
"""Signals, freezing, and to whom they go."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pyoci.container.control import kill, pause, resume
from tests.cgroups.worlds import wait_until
from tests.container.boxes import Box, Failed
from tests.lifecycle.harness import command_line

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def sent(box: Box, number: int, everyone: bool = False) -> None:
    box.apart(lambda: kill(box.settings(), box.id, number, everyone))


def test_a_signal_to_init(box: Box) -> None:
    box.run("sh", "-c", "trap 'exit 7' TERM; echo > /ready; while :; do sleep 0.05; done")
    wait_until((box.rootfs / "ready").exists)
    sent(box, signal.SIGTERM)
    assert box.end() == 7
    with pytest.raises(Failed, match="container not running") as caught:
        sent(box, signal.SIGTERM)
    assert caught.value.kind == "InvalidOperation"


@pytest.mark.parametrize("everyone", [False, True])
def test_without_a_pid_namespace_nothing_dies_with_init(box: Box, everyone: bool) -> None:
    """So SIGKILL is for all of them, also without being told so."""
    box.config["linux"]["namespaces"] = [{"type": "mount"}]
    box.config["mounts"] = []
    box.run("sh", "-c", "sleep 1000 & sleep 1000")
    procs = next(iter(Path("/sys/fs/cgroup").glob(f"*/{box.id}/cgroup.procs")))
    wait_until(lambda: sum(command_line(int(pid)) == "sleep 1000" for pid in procs.read_text().split()) == 2)
    members = [int(pid) for pid in procs.read_text().split()]
    sent(box, signal.SIGKILL, everyone)
    assert box.end() == -signal.SIGKILL
    for pid in members:
        if pid != box.pid:
            os.waitpid(pid, 0)  # ours by now, and ended
    wait_until(lambda: procs.read_text() == "")


def test_a_signal_to_all_of_none(box: Box) -> None:
    box.run("true")
    box.end()
    sent(box, signal.SIGTERM, everyone=True)
    with pytest.raises(Failed, match="container not running"):
        sent(box, signal.SIGTERM)


def test_pause_and_resume(box: Box) -> None:
    box.run("sleep", "1000")
    with pytest.raises(Failed, match="container not paused"):
        box.apart(lambda: resume(box.settings(), box.id))
    box.apart(lambda: pause(box.settings(), box.id))
    try:
        assert box.status() == "paused"
        with pytest.raises(Failed, match="container not running"):
            box.apart(lambda: pause(box.settings(), box.id))
    finally:
        box.apart(lambda: resume(box.settings(), box.id))
    assert box.status() == "running"


def test_what_is_frozen_dies_all_the_same(box: Box) -> None:
    box.run("sleep", "1000")
    box.apart(lambda: pause(box.settings(), box.id))
    sent(box, signal.SIGKILL)
    assert box.end() == -signal.SIGKILL
    assert box.status() == "stopped"


def test_who_waits_to_be_started_can_be_paused(box: Box) -> None:
    box.create()
    box.apart(lambda: pause(box.settings(), box.id))
    assert box.status() == "paused"
    with pytest.raises(Failed, match="cannot start a container in the paused state"):
        box.start()
    box.apart(lambda: resume(box.settings(), box.id))
    assert box.status() == "created"
