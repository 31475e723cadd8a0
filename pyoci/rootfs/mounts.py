# SPDX-License-Identifier: Apache-2.0
"""Makes the mounts of a plan. Runs inside.

Each mount is made detached, with all its attributes, and only then attached, descriptor to descriptor: there is no moment
at which it is seen half made, no path that could be swapped, and no remount. Where the mount API of Linux 5.12 is
missing this refuses; going back to mount(2) would bring the races back.
"""

from __future__ import annotations

from errno import ENOENT, EPERM

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed, reason
from pyoci.rootfs.copyup import copy_tree
from pyoci.rootfs.root import Root, is_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import Mount

# What lxcfs and its like put over single files of /proc so that a container sees its own limits. Anything else there
# could make us write security labels or parameters into files that are not the kernel's (CVE-2019-16884).
_OVER_PROC = frozenset(
    f"/proc/{name}"
    for name in (
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "slabinfo",
        "stat",
        "swaps",
        "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid",
        "uptime",
    )
)
_DIRECTORY_ONLY = frozenset(("proc", "sysfs"))
_PERMISSIONS = 0o7777


class FilesystemRefused(PyociError):
    """The kernel would not make a file system, and said why."""


class Mounter:
    """Makes mounts in one root. `opened` holds sources that the launcher opened ahead, as detached trees by destination."""

    def __init__(self, root: Root, opened: dict[str, int], default_propagation: int, label: str) -> None:
        self.root, self.opened, self.label = root, opened, label
        self.default_propagation = default_propagation
        self._readonly_later: list[tuple[str, int]] = []

    def make(self, mount: Mount) -> None:
        """Make one bind mount or one new file system."""
        try:
            if mount.kind == "bind":
                self._bind(mount)
            elif mount.kind == "remount":
                self._remount(mount)
            else:
                self._new(mount)
        except OSError as error:
            raise _explained(mount, error) from None
        except FilesystemRefused as refused:
            raise PyociError(f"mount {mount.type} to {mount.destination}: {refused.message}") from None

    def finish(self) -> None:
        """What has to wait until everything is mounted: read-only file systems in which mount points were still made."""
        for destination, fd in self._readonly_later:
            try:
                k.mount_setattr(fd, k.MOUNT_ATTR_RDONLY)
            except OSError as error:
                raise failed(f"make {destination} read-only", error) from None
            k.close(fd)

    def attach(self, tree: int, destination: str, *, directory: bool, fstype: str = "") -> None:
        """Put a detached tree at a place of the container."""
        resolve = k.RESOLVE_NO_SYMLINKS if fstype in _DIRECTORY_ONLY else 0
        target = self.root.open_target(destination, directory, resolve)
        try:
            self._check_place(destination, self.root.where(target), tree, fstype)
            if is_directory(target) != directory:
                source, place = ("a directory", "none") if directory else ("not a directory", "one")
                raise PyociError(
                    f"mount to {destination}: the source is {source} and the destination is {place}: not a directory"
                )
            k.move_mount(tree, target)
            self.root.where(tree)
        finally:
            k.close(target)

    def _bind(self, mount: Mount) -> None:
        tree = self.opened.get(mount.destination, -1)
        if tree < 0:
            tree = open_source(mount)
        elif self.default_propagation:
            k.mount_setattr(tree, 0, propagation=self.default_propagation & ~k.MS_REC, recursive=True)
        _set_attributes(tree, mount)
        self.attach(tree, mount.destination, directory=is_directory(tree))
        _set_propagation(tree, mount)
        k.close(tree)

    def _remount(self, mount: Mount) -> None:
        target = self.root.open(mount.destination)
        self.root.where(target)
        _set_attributes(target, mount)
        _set_propagation(target, mount)
        k.close(target)

    def _new(self, mount: Mount) -> None:
        later = mount.type == "tmpfs" and mount.attr_set & k.MOUNT_ATTR_RDONLY
        parameters = list(mount.parameters)
        if mount.type == "tmpfs" and not any(key == "mode" for key, _ in parameters):
            parameters += self._mode_of(mount.destination)
        if self.label and mount.type not in ("proc", "sysfs", "mqueue", "cgroup", "cgroup2"):
            parameters.append(("context", self.label))
        attributes = mount.attr_set & ~(k.MOUNT_ATTR_RDONLY if later else 0)
        tree = new_filesystem(mount.type, mount.source, parameters, attributes)
        if mount.rec_set or mount.rec_clear:
            k.mount_setattr(tree, mount.rec_set, mount.rec_clear)
        if mount.copy_up:
            from_image = self._try_open(mount.destination, k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC)
            if from_image >= 0:
                copy_tree(from_image, tree)
                k.close(from_image)
        self.attach(tree, mount.destination, directory=True, fstype=mount.type)
        _set_propagation(tree, mount)
        if later:
            self._readonly_later.append((mount.destination, tree))
        else:
            k.close(tree)

    def _mode_of(self, destination: str) -> list[tuple[str, str | None]]:
        """The permissions of the directory that a tmpfs will hide: it takes them over, /tmp stays 1777."""
        fd = self._try_open(destination, k.O_PATH | k.O_CLOEXEC)
        if fd < 0:
            return []
        mode = k.fstat(fd).st_mode & _PERMISSIONS
        k.close(fd)
        return [("mode", f"{mode:o}")]

    def _try_open(self, path: str, flags: int) -> int:
        try:
            return self.root.open(path, flags)
        except OSError as error:
            if error.errno != ENOENT:
                raise
            return -1

    def _check_place(self, destination: str, place: str, tree: int, fstype: str) -> None:
        """Nothing but a procfs goes over /proc, nor, but for a few files, below it (CVE-2019-16884, CVE-2019-19921)."""
        if place == "/":
            raise PyociError(f"mount {destination}: it would hide the root file system itself")
        if place != "/proc" and not place.startswith("/proc/"):
            return
        if place in _OVER_PROC:
            return
        if place == "/proc" and (fstype == "proc" or k.fstatfs_type(tree) == k.PROC_SUPER_MAGIC):
            return
        raise PyociError(f"mount {destination}: {place} cannot be mounted over, it is inside /proc")


