# SPDX-License-Identifier: Apache-2.0
"""A command that is killed anywhere, or whose n-th system call of some name fails, or is its last."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...lifecycle.configs import Config
from ...lifecycle.harness import Container
from .commands import COMMANDS, FLAVOURS, prepare
from .world import PATIENCE, Skipped, World, answers, case, collect

ERRORS = ("EPERM", "ENOMEM", "EIO", "ENOSPC", "EMFILE", "EINTR", "EAGAIN", "EBUSY", "EINVAL", "ENOSYS", "EACCES")
# These cannot fail.
UNTOUCHED = {"exit", "exit_group", "rt_sigreturn", "restart_syscall", "getpid", "gettid", "getppid", "getuid", "geteuid",
             "getgid", "getegid", "umask", "set_tid_address", "brk"}  # fmt: skip
CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(\(| resumed)(.*)$", re.MULTILINE)
# From here on, it is the runtime that has the say, and no more the loader or the interpreter that it runs in.
HAS_BEGUN = re.compile(r"^(\d+) +prctl\(PR_SET_DUMPABLE, (?:SUID_DUMP_DISABLE|0)", re.MULTILINE)


class Round(NamedTuple):
    """What is tried: a command, and the kind of container it is about."""

    name: str
    flavour: Callable[[Config], None]

    def __str__(self) -> str:
        return f"{self.name} ({self.flavour.__name__.strip('_')})"


def _rounds(world: World, count: int) -> Iterator[Round]:
    for number in range(count):
        yield Round(list(COMMANDS)[number % len(COMMANDS)], world.chance.choice(FLAVOURS))


@case
def sigkill_at_random_moments(world: World) -> str:
    """Of each command in turn, at any moment from its start to a little after its usual end."""
    durations: dict[Round, float] = {}
    complaints = []
    for tried in _rounds(world, world.kills):
        if tried not in durations:
            durations[tried] = _duration(world, tried)
        delay = world.chance.uniform(0, 1.2 * durations[tried])
        try:
            with world.container() as box:
                process = box.background(*prepare(box, *tried))
                time.sleep(delay)
                process.send_signal(signal.SIGKILL)
                process.wait()
                box.live.remove(process)
        except AssertionError as error:
            complaints.append(f"{tried}, killed after {delay * 1000:.1f} ms: {error}")
    return collect(complaints, world.kills, "kills recovered from")


def _duration(world: World, tried: Round) -> float:
    with world.container() as box:
        arguments = prepare(box, *tried)
        begun = time.monotonic()
        box.call(*arguments)
        return time.monotonic() - begun


@case
def syscall_fault_injection(world: World) -> str:
    """strace(1) makes a system call fail, or kills its caller at it. -D: the tracer outlives the command, as init does."""
    if shutil.which("strace") is None:
        raise Skipped("there is no strace")
    made: dict[Round, tuple[Counter[str], Counter[str]]] = {}
    complaints = []
    calls = set()
    for tried in _rounds(world, world.faults):
        if tried not in made:
            try:
                made[tried] = _calls_made(world, tried)
            except AssertionError as error:  # it hangs as soon as somebody looks
                complaints.append(f"{tried}, with strace alone: {error}")
                continue
        startup, total = made[tried]
        call = world.chance.choice(sorted(total))
        calls.add(call)
        when = world.chance.randint(1, total[call])
        fault = world.chance.choice(("signal=SIGKILL", f"error={world.chance.choice(ERRORS)}"))
        try:
            _inject(world, tried, f"{call}:{fault}:when={when}", early=when <= startup[call])
        except AssertionError as error:
            complaints.append(f"{tried}, {call}:{fault}:when={when}: {error}")
    return collect(complaints, world.faults, f"faults in {len(calls)} system calls recovered from")


IN_TURN = ("create", "start", "exec", "delete --force")


@case
def each_system_call_in_turn(world: World) -> str:
    """Of four commands, from the runtime's first own line on: it fails, or is the last. Of long ways as many as are asked for."""
    if shutil.which("strace") is None:
        raise Skipped("there is no strace")
    complaints = []
    tries = 0
    for name in IN_TURN:
        tried = Round(name, FLAVOURS[0])
        way = list(_way(world, tried))
        wanted = max(1, world.faults // len(IN_TURN))
        for place in range(0, len(way), max(1, -(-len(way) // wanted))):
            call, when = way[place]
            fault = "signal=SIGKILL" if tries % 2 else f"error={world.chance.choice(ERRORS)}"
            tries += 1
            try:
                _inject(world, tried, f"{call}:{fault}:when={when}", early=False)
            except AssertionError as error:
                complaints.append(f"{tried}, {call}:{fault}:when={when}: {error}")
    return collect(complaints, tries, "faults, one after the other, recovered from")


def _way(world: World, tried: Round) -> Iterator[tuple[str, int]]:
    """The calls of the command's own process in their order, each with its number among those of its name."""
    text = _trace(world, tried)
    first = text.split(None, 1)[0]
    begun = HAS_BEGUN.search(text)
    seen: Counter[str] = Counter()
    for match in CALL.finditer(text):
        pid, call, how, _ = match.groups()
        if pid == first and how == "(" and call not in UNTOUCHED:
            seen[call] += 1
            if begun is None or match.start() > begun.start():
                yield call, seen[call]


def _trace(world: World, tried: Round) -> str:
    """What strace writes about a command that nobody hinders."""
    with world.container() as box:
        trace = box.bundle / "trace"
        box.call(*prepare(box, *tried), wrapper=["strace", "-D", "-f", "-o", str(trace)])
        world.deleted(box)
        return trace.read_text(errors="replace")


def _calls_made(world: World, tried: Round) -> tuple[Counter[str], Counter[str]]:
    """How often a command makes each call: before the runtime's first own line, and at most in one process."""
    text = _trace(world, tried)
    first = text.split(None, 1)[0]
    begun = HAS_BEGUN.search(text)
    startup: Counter[str] = Counter()
    total: dict[str, Counter[str]] = {}
    for match in CALL.finditer(text):
        pid, call, how, _ = match.groups()
        if how == "(" and call not in UNTOUCHED:
            total.setdefault(pid, Counter())[call] += 1
            if begun and pid == first and match.start() < begun.start():
                startup[call] += 1
    most: Counter[str] = Counter()
    for counts in total.values():
        most |= counts
    return startup, most


def _inject(world: World, tried: Round, fault: str, early: bool) -> None:
    name = tried.name
    with world.container() as box:
        arguments = prepare(box, *tried)
        call = fault.partition(":")[0]
        log = box.bundle / "injected"
        wrapper = ["strace", "-D", "-f", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={fault}"]
        if early:
            # The loader, and the interpreter before its first line, have their own words for it; they leave nothing, too.
            _ends(box, arguments, wrapper)
            return
        result = box.call(*arguments, wrapper=wrapper)
        killed = "SIGKILL" in fault
        if not killed:
            answers(result, 0, 1, 255)
        if result.status == 0:
            _has_succeeded(box, name)
        elif not killed and name in ("create", "run --detach") and _was_injected_once(log):
            box.leaves_nothing()


def _ends(box: Container, arguments: list[str], wrapper: list[str]) -> None:
    """Run a command of which nothing is wanted but that it ends."""
    process = box.background(*arguments, wrapper=wrapper)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("hung") from None


def _was_injected_once(log: Path) -> bool:
    """Every process has an n-th call; where clearing up is hit as well, what is left is for `delete`."""
    return log.read_text(errors="replace").count("(INJECTED)") <= 1


def _has_succeeded(box: Container, name: str) -> None:
    state = box.call("state", box.id)
    wanted = COMMANDS[name].after
    status = ""
    if state.status == 0:
        status = re.findall(r'"status": ?"(\w+)"', state.out)[0]
    # An init that the fault has hit may die of it at any time.
    assert status in (*wanted, "stopped"), f"says that it has succeeded, but the container is {status or 'gone'}"
    assert status or "" in wanted, "says that it has succeeded, but the container is gone"
