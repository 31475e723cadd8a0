# SPDX-License-Identifier: Apache-2.0
"""Init: the container's first process, from its birth to the execve of the program. Runs inside.

It carries a plan out, step by step, and decides nothing. The steps stand in STEPS in the order in which they are done, and
where that order matters the step says why. Before the first one the interpreter is shut off from every file: what is not
imported by then cannot be, and none of the container's files is ever taken for ours.
"""

from __future__ import annotations

from errno import EINVAL

from pyoci import jsontext
from pyoci import syscalls as k
from pyoci.errors import failed
from pyoci.network import bring_up_loopback
from pyoci.plan.model import Plan
from pyoci.process import channel as messages
from pyoci.process.channel import Channel
from pyoci.process.clone import TITLE, join_all, needs_stage
from pyoci.process.confine import become_root, confine, said, text_of
from pyoci.process.program import Program
from pyoci.process.waiting import Waiting
from pyoci.record import Record
from pyoci.rootfs.cgroupfs import mount_cgroups
from pyoci.rootfs.devices import make_devices
from pyoci.rootfs.enter import (
    clone_null,
    close_paths,
    enter_root,
    make_cwd,
    make_root_readonly,
    prepare_root,
    set_propagation,
)
from pyoci.rootfs.mounts import Mounter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from pyoci.cgroups.join import Doors
    from pyoci.plan.model import Join
    from pyoci.process.sources import Sources
    from pyoci.rootfs.root import Root


class Handed(Record):
    """What the launcher opened for init while the host's paths were at hand. -1: not needed.

    proc            the host's /proc
    fifo            the exec fifo, not opened for reading or writing
    console         where the master of a terminal is sent
    joins           namespaces to join
    sources         what it takes to make mounts and init could not open itself, if there is anything
    preserve_fds    how many descriptors from 3 on the program inherits
    program         the program, made while there was something to load it from
    state           what hooks in the container are told, less status and pid
    doors           the ways into the cgroups, unless it is systemd that puts it there
    run_hooks       pyoci.hooks.run_hooks, if there are hooks for init to run
    at_once         pyoci.rootfs.at_once.new_filesystem, if there are mounts that take it
    """

    proc: int
    fifo: int
    console: int
    joins: list[tuple[Join, int]]
    sources: Sources | None
    preserve_fds: int
    program: Program
    state: dict[str, object]
    doors: Doors | None = None
    run_hooks: Callable[..., None] | None = None
    at_once: Callable[..., int] | None = None


def run(plan: Plan, handed: Handed, channel: Channel) -> NoReturn:
    """Be init. Leaves by execve(2) or _exit(2) only."""
    init = Init(plan, handed, channel)
    report: Callable[[BaseException], None] = init.report
    try:
        if not needs_stage(plan.namespaces):  # else the stage was, before it joined anything, and we are its child
            confine(TITLE)
        init.callers_umask = k.umask(0)  # what is made here gets exactly the mode that the plan says
        for step in STEPS:
            step(init)
        report = init.await_start()
        init.program.execute()
    except BaseException as error:
        report(error)
        if more := init.program.explanation():
            init.waiting.add(more)
    finally:
        k._exit(1)


