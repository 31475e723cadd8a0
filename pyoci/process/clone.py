# SPDX-License-Identifier: Apache-2.0
"""Makes the process that will be init, in the namespaces of the plan.

Usually one clone3 does it. When a namespace has to be joined before others are made (a user namespace that is to own
them, a network of the host's beside a new user namespace, a pid namespace, which only children enter) or a clock is to be
set, a short-lived stage joins and clones, and its child becomes ours (CLONE_PARENT).
"""

from __future__ import annotations

from errno import EPERM

from pyoci import syscalls as k
from pyoci.errors import StageFailed, failed
from pyoci.process.channel import FAILED, STAGED, Channel, pair
from pyoci.process.confine import confine, said
from pyoci.rootfs.root import open_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.cgroups.join import Doors
    from pyoci.plan.model import Join, Namespaces

# Namespaces that init takes itself, later: the cgroup's must be made when it is in its cgroup.
_LATE = k.CLONE_NEWCGROUP
TITLE = "pyoci:[init]"
"""What init is called while it is ours."""

_MAKING = "make the container's process and its namespaces (clone3)"


def needs_stage(namespaces: Namespaces) -> bool:
    """Whether joining has to come before cloning, or clocks have to be set before anybody is there who reads them."""
    early = k.CLONE_NEWUSER | k.CLONE_NEWPID | k.CLONE_NEWTIME
    joins_early = any(join.flag & early for join in namespaces.join)
    late_user = bool(namespaces.join and namespaces.new & k.CLONE_NEWUSER)
    return joins_early or late_user or bool(namespaces.new & k.CLONE_NEWTIME)  # which clone3 takes since Linux 6.3 only


def open_joins(namespaces: Namespaces) -> list[tuple[Join, int]]:
    """The namespaces to be joined, opened while their paths are the host's. Raises PyociError."""
    opened = []
    for join in namespaces.join:
        try:
            opened.append((join, k.open(join.path, k.O_RDONLY | k.O_CLOEXEC)))
        except OSError as error:
            raise failed(f"open the {join.type} namespace {join.path}", error) from None
    return opened


def join_all(joins: list[tuple[Join, int]]) -> None:
    """Enter opened namespaces. A path that is no namespace, or one of another type, is refused by the kernel.

    A user namespace comes after those that we may enter without it, as they may belong to another one, and before the rest,
    which is for its root to enter (setns(2)).
    """
    users = [each for each in joins if each[0].flag == k.CLONE_NEWUSER]
    refused = [each for each in joins if each not in users and not _join(*each, may_fail=bool(users))]
    for each in (*users, *refused):
        _join(*each)


def _join(join: Join, fd: int, may_fail: bool = False) -> bool:
    try:
        k.setns(fd, join.flag)
        k.close(fd)
    except OSError as error:
        if may_fail and error.errno == EPERM:
            return False
        raise failed(f"join the {join.type} namespace {join.path}", error) from None
    return True


def clone_init(
    namespaces: Namespaces, joins: list[tuple[Join, int]], doors: Doors | None = None
) -> tuple[int, int, bool]:
    """(pid, pidfd) of init in the launcher; (0, -1) in init itself, which still has to `join_all` where there is no stage.

    And whether it was born in the cgroup of version 2 of `doors`. Raises PyociError.
    """
    flags = namespaces.new & ~_LATE
    if needs_stage(namespaces):

        def prepare() -> None:
            confine(TITLE)
            # The host's, as long as it is at hand: in a mount namespace that is joined it may be anything.
            proc = open_proc()
            join_all(joins)
            if namespaces.new & k.CLONE_NEWTIME:
                _make_clocks(namespaces, proc)
            k.close(proc)

        if namespaces.new & k.CLONE_NEWTIME:
            # The stage makes them, and its child is the first to be in the former.
            flags &= ~(k.CLONE_NEWTIME | k.CLONE_NEWUSER)
        return *take_over(prepare, flags), False
    try:
        return clone_into(flags, doors)
    except OSError as error:
        raise failed(_MAKING, error) from None


def clone_into(flags: int, doors: Doors | None) -> tuple[int, int, bool]:
    """clone3, into the cgroup of version 2 of `doors` if that works: pid, pidfd, and whether it did. Raises OSError."""
    if doors and doors.unified >= 0:
        try:
            return *k.clone3(flags | k.CLONE_INTO_CGROUP, doors.unified), True
        except OSError:
            pass  # what else is wrong comes out below, and the cgroup can be joined later
    return *k.clone3(flags), False


def take_over(prepare: Callable[[], None], flags: int) -> tuple[int, int]:
    """A child of ours that is born where a stage got to with `prepare`: (pid, pidfd), and in the child (0, -1).

    Raises StageFailed, PyociError.
    """
    ours, theirs = pair()
    try:
        stage = k.fork()
    except OSError as error:
        raise failed("make the process that enters the namespaces (fork)", error) from None
    if stage == 0:
        ours.close()
        if _clone_sibling(prepare, flags, theirs):
            theirs.close()
            return 0, -1
        k._exit(0)
    theirs.close()
    kind, payload = ours.receive()
    ours.close()
    k.waitpid(stage, 0)
    if kind != STAGED:
        raise StageFailed.heard(
            payload.decode("utf-8", "replace") or "the process that enters the namespaces was killed"
        )
    pid = int(payload)
    try:
        return pid, k.pidfd_open(pid)
    except OSError as error:
        k.kill(pid, k.SIGKILL)  # nobody else knows of it, and its number is its own until we have waited for it
        k.waitpid(pid, 0)
        raise failed("open a pidfd of the container's process", error) from None


def _clone_sibling(prepare: Callable[[], None], flags: int, channel: Channel) -> bool:
    """The stage's part. True in the child that it makes. Nothing is raised: what follows is the launcher's to do."""
    try:
        prepare()
        pid, _ = k.clone3(flags | k.CLONE_PARENT, exit_signal=0)
        if pid == 0:
            return True
        channel.send(STAGED, b"%d" % pid)
    except OSError as error:
        channel.send(FAILED, said(failed(_MAKING, error)))
    except BaseException as error:
        channel.send(FAILED, said(error))
    return False


def _make_clocks(namespaces: Namespaces, proc: int) -> None:
    """A time namespace, in the user namespace that is made, if one is: who makes that may set the clocks, whoever he is."""
    makes_user = namespaces.new & k.CLONE_NEWUSER
    try:
        k.unshare(k.CLONE_NEWTIME | makes_user)
        if makes_user:
            k.prctl(k.PR_SET_DUMPABLE, 1)  # as in the launcher, so that we and it may write to our files in /proc
        if namespaces.time_offsets:
            _write_offsets(namespaces.time_offsets, proc)
    except OSError as error:
        raise failed("make a time namespace and set its clocks", error) from None


def _write_offsets(offsets: tuple[tuple[str, int, int], ...], proc: int) -> None:
    fd = k.open("self/timens_offsets", k.O_WRONLY | k.O_CLOEXEC, dir_fd=proc)
    k.write(fd, "".join(f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in offsets).encode())
    k.close(fd)
