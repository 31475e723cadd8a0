# SPDX-License-Identifier: Apache-2.0
"""Files, and what every command does, however short its way."""

from __future__ import annotations

from _signal import SIG_DFL, SIG_IGN  # type: ignore[import-not-found]
from _signal import signal as _sigaction
from _struct import unpack_from
from fcntl import fcntl  # noqa: F401
from posix import (  # noqa: F401  everyone else takes them from here
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOCTTY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    O_RDWR,
    O_SYNC,
    O_TRUNC,
    O_WRONLY,
    WCOREDUMP,
    WEXITSTATUS,
    WIFEXITED,
    WIFSIGNALED,
    WNOHANG,
    WTERMSIG,
    XATTR_REPLACE,
    _exit,
    access,
    chdir,
    chown,
    chroot,
    close,
    dup,
    dup2,
    environ,
    eventfd,
    eventfd_read,
    execve,
    fchdir,
    fchmod,
    fchown,
    fork,
    fspath,
    fstat,
    ftruncate,
    getcwd,
    getegid,
    geteuid,
    getgid,
    getpgrp,
    getpid,
    getppid,
    getsid,
    getuid,
    getxattr,
    isatty,
    kill,
    link,
    listdir,
    lseek,
    lstat,
    major,
    makedev,
    memfd_create,
    minor,
    mkdir,
    mkfifo,
    mknod,
    open,
    pidfd_open,
    pipe2,
    read,
    readlink,
    rename,
    rmdir,
    scandir,
    sched_getaffinity,
    set_blocking,
    set_inheritable,
    setgid,
    setgroups,
    setresgid,
    setresuid,
    setsid,
    setuid,
    setxattr,
    stat,
    stat_result,
    statvfs,
    strerror,
    symlink,
    sysconf,
    umask,
    uname,
    unlink,
    wait4,
    waitpid,
    waitstatus_to_exitcode,
    write,
)
from select import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, poll  # noqa: F401

from pyoci.libc import address, buffer, function, get_errno

MACHINE = uname().machine

CLOSE_RANGE_CLOEXEC = 4
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
ST_RDONLY, ST_NOEXEC = 1, 8
SIGCHLD, SIGKILL, SIGPIPE, SIGTERM = 17, 9, 13, 15
SIGSTOP = 19

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME = 1, 4, 3, 8, 15
PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP = 21, 22, 23, 24
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_LOWER, PR_CAP_AMBIENT_CLEAR_ALL = 1, 2, 3, 4

OVERLAYFS_SUPER_MAGIC = 0x794C7630
PROC_SUPER_MAGIC, SYSFS_MAGIC, DEVPTS_SUPER_MAGIC = 0x9FA0, 0x62656572, 0x1CD1
PROC_USER_INIT_INO = 0xEFFFFFFD  # what stat(2) of /proc/PID/ns/user tells of the first user namespace, for good
CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, TMPFS_MAGIC = 0x27E0EB, 0x63677270, 0x01021994

# Calls from 2019 on have one number everywhere.
_NR_PIDFD_SEND_SIGNAL, _NR_CLOSE_RANGE = 424, 436
_syscall_lll = function("syscall", "llll")
_syscall_llll = function("syscall", "lllll")
_prctl = function("prctl", "lllll")
_fstatfs = function("fstatfs", "lp")


def check(result: int, filename: object = None) -> int:
    """The result of a call through libc. Raises OSError for -1, with this object if there is one."""
    if result < 0:
        number = get_errno()
        raise OSError(number, strerror(number), filename)
    return result


def encode(path: str | bytes) -> bytes:
    """A path as the kernel takes it: UTF-8, with what was no UTF-8 in the first place restored."""
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")


def close_range(first: int, last: int, flags: int) -> None:
    """close_range(2); with CLOSE_RANGE_CLOEXEC the descriptors are only marked."""
    check(_syscall_lll(_NR_CLOSE_RANGE, first, last, flags))


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2) with plain integers."""
    return check(_prctl(option, arg2, arg3, arg4, arg5))


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2). ESRCH when the process has ended."""
    check(_syscall_llll(_NR_PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0))


def fstatfs_type(fd: int) -> int:
    """The f_type of fstatfs(2): the magic number of the file system that a descriptor lies on."""
    array = buffer(256)
    check(_fstatfs(fd, address(array)))
    return int(unpack_from("=I" if MACHINE == "s390x" else "@L", array)[0]) & 0xFFFFFFFF


def default_signal(number: int) -> None:
    """The default disposition for one signal, whatever our caller has left us."""
    _sigaction(number, SIG_DFL)


def ignore_signal(number: int) -> None:
    """Ignore one signal, whatever has been its disposition."""
    _sigaction(number, SIG_IGN)
