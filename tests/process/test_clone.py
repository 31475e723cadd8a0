# SPDX-License-Identifier: Apache-2.0
"""Processes are born in the namespaces that they are meant for."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError, StageFailed
from pyoci.plan.model import Join, Mapping, Namespaces
from pyoci.plan.namespaces import FLAGS, PROC_NAMES
from pyoci.process.clone import clone_init, join_all, needs_stage, open_joins, take_over
from pyoci.process.sources import _user_namespace
from tests.forked import in_child
from tests.rootfs.roots import descriptors, refusal

pytestmark = pytest.mark.needs_root

USER, PID, NET, UTS, TIME = k.CLONE_NEWUSER, k.CLONE_NEWPID, k.CLONE_NEWNET, k.CLONE_NEWUTS, k.CLONE_NEWTIME


def join(kind: str, path: str = "/run/ns") -> Join:
    return Join(type=kind, path=path, flag=FLAGS[kind])


@pytest.mark.parametrize(
    ("namespaces", "staged"),
    [
        (Namespaces(new=0), False),
        (Namespaces(new=USER | PID | NET | k.CLONE_NEWNS), False),
        (Namespaces(new=PID, join=(join("network"), join("ipc"))), False),
        (Namespaces(new=NET, join=(join("mount"),)), False),
        (Namespaces(new=PID, join=(join("user"),)), True),
        (Namespaces(new=NET, join=(join("pid"),)), True),
        (Namespaces(new=0, join=(join("time"),)), True),
        (Namespaces(new=USER, join=(join("network"),)), True),
        (Namespaces(new=TIME), True),
        (Namespaces(new=TIME, time_offsets=(("monotonic", 1, 0),)), True),
    ],
)
def test_when_joining_has_to_come_first(namespaces: Namespaces, staged: bool) -> None:
    assert needs_stage(namespaces) == staged


def namespaces_of(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{file}") for name, file in PROC_NAMES.items()}


@contextmanager
def other_namespaces(flags: int) -> Iterator[dict[str, str]]:
    """A process with namespaces of its own; the paths of these, for as long as it lives."""
    reading, writing = os.pipe()
    pid, pidfd = k.clone3(flags)
    if pid == 0:
        os.write(writing, b"x")
        signal.pause()
    try:
        os.read(reading, 1)
        if flags & USER:
            for name in ("uid_map", "gid_map"):
                Path(f"/proc/{pid}/{name}").write_text("0 0 65536\n")
        yield {name: f"/proc/{pid}/ns/{file}" for name, file in PROC_NAMES.items()}
    finally:
        k.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (pidfd, reading, writing):
            os.close(fd)


def born(namespaces: Namespaces, look: Callable[[], Any] = lambda: None) -> Any:
    """Make a process as the launcher does: how its namespaces are related to ours, what it sees, and whose child it is."""
    before = descriptors()
    joins = open_joins(namespaces)
    reading, writing = os.pipe()
    pid, pidfd, _ = clone_init(namespaces, joins)
    if pid == 0:
        try:
            if not needs_stage(namespaces):
                join_all(joins)
            os.write(writing, json.dumps([look(), os.getpid()]).encode())
            time.sleep(1000)
        except BaseException as error:
            os.write(writing, json.dumps([f"{type(error).__name__}: {error}", 0]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = json.loads(os.read(answer.fileno(), 9999))
    found = namespaces_of(pid)
    k.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert os.waitpid(pid, 0)[0] == pid, "it is our own child, whoever cloned it"
    for fd in (pidfd, *(fd for _, fd in joins)):
        os.close(fd)
    assert descriptors() == before
    return [*said, found]


def test_new_namespaces_in_one_go() -> None:
    def inside() -> Any:
        ours = namespaces_of("self")
        said, pid, found = born(Namespaces(new=PID | UTS | NET | k.CLONE_NEWCGROUP), lambda: os.uname().nodename)
        return [said == os.uname().nodename, pid, sorted(name for name in found if found[name] != ours[name])]

    assert in_child(inside) == [True, 1, ["network", "pid", "uts"]]  # the cgroup's is made later


def test_namespaces_that_init_joins_itself() -> None:
    def inside() -> Any:
        with other_namespaces(UTS | NET) as paths:
            theirs = {name: os.readlink(paths[name]) for name in ("uts", "network")}
            plan = Namespaces(new=PID, join=(join("uts", paths["uts"]), join("network", paths["network"])))
            _, pid, found = born(plan)
            return [pid, {name: found[name] == theirs[name] for name in theirs}]

    assert in_child(inside) == [1, {"uts": True, "network": True}]


def test_a_joined_pid_namespace_beside_a_new_one() -> None:
    def inside() -> Any:
        with other_namespaces(PID) as paths:
            theirs = os.readlink(paths["pid"])
            _, pid, found = born(Namespaces(new=UTS, join=(join("pid", paths["pid"]),)))
            return [pid > 1, found["pid"] == theirs, found["uts"] != namespaces_of("self")["uts"]]

    assert in_child(inside) == [True, True, True]


@pytest.mark.needs_user_namespaces
def test_what_is_made_belongs_to_a_joined_user_namespace() -> None:
    """So its root may do with it what root may."""

    def inside() -> Any:
        with other_namespaces(USER) as paths:
            theirs = os.readlink(paths["user"])

            def look() -> str:
                os.setresuid(0, 0, 0)
                k.sethostname("mine")
                return os.uname().nodename

            said, pid, found = born(Namespaces(new=UTS | PID, join=(join("user", paths["user"]),)), look)
            return [said, pid, found["user"] == theirs]

    assert in_child(inside) == ["mine", 1, True]


@pytest.mark.needs_user_namespaces
def test_a_network_of_the_hosts_beside_a_new_user_namespace() -> None:
    """It must be joined before: in the new user namespace there would be no right to."""

    def inside() -> Any:
        with other_namespaces(NET) as paths:
            theirs = os.readlink(paths["network"])
            _, pid, found = born(Namespaces(new=USER | PID, join=(join("network", paths["network"]),)))
            return [pid, found["network"] == theirs, found["user"] != namespaces_of("self")["user"]]

    assert in_child(inside) == [1, True, True]


@pytest.mark.needs_time_namespaces
def test_clocks_are_set_in_a_new_time_namespace() -> None:
    def inside() -> Any:
        before = time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
        offsets = (("monotonic", 100_000, 5), ("boottime", 1_000_000, 0))

        def look() -> list[float]:
            return [time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC)]

        after, pid, found = born(Namespaces(new=TIME | PID, time_offsets=offsets), look)
        ahead = [round((new - old) / 100_000) for new, old in zip(after, before, strict=True)]
        return [ahead, pid, found["time"] != namespaces_of("self")["time"]]

    assert in_child(inside) == [[10, 1], 1, True]


@pytest.mark.needs_time_namespaces
def test_a_clock_that_there_is_not() -> None:
    def inside() -> str:
        with pytest.raises(StageFailed) as caught:
            clone_init(Namespaces(new=TIME, time_offsets=(("sundial", 1, 0),)), [])
        return caught.value.message

    assert in_child(inside) == "make a time namespace and set its clocks: invalid argument"


# Failures


def test_a_namespace_that_is_not_there() -> None:
    with pytest.raises(PyociError) as caught:
        open_joins(Namespaces(new=0, join=(join("ipc", "/no/such/ns"),)))
    assert caught.value.message == "open the ipc namespace /no/such/ns: no such file or directory"


@pytest.mark.parametrize(
    ("kind", "path"), [("pid", "/proc/self/ns/uts"), ("user", "/etc/passwd"), ("pid", "/dev/null")]
)
def test_a_path_that_is_no_such_namespace(kind: str, path: str) -> None:
    def inside() -> list[Any]:
        plan = Namespaces(new=0, join=(join(kind, path),))
        joins = open_joins(plan)
        before = descriptors()
        with pytest.raises(StageFailed) as caught:
            clone_init(plan, joins)
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return [caught.value.message, descriptors() == before]

    assert in_child(inside) == [f"join the {kind} namespace {path}: invalid argument", True]


def test_a_stage_that_fails_at_its_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> tuple[int, int]:
        raise OSError(28, "")

    monkeypatch.setattr(k, "clone3", refuse)

    def inside() -> str:
        with pytest.raises(StageFailed) as caught:
            take_over(lambda: None, 0)
        return caught.value.message

    assert in_child(inside) == "make the container's process and its namespaces (clone3): no space left on device"
    with pytest.raises(PyociError, match="clone3"):
        clone_init(Namespaces(new=PID), [])


@pytest.mark.parametrize("call", ["pidfd_open", "fork"])
def test_a_process_that_cannot_be_held_is_ended(call: str) -> None:
    """For want of descriptors, most likely. Nobody else would end it."""

    def inside() -> list[Any]:
        def refuse(*_: int) -> int:
            raise OSError(errno.EMFILE, "")

        setattr(k, call, refuse)
        with pytest.raises(PyociError) as caught:
            if take_over(lambda: None, 0)[0] == 0:
                signal.pause()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return [caught.value.message]

    step = (
        "open a pidfd of the container's process"
        if call == "pidfd_open"
        else "make the process that enters the namespaces (fork)"
    )
    assert in_child(inside) == [f"{step}: too many open files"]


@pytest.mark.parametrize("error", [KeyError("k"), KeyboardInterrupt(), RuntimeError("r")])
def test_nothing_that_a_stage_raises_gets_back_into_the_launcher(error: BaseException) -> None:
    """There would be two of us: the stage would go on to undo what the launcher has made."""

    def inside() -> list[Any]:
        me = os.getpid()

        def prepare() -> None:
            raise error

        try:
            take_over(prepare, 0)
        except StageFailed as failed:
            return [failed.message, os.getpid() == me]
        except BaseException as lost:
            if os.getpid() != me:
                os.kill(me, signal.SIGKILL)
                os._exit(1)
            return [repr(lost)]
        return []

    message, mine = in_child(inside)
    assert mine
    assert message == f"internal error in the container's process: {type(error).__name__}: {error}"


def test_a_stage_that_is_killed() -> None:
    def inside() -> str:
        with pytest.raises(StageFailed) as caught:
            take_over(lambda: os.kill(os.getpid(), signal.SIGKILL), 0)
        return caught.value.message

    assert in_child(inside) == "the process that enters the namespaces was killed"


def test_what_cannot_be_made_for_want_of_descriptors_or_processes() -> None:
    def inside() -> list[str]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        return [refusal(take_over, lambda: None, 0), refusal(_user_namespace, Mapping(uid_map=(), gid_map=()))]

    assert in_child(inside) == [
        "make a socket pair to talk with a process of ours: too many open files",
        "make a user namespace for an id-mapped mount: too many open files",
    ]


def test_a_stage_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError(errno.EAGAIN, "")

    monkeypatch.setattr(k, "fork", refuse)
    assert refusal(take_over, lambda: None, 0) == (
        "make the process that enters the namespaces (fork): resource temporarily unavailable"
    )