class Init:
    """The state of init between its steps."""

    root: Root
    mounter: Mounter
    waiting: Waiting
    callers_umask = 0o022

    def __init__(self, plan: Plan, handed: Handed, channel: Channel) -> None:
        self.plan, self.handed, self.channel = plan, handed, channel
        self.program = handed.program
        self.in_user_namespace = plan.namespaces.has(k.CLONE_NEWUSER)
        self.placed = self.in_cgroup_namespace = False

    def report(self, error: BaseException) -> None:
        """Tell the launcher what went wrong; if it is gone, nobody wants to know."""
        try:
            self.channel.send(messages.FAILED, said(error))
        except OSError:
            pass

    def ask(self, request: bytes) -> None:
        """Ask the launcher for something only it can do, and wait until it is done."""
        self.channel.send(request)
        self.expect(messages.GO)

    def expect(self, wanted: bytes) -> None:
        """Wait for a message. When the launcher is gone there is nobody to be a container for."""
        kind, _ = self.channel.receive()
        if kind != wanted:
            k._exit(1)

    def await_placed(self) -> None:
        """Be sure to be in the container's cgroup. The launcher sees to that while we are busy with mounts."""
        if not self.placed:
            self.expect(messages.PLACED)
            self.placed = True

    # ------------------------------------------------------------------------------------------------- the steps, in order

    def enter_cgroups(self) -> None:
        """The first step, so that what the others take counts as the container's."""
        if self.handed.doors:
            entered = self.handed.doors.enter()
            self.channel.send(messages.ENTERED, messages.listed(entered))

    def become_root(self) -> None:
        """In a user namespace: as long as we are nobody there, we can make nothing."""
        k.prctl(k.PR_SET_PDEATHSIG, k.SIGKILL)
        if not self.in_user_namespace:
            return
        if self.plan.namespaces.uid_map:
            self.expect(messages.MAPPED)
        become_root()
        k.prctl(k.PR_SET_PDEATHSIG, k.SIGKILL)  # forgotten with the change of ids

    def join_namespaces(self) -> None:
        """Only those that are left: with a stage, all have been joined before we were born."""
        join_all(self.handed.joins)
        k.setsid()

    def set_names(self) -> None:
        """The host's name, the domain's, and the loopback device, of which a new network has a sleeping one."""
        for name, call in ((self.plan.hostname, k.sethostname), (self.plan.domainname, k.setdomainname)):
            try:
                if name:
                    call(name)
            except OSError as error:
                raise failed(f"{call.__name__} {name}", error) from None
        if self.plan.namespaces.new & k.CLONE_NEWNET:
            bring_up_loopback()

    def join_keyring(self) -> None:
        """A session keyring of the container's own, or it could read the keys of whoever called us (keyrings(7))."""
        if self.plan.process.keyring:
            self.program.join_keyring(f"_ses.{self.plan.id}", self.handed.proc, new=True)

    def make_root(self) -> None:
        rootfs = self.plan.rootfs
        sources = self.handed.sources
        self.root = prepare_root(rootfs, self.handed.proc, sources.root if sources else -1)
        self.null = clone_null() if rootfs.masked else -1
        self.mounter = Mounter(self.root, rootfs.propagation, rootfs.mount_label, self.handed.at_once)

    def make_mounts(self) -> None:
        sources = self.handed.sources
        for place, mount in enumerate(self.plan.mounts):
            if mount.kind == "cgroup":
                self.enter_cgroup_namespace()
                mount_cgroups(self.mounter, mount, self.plan.view_of(mount))
            elif sources:
                self.mounter.make(mount, sources.trees.get(place, -1), sources.user_namespaces.get(place, -1))
            else:
                self.mounter.make(mount)

    def make_devices(self) -> None:
        plan = self.plan
        make_devices(self.root, plan.devices, plan.links, bind=self.in_user_namespace, dev_is_ours=plan.set_up_dev)

    def enter_cgroup_namespace(self) -> None:
        """Only in our cgroup: the namespace's root is where we are when it is made (cgroup_namespaces(7))."""
        self.await_placed()
        if self.plan.namespaces.new & k.CLONE_NEWCGROUP and not self.in_cgroup_namespace:
            try:
                k.unshare(k.CLONE_NEWCGROUP)
            except OSError as error:
                raise failed("make the container's cgroup namespace", error) from None
            self.in_cgroup_namespace = True

    def run_hooks(self) -> None:
        """The root is complete and the way to the host still open: that is when hooks may add to it."""
        hooks = self.plan.hooks
        if not (hooks.prestart or hooks.createRuntime or hooks.createContainer):
            return
        self.await_placed()
        self.ask(messages.HOOKS)
        if hooks.createContainer:
            k.umask(self.callers_umask)  # as for the hooks that the launcher runs
            self._run_hooks("createContainer", list(hooks.createContainer), directory=self.plan.bundle)
            k.umask(0)
        self.root.look_again()

    def enter_root(self) -> None:
        enter_root(self.plan.rootfs, self.root)

    def make_cwd(self) -> None:
        """In the root, where links end in it, and before that or a file system in it becomes read-only."""
        make_cwd(self.root, self.plan.process.cwd)

    def set_up_terminal(self) -> None:
        """In the container's own devpts, and before /dev may become read-only."""
        self.program.set_up_streams(self.root.fd, self.handed.proc, self.handed.console, self.plan.set_up_dev)

    def close_root(self) -> None:
        """Last of all that touches the root: nothing can be made in it any more."""
        self.set_sysctls()
        self.mounter.finish()
        if self.plan.rootfs.readonly:
            make_root_readonly(self.root)
        close_paths(self.root, self.plan.rootfs, self.null)
        set_propagation(self.plan.rootfs)

    def set_sysctls(self) -> None:
        """Through the host's procfs: the one in the container may be covered, or be none (CVE-2025-52881)."""
        if self.plan.net_devices:
            self.await_placed()  # by then they are here, and so are the parameters that they have
        for path, value in self.plan.sysctl:
            try:
                fd = k.openat2(
                    self.handed.proc, f"sys/{path}", k.O_WRONLY, resolve=k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS
                )
                text = value.encode() or b"\n"  # of nothing the kernel would not hear
                taken = k.write(fd, text)
                k.close(fd)
                if taken != len(text):  # of numbers it takes as many as there are to be, and says so
                    raise OSError(EINVAL, k.strerror(EINVAL))
            except OSError as error:
                raise failed(f"set sysctl {path.replace('/', '.')} = {value}", error) from None

    def prepare_waiting(self) -> None:
        """While we may still mount: what it takes to open the exec fifo when everything else is gone."""
        self.waiting = Waiting(self.handed.fifo, self.handed.proc)

    def find_home(self) -> None:
        """In the root as the program will find it, and before limits that may leave no descriptor to read a file with."""
        self.program.find_home(self.root.fd, self.handed.proc)

    def take_limits(self) -> None:
        """While we are root, if possible of the host."""
        self.enter_cgroup_namespace()
        self.program.set_limits(self.ask)

    def become_program(self) -> None:
        """Give up what the program is not to have, as far as it can be done before the start."""
        handed = self.handed
        needed = (handed.fifo, self.waiting.proc)
        self.program.prepare(self.root.fd, handed.preserve_fds, handed.proc, self.channel, needed)

    # ------------------------------------------------------------------------------------------------------ and the waiting

    def await_start(self) -> Callable[[BaseException], None]:
        """Let go of the launcher, wait for `start`, run the startContainer hooks. Where to report from then on."""
        for remark in self.program.remarks:
            self.channel.send(messages.REMARK, remark.encode())
        waiting = self.waiting
        waiting.check()
        k.prctl(k.PR_SET_PDEATHSIG, 0)
        self.channel.send(messages.READY)
        self.channel.close()
        waiting.wait()
        self._run_start_hooks(waiting)
        return waiting.fail

    def _run_start_hooks(self, waiting: Waiting) -> None:
        """The startContainer hooks see the container as its program will, and a failure of theirs is its end."""
        hooks = list(self.plan.hooks.startContainer)
        if hooks:
            environment, confined = self.program.env, self.program.confined
            try:
                self._run_hooks("startContainer", hooks, default_env=environment, confined=confined)
            except BaseException as error:
                waiting.fail_hook(text_of(error))
                k._exit(1)

    def _run_hooks(self, kind: str, hooks: list[dict[str, object]], **options: Any) -> None:
        assert self.handed.run_hooks  # it was loaded, as there are some
        self.handed.run_hooks(kind, hooks, self.state_json(), **options)

    def state_json(self) -> bytes:
        """What a hook in the container is told; the pid is the one that it sees.

        createContainer is step 5 of runtime.md's lifecycle, startContainer step 7, and a container is created from the
        end of step 2 until its program runs, in step 8.
        """
        return jsontext.dumps({**self.handed.state, "status": "created", "pid": k.getpid()}).encode()


STEPS: tuple[Callable[[Init], None], ...] = (
    Init.enter_cgroups,
    Init.become_root,
    Init.join_namespaces,
    Init.set_names,
    Init.join_keyring,
    Init.make_root,
    Init.make_mounts,
    Init.make_devices,
    Init.run_hooks,
    Init.enter_root,
    Init.make_cwd,
    Init.set_up_terminal,
    Init.close_root,
    Init.prepare_waiting,
    Init.find_home,
    Init.take_limits,
    Init.become_program,
)
