# SPDX-License-Identifier: Apache-2.0
"""checkpoint: have criu save a container's processes, and let them go on or end. What fails leaves the container running."""

from __future__ import annotations

from fcntl import F_GETFL

from pyoci import syscalls as k
from pyoci.cgroups import layout
from pyoci.cgroups.freezer import is_frozen, thaw
from pyoci.cgroups.plan import CgroupPlan
from pyoci.container.delete import end_and_destroy
from pyoci.container.record import Container
from pyoci.criu import rpc
from pyoci.criu.failure import reason
from pyoci.criu.images import Directories
from pyoci.criu.options import (
    CONFIG_FILES,
    DUMP_LOG,
    CriuOptions,
    Dumped,
    cgroup_mounts,
    config_file,
    dump,
)
from pyoci.criu.service import CriuFailed, Service
from pyoci.errors import ContainerNotFound, InvalidOperation, PyociError, UsageError, failed
from pyoci.notify import INSIDE
from pyoci.plan.cgroup_view import plan_cgroup_view
from pyoci.plan.devices import bound_nodes, plan_devices, sets_up_dev
from pyoci.plan.mounts import plan_mounts
from pyoci.plan.namespaces import PROC_NAMES, plan_namespaces
from pyoci.state import NOTIFY, PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.container.record import Settings
    from pyoci.plan.model import Mount, Namespaces

_WRITABLE = k.O_WRONLY | k.O_RDWR


def checkpoint(settings: Settings, container_id: str, options: CriuOptions) -> None:
    """Save a running or paused container; unless it is to go on it is gone then. Raises InvalidOperation, PyociError."""
    container = Container(settings, container_id)
    claim = _Claim(container)
    try:
        status = container.status()
        if status not in (RUNNING, PAUSED):
            raise InvalidOperation(f"Container cannot be checkpointed in {status} state")
        _check_status_fd(options.status_fd)
        try:
            with Directories(options, new=True) as directories:
                _save(container, options, directories, claim)
        except BaseException:
            if claim.take_again():
                _let_go_on(container, status)
            raise
        if options.ends and claim.take_again():
            _remove(container)
    finally:
        claim.let_go()


class _Claim:
    """The container's lock, for as long as others have to keep away."""

    def __init__(self, container: Container) -> None:
        """Raises ContainerNotFound, StateError."""
        self.container, self.lock = container, container.directory.lock()

    def let_go(self) -> None:
        """What others do to the container from now on is theirs to answer for."""
        if self.lock >= 0:
            k.close(self.lock)
            self.lock = -1

    def take_again(self) -> bool:
        """Whether the container is ours to go on with: it may have been deleted, and its id given to another."""
        if self.lock >= 0:
            return True
        ours = self.container.state
        try:
            self.lock = self.container.directory.lock()
            found = self.container.directory.load()
        except ContainerNotFound:
            return False
        except PyociError as error:
            self.container.settings.log.warning(error.message)
            return False
        return (found.init_process_pid, found.init_process_start) == (ours.init_process_pid, ours.init_process_start)


def _save(container: Container, options: CriuOptions, directories: Directories, claim: _Claim) -> None:
    found = _look_at(container, container.directory.config())
    asked = dump(options, found)
    service = Service(directories.paths)
    try:
        service.check_version()
        if options.pre_dump:
            service.check_feature("mem_track", "--pre-dump")
        if options.lazy_pages:
            service.check_feature("lazy_pages", "--lazy-pages")
        if not options.pre_dump:
            directories.write_streams(container.state.streams)
            directories.write_places(found.places)
        kind = rpc.PRE_DUMP if options.pre_dump else rpc.DUMP

        def notified(notice: dict[str, Any], fd: int) -> None:
            _notified(notice, fd, options.status_fd)
            if notice.get("script") == "status-ready" and options.lazy_pages:
                # Now somebody may fetch the memory, or nobody ever. The container stands still until then, and can be deleted.
                service.give_up_after(init)
                claim.let_go()

        init = container.open_init()
        service.converse(kind, {"opts": asked}, notified)
    except CriuFailed as error:
        log = f"{options.log_directory}/{DUMP_LOG}"
        raise PyociError(
            f"criu cannot checkpoint container {container.state.id}: {reason(error.told, log)} (log: {log})"
        ) from None
    finally:
        service.close()  # which is also how it learns that no other dump follows


