# SPDX-License-Identifier: Apache-2.0
"""The launcher: the runtime's side of making a container. It makes init and does for it what init cannot do itself."""

from __future__ import annotations

from pyoci import jsontext
from pyoci import syscalls as k
from pyoci.cgroups.join import Doors, join
from pyoci.cgroups.manage import apply
from pyoci.cgroups.processes import oom_kills
from pyoci.errors import StageFailed, failed
from pyoci.plan.namespaces import host_id
from pyoci.process import channel as messages
from pyoci.process import init as init_process
from pyoci.process.channel import pair
from pyoci.process.clone import clone_init, needs_stage, open_joins
from pyoci.process.init import Handed
from pyoci.process.outside import end, reset_affinity, set_oom_score, set_own_oom_score, set_what_takes_rights
from pyoci.process.program import Program
from pyoci.rootfs.root import open_proc
from pyoci.seccomp import FLAG_NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.plan.model import Plan
    from pyoci.process.net_devices import NetDevices
    from pyoci.process.sources import Sources


class Launcher:
    """Makes one init and sees it to the point where only the start is missing.

    `paths` are the container's cgroups as they were made. `state` is what hooks are told, less status and pid.
    """

    pid = 0
    pidfd = -1

    def __init__(self, plan: Plan, paths: dict[str, str], state: dict[str, object], rootless: bool) -> None:
        self.plan, self.paths, self.state, self.rootless = plan, paths, state, rootless
        self.agent = None
        if plan.seccomp and plan.seccomp.flags & FLAG_NEW_LISTENER:
            from pyoci.process.listener import Agent  # few profiles have a listener

            self.agent = Agent(plan.seccomp, {**state, "status": "creating"})
        self.warnings: list[str] = []
        self.remarks: list[str] = []
        self.limited = False
        self.killed_before = 0
        """Processes that have been killed for want of memory in a cgroup that was there already."""
        self.devices: NetDevices | None = None
        self.entered: list[str] = []

    def clone(self, fifo: str, seccomp: bytes, console: int, preserve_fds: int) -> None:
        """Make init, waiting for us in its namespaces. `console` (-1: none) is closed here. Raises PyociError."""
        if self.plan.net_devices:
            import pyoci.process.net_devices  # loads pyroute2: if that is missing, let nothing have been made

            assert pyoci.process.net_devices
        namespaces, process = self.plan.namespaces, self.plan.process
        doors = None if self.plan.cgroup.unit else Doors(self.paths)
        handed = Handed(
            proc=open_proc(),
            fifo=_open(fifo, k.O_PATH),
            console=console,
            joins=open_joins(namespaces),
            sources=_open_sources(self.plan),
            preserve_fds=preserve_fds,
            program=Program(
                process,
                seccomp,
                self.plan.seccomp.flags if self.plan.seccomp else 0,
                in_user_namespace=namespaces.has(k.CLONE_NEWUSER),
            ),
            state=self.state,
            doors=doors,
            run_hooks=_hook_runner(self.plan),
            at_once=_maker_at_once(self.plan),
        )
        self.channel, theirs = pair()
        inherits_score = self.rootless and process.oom_score_adj is not None
        own_score = set_own_oom_score(process.oom_score_adj or 0) if inherits_score else 0
        makes_user = bool(namespaces.new & k.CLONE_NEWUSER)
        if makes_user:
            k.prctl(k.PR_SET_DUMPABLE, 1)  # or its maps would belong to the host's root, out of our reach if we are not
        before = k.hold_signals()  # an interrupt in init would undo what we make, until init leaves our code for good
        try:
            self.pid, self.pidfd, born_there = clone_init(namespaces, handed.joins, doors)
            if self.pid == 0:
                try:
                    self.channel.close()
                    if needs_stage(namespaces):
                        handed.joins.clear()
                    init_process.run(self.plan, handed, theirs)
                finally:
                    k._exit(1)  # whatever happens, the launcher's code and its ways to undo things are not for init
        finally:
            k.let_signals(before)
        if makes_user:
            k.prctl(k.PR_SET_DUMPABLE, 0)
        if inherits_score:
            set_own_oom_score(own_score)
        elif process.oom_score_adj is not None:
            set_oom_score(str(self.pid), process.oom_score_adj)
        theirs.close()
        if doors:
            doors.close()
            self.entered += [doors.unified_path] if born_there else []
        for fd in (handed.proc, handed.fifo, *(fd for _, fd in handed.joins)):
            k.close(fd)
        if handed.sources:
            handed.sources.close()
        if console >= 0:
            k.close(console)

    def serve(self) -> None:
        """Do for init what it asks for, until it is ready. Raises PyociError: StageFailed, HookFailed, CgroupError."""
        self.channel.meanwhile(self._place, self._failure)
        self.channel.answer(messages.PLACED)
        self._answer()
        self._limit()
        self.channel.close()

    def _place(self) -> None:
        """See to what init cannot do itself, and waits for."""
        if not self.plan.cgroup.unit:
            self._learn_where_it_is()
        if self.plan.namespaces.uid_map:
            from pyoci.process.idmap import write_id_maps  # few have a user namespace of their own

            write_id_maps(self.pid, self.plan.namespaces.uid_map, self.plan.namespaces.gid_map)
            self.channel.answer(messages.MAPPED)
        self.paths = join(self.paths, self.pid, self.plan.cgroup, self.entered)
        if warning := reset_affinity(self.pid):
            self.warnings.append(warning)
        if self.plan.intel_rdt:
            from pyoci.process.intel_rdt import enter  # few hosts have it

            enter(self.pid, self.plan.intel_rdt.group, self.plan.intel_rdt.monitoring)
        if self.plan.net_devices:
            self._move_devices()

    def _answer(self) -> None:
        while True:
            kind, payload = self.channel.receive()
            if kind == messages.READY:
                return
            if kind == messages.REMARK:
                self.remarks.append(payload.decode("utf-8", "replace"))
            elif kind == messages.HOOKS:
                self._limit()
                self._run_hooks()
                self.channel.answer(messages.GO)
            elif kind == messages.LIMITS:
                set_what_takes_rights(self.pid, self.plan.process)
                self.channel.answer(messages.GO)
            elif kind == messages.LISTENER and self.agent:
                self.agent.introduce(self.channel, payload, self.pid, self.pidfd, self.pid)
            elif kind == messages.FAILED:
                raise self._failure(payload)
            else:
                raise self._failure(b"")

    def kill(self) -> None:
        """End init, whatever it is doing, and wait for its end. Raises PyociError if that does not come."""
        if self.pid:
            end(self.pid, self.pidfd)

    def give_back(self) -> None:
        """Bring the network devices back, for a container that comes to nothing. Raises PyociError."""
        if self.devices:
            self.devices.restore()

    def _learn_where_it_is(self) -> None:
        kind, payload = self.channel.receive()
        if kind != messages.ENTERED:
            raise self._failure(payload)
        self.entered += messages.paths_of(payload)

    def _move_devices(self) -> None:
        """While init is in their namespace to be, and before it sets the kernel parameters that they have there."""
        from pyoci.process.net_devices import NetDevices  # loaded already

        joined = next((join.path for join in self.plan.namespaces.join if join.flag == k.CLONE_NEWNET), "")
        self.devices = NetDevices(_open(joined or f"/proc/{self.pid}/ns/net", k.O_RDONLY))
        for device in self.plan.net_devices:
            self.devices.move(device)

    def _limit(self) -> None:
        """The limits come late, when init has made its mounts: it takes more memory than many a program that follows."""
        if not self.limited:
            self.limited = True
            self.warnings.extend(dict.fromkeys(apply(self.plan.cgroup, self.paths)))

    def _run_hooks(self) -> None:
        """They are told of a created container: runtime.md has it creating in step 2, and hooks from step 3 on."""
        from pyoci.hooks import run_hooks  # most containers have none

        state = jsontext.dumps({**self.state, "status": "created", "pid": self.pid}).encode()
        for kind in ("prestart", "createRuntime"):
            run_hooks(kind, list(getattr(self.plan.hooks, kind)), state, directory=self.plan.bundle)

    def _failure(self, said: bytes) -> StageFailed:
        """What init said, or why it could not say anything: the limits may have been too low for it to live."""
        failure = StageFailed.heard(said.decode("utf-8", "replace") or "container init ended without a word")
        if oom_kills(self.paths) > self.killed_before:
            return StageFailed(f"container init was OOM-killed (memory limit too low?): {failure.message}")
        return failure


