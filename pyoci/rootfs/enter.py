# SPDX-License-Identifier: Apache-2.0
"""Makes the root a mount of its own, enters it, and closes what the config wants closed. Runs inside."""

from __future__ import annotations

from errno import EACCES, EINVAL, ENOENT, EPERM

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.rootfs.mounts import new_filesystem
from pyoci.rootfs.root import Root, is_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.plan.model import Rootfs


def prepare_root(rootfs: Rootfs, proc: int, opened: int) -> Root:
    """The root as a mount of its own, in its place, cut off from the host's propagation as planned.

    `opened` is its tree where the launcher had to open it, else -1. Raises PyociError.
    """
    step = "make the host's mounts slaves"
    try:
        if rootfs.entered_by == "chroot":
            step = f"open the root {rootfs.path}"
            return Root(k.open(rootfs.path, k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC), rootfs.path, proc)
        if rootfs.propagation:
            k.mount(None, "/", None, rootfs.propagation)
        unshared = k.MS_SLAVE if rootfs.propagation == k.MS_SLAVE else k.MS_PRIVATE
        if rootfs.parent_mount:
            step = f"make {rootfs.parent_mount} {'a slave' if unshared == k.MS_SLAVE else 'private'}"
            k.mount(None, rootfs.parent_mount, None, unshared)
        step = f"bind the root {rootfs.path}"
        place = k.open(rootfs.path, k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
        tree = opened if opened >= 0 else k.open_tree(k.AT_FDCWD, rootfs.path, k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
        if opened >= 0:
            k.mount_setattr(tree, 0, propagation=k.MS_SLAVE, recursive=True)
        if rootfs.parent_mount:
            k.mount_setattr(tree, 0, propagation=unshared)
        k.move_mount(tree, place)
        k.close(place)
    except OSError as error:
        raise failed(step, error) from None
    return Root(tree, rootfs.path, proc)


def enter_root(rootfs: Rootfs, root: Root) -> None:
    """Make the root the root of this process. The way back is gone after this, but for descriptors that are still open.

    `rootfs.host_views` are the places of whole proc and sysfs mounts of the host, which a root entered by moving would leave
    within reach of a process that gets out of its chroot. Raises PyociError.
    """
    try:
        if rootfs.entered_by == "pivot":
            _pivot(root)
        elif rootfs.entered_by == "move":
            _move(root, rootfs.host_views)
        else:
            k.fchdir(root.fd)
            k.chroot(".")
        k.chdir("/")
        root.path = ""
    except OSError as error:
        raise failed(f"enter the root {rootfs.path} ({rootfs.entered_by})", error) from None


def make_cwd(root: Root, cwd: str) -> None:
    """The working directory of the program, made if it is missing; what else is wrong with it is told when it is entered.

    To be called in the root, where no link leads out of it, and before anything of it becomes read-only. Raises PyociError.
    """
    try:
        k.close(root.open(cwd))
    except OSError as error:
        if error.errno != ENOENT:
            return
        try:
            k.close(root.make_directories([part for part in cwd.split("/") if part]))
        except OSError as error:
            raise failed(f"make the working directory {cwd}", error) from None


def _pivot(root: Root) -> None:
    old = k.open("/", k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC)
    k.fchdir(root.fd)
    k.pivot_root(".", ".")
    k.fchdir(old)
    k.mount(None, ".", None, k.MS_SLAVE | k.MS_REC)  # or the host would see its own mounts go away
    k.umount2(".", k.MNT_DETACH)
    k.close(old)


def _move(root: Root, host_views: tuple[str, ...]) -> None:
    for place in host_views:
        if not _within_reach(place):
            continue
        k.mount(None, place, None, k.MS_SLAVE | k.MS_REC)
        try:
            k.umount2(place, k.MNT_DETACH)
        except OSError as error:
            if error.errno not in (EINVAL, EPERM):  # locked: it cannot be taken away, so it is covered
                raise
            k.mount("tmpfs", place, "tmpfs", k.MS_RDONLY, "size=0")
    k.fchdir(root.fd)
    slash = k.open("/", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
    k.move_mount(root.fd, slash)
    k.close(slash)
    k.chroot(".")


def _within_reach(place: str) -> bool:
    """Whether a process like this one gets there by path: not below a directory that is closed to it, or that has gone.

    What will run inside has no right that this process has not.
    """
    try:
        k.close(k.open(place, k.O_PATH | k.O_CLOEXEC))
    except OSError as error:
        if error.errno in (EACCES, ENOENT):
            return False
        raise
    return True


def close_paths(root: Root, rootfs: Rootfs, null: int) -> None:
    """Make paths read-only, then mask others. What is not there is passed over; any other failure is one.

    `null` is the tree of the host's /dev/null, taken before anything of the image was looked at (CVE-2025-31133); this
    closes it.
    """
    for path in rootfs.readonly_paths:
        _cover(root, path, "make read-only", _readonly_copy)
    masks = _Masks(null, rootfs.mount_label)
    for path in rootfs.masked:
        _cover(root, path, "mask", masks.mask_for)
    masks.close()
    root.forget()


def _cover(root: Root, path: str, step: str, make: Callable[[int], int]) -> None:
    try:
        targets = root.open_kept(path)
    except OSError as error:
        if error.errno == ENOENT:
            return
        raise failed(f"{step} {path}", error) from None
    for target in targets:
        try:
            root.where(target)
            tree = make(target)
            try:
                k.move_mount(tree, target)
            finally:
                k.close(tree)
        except OSError as error:
            raise failed(f"{step} {path}", error) from None
        finally:
            k.close(target)


def _readonly_copy(target: int) -> int:
    tree = k.open_tree(target, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
    k.mount_setattr(tree, k.MOUNT_ATTR_RDONLY)
    return tree


class _Masks:
    """What hides paths: /dev/null a file, an empty file system a directory. The first of each serves for all others.

    They are cloned from the first one where it has been attached, as old kernels clone nothing that is detached.
    """

    def __init__(self, null: int, label: str) -> None:
        self.null, self.label = null, label
        self.attached: dict[bool, int] = {}

    def mask_for(self, target: int) -> int:
        kind = is_directory(target)
        if kind in self.attached:
            return k.open_tree(self.attached[kind], b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH)
        self.attached[kind] = _empty_filesystem(self.label) if kind else self.null
        return k.dup(self.attached[kind])

    def close(self) -> None:
        for fd in {self.null, *self.attached.values()} - {-1}:
            k.close(fd)


def make_root_readonly(root: Root) -> None:
    """Make the root's own mount read-only; what is mounted in it keeps its own ways."""
    try:
        k.mount_setattr(root.fd, k.MOUNT_ATTR_RDONLY)
    except OSError as error:
        raise failed("make the root read-only", error) from None


def set_propagation(rootfs: Rootfs) -> None:
    """Give the root the propagation that it could not have until all mounts are made: an unbindable one cannot be copied."""
    try:
        if rootfs.final_propagation:
            k.mount(None, "/", None, rootfs.final_propagation)
    except OSError as error:
        raise failed("set the propagation of the root", error) from None


def clone_null() -> int:
    """The host's /dev/null as a detached tree, known to be it (null(4): character device 1:3). Raises PyociError."""
    try:
        tree = k.open_tree(k.AT_FDCWD, "/dev/null", k.OPEN_TREE_CLONE)
    except OSError as error:
        raise failed("open the host's /dev/null", error) from None
    status = k.fstat(tree)
    if not k.S_ISCHR(status.st_mode) or status.st_rdev != k.makedev(1, 3):
        raise PyociError("the host's /dev/null is not the null device")
    return tree


def _empty_filesystem(label: str) -> int:
    parameters: list[tuple[str, str | None]] = [("nr_blocks", "1"), ("nr_inodes", "1")]
    if label:
        parameters.append(("context", label))
    return new_filesystem("tmpfs", "tmpfs", parameters, k.MOUNT_ATTR_RDONLY)
