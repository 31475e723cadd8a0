# SPDX-License-Identifier: Apache-2.0
"""Joiner: a process of ours that enters a container which is there already, and becomes a program (exec).

Both sides are here. The launcher's is short: it makes the joiner in the container's pid namespace, which only a child can
enter, puts it into the cgroup, and waits until the program is executed. The joiner's runs inside.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import StageFailed, failed
from pyoci.process import channel as messages
from pyoci.process.channel import Channel, pair
from pyoci.process.clone import clone_into, take_over
from pyoci.process.confine import become_root, confine, said
from pyoci.process.outside import end_for, reset_affinity, set_oom_score, set_own_oom_score, set_what_takes_rights
from pyoci.process.program import Program
from pyoci.record import Record
from pyoci.rootfs.root import open_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pyoci.cgroups.join import Doors
    from pyoci.plan.model import Process
    from pyoci.process.listener import Agent


_TITLE = "pyoci:[exec]"


class Join(Record):
    """What is to run, and where. `pidfd` is the container's init, `namespaces` the CLONE_NEW* of those to enter.

    `root` is init's root where there is no mount namespace to enter it by, else -1; `console` is where the master of a
    terminal is sent, or -1. `keyring` is the session keyring to join, if any; `agent` answers for a filter with a listener.
    `inherits_score`: nobody may reach into the process, not even to set its oom score. `doors` are the ways into the
    cgroups that it takes itself.
    """

    process: Process
    pidfd: int
    namespaces: int
    root: int
    seccomp: bytes
    seccomp_flags: int
    console: int
    preserve_fds: int
    keyring: str = ""
    agent: Agent | None = None
    init_pid: int = 0
    inherits_score: bool = False
    doors: Doors | None = None


class Launched(Record):
    """A program that runs in the container, as a child of ours, and what it could not be given."""

    pid: int
    pidfd: int
    remarks: tuple[str, ...]


def launch(
    join: Join, place: Callable[[int, list[str]], object], attach: Callable[[], object] | None = None
) -> Launched:
    """Run a program in a container; `place` puts a pid into those of its cgroups that it is not in already.

    attach: takes the master of its terminal, which is sent before the program may run. Raises PyociError if it cannot be
    executed.
    """
    proc = open_proc()
    program = Program(
        join.process, join.seccomp, join.seccomp_flags, in_user_namespace=bool(join.namespaces & k.CLONE_NEWUSER)
    )
    ours, theirs = pair()
    undo = _prepare_inheritance(join)
    before = k.hold_signals()  # an interrupt in the joiner would have it go on as if it were us
    try:
        pid, pidfd, born_there = _clone(join)
        if pid == 0:
            try:
                ours.close()
                _run(join, program, theirs, proc)
            finally:
                k._exit(255)
    except BaseException:
        k.let_signals(before)
        raise
    theirs.close()
    k.close(proc)
    if join.doors:
        join.doors.close()
    if join.console >= 0:
        k.close(join.console)
    remarks: list[str] = []
    try:
        k.let_signals(before)
        undo()
        if join.process.oom_score_adj is not None and not join.inherits_score:
            set_oom_score(str(pid), join.process.oom_score_adj)
        entered = _entered(join, ours, born_there)

        def settle() -> None:
            place(pid, entered)
            remarks.extend(_settle_affinity(join, pid))
            if attach:
                attach()

        ours.meanwhile(settle, _failure)
        ours.answer(messages.PLACED)
        remarks += _serve(join, ours, pid, pidfd)
    except BaseException as error:
        end_for(error, pid, pidfd)
        raise
    ours.close()
    return Launched(pid=pid, pidfd=pidfd, remarks=tuple(remarks))


def _prepare_inheritance(join: Join) -> Callable[[], None]:
    """Take on what the process is to have from its birth; how to be as before. Raises PyociError."""
    undone: list[Callable[[], object]] = []
    score = join.process.oom_score_adj
    if join.inherits_score and score is not None:
        before = set_own_oom_score(score)
        undone.append(lambda: set_own_oom_score(before))
    affinity = join.process.scheduling and join.process.scheduling.affinity
    if affinity and affinity.initial:
        from pyoci.process.scheduling import set_affinity, take_initial_affinity  # Program has loaded it

        own = take_initial_affinity(affinity.initial)
        undone.append(lambda: set_affinity(0, own, "initial"))

    def undo() -> None:
        for step in undone:
            step()

    return undo


def _entered(join: Join, channel: Channel, born_there: bool) -> list[str]:
    """The directories of the cgroups that the process has joined by itself. Raises StageFailed."""
    if not join.doors:
        return []
    kind, payload = channel.receive()
    if kind != messages.ENTERED:
        raise _failure(payload)
    return [*messages.paths_of(payload), *([join.doors.unified_path] if born_there else [])]


def _settle_affinity(join: Join, pid: int) -> list[str]:
    """The CPUs of a process that is in its cgroup now; remarks. Raises PyociError."""
    affinity = join.process.scheduling and join.process.scheduling.affinity
    if not affinity:
        warning = reset_affinity(pid)
        return [warning] if warning else []
    if affinity.final:
        from pyoci.process.scheduling import set_affinity  # Program has loaded it

        set_affinity(pid, affinity.final, "final")
    return []


def _serve(join: Join, channel: Channel, pid: int, pidfd: int) -> list[str]:
    """Answer until the channel closes, which is when the program has been executed, if all went well before."""
    remarks: list[str] = []
    ready = False
    while True:
        kind, payload = channel.receive()
        if kind == messages.CLOSED and ready:
            return remarks
        if kind == messages.READY:
            ready = True
        elif kind == messages.REMARK:
            remarks.append(payload.decode("utf-8", "replace"))
        elif kind == messages.LIMITS:
            set_what_takes_rights(pid, join.process)
            channel.answer(messages.GO)
        elif kind == messages.LISTENER and join.agent:
            join.agent.introduce(channel, payload, pid, pidfd, join.init_pid)
        else:
            raise _failure(payload + (channel.receive()[1] if ready else b""))  # what there is to add, or the end


def _failure(payload: bytes) -> StageFailed:
    """What the process said, or that it could not say anything."""
    return StageFailed.heard(
        payload.decode("utf-8", "replace") or "the process was killed before it got to its program"
    )


def _clone(join: Join) -> tuple[int, int, bool]:
    """Make the joiner; in it, the user and pid namespaces have been entered when this returns (0, -1). See clone_into."""
    try:
        if not join.namespaces & k.CLONE_NEWUSER:
            if join.namespaces & k.CLONE_NEWPID:
                k.setns(join.pidfd, k.CLONE_NEWPID)  # what we fork from now on is in there
            return clone_into(0, join.doors)
    except OSError as error:
        raise failed("make a process in the container's pid namespace", error) from None

    def prepare() -> None:
        confine(_TITLE)
        # All at once: which of the others may be entered before the user namespace, and which after, the kernel sorts out.
        _enter(join, join.namespaces)

    return *take_over(prepare, 0), False


def _enter(join: Join, namespaces: int) -> None:
    try:
        if namespaces:
            k.setns(join.pidfd, namespaces)
        if join.root >= 0:
            k.fchdir(join.root)
            k.chroot(".")
    except OSError as error:
        raise failed("enter the container's namespaces", error) from None


def _run(join: Join, program: Program, channel: Channel, proc: int) -> NoReturn:
    """Be the joiner. Leaves by execve(2) or _exit(2) only."""
    try:
        if not program.in_user_namespace:  # else it was before it entered: see _clone
            confine(_TITLE)
        k.prctl(k.PR_SET_PDEATHSIG, k.SIGKILL)
        if join.doors:
            channel.send(messages.ENTERED, messages.listed(join.doors.enter()))
        if program.in_user_namespace:
            become_root()
        else:
            _enter(join, join.namespaces & ~k.CLONE_NEWPID)
        k.setsid()
        if join.keyring:
            program.join_keyring(join.keyring, proc, new=False)
        root = k.open("/", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
        program.set_up_streams(root, proc, join.console, False)
        if channel.receive()[0] != messages.PLACED:
            k._exit(1)
        program.find_home(root, proc)
        program.set_limits(lambda request: _ask(channel, request))
        program.prepare(root, join.preserve_fds, proc, channel)
        for remark in program.remarks:
            channel.send(messages.REMARK, remark.encode())
        k.prctl(k.PR_SET_PDEATHSIG, 0)
        channel.send(messages.READY)
        program.execute()
    except BaseException as error:
        try:
            channel.send(messages.FAILED, said(error))
            if more := program.explanation():
                channel.send(messages.FAILED, more.encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # the launcher is gone, and with it whoever wanted to know
    finally:
        k._exit(255)


def _ask(channel: Channel, request: bytes) -> None:
    channel.send(request)
    if channel.receive()[0] != messages.GO:
        k._exit(1)  # the launcher is gone, and will tell why
