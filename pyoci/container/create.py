# SPDX-License-Identifier: Apache-2.0
"""create, and what run and plan share with it (runtime.md, Lifecycle, steps 1 to 6).

What is made is recorded before it is made, so that a create that is killed can be deleted; what fails is undone here.
"""

from __future__ import annotations

import time

from pyoci import bundle as bundles
from pyoci import host as hosts
from pyoci import state as states
from pyoci import syscalls as k
from pyoci.cgroups.manage import create as create_cgroups
from pyoci.cgroups.marks import mark_of
from pyoci.cgroups.processes import oom_kills
from pyoci.container.handover import (
    Inherited,
    connect_pidfd_socket,
    find_inherited,
    listen_fds,
    own_streams,
    send_pidfd,
    write_pid_file,
)
from pyoci.container.record import hook_state
from pyoci.errors import ContainerExists, ContainerNotFound, HookFailed, PyociError, StateError, UsageError, failed
from pyoci.plan import Request
from pyoci.plan import plan as make_plan
from pyoci.process import exec_fifo
from pyoci.process.confine import text_of
from pyoci.process.launcher import Launcher, fifo_owner
from pyoci.seccomp_cache import compiled
from pyoci.state import CONFIG, FIFO, FILTER, NOTIFY, STATE, UNFINISHED, RuntimeState, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.bundle import Bundle
    from pyoci.cgroups.unit import Manager
    from pyoci.container.options import CreateOptions
    from pyoci.container.record import Settings
    from pyoci.foreground import Foreground
    from pyoci.host import Host
    from pyoci.plan.model import Plan


def create(settings: Settings, container_id: str, options: CreateOptions) -> None:
    """Make a container that waits to be started. Raises SpecError with all that is wrong, or PyociError; then nothing is left."""
    inherited = find_inherited(options.preserve_fds, settings.log.fd, listen_fds())
    Creation(settings, container_id, options, inherited).create()


def plan(settings: Settings, container_id: str, options: CreateOptions) -> Plan:
    """What create would carry out. Raises SpecError, CgroupError."""
    return decide(settings, container_id, options)[2]


def decide(
    settings: Settings, container_id: str, options: CreateOptions, starts: bool = False
) -> tuple[Bundle, Host, Plan]:
    """Everything that create decides, and from what."""
    states.check_id(container_id)
    bundle = bundles.load(options.bundle, options.config)
    host = hosts.gather(bundle.config, bundle.directory, settings.rootless)
    request = Request(
        id=container_id,
        bundle=bundle.directory,
        starts=starts,
        pivot=not options.no_pivot,
        keyring=not options.no_new_keyring,
        systemd=_find_systemd(host.rootless) if settings.systemd_cgroup else None,
        cgroups=settings.cgroup_manager != "disabled",
        listen_fds=listen_fds(),
        listen_names=k.environ.get(b"LISTEN_FDNAMES", b"").decode("utf-8", "surrogateescape"),
        notify=f"{settings.root}/{container_id}/{NOTIFY}" if k.environ.get(b"NOTIFY_SOCKET") else "",
    )
    return bundle, host, make_plan(bundle.config, host, request)


