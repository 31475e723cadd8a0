# SPDX-License-Identifier: Apache-2.0
"""The launcher of a container that is restored: criu makes its processes, and this does what is left.

Who does what, in this order:

    restorer                                 criu
    --------                                 ----
    starts it                           ->   a mount namespace with the root in it; mount points
    joins the cgroup, with criu in it; sets the limits
    RESTORE                             ->   makes the processes and their namespaces
                                        <-   setup-namespaces: init is there
    loopback device; prestart, createRuntime hooks
                                        ->   restores all that the processes had
                                        <-   orphan-pts-master: the terminal's other end
    hands it over                       ->
                                        <-   post-restore: all is there, and nothing runs yet
    records init                        ->   lets the processes go on, and ends
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.cgroups.files import get
from pyoci.cgroups.join import join
from pyoci.criu import rpc
from pyoci.criu.failure import reason
from pyoci.criu.options import (
    RESTORE_LOG,
    CriuOptions,
    cgroup_mounts,
    cgroup_roots,
    inherited_namespaces,
    restore,
)
from pyoci.criu.root import mount_points, prepare
from pyoci.criu.service import CriuFailed, Service
from pyoci.errors import PyociError, failed
from pyoci.network import bring_up_loopback
from pyoci.plan.devices import bound_nodes
from pyoci.process.launcher import Launcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.criu.images import Directories


class Restorer(Launcher):
    """`pid` is criu's until init is there. Use: start, restore; and `kill` if anything fails."""

    service: Service

    def start(self, directories: Directories, root: str) -> None:
        """Start criu, with the root of the plan at the directory `root`. Raises PyociError."""
        namespaces = [_open(path, k.O_RDONLY) for _, path in inherited_namespaces(self.plan.namespaces)]
        try:
            self.service = Service(
                directories.paths,
                keep_streams=True,
                namespaces=namespaces,
                prepare=lambda channel: prepare(self.plan, root, channel),
            )
        finally:
            for fd in namespaces:
                k.close(fd)
        self.directories, self.root, self.pid, self.pidfd = directories, root, self.service.pid, self.service.pidfd
        self.mounts = mount_points(self.plan, self.service.prepared, directories.read_places())
        self.service.check_version()
        if self.plan.intel_rdt:
            from pyoci.process.intel_rdt import enter  # few hosts have it

            enter(self.pid, self.plan.intel_rdt.group, self.plan.intel_rdt.monitoring)

    def enter_cgroups(self) -> None:
        """Put criu, and so all that it makes, into the container's cgroups, under its limits. Raises CgroupError."""
        self.paths = join(self.paths, self.pid, self.plan.cgroup)
        self._limit()

    def restore(
        self,
        options: CriuOptions,
        extra_mounts: dict[str, str],
        config_file: str,
        console: int,
        record: Callable[[], None],
    ) -> None:
        """Have criu restore the container. Raises PyociError, HookFailed.

        extra_mounts: more sources by mount point. console: where the master of its terminal is sent, or -1.
        record: called when init is there, in `pid`, and has yet to go on.
        """
        mounts = self.mounts | extra_mounts
        for mount in self.plan.mounts:
            if mount.kind == "cgroup":
                mounts |= cgroup_mounts(mount.destination, self.plan.view_of(mount))
        if self.plan.namespaces.has(k.CLONE_NEWUSER):
            mounts |= {path: path for path in bound_nodes(self.plan.devices)}
        asked = restore(
            options,
            self.plan,
            root=self.root,
            mounts=mounts,
            streams=self.directories.read_streams(),
            config_file=config_file,
        )
        asked["cg_root"] = cgroup_roots(get(f"/proc/{self.service.pid}/cgroup"))

        def notified(notice: dict[str, Any], fd: int) -> None:
            self._notified(notice, fd, console, record)

        try:
            self.service.converse(rpc.RESTORE, {"opts": asked}, notified)
        except CriuFailed as error:
            log = f"{options.log_directory}/{RESTORE_LOG}"
            raise PyociError(
                f"criu cannot restore from {options.image_path}: {reason(error.told, log)} (log: {log})"
            ) from None
        self.service.close()

    def kill(self) -> None:
        """End criu, which then undoes what it is at, and init, if there is one."""
        if hasattr(self, "service"):
            self.service.close()
            if self.pid != self.service.pid:
                super().kill()

    def _notified(self, notice: dict[str, Any], fd: int, console: int, record: Callable[[], None]) -> None:
        script = notice.get("script")
        try:
            if script == "setup-namespaces":
                self._adopt(notice["pid"])
                if self.plan.namespaces.new & k.CLONE_NEWNET:
                    self._wake_loopback()
                self._run_hooks()
            elif script == "post-restore":
                self._adopt(notice["pid"])
                record()
            elif script == "orphan-pts-master" and console >= 0:
                k.send_fd(console, script.encode(), fd)
        except OSError as error:
            raise failed(f"restore, at {script}", error) from None
        finally:
            if fd >= 0:
                k.close(fd)

    def _wake_loopback(self) -> None:
        """As in any new network. criu makes it, and leaves it as it is, but connections need their way."""
        ours, theirs = _open("/proc/self/ns/net", k.O_RDONLY), _open(f"/proc/{self.pid}/ns/net", k.O_RDONLY)
        k.setns(theirs, k.CLONE_NEWNET)
        try:
            bring_up_loopback()
        finally:
            k.setns(ours, k.CLONE_NEWNET)
            k.close(ours)
            k.close(theirs)

    def _adopt(self, pid: int) -> None:
        if pid != self.pid:
            self.pid, self.pidfd = pid, k.pidfd_open(pid)


def _open(path: str, flags: int) -> int:
    try:
        return k.open(path, flags | k.O_CLOEXEC)
    except OSError as error:
        raise failed(f"open {path}", error) from None
