# SPDX-License-Identifier: Apache-2.0
"""Makes the mounts of a plan. Runs inside.

Each mount is made detached, with all its attributes, and only then attached, descriptor to descriptor: there is no moment
at which it is seen half made, no path that could be swapped, and no remount. Where the mount API of Linux 5.12 is
missing this refuses; going back to mount(2) would bring the races back. What is too long for that API is made where there
are none (see `at_once`).
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, EPERM

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed, reason
from pyoci.rootfs.copyup import copy_tree
from pyoci.rootfs.root import Root, is_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

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
_UNLABELLED = frozenset(("proc", "sysfs", "mqueue", "cgroup", "cgroup2"))
_OWNED_BY = {"proc": "pid", "mqueue": "ipc", "sysfs": "network"}
_DIRECTORY_ONLY = frozenset(("proc", "sysfs"))


class FilesystemRefused(PyociError):
    """The kernel would not make a file system, and said why."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        self.errno = number

    def of(self, step: str) -> FilesystemRefused:
        """The same, with the step that it was in."""
        return FilesystemRefused(f"{step}: {self.message}", self.errno)


class Mounter:
    """Makes mounts in one root. `propagation` is what the host's mounts have been given in here (MS_*, 0: nothing).

    `at_once` is pyoci.rootfs.at_once.new_filesystem, if there are file systems that take it.
    """

    def __init__(self, root: Root, propagation: int, label: str, at_once: Callable[..., int] | None = None) -> None:
        self.root, self.propagation, self.label, self.at_once = root, propagation, label, at_once
        self._readonly_later: list[tuple[str, int]] = []

    def make(self, mount: Mount, tree: int = -1, user_namespace: int = -1) -> None:
        """Make one bind mount or one new file system, or change one that is there.

        `tree` is the source of a bind mount if the launcher has opened it, `user_namespace` gives a new file system's
        mount the id maps that the plan wants; both are closed here. Raises PyociError.
        """
        try:
            if mount.kind == "bind":
                self._bind(mount, tree)
            elif mount.kind == "remount":
                self._remount(mount)
            else:
                self._new(mount, user_namespace)
        except OSError as error:
            raise _explained(mount, error) from None
        except FilesystemRefused as refused:
            raise refused.of(f"mount {mount.type} to {mount.destination}") from None

    def finish(self) -> None:
        """What has to wait until everything is mounted: read-only file systems in which mount points were still made."""
        for destination, fd in self._readonly_later:
            try:
                k.mount_setattr(fd, k.MOUNT_ATTR_RDONLY)
            except OSError as error:
                raise failed(f"make {destination} read-only", error) from None
            k.close(fd)

    def context(self) -> list[tuple[str, str | None]]:
        """What gives the label to a new file system, if there is one to give."""
        return [("context", self.label)] if self.label else []

    def attach(self, tree: int, destination: str, *, directory: bool, fstype: str = "") -> None:
        """Put a detached tree at a place of the container."""
        resolve = k.RESOLVE_NO_SYMLINKS if fstype in _DIRECTORY_ONLY else 0
        try:
            target = self.root.open_target(destination, directory, resolve)
        except OSError as error:
            raise failed(f"mount to {destination}: open or make the place", error) from None
        try:
            self._check_place(destination, self.root.where(target), tree, fstype)
            if is_directory(target) != directory:
                source, place = ("a directory", "none") if directory else ("not a directory", "one")
                raise PyociError(
                    f"mount to {destination}: the source is {source} and the destination is {place}: not a directory"
                )
            k.move_mount(tree, target)
            self.root.where(tree)
            self.root.keep(destination, tree)
        finally:
            k.close(target)

    def _bind(self, mount: Mount, tree: int) -> None:
        if tree < 0:
            tree = open_source(mount.source, mount.recursive)
        elif self.propagation:
            k.mount_setattr(tree, 0, propagation=self.propagation & ~k.MS_REC, recursive=True)
        _set_attributes(tree, mount)
        self.attach(tree, mount.destination, directory=is_directory(tree))
        set_propagation(tree, mount)
        k.close(tree)

    def _remount(self, mount: Mount) -> None:
        target = self.root.open(mount.destination)
        self.root.where(target)
        if mount.parameters:
            _reconfigure(target, mount)
        _set_attributes(target, mount)
        set_propagation(target, mount)
        k.close(target)

    def _new(self, mount: Mount, user_namespace: int) -> None:
        readonly = (mount.attr_set & ~mount.rec_clear | mount.rec_set) & k.MOUNT_ATTR_RDONLY
        later = readonly if mount.type == "tmpfs" else 0
        parameters = list(mount.parameters)
        if mount.type == "tmpfs" and not any(key == "mode" for key, _ in parameters):
            parameters += self._mode_of(mount.destination)
        if mount.type not in _UNLABELLED:
            parameters += self.context()
        tree = self._filesystem(mount, parameters, mount.attr_set & ~later)
        if mount.rec_set or mount.rec_clear:
            k.mount_setattr(tree, mount.rec_set & ~later, mount.rec_clear, recursive=True)
        if user_namespace >= 0:
            k.mount_setattr(tree, k.MOUNT_ATTR_IDMAP, userns_fd=user_namespace)
            k.close(user_namespace)
        if self.label and mount.type == "mqueue":
            _label(tree, self.label)
        if mount.copy_up:
            from_image = self._try_open(mount.destination, k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC)
            if from_image >= 0:
                self._check_source(mount, from_image, tree)
                copy_tree(from_image, tree, self.root.proc)
                k.close(from_image)
        self.attach(tree, mount.destination, directory=True, fstype=mount.type)
        set_propagation(tree, mount)
        if later:
            self._readonly_later.append((mount.destination, tree))
        else:
            k.close(tree)

    def _filesystem(self, mount: Mount, parameters: list[tuple[str, str | None]], attributes: int) -> int:
        """The file system of a mount; for a sysfs that is not ours to mount, the host's with the same attributes.

        A sysfs shows a network namespace, and whoever does not own that may not mount it: root of a user namespace in the
        host's network. What is mounted in the host's comes along, so the attributes are for all of it.
        """
        if mount.at_once:
            assert self.at_once  # it was loaded, as there is one
            return self.at_once(self.root.fd, mount.type, mount.source, parameters, attributes)
        try:
            return new_filesystem(mount.type, mount.source, parameters, attributes)
        except (OSError, FilesystemRefused) as error:  # with words if it would show what is covered in ours
            if mount.type != "sysfs" or error.errno != EPERM:
                raise
        tree = open_source("/sys", recursive=True)
        # One kind of atime takes the place of another, for which the kernel wants the other cleared.
        k.mount_setattr(tree, attributes, mount.attr_clear & k.MOUNT_ATTR__ATIME, recursive=True)
        return tree

    def _mode_of(self, destination: str) -> list[tuple[str, str | None]]:
        """The permissions of the directory that a tmpfs will hide: it takes them over, /tmp stays 1777."""
        fd = self._try_open(destination, k.O_PATH | k.O_CLOEXEC)
        if fd < 0:
            return []
        mode = k.S_IMODE(k.fstat(fd).st_mode)
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

    def _check_source(self, mount: Mount, source: int, tree: int) -> None:
        """What is to be copied lies where a link may have led: nothing is read where it does not go, nor of a procfs at all.

        There are files of the kernel's that never end, and others that wait for what never comes.
        """
        place = self.root.where(source)
        self._check_place(mount.destination, place, tree, mount.type)
        if k.fstatfs_type(source) == k.PROC_SUPER_MAGIC:
            raise PyociError(f"mount {mount.destination}: {place} cannot be copied, it is a procfs")