def _look_at(container: Container, config: dict[str, Any]) -> Dumped:
    """The facts that a dump is decided by."""
    state = container.state
    linux = config.get("linux") or {}
    namespaces = plan_namespaces(linux)
    planned = plan_mounts(config.get("mounts") or (), state.bundle, namespaces)
    mounts = [mount for mount in planned if mount.kind == "bind"]
    places = []
    if namespaces.has(k.CLONE_NEWUSER):
        places += bound_nodes(plan_devices(linux.get("devices") or (), sets_up_dev(planned)))
    if container.directory.has(NOTIFY):
        places.append(INSIDE)
    pid = state.init_process_pid
    try:
        root = k.open(f"/proc/{pid}/root", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
        try:
            found = _find_binds(root, mounts)
            binds = [*found.values(), *(_resolved(root, place)[0] for place in places)]
            masks = [_resolved(root, path) for path in linux.get("maskedPaths") or ()]
        finally:
            k.close(root)
        return Dumped(
            pid=pid,
            rootfs=state.rootfs,
            freezer=state.cgroup_paths.get("freezer") or state.cgroup_paths.get("", ""),
            binds=(*binds, *_cgroup_binds(planned, state.cgroup_paths, namespaces)),
            masks=tuple(place for place, kind in masks if kind and not k.S_ISDIR(kind)),
            places=found,
            inodes={join.flag: k.stat(f"/proc/{pid}/ns/{PROC_NAMES[join.type]}").st_ino for join in namespaces.join},
            config_file=config_file(state.annotations, [path for path in CONFIG_FILES if k.access(path, 0)]),
        )
    except OSError as error:
        raise failed(f"look at container {state.id}", error) from None


def _find_binds(root: int, mounts: list[Mount]) -> dict[str, str]:
    """Where bind mounts are in the container, by destination.

    Raises PyociError if links lead from the destination of one to another by now: a restore would take each for the other,
    and give the container what it may only read with the rights that it has to the other (CVE-2026-119101).
    """
    sources = [_identity(mount.source) for mount in mounts]
    found = {}
    for mount, source in zip(mounts, sources, strict=True):
        try:
            fd = k.openat2(root, mount.destination, k.O_PATH, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS)
        except OSError:
            found[mount.destination] = mount.destination
            continue
        try:
            status, place = k.fstat(fd), k.readlink(f"/proc/self/fd/{fd}")
        finally:
            k.close(fd)
        there = (status.st_dev, status.st_ino)
        if there != source and there in sources:
            other = mounts[sources.index(there)]
            raise PyociError(f"mount {mount.destination}: links lead to {place} now, where {other.source} is mounted")
        found[mount.destination] = place
    return found


def _identity(path: str) -> tuple[int, int] | None:
    """A file, by device and inode; None if there is none."""
    try:
        status = k.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _resolved(root: int, path: str) -> tuple[str, int]:
    """Where a path of the container leads to, and what kind of file is there (st_mode); itself and 0 if there is nothing."""
    try:
        fd = k.openat2(root, path, k.O_PATH, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS)
    except OSError:
        return path, 0
    try:
        return k.readlink(f"/proc/self/fd/{fd}"), k.fstat(fd).st_mode
    finally:
        k.close(fd)


def _cgroup_binds(planned: tuple[Mount, ...], paths: dict[str, str], namespaces: Namespaces) -> list[str]:
    mounts = [mount for mount in planned if mount.kind == "cgroup" and mount.type == "cgroup"]
    if not mounts:
        return []
    view = plan_cgroup_view(
        CgroupPlan(mode="", paths=paths, directories=(), mount_points={}),
        layout.read(),
        bool(namespaces.new & k.CLONE_NEWCGROUP),
    )
    return [place for mount in mounts for place in cgroup_mounts(mount.destination, view)]


def _notified(notice: dict[str, Any], fd: int, status_fd: int) -> None:
    if fd >= 0:
        k.close(fd)
    if notice.get("script") == "status-ready" and status_fd >= 0:
        try:
            k.write(status_fd, b"\0")
            k.close(status_fd)
        except BrokenPipeError:
            pass  # who wanted to know is gone


def _check_status_fd(fd: int) -> None:
    if fd < 0:
        return
    try:
        flags = k.fcntl(fd, F_GETFL)
    except OSError as error:
        raise failed(f"invalid --status-fd argument {fd}", error) from None
    if not flags & _WRITABLE:
        raise UsageError(f"invalid --status-fd argument {fd}: not writable")


def _let_go_on(container: Container, status: str) -> None:
    """A criu that was killed may have left the container frozen."""
    try:
        if status == RUNNING and is_frozen(container.state.cgroup_paths):
            thaw(container.state.cgroup_paths)
    except (OSError, PyociError) as error:
        container.settings.log.warning(f"thaw container {container.state.id}: {error}")


def _remove(container: Container) -> None:
    """It is saved, which is what was asked for: that something of it is left is not a failure of that."""
    log = container.settings.log
    try:
        end_and_destroy(container.directory, container.state, container.directory.hooks("poststop"), log)
    except PyociError as error:
        log.warning(error.message)
