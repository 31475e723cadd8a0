# SPDX-License-Identifier: Apache-2.0
"""tmpcopyup: a tmpfs that begins with what the image has at its place. Runs inside.

Source and target are walked side by side by descriptor, links copied as links; what is neither directory, regular file,
link nor fifo is left out, as device nodes of an image have no business in a new file system.
"""

from __future__ import annotations

from pyoci import syscalls as k

_CHUNK = 1 << 20
_OPEN = k.O_NOFOLLOW | k.O_CLOEXEC


def copy_tree(source: int, target: int) -> None:
    """Copy what is in one directory into another; closes neither. Raises OSError."""
    readable = k.open(".", k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC, dir_fd=target)
    try:
        _copy_entries(source, readable)
    finally:
        k.close(readable)


def _copy_entries(source: int, target: int) -> None:
    for name in k.listdir(source):
        status = k.stat(name, dir_fd=source, follow_symlinks=False)
        kind, mode = k.S_IFMT(status.st_mode), k.S_IMODE(status.st_mode)
        if kind == k.S_IFDIR:
            k.mkdir(name, 0o700, dir_fd=target)
            below_source = k.open(name, k.O_RDONLY | k.O_DIRECTORY | _OPEN, dir_fd=source)
            below_target = k.open(name, k.O_RDONLY | k.O_DIRECTORY | _OPEN, dir_fd=target)
            _copy_entries(below_source, below_target)
            k.fchown(below_target, status.st_uid, status.st_gid)
            k.fchmod(below_target, mode)
            k.close(below_source)
            k.close(below_target)
        elif kind == k.S_IFREG:
            _copy_file(name, source, target, status.st_uid, status.st_gid, mode)
        elif kind == k.S_IFLNK:
            k.symlink(k.readlink(name, dir_fd=source), name, dir_fd=target)
            k.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        elif kind == k.S_IFIFO:
            k.mkfifo(name, mode, dir_fd=target)
            k.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(name: str, source: int, target: int, uid: int, gid: int, mode: int) -> None:
    reading = k.open(name, k.O_RDONLY | k.O_NONBLOCK | _OPEN, dir_fd=source)
    writing = k.open(name, k.O_WRONLY | k.O_CREAT | k.O_EXCL | _OPEN, 0o600, dir_fd=target)
    try:
        while chunk := k.read(reading, _CHUNK):
            while chunk:
                chunk = chunk[k.write(writing, chunk) :]
        k.fchown(writing, uid, gid)
        k.fchmod(writing, mode)
    finally:
        k.close(reading)
        k.close(writing)