def open_source(path: str, recursive: bool) -> int:
    """The source of a bind mount as a detached tree; any path of the host, with the links that the caller trusts."""
    return k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if recursive else 0))


def new_filesystem(fstype: str, source: str, parameters: list[tuple[str, str | None]], attributes: int) -> int:
    """A new file system as a detached mount. Raises FilesystemRefused with the kernel's words (fsopen(2)), else OSError."""
    context = k.fsopen(fstype)
    try:
        if source:
            k.fsconfig(context, k.FSCONFIG_SET_STRING, "source", source)
        _configure(context, parameters, k.FSCONFIG_CMD_CREATE)
        return k.fsmount(context, attributes)
    except OSError as error:
        if said := _kernel_log(context):
            raise FilesystemRefused(f"{said} ({reason(error)})", error.errno) from None
        raise
    finally:
        k.close(context)


def _reconfigure(target: int, mount: Mount) -> None:
    """Change what belongs to a whole file system, such as the size of a tmpfs. Raises FilesystemRefused, OSError."""
    context = k.fspick(target)
    try:
        _configure(context, list(mount.parameters), k.FSCONFIG_CMD_RECONFIGURE)
    except OSError as error:
        if said := _kernel_log(context):
            raise FilesystemRefused(f"{said} ({reason(error)})", error.errno) from None
        raise
    finally:
        k.close(context)


