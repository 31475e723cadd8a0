# SPDX-License-Identifier: Apache-2.0
"""tmpcopyup: a tmpfs that begins with what the image has at its place. Runs inside.

Source and target are walked side by side by descriptor, links copied as links; what is neither directory, regular file,
link nor fifo is left out, as device nodes of an image have no business in a new file system. Each entry is held before it
is looked at, and opened when it is known for what it is: its name may be another's by then, and to open a device has effects.
"""

from __future__ import annotations

from errno import ENAMETOOLONG

from pyoci import syscalls as k
from pyoci.rootfs.root import reopen

_CHUNK = 1 << 20
_DEPTH = 256
"""Directories within each other, two descriptors each. An image may have as many as it likes."""

_NEW = k.O_NOFOLLOW | k.O_CLOEXEC
_READ_DIRECTORY = k.O_RDONLY | k.O_DIRECTORY


def copy_tree(source: int, target: int, proc: int) -> None:
    """Copy what is in one directory into another; closes neither. `proc` is the host's /proc. Raises OSError."""
    readable = k.open(".", _READ_DIRECTORY | k.O_CLOEXEC, dir_fd=target)
    try:
        _copy_entries(source, readable, proc, _DEPTH)
    finally:
        k.close(readable)


def _copy_entries(source: int, target: int, proc: int, depth: int) -> None:
    if not depth:
        raise OSError(ENAMETOOLONG, k.strerror(ENAMETOOLONG))
    for name in k.listdir(source):
        entry = k.open(name, k.O_PATH | _NEW, dir_fd=source)
        try:
            _copy_entry(name, entry, target, proc, depth)
        finally:
            k.close(entry)


def _copy_entry(name: str, entry: int, target: int, proc: int, depth: int) -> None:
    status = k.fstat(entry)
    kind, mode = k.S_IFMT(status.st_mode), k.S_IMODE(status.st_mode)
    if kind == k.S_IFDIR:
        k.mkdir(name, 0o700, dir_fd=target)
        below_source = reopen(entry, _READ_DIRECTORY, proc)
        below_target = k.open(name, _READ_DIRECTORY | _NEW, dir_fd=target)
        try:
            _copy_entries(below_source, below_target, proc, depth - 1)
            _become(below_target, status, mode)
        finally:
            k.close(below_source)
            k.close(below_target)
    elif kind == k.S_IFREG:
        reading = reopen(entry, k.O_RDONLY, proc)
        writing = -1
        try:
            writing = k.open(name, k.O_WRONLY | k.O_CREAT | k.O_EXCL | _NEW, 0o600, dir_fd=target)
            while chunk := k.read(reading, _CHUNK):
                while chunk:
                    chunk = chunk[k.write(writing, chunk) :]
            _become(writing, status, mode)
        finally:
            k.close(reading)
            if writing >= 0:
                k.close(writing)
    elif kind == k.S_IFLNK:
        k.symlink(k.readlink("", dir_fd=entry), name, dir_fd=target)
        k.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind == k.S_IFIFO:
        k.mkfifo(name, mode, dir_fd=target)
        k.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _become(copy: int, status: k.stat_result, mode: int) -> None:
    """The owner first: a change of owner takes set-id bits away."""
    k.fchown(copy, status.st_uid, status.st_gid)
    k.fchmod(copy, mode)