class Creation:
    """One container being made. After `create`, `launcher` has init, and `console` our end of its terminal.

    foreground: its terminal and signals are for us to pass on. starts: it is to run at once, so there must be a process.
    """

    state: RuntimeState
    launcher: Launcher

    def __init__(
        self,
        settings: Settings,
        container_id: str,
        options: CreateOptions,
        inherited: Inherited,
        foreground: Foreground | None = None,
        starts: bool = False,
    ) -> None:
        self.settings, self.options, self.inherited = settings, options, inherited
        self.foreground, self.starts = foreground, starts
        self.directory = StateDir(settings.root, container_id)
        self.console = -1
        self.cgroups: dict[str, str] = {}  # what is ours to take back

    def create(self) -> None:
        """Decide, then do. What fails half-way is undone, and the failure raised."""
        bundle, host, plan = decide(self.settings, self.directory.id, self.options, self.starts)
        log = self.settings.log
        for warning in plan.warnings:
            log.warning(warning)
        log.debug(f"bundle {bundle.directory}: the configuration is right, and decided on for this host")
        console = self._open_console(plan.process.terminal)
        receiver = connect_pidfd_socket(self.options.pidfd_socket)
        self.inherited.close_others()
        self.state = self._record(bundle, host, plan)
        self.launcher = self._make_launcher(plan, host)
        self.directory.make(self.settings.root)
        try:
            self._make(bundle, plan, console)
            self._tell(receiver)
        except BaseException as error:
            if k.getpid() == self.state.creator_pid:  # else it is a child of ours that got lost on its way
                self._undo(bundle, error)
            raise

    def _make_launcher(self, plan: Plan, host: Host) -> Launcher:
        return Launcher(plan, {}, hook_state(self.state), host.rootless)

    def _make(self, bundle: Bundle, plan: Plan, console: int) -> None:
        directory, launcher = self.directory, self.launcher
        fifo = f"{directory.path}/{UNFINISHED}"
        program = self._claim(bundle, plan, lambda: exec_fifo.make(fifo, *fifo_owner(plan)))
        if plan.notifies:
            from pyoci.notify import make_directory  # few callers wait to be told

            make_directory(f"{directory.path}/{NOTIFY}")
        self._make_cgroups(plan)
        if plan.rootfs.on_host:
            from pyoci.rootfs.attach import attach  # few containers have no mount namespace

            attach(plan.rootfs.path, self._save_mount)
        self._with_streams(plan, lambda: launcher.clone(fifo, program, console, self.inherited.count))
        log = self.settings.log
        log.debug(f"init is process {launcher.pid}, on its way into {', '.join(sorted(set(launcher.paths.values())))}")
        self._save(plan.cgroup.paths if plan.cgroup.unit else launcher.paths)
        launcher.serve()
        if launcher.paths != self.state.cgroup_paths:
            self._save(launcher.paths)
        self._finish(fifo)
        self._pass_on()
        log.debug("init is ready: namespaces, mounts, devices and limits are as decided, and it waits to be started")

    def _with_streams(self, plan: Plan, make: Callable[[], None]) -> None:
        """Make what inherits our standard streams. In the foreground a terminal of ours is not among them."""
        if not self.foreground or plan.process.terminal:
            make()
            return
        try:
            if self.foreground.divert(lambda: fifo_owner(plan)):
                self.state = self.state.replace(streams=own_streams())
            make()
        finally:
            self.foreground.give_back()

    def _claim(self, bundle: Bundle, plan: Plan, also: Callable[[], None] = lambda: None) -> bytes:
        """Write down what will be made, and from what, and do what else takes the lock; the compiled filter.
        With that the id is ours.

        Until then a `delete --force` takes the directory for what a create has left that died early, and removes it; whoever
        makes it anew may not have come as far as we.
        """
        program = _compile(plan, self.settings.root)
        lock = self.directory.lock()
        try:
            if self.directory.has(STATE):
                raise ContainerExists(self.directory.id)
            self.directory.save(self.state)
            self.directory.write(CONFIG, bundle.text.encode())
            if program:
                self.directory.write(FILTER, program)
            also()
        finally:
            k.close(lock)
        return program

    def _as_ours(self, act: Callable[[], None]) -> None:
        """Do something in the directory as long as it is ours. Raises ContainerNotFound if it has been deleted meanwhile,
        whether or not somebody has made another container of that name."""
        lock = self.directory.lock()
        try:
            if not self._is_ours():
                raise ContainerNotFound(self.directory.id)
            act()
        finally:
            k.close(lock)

    def _make_cgroups(self, plan: Plan) -> None:
        mark = mark_of(self.settings.root, self.directory.id)
        self.launcher.killed_before = oom_kills(plan.cgroup.paths)
        self.cgroups = self.launcher.paths = create_cgroups(plan.cgroup, mark)
        if plan.intel_rdt:
            from pyoci.process.intel_rdt import make  # few hosts have it

            self.state = self.state.replace(intel_rdt_is_own=make(plan.intel_rdt))

    def _pass_on(self) -> None:
        """Say what the launcher has to say."""
        for warning in self.launcher.warnings:
            self.settings.log.warning(warning)
        for remark in self.launcher.remarks:
            self.settings.log.debug(remark)

    def _finish(self, fifo: str) -> None:
        """From here on it is created, and can be started."""
        try:
            self._as_ours(lambda: k.rename(fifo, f"{self.directory.path}/{FIFO}"))
        except OSError as error:
            raise failed(f"rename {fifo}", error) from None

    def _tell(self, receiver: int) -> None:
        """Tell the caller which process it is."""
        if receiver >= 0:
            send_pidfd(receiver, self.launcher.pidfd, b"standard")
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, self.launcher.pid)

    def _record(self, bundle: Bundle, host: Host, plan: Plan) -> RuntimeState:
        return RuntimeState(
            id=self.directory.id,
            oci_version=plan.oci_version,
            bundle=bundle.directory,
            rootfs=plan.rootfs.path,
            created=now(),
            annotations=plan.annotations,
            cgroup_paths=plan.cgroup.paths,
            creator_pid=k.getpid(),
            creator_start=states.start_time(k.getpid())[1],
            rootless=host.rootless,
            seccomp_flags=plan.seccomp.flags if plan.seccomp else -1,
            streams={} if plan.process.terminal else own_streams(),
            systemd_cgroup=plan.cgroup.unit is not None,
            systemd_unit=plan.cgroup.unit.name if plan.cgroup.unit else "",
            shares_pids=not plan.namespaces.new & k.CLONE_NEWPID,
            has_process=bool(plan.process.args),
            new_keyring=plan.process.keyring,
            intel_rdt_path=plan.intel_rdt.group if plan.intel_rdt else "",
            intel_rdt_mon_path=plan.intel_rdt.monitoring if plan.intel_rdt else "",
            intel_rdt_is_own=bool(plan.intel_rdt and plan.intel_rdt.own and not k.access(plan.intel_rdt.group, 0)),
        )

    def _save(self, paths: dict[str, str]) -> None:
        pid = self.launcher.pid
        state = self.state.replace(
            cgroup_paths=paths, init_process_pid=pid, init_process_start=states.start_time(pid)[1]
        )
        self._as_ours(lambda: self.directory.save(state))
        self.state = state  # only now: what is in the cgroups of an id that we have lost is not ours to end

    def _save_mount(self, mount_id: int) -> None:
        self.state = self.state.replace(root_mount=mount_id)
        self._as_ours(lambda: self.directory.save(self.state))

    def _open_console(self, terminal: bool) -> int:
        """Where init is to send its terminal's master: the caller's socket, or in the foreground us. -1 without terminal."""
        socket = self.options.console_socket
        if socket and (self.foreground or not terminal):
            raise UsageError("cannot use console socket if pyoci will not detach or allocate tty")
        if not terminal:
            return -1
        if self.foreground:
            self.console, theirs = k.stream_pair()
            return theirs
        if not socket:
            raise UsageError("cannot allocate tty if pyoci will detach without setting console socket")
        from pyoci.terminal import connect_console_socket  # for this alone

        return connect_console_socket(socket)

    def give_back(self, error: BaseException) -> None:
        """Bring back what came from the host's network, as this has come to nothing."""
        try:
            self.launcher.give_back()
        except PyociError as another:
            error.add_note(f"and then, on the way back: {another.message}")

    def kill(self, error: BaseException) -> None:
        """End init. If that takes too long we go on: what else is to be undone may be what stops it."""
        try:
            self.launcher.kill()
        except PyociError as another:
            error.add_note(f"and then, on the way back: {another.message}")

    def _undo(self, bundle: Bundle, error: BaseException) -> None:
        """Leave nothing. What cannot be taken back is said beside what failed first, and stays for `delete`."""
        log = self.settings.log
        self.give_back(error)
        self.kill(error)
        try:
            if not self.foreground:
                _let_go(log.fd)
            from pyoci.container.delete import destroy, end  # only when something has failed

            # Not what the plan has: until they are made, a cgroup of that name is somebody else's, with processes in it.
            self.state = self.state.replace(cgroup_paths={**self.cgroups, **self.launcher.paths})
            ran_hooks = isinstance(error, HookFailed) or self.launcher.limited
            hooks = (bundle.config.get("hooks") or {}).get("poststop") if ran_hooks else None
            try:
                lock = self.directory.lock()
            except ContainerNotFound:  # deleted meanwhile, with what was known of it then
                end(self.state, all_ours=lambda: True)
                destroy(None, self.state, hooks or [], log)
                return
            try:
                is_ours = self._is_ours()
                if is_ours or not self.directory.has(STATE):
                    end(self.state, all_ours=lambda: True)
                    is_ours = is_ours or self.directory.is_made_by_us(lock)  # else of a create that comes after us
                    destroy(self.directory if is_ours else None, self.state, hooks or [], log)
            finally:
                k.close(lock)
        except (PyociError, OSError) as another:
            error.add_note(f"and then, on the way back: {text_of(another)}")

    def _is_ours(self) -> bool:
        """Whether the id has not been deleted, nor taken by somebody else meanwhile. To be asked with the lock held."""
        try:
            found = self.directory.load()
        except StateError:
            return False
        return (found.creator_pid, found.creator_start) == (self.state.creator_pid, self.state.creator_start)


def _find_systemd(user: bool) -> Manager:
    from pyoci.cgroups.systemd import find  # only with --systemd-cgroup

    return find(user)


def _let_go(log: int) -> None:
    """Of all descriptors but the log's, as it may be for want of some that we have failed. Or of close_range(2)."""
    try:
        k.close_all_but(3, (log,))
    except OSError:
        pass


def _compile(plan: Plan, root: str) -> bytes:
    if plan.seccomp is None:
        return b""
    return compiled(plan.seccomp, root)


def now() -> str:
    """The time in RFC 3339, UTC, to the nanosecond."""
    nanoseconds = time.time_ns()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(nanoseconds // 10**9))}.{nanoseconds % 10**9:09d}Z"
