# SPDX-License-Identifier: Apache-2.0
"""File systems with an option that is too long for fsconfig(2), made by mount(2). Runs inside.

fsconfig(2) takes 255 bytes of a value, which the layers of an overlay soon have; mount(2) takes a page of all together. But it
mounts at once, and by a path. So that is one which is nobody else's, a directory in a file system of ours, and from there a
detached copy of the new mount is taken, which is what fsmount(2) would have given.
"""

from __future__ import annotations

from errno import EINVAL

from pyoci import syscalls as k
from pyoci.rootfs import mounts
from pyoci.rootfs.mounts import FilesystemRefused

_PAGE = 4096  # no machine has a smaller one
_FLAGS = {
    "ro": (k.MS_RDONLY, 0),
    "sync": (k.MS_SYNCHRONOUS, 0),
    "async": (0, k.MS_SYNCHRONOUS),
    "dirsync": (k.MS_DIRSYNC, 0),
    "lazytime": (k.MS_LAZYTIME, 0),
    "nolazytime": (0, k.MS_LAZYTIME),
    "mand": (k.MS_MANDLOCK, 0),
    "nomand": (0, k.MS_MANDLOCK),
}


def new_filesystem(
    root: int, fstype: str, source: str, parameters: list[tuple[str, str | None]], attributes: int
) -> int:
    """As `mounts.new_filesystem`. `root` is the container's root, where it is attached. Raises FilesystemRefused, OSError."""
    flags, data = 0, []
    for key, value in parameters:
        if value is None and key in _FLAGS:
            add, remove = _FLAGS[key]
            flags = (flags & ~remove) | add
        else:
            data.append(key if value is None else f"{key}={_quoted(key, value)}")
    text = ",".join(data)
    for what, length in (("options are", len(k.encode(text))), ("source is", len(k.encode(source)))):
        if length >= _PAGE:
            raise FilesystemRefused(f"the {what} {length} bytes long, and mount(2) takes {_PAGE - 1}", EINVAL)
    before = k.open(".", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
    stage = mounts.new_filesystem("tmpfs", "tmpfs", [], 0)
    # It lies over the root, and over it a copy of that with all mounts, for a layer may lie there: no path from / on shows a
    # difference. A relative one would be looked for in here, and is not found.
    view = k.open_tree(root, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
    attached = 0
    try:
        k.mount_setattr(view, 0, propagation=k.MS_PRIVATE, recursive=True)  # or to unmount it would unmount others
        k.mkdir("new", 0o700, dir_fd=stage)
        k.fchdir(stage)
        for tree, place in ((stage, root), (view, stage)):
            k.move_mount(tree, place)
            attached += 1
        k.mount(source or None, "new", fstype, flags, text)
        made = k.open_tree(stage, "new", k.OPEN_TREE_CLONE)
    finally:
        for _ in range(attached):
            k.umount2(".", k.MNT_DETACH)
        k.fchdir(before)
        for fd in (before, stage, view):
            k.close(fd)
    k.mount_setattr(made, attributes, k.MOUNT_ATTR__ATIME)
    return made


def _quoted(key: str, value: str) -> str:
    """Labels have commas, for which they stand in quotes (mount(8)); those of others are as the file system has them."""
    return f'"{value}"' if "," in value and key.endswith("context") else value
