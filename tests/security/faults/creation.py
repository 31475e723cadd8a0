# SPDX-License-Identifier: Apache-2.0
"""Creates that fail leave nothing, and the id is free at once; hooks that fail, hang, are missing or leave somebody behind."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from typing import Any

from ...lifecycle.configs import Config, bind, mount
from ...lifecycle.harness import Container, children, has_controller, namespace_of, process_state
from .world import Skipped, World, answers, case, collect


def _hook(script: str, **more: Any) -> list[Config]:
    return [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"], **more}]


FAILURES: dict[str, Callable[[Config], Any]] = {
    "program not found": lambda c: c["process"].update(args=["no-such-program"]),
    "program is a directory": lambda c: c["process"].update(args=["/etc"]),
    "no arguments": lambda c: c["process"].update(args=[]),
    "a null character": lambda c: c["process"].update(args=["a\0b"]),
    "root is missing": lambda c: c["root"].update(path="missing"),
    "root is a file": lambda c: c["root"].update(path="config.json"),
    "directory is a file": lambda c: c["process"].update(cwd="/bin/busybox"),
    "bind source is missing": lambda c: c["mounts"].append(bind("/no/such/source", "/x")),
    "unknown file system": lambda c: c["mounts"].append(mount("/x", "nosuchfs", "none")),
    "bad mount option": lambda c: c["mounts"].append(mount("/x", "tmpfs", "tmpfs", "nonsense=1")),
    "mount over proc": lambda c: c["mounts"].append(mount("/proc/sys", "tmpfs", "tmpfs")),
    "last of many mounts": lambda c: c["mounts"].extend(
        [*(mount(f"/tmp/{n}", "tmpfs", "tmpfs", "size=4k") for n in range(30)), mount("/x", "nosuchfs", "none")]
    ),
    "namespace path is missing": lambda c: c["linux"]["namespaces"][1].update(path="/no/such/path"),
    "namespace of another kind": lambda c: c["linux"]["namespaces"][1].update(path="/proc/self/ns/uts"),
    "user namespace without mappings": lambda c: c["linux"]["namespaces"].append({"type": "user"}),
    "unknown rlimit": lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
    "sysctl that does not exist": lambda c: c["linux"].update(sysctl={"net.nonsense": "1"}),
    "prestart hook fails": lambda c: c.update(hooks={"prestart": _hook("exit 1")}),
    "createRuntime hook fails": lambda c: c.update(hooks={"createRuntime": _hook("exit 1")}),
    "createContainer hook fails": lambda c: c.update(hooks={"createContainer": _hook("exit 1")}),
    "hook is missing": lambda c: c.update(hooks={"createRuntime": [{"path": "/no/such/hook"}]}),
    "hook is no program": lambda c: c.update(hooks={"createRuntime": [{"path": "/etc/passwd"}]}),
    "hook kills itself": lambda c: c.update(hooks={"createContainer": _hook("kill -9 $$")}),
    "hook hangs": lambda c: c.update(hooks={"createRuntime": _hook("sleep 1000", timeout=1)}),
    "hook kills init": lambda c: c.update(
        hooks={"createRuntime": _hook('read x; pid=${x#*\\"pid\\":}; kill -9 ${pid%%[,\\}]*}')}
    ),
    "cpus that are missing": lambda c: c["linux"]["resources"].update(cpu={"cpus": "4000"}),
    "swap below memory": lambda c: c["linux"]["resources"].update(memory={"limit": 1 << 26, "swap": 1 << 25}),
    "unknown seccomp action": lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_X"}),
    "seccomp forbids execve": lambda c: c["linux"].update(
        seccomp={
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["dup3", "prctl"], "action": "SCMP_ACT_KILL"}],
        }
    ),
    "terminal without a socket": lambda c: c["process"].update(terminal=True),
    "a huge uid": lambda c: c["process"].update(user={"uid": 1 << 40, "gid": 0}),
}
# What one runtime refuses another may be able to do.
MAY_SUCCEED = {
    "program not found",
    "program is a directory",
    "seccomp forbids execve",
    "hook kills init",
    "a null character",
}

OPTIONS: dict[str, Callable[[Container], list[str]]] = {
    "pid file in no directory": lambda box: ["--pid-file", str(box.bundle / "no" / "such" / "pid")],
    "pid file is a directory": lambda box: ["--pid-file", str(box.rootfs)],
    "console socket without a terminal": lambda box: ["--console-socket", str(box.bundle / "no.sock")],
    "descriptors that are not there": lambda box: ["--preserve-fds", "50"],
    "bundle is missing": lambda box: ["--bundle", str(box.bundle / "missing")],
}


@case
def create_failures_leave_nothing(world: World) -> str:
    """Each followed by a good run of the same id."""
    complaints = []
    for name in (*FAILURES, *OPTIONS):
        try:
            with world.container() as box:
                _fail(box, name)
        except AssertionError as error:
            complaints.append(f"{name}: {error}")
    return collect(complaints, len(FAILURES) + len(OPTIONS), "failures left nothing")


def _fail(box: Container, name: str) -> None:
    good = copy.deepcopy(box.config)
    if name in FAILURES:
        FAILURES[name](box.config)
    box.write_config()
    options = OPTIONS[name](box) if name in OPTIONS else []
    arguments = ["--bundle", str(box.bundle), *options] if "--bundle" not in options else options
    result = answers(box.call("create", *arguments, box.id), 0, 1)
    if result.status == 0:
        assert name in MAY_SUCCEED, f"was created: {result}"
        box.call("delete", "--force", box.id).ok()
    box.leaves_nothing()
    box.config = good
    box.run(args=["true"]).ok()


@case
def memory_limit_below_init(world: World) -> str:
    """A limit that is too low for the container's first process is named, and nothing hangs; just enough is enough."""
    if not has_controller("memory"):
        raise Skipped("there is no memory controller")
    lowest = 0
    for limit in (1 << 12, 1 << 16, 1 << 18, 1 << 20, 1 << 21, 1 << 22, 6 << 20, 1 << 23, 1 << 24):
        with world.container() as box:
            box.config["linux"]["resources"]["memory"] = {"limit": limit}
            box.write_config()
            result = answers(box.call("create", "--bundle", str(box.bundle), box.id), 0, 1)
            if result.status:
                assert "memory" in result.err, f"does not name memory: {result}"
                box.leaves_nothing()
            else:
                lowest = lowest or limit
                box.start()
    assert lowest, "not even 16 MiB are enough"
    return f"containers can be had from {lowest >> 10} KiB on"


