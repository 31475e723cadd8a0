# SPDX-License-Identifier: Apache-2.0
"""Inits that die at bad moments, pids that go to strangers, and what stands in the way of a container's end."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from ...lifecycle.harness import Container, cgroups_named, eventually, process_state
from .world import Skipped, World, answers, case, sleeper, stranger

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@case
def init_killed_before_start(world: World) -> str:
    """start fails at once; and a container whose bundle has gone can be started, killed and deleted all the same."""
    with world.container() as box:
        box.create().ok()
        os.kill(box.pid, signal.SIGKILL)
        box.init_becomes_zombie()
        begun = time.monotonic()
        answers(box.start(), 1)
        assert time.monotonic() - begun < 10, "start of a dead container takes its time"
        assert box.status == "stopped"
    with world.container() as box:
        box.create().ok()
        shutil.move(box.bundle / "config.json", box.bundle / "gone.json")
        shutil.rmtree(box.rootfs / "etc")
        box.start().ok()
        box.kill("KILL").ok()
        box.wait()
        box.delete().ok()
    return "dead before its start, and without its bundle"


@case
def zombie_init(world: World) -> str:
    """Whose parent does not reap is stopped all the same: state, start, exec and kill say so, and delete works."""
    with world.container() as box:
        box.launch()
        os.kill(box.pid, signal.SIGKILL)
        eventually("a zombie", lambda: process_state(box.pid) == "Z")
        assert box.status == "stopped", box.status
        answers(box.start(), 1)
        answers(box.exec("true"), 1, 255)
        answers(box.kill("TERM"), 1)
        answers(box.call("pause", box.id), 1)
        answers(box.delete(), 0)
        assert process_state(box.pid) == "Z", "somebody has reaped for us"
        box.wait()
    return ""


@case
def pid_reuse_is_noticed(world: World) -> str:
    """A stranger with init's pid: the container is stopped, and neither kill nor delete touches the stranger."""
    for status in ("created", "running"):
        with world.container() as box:
            box.create().ok()
            if status == "running":
                box.start().ok()
            os.kill(box.pid, signal.SIGKILL)
            box.wait()
            with stranger(world, functools.partial(_with_pid, box.pid)):
                assert box.status == "stopped", f"{status}: taken for the stranger: {box.status}"
                answers(box.kill("KILL"), 1)
                answers(box.call("kill", "--all", box.id, "KILL"), 0, 1)
                answers(box.exec("true"), 1, 255)
                answers(box.start(), 1)
                answers(box.call("ps", box.id), 0, 1)
                world.deleted(box)
    return "as created and as running"


def _with_pid(pid: int) -> subprocess.Popen[bytes]:
    """A process of ours with this very pid."""
    for _ in range(200):
        try:
            LAST_PID.write_text(str(pid - 1))
        except OSError as error:
            raise Skipped(f"pids cannot be chosen here: {error}") from None
        process = sleeper()
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    raise Skipped("others are too quick to take a certain pid")


@case
def cgroup_left_overs(world: World) -> str:
    """Sub-cgroups with processes in them, however deep; frozen ones; and a container that is paused when it is to go."""
    with world.container() as box:
        box.launch()
        _deepen(box, freeze=False)
        world.deleted(box)
    with world.container() as box:
        box.launch()
        _deepen(box, freeze=True)
        world.deleted(box)
    with world.container() as box:
        box.launch()
        answers(box.exec("sleep", "1000", options=("--detach",)), 0)
        box.call("pause", box.id).ok()
        answers(box.delete(), 1)
        assert box.status == "paused"
        world.deleted(box)
    with world.container() as box:
        box.launch()
        box.call("pause", box.id).ok()
        box.kill("KILL").ok()
        box.init_becomes_zombie()
        box.wait()
        box.delete().ok()
    with world.container() as box:
        _without_pid_namespace(box)
        box.launch()
        for _ in range(5):
            answers(box.exec("sleep", "1000", options=("--detach",)), 0)
        world.deleted(box)
    return "deep, frozen, paused and without a pid namespace"


def _without_pid_namespace(box: Container) -> None:
    box.linux["namespaces"] = [entry for entry in box.linux["namespaces"] if entry["type"] != "pid"]


def _deepen(box: Container, freeze: bool) -> None:
    """Make cgroups below the container's in every hierarchy, and put a process of its into the deepest."""
    answers(box.exec("sleep", "1000", options=("--detach", "--pid-file", str(box.bundle / "exec.pid"))), 0)
    pid = (box.bundle / "exec.pid").read_text()
    for group in cgroups_named(box.id):
        deepest = group / "a" / "b" / "c"
        deepest.mkdir(parents=True)
        (group / "d").mkdir()
        for directory in (group, group / "a", group / "a" / "b", deepest):
            for name in ("cpus", "mems"):
                if (directory / f"cpuset.{name}").exists():  # in the unified hierarchy nobody has asked for them
                    (directory / f"cpuset.{name}").write_text((group / f"cpuset.{name}").read_text())
        (deepest / "cgroup.procs").write_text(pid)
        if freeze:
            for name, text in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
                if (deepest / name).exists():
                    (deepest / name).write_text(text)
