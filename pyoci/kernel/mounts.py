# SPDX-License-Identifier: Apache-2.0
"""Mounts, paths below a root, and what lies there."""

from __future__ import annotations

import errno
from _stat import (  # noqa: F401
    S_IFBLK,
    S_IFCHR,
    S_IFDIR,
    S_IFIFO,
    S_IFLNK,
    S_IFMT,
    S_IFREG,
    S_IFSOCK,
    S_IMODE,
    S_ISCHR,
    S_ISDIR,
    S_ISFIFO,
    S_ISREG,
)
from _struct import Struct

from pyoci.kernel.basic import O_CLOEXEC, check, encode
from pyoci.libc import address, buffer, function, get_errno

# Calls from 2019 on have one number everywhere.
_NR_OPEN_TREE, _NR_MOVE_MOUNT, _NR_FSOPEN, _NR_FSCONFIG, _NR_FSMOUNT = 428, 429, 430, 431, 432
_NR_FSPICK, _NR_OPENAT2, _NR_FACCESSAT2, _NR_MOUNT_SETATTR = 433, 437, 439, 442

# syscall(2) by the shape of what follows the number: l an integer, p a pointer, s a string.
_syscall_lll = function("syscall", "llll")
_syscall_sl = function("syscall", "lsl")
_syscall_lsl = function("syscall", "llsl")
_syscall_lsll = function("syscall", "llsll")
_syscall_lspl = function("syscall", "llspl")
_syscall_lslpl = function("syscall", "llslpl")
_syscall_lslsl = function("syscall", "llslsl")
_syscall_llssl = function("syscall", "lllssl")

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_SYNCHRONOUS, MS_REMOUNT, MS_MANDLOCK, MS_DIRSYNC = 16, 32, 64, 128
MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME = 256, 1024, 2048
MS_BIND, MS_MOVE, MS_REC, MS_SILENT, MS_POSIXACL = 4096, 8192, 16384, 32768, 65536
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20
MS_RELATIME, MS_I_VERSION, MS_STRICTATIME, MS_LAZYTIME = 1 << 21, 1 << 23, 1 << 24, 1 << 25
MNT_DETACH = 2

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR__ATIME, MOUNT_ATTR_RELATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME = 0x70, 0, 0x10, 0x20
MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_IDMAP, MOUNT_ATTR_NOSYMFOLLOW = 0x80, 0x100000, 0x200000

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC = 1, 1
FSPICK_CLOEXEC, FSPICK_EMPTY_PATH = 1, 8
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE, FSCONFIG_CMD_RECONFIGURE = 0, 1, 6, 7
FSCONFIG_LONGEST = 255  # bytes of a key or a value, which the kernel has no name for

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 1, 2, 4
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 8, 16

_mount = function("mount", "sssls")
_umount2 = function("umount2", "sl")
_pivot_root = function("pivot_root", "ss")
_open_how = Struct("=QQQ")
_mount_attr = Struct("=QQQQ")
_OPENAT2_TRIES = 128


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Paths inside a container's root never come here; see open_tree, fsmount and move_mount."""
    arguments = [None if text is None else encode(text) for text in (source, target, fstype, data)]
    check(_mount(arguments[0], arguments[1], arguments[2], flags, arguments[3]), target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    check(_umount2(encode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    check(_pivot_root(encode(new_root), encode(put_old)), new_root)


def open_tree(dirfd: int, path: str | bytes, flags: int) -> int:
    """open_tree(2), always close-on-exec. With OPEN_TREE_CLONE a detached copy of the mount, which vanishes on close."""
    return check(_syscall_lsl(_NR_OPEN_TREE, dirfd, encode(path), flags | OPEN_TREE_CLOEXEC), path or None)


def move_mount(from_fd: int, to_fd: int) -> None:
    """move_mount(2), from one descriptor to another: no path is walked."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    check(_syscall_lslsl(_NR_MOVE_MOUNT, from_fd, b"", to_fd, b"", flags))


def mount_setattr(
    fd: int, attr_set: int, attr_clr: int = 0, *, propagation: int = 0, userns_fd: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) on the mount that the descriptor stands for."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    attributes = _mount_attr.pack(attr_set, attr_clr, propagation, userns_fd)
    array = buffer(attributes)
    check(_syscall_lslpl(_NR_MOUNT_SETATTR, fd, b"", flags, address(array), len(attributes)))


def fsopen(fstype: str) -> int:
    """fsopen(2): a file system yet to be configured."""
    return check(_syscall_sl(_NR_FSOPEN, encode(fstype), FSOPEN_CLOEXEC), fstype)


def fspick(fd: int) -> int:
    """fspick(2): the file system of the mount that a descriptor is the root of, yet to be reconfigured."""
    return check(_syscall_lsl(_NR_FSPICK, fd, b"", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH))


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """fsconfig(2) for flags, strings and commands."""
    arguments = [None if text is None else encode(text) for text in (key, value)]
    check(_syscall_llssl(_NR_FSCONFIG, fs_fd, command, *arguments, 0), key)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """fsmount(2): the configured file system as a detached mount."""
    return check(_syscall_lll(_NR_FSMOUNT, fs_fd, FSMOUNT_CLOEXEC, attributes))


def openat2(dirfd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = RESOLVE_IN_ROOT) -> int:
    """openat2(2), close-on-exec. EAGAIN (someone renames below us while we look) is tried again, a bounded number of times."""
    how = buffer(_open_how.pack(flags | O_CLOEXEC, mode, resolve))
    name = encode(path)
    for _ in range(_OPENAT2_TRIES):
        fd = _syscall_lspl(_NR_OPENAT2, dirfd, name, address(how), _open_how.size)
        if fd >= 0 or get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    return check(fd, path)


def faccessat2(dirfd: int, path: str | bytes, mode: int, flags: int) -> None:
    """faccessat2(2): with AT_EACCESS, as the effective ids may."""
    check(_syscall_lsll(_NR_FACCESSAT2, dirfd, encode(path), mode, flags), path)