@case
def hooks_in_trouble(world: World) -> str:
    """Of the hooks that run late: those that fail, hang, and leave a process behind that holds their output."""
    for kind, script, check in (
        ("createRuntime", "sleep 1000 & exit 0", _created_quickly),
        ("createRuntime", "sleep 1000 & exit 1", _refused_quickly),
        ("prestart", "sleep 1000", _refused_quickly),
        ("poststart", "exit 1", _stopped_by_poststart),
        ("startContainer", "exit 1", _never_started),
        ("poststop", "exit 1", _deleted_all_the_same),
        ("poststop", "sleep 1000", _deleted_all_the_same),
    ):
        with world.container() as box:
            box.config["hooks"] = {kind: _hook(script, timeout=1)}
            try:
                check(box)
            finally:
                _end_hooks()
            if kind == "poststop":
                box.config.pop("hooks")
    return "7 hooks in trouble"


def _end_hooks() -> None:
    """What a hook has left behind was never the container's."""
    for pid in children():
        if process_state(pid) != "Z" and namespace_of(pid, "pid") == namespace_of("self", "pid"):
            os.kill(pid, 9)
            os.waitpid(pid, 0)


QUICK = 30
"""Seconds: what is not waited for takes a thousand, and a busy machine takes its time."""


def _within(seconds: float, begun: float) -> None:
    took = time.monotonic() - begun
    assert took < seconds, f"took {took:.1f} s"


def _created_quickly(box: Container) -> None:
    begun = time.monotonic()
    box.create().ok()
    _within(QUICK, begun)


def _refused_quickly(box: Container) -> None:
    begun = time.monotonic()
    answers(box.create(), 1)
    _within(QUICK, begun)
    assert not (box.root / box.id).exists()


def _stopped_by_poststart(box: Container) -> None:
    box.create().ok()
    answers(box.start(), 0, 1)


def _never_started(box: Container) -> None:
    box.create().ok()
    box.start()
    box.wait()
    if box.call("state", box.id).status == 0:  # else it is gone, as the specification has it
        assert box.status == "stopped"


def _deleted_all_the_same(box: Container) -> None:
    box.create().ok()
    begun = time.monotonic()
    box.delete("--force").ok()
    _within(QUICK, begun)
    assert not (box.root / box.id).exists()
