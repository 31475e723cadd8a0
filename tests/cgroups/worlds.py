# SPDX-License-Identifier: Apache-2.0
"""Processes to be put into cgroups, and a world with cgroup v2 alone to do it in."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from pyoci import syscalls
from pyoci.cgroups import freezer, join, layout, manage, processes, remove
from pyoci.cgroups.plan import CgroupPlan, plan

_numbers = count()


def fresh_path() -> str:
    """A cgroupsPath that nobody else uses."""
    return f"/pyoci-cgroups-test-{os.getpid()}-{next(_numbers)}"


def planned(path: str, **resources: object) -> CgroupPlan:
    """The plan for a privileged container (no device rules, unless they are given) on this host."""
    resources.setdefault("devices", [{"allow": True, "access": "rwm"}])
    linux = {"cgroupsPath": path, "resources": resources}
    return plan({"linux": linux}, "box", layout.read(), rootless=False)


@contextmanager
def removed_afterwards(*plans: CgroupPlan) -> Iterator[None]:
    """Remove the plans' cgroups at the end, whatever happened."""
    try:
        yield
    finally:
        for made in plans:
            remove.remove(made.paths)


@contextmanager
def sleeping(number: int = 1) -> Iterator[list[int]]:
    """Processes that sleep, each a child of ours; killed and reaped at the end."""
    children = [_fork(lambda: time.sleep(600)) for _ in range(number)]
    try:
        yield children
    finally:
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass


def _fork(function: Callable[[], object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        function()
    finally:
        os._exit(0)


def answer_inside(join: Callable[[int], object], function: Callable[[], object]) -> str:
    """The repr of what `function` returns, or the name of the errno it fails with, when run by a process that `join` has
    moved into a cgroup."""
    ready, answer = os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.read(ready[0], 1)
            try:
                text = repr(function())
            except OSError as error:
                text = os.strerror(error.errno or 0)
            os.write(answer[1], text.encode())
        finally:
            os._exit(0)
    try:
        os.close(answer[1])
        join(pid)
        os.write(ready[1], b"x")
        return os.read(answer[0], 4096).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (*ready, answer[0]):
            os.close(fd)


def relay(runners: int) -> None:
    """Processes that do nothing but fork and end: whoever reads a pid of theirs reads of the past.

    Not by fork(3): newer versions of glibc block all signals meanwhile, and the child of who is stopped right then does not
    inherit the signal that waits for it.
    """
    for _ in range(runners):
        if not os.fork():
            while syscalls.clone3(0)[0] == 0:
                pass
            os._exit(0)


def in_child(function: Callable[[], object]) -> None:
    """Run a function in a child of ours that inherits and reaps the orphans it makes; what it raises fails the test."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(told)
        text = ""
        try:
            syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
            function()
        except BaseException:
            text = traceback.format_exc()
        finally:
            os.write(tell, text.encode()[-60000:])
            os._exit(0)
    os.close(tell)
    parts = []
    while part := os.read(told, 65536):
        parts.append(part)
    os.close(told)
    os.waitpid(pid, 0)
    assert not parts, b"".join(parts).decode()


def with_v2_alone(function: Callable[[], object]) -> None:
    """Run a function in a child of ours whose mount namespace has nothing but cgroup v2 in /sys/fs/cgroup."""

    def body() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("none", "/sys/fs/cgroup", "tmpfs", 0)
        syscalls.mount("none", "/sys/fs/cgroup", "cgroup2", 0)
        function()

    in_child(body)


def as_nobody(function: Callable[[], object]) -> None:
    """Run a function as an ordinary user, for good. Needs in_child."""
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    function()


def planned_for_nobody(**resources: object) -> CgroupPlan:
    """The plan for a container of an ordinary user, without a cgroupsPath, on this host."""
    name = f"pyoci-cgroups-test-{os.getpid()}-nobody"
    return plan({"linux": {"resources": resources}}, name, layout.read(), rootless=True)


def expect_no_cgroup() -> None:
    made = planned_for_nobody()
    assert manage.create(made) == {}
    assert join.join({}, os.getpid(), made) == {}
    manage.apply(made, {})
    assert processes.pids({}) == []
    assert not freezer.is_frozen({})
    remove.remove({})


def chase(paths: dict[str, str], number: int) -> None:
    """Signal a crowd of processes that keep forking, in cgroups that exist, and see that all have ended. Needs in_child."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who ends is reaped at once
    ready, go = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(go)
            os.read(ready, 1)
            relay(10)
        finally:
            os._exit(0)
    os.close(ready)
    try:
        join.join(paths, pid)
        os.close(go)
        wait_until(lambda: bool(processes.pids(paths)) and pid not in processes.pids(paths))
        processes.kill_all(paths, number)
        try:
            os.wait()
        except ChildProcessError:
            pass
        assert processes.pids(paths) == []
    finally:
        processes.kill_all(paths, signal.SIGKILL)


def state_of(pid: int) -> str:
    """The letter of a process's state in /proc/PID/stat."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come, a minute at most: a guest whose processor is emulated is slow."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about within a minute"
        time.sleep(0.01)
