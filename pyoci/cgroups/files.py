# SPDX-License-Identifier: Apache-2.0
"""Reading and writing the files of a cgroup, and walking the cgroups below it.

The directories of a plan and above belong to the host, so they are named by path. Those below may have been made by the
processes inside, as many and as deep as they like: they are walked by descriptor, one level at a time, without recursion.
"""

from __future__ import annotations

import errno

from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import (
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    O_RDONLY,
    O_WRONLY,
    close,
    fstat,
    open,
    read,
    scandir,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

GONE = (errno.ENOENT, errno.ENODEV)
"""What a read gives when the cgroup was removed: before the file was opened, or after."""

DENIED = ("EPERM", "EACCES", "EROFS")
"""What an ordinary user gets from a cgroup that has not been delegated, by name."""


def parent(directory: str) -> str:
    """The directory above; "" for those of the root."""
    return directory.rpartition("/")[0]


def get(path: str, dirfd: int | None = None) -> str:
    """All of a file of the kernel's. Raises OSError with the path in `filename`."""
    fd = open(path, O_RDONLY | O_CLOEXEC, dir_fd=dirfd)
    try:
        parts = []
        while part := read(fd, 65536):
            parts.append(part)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def put(path: str, value: str) -> None:
    """One write(2) of the value. Raises OSError with the path in `filename`."""
    fd = open(path, O_WRONLY | O_CLOEXEC)
    try:
        put_fd(fd, path, value)
    finally:
        close(fd)


def put_fd(fd: int, path: str, value: str) -> None:
    """As `put`, with a descriptor that is open already."""
    content = value.encode("utf-8", "surrogateescape")
    try:
        written = write(fd, content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    if written != len(content):
        raise OSError(errno.EIO, "short write", path)


def put_checked(path: str, value: str) -> None:
    """As `put`, but a failure is told in full as a CgroupError."""
    try:
        put(path, value)
    except OSError as error:
        raise write_failed(path, value, error) from error


def write_failed(path: str, value: str, error: OSError, hint: str = "") -> CgroupError:
    """The one text for all failed writes."""
    shown = value.strip("\n")
    return CgroupError(f'write "{shown}" to {path}: {reason(error)}{hint}')


def keyed(text: str, key: str) -> str | None:
    """The value in a file of `key value` lines."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return value
    return None


def walk(top: str, visit: Callable[[int, str], None], leave: Callable[[int, str], None] | None = None) -> None:
    """Call `visit(fd, name)` for the cgroup `top` (named ".") and all below it, parents first.

    `leave(parent_fd, name)` is called for each cgroup below `top` once all of its own children have been left. One that
    vanishes in the meantime is passed over. Going back up by ".." is sound: cgroups cannot be moved to another parent.
    """
    fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    try:
        visit(fd, ".")
        pending = [_subdirectories(fd)]
        names: list[str] = []
        while pending:
            if pending[-1]:
                name = pending[-1].pop()
                below = _enter(fd, name)
                if below is None:
                    continue
                close(fd)
                fd = below
                visit(fd, name)
                pending.append(_subdirectories(fd))
                names.append(name)
                continue
            pending.pop()
            if names:
                above = open("..", O_RDONLY | O_DIRECTORY | O_CLOEXEC, dir_fd=fd)
                close(fd)
                fd = above
                name = names.pop()
                if leave is not None:
                    leave(fd, name)
    finally:
        close(fd)


def _enter(fd: int, name: str) -> int | None:
    try:
        return open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, dir_fd=fd)
    except FileNotFoundError:
        return None


def _subdirectories(fd: int) -> list[str]:
    if fstat(fd).st_nlink == 2:
        return []  # kernfs counts one link for each directory below, and each cgroup has dozens of files to list
    try:
        with scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in GONE:
            return []
        raise