def _configure(context: int, parameters: list[tuple[str, str | None]], command: int) -> None:
    for key, value in parameters:
        if max(len(k.encode(key)), len(k.encode(value or ""))) > k.FSCONFIG_LONGEST:
            raise FilesystemRefused(f"the option {key[:20]} is longer than {k.FSCONFIG_LONGEST} bytes", EINVAL)
        k.fsconfig(context, k.FSCONFIG_SET_FLAG if value is None else k.FSCONFIG_SET_STRING, key, value)
    k.fsconfig(context, command)


def _kernel_log(context: int) -> str:
    """The kernel's own words about a file system that it would not make: `tmpfs: Unknown parameter 'sise'`."""
    try:
        line = k.read(context, 1024)
    except OSError:
        return ""
    return line.decode("utf-8", "replace").strip().removeprefix("e ")


def _label(tree: int, label: str) -> None:
    """Label the root of a file system that takes no context when it is mounted (selinux(8))."""
    fd = k.open(".", k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC, dir_fd=tree)
    try:
        k.setxattr(fd, "security.selinux", k.encode(label) + b"\0")
    finally:
        k.close(fd)


def _set_attributes(tree: int, mount: Mount) -> None:
    if mount.attr_set or mount.attr_clear:
        k.mount_setattr(tree, mount.attr_set, mount.attr_clear)
    if mount.rec_set or mount.rec_clear:
        k.mount_setattr(tree, mount.rec_set, mount.rec_clear, recursive=True)


def set_propagation(tree: int, mount: Mount) -> None:
    """Give an attached tree what the options say of its propagation, one after the other. Raises OSError."""
    for flags in mount.propagation:
        k.mount_setattr(tree, 0, propagation=flags & ~k.MS_REC, recursive=bool(flags & k.MS_REC))


def _explained(mount: Mount, error: OSError) -> PyociError:
    what = mount.source if mount.kind == "bind" else mount.type
    hint = ""
    if mount.kind == "bind" and error.errno == ENOENT and _is_missing(mount.source):
        return failed(f"bind mount {mount.source} to {mount.destination}: the source", error)
    if error.errno == EPERM and mount.attr_clear | mount.rec_clear:
        hint = " (an option would clear a flag that the source's mount has locked)"
    elif error.errno == EPERM and mount.type in _OWNED_BY:
        hint = f" (only root of the user namespace that the {_OWNED_BY[mount.type]} namespace belongs to may mount it)"
    elif error.errno == EINVAL and mount.mapping:
        hint = " (its file system may not know id mappings)"
    elif error.errno == EINVAL and mount.kind == "remount":
        hint = " (nothing is mounted there)"
    return failed(f"mount {what} to {mount.destination}", error, hint)


def _is_missing(path: str) -> bool:
    try:
        k.lstat(path)
    except OSError:
        return True
    return False