def open_source(mount: Mount) -> int:
    """The source of a bind mount as a detached tree; any path of the host, with the links that the caller trusts."""
    flags = k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if mount.recursive else 0)
    return k.open_tree(k.AT_FDCWD, mount.source, flags)


def new_filesystem(fstype: str, source: str, parameters: list[tuple[str, str | None]], attributes: int) -> int:
    """A new file system as a detached mount. Raises FilesystemRefused with the kernel's words (fsopen(2)), else OSError."""
    context = k.fsopen(fstype)
    try:
        if source:
            k.fsconfig(context, k.FSCONFIG_SET_STRING, "source", source)
        for key, value in parameters:
            k.fsconfig(context, k.FSCONFIG_SET_FLAG if value is None else k.FSCONFIG_SET_STRING, key, value)
        k.fsconfig(context, k.FSCONFIG_CMD_CREATE)
        return k.fsmount(context, attributes)
    except OSError as error:
        if said := _kernel_log(context):
            raise FilesystemRefused(f"{said} ({reason(error)})") from None
        raise
    finally:
        k.close(context)


def _kernel_log(context: int) -> str:
    """The kernel's own words about a file system that it would not make: `tmpfs: Unknown parameter 'sise'`."""
    try:
        line = k.read(context, 1024)
    except OSError:
        return ""
    return line.decode("utf-8", "replace").strip().removeprefix("e ")


def _set_attributes(tree: int, mount: Mount) -> None:
    if mount.attr_set or mount.attr_clear:
        k.mount_setattr(tree, mount.attr_set, mount.attr_clear)
    if mount.rec_set or mount.rec_clear:
        k.mount_setattr(tree, mount.rec_set, mount.rec_clear, recursive=True)


def _set_propagation(tree: int, mount: Mount) -> None:
    for flags in mount.propagation:
        k.mount_setattr(tree, 0, propagation=flags & ~k.MS_REC, recursive=bool(flags & k.MS_REC))


def _explained(mount: Mount, error: OSError) -> PyociError:
    what = mount.source if mount.kind == "bind" else mount.type
    hint = ""
    if mount.kind == "bind" and error.errno == ENOENT and _is_missing(mount.source):
        return PyociError(f"bind mount {mount.source} to {mount.destination}: the source: {reason(error)}")
    if mount.attr_clear and error.errno == EPERM:
        hint = " (an option would clear a flag that the source's mount has locked)"
    return PyociError(f"mount {what} to {mount.destination}: {reason(error)}{hint}")


def _is_missing(path: str) -> bool:
    try:
        k.lstat(path)
    except OSError:
        return True
    return False