def fifo_owner(plan: Plan) -> tuple[int, int]:
    """The host's ids of the container's root, to whom the exec fifo belongs."""
    namespaces = plan.namespaces
    return host_id(namespaces.uid_map, 0) or 0, host_id(namespaces.gid_map, 0) or 0


def _hook_runner(plan: Plan) -> Callable[..., None] | None:
    """What runs the hooks that are for init to run, loaded while it can be, if there are any."""
    if not (plan.hooks.createContainer or plan.hooks.startContainer):
        return None
    from pyoci.hooks import run_hooks  # most containers have none

    return run_hooks


def _maker_at_once(plan: Plan) -> Callable[..., int] | None:
    """What makes file systems with options that are too long for fsconfig(2), loaded while it can be, if there are any."""
    if not any(mount.at_once for mount in plan.mounts):
        return None
    from pyoci.rootfs.at_once import new_filesystem  # few options are so long

    return new_filesystem


def _open_sources(plan: Plan) -> Sources | None:
    if not (plan.namespaces.has(k.CLONE_NEWUSER) or any(mount.mapping for mount in plan.mounts)):
        return None
    from pyoci.process.sources import open_sources  # user namespaces and mapped mounts are rare

    return open_sources(plan)


def _open(path: str, flags: int) -> int:
    try:
        return k.open(path, flags | k.O_CLOEXEC)
    except OSError as error:
        raise failed(f"open {path}", error) from None
