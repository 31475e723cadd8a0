# SPDX-License-Identifier: Apache-2.0
"""The kernel, as this program sees it: the only module that makes system calls.

Each wrapper bears the name of its system call and takes its arguments in the kernel's order; each constant bears the name
it has in the kernel's headers. A failed call raises OSError with the errno and, where there is one, the object in
`filename`. Calls that the interpreter has as C functions come straight from `posix` (without the `os` module around it,
which takes a millisecond to load); all others go through libc (see pyoci.libc).

Everything here is bound when the module is loaded, so that nothing is looked up inside a container. Calls hold the
interpreter lock: there is one thread, and so the child of a raw clone3 finds a sane interpreter.
"""

from __future__ import annotations

import errno
from _signal import (  # type: ignore[import-not-found]  # noqa: F401
    SIG_BLOCK,
    SIG_DFL,
    SIG_SETMASK,
    getsignal,
    pthread_sigmask,
    strsignal,
    valid_signals,
)
from _signal import signal as _sigaction
from _socket import (  # noqa: F401
    AF_INET,
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    if_nametoindex,
    socket,
    socketpair,
)
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
    S_ISREG,
)
from _struct import Struct, pack_into, unpack_from
from fcntl import fcntl, ioctl  # noqa: F401
from posix import (  # noqa: F401  re-exported: everyone else takes them from here
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

from pyoci.libc import address, buffer, get_errno
from pyoci.libc import function as _function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def _check(result: int, filename: object = None) -> int:
    if result < 0:
        number = get_errno()
        raise OSError(number, strerror(number), filename)
    return result


def encode(path: str | bytes) -> bytes:
    """A path as the kernel takes it: UTF-8, with what was no UTF-8 in the first place restored."""
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")


# ------------------------------------------------------------------------------------------------------ system call numbers

# Calls from 2019 on have one number everywhere; older ones that libc does not wrap stand in a table by machine.
_NR_PIDFD_SEND_SIGNAL = 424
_NR_OPEN_TREE, _NR_MOVE_MOUNT, _NR_FSOPEN, _NR_FSCONFIG, _NR_FSMOUNT = 428, 429, 430, 431, 432
_NR_CLONE3, _NR_CLOSE_RANGE, _NR_OPENAT2, _NR_PIDFD_GETFD, _NR_FACCESSAT2 = 435, 436, 437, 438, 439
_NR_FSPICK, _NR_MOUNT_SETATTR = 433, 442

_OLD_CALLS = ("seccomp", "bpf", "keyctl", "ioprio_set", "sched_setattr", "set_mempolicy", "getcwd", "clone")
_OLD_NUMBERS = {
    "x86_64": (317, 321, 250, 251, 314, 238, 79, 56),
    "i686": (354, 357, 288, 289, 351, 276, 183, 120),
    "aarch64": (277, 280, 219, 30, 274, 237, 17, 220),
    "riscv64": (277, 280, 219, 30, 274, 237, 17, 220),
    "loongarch64": (277, 280, 219, 30, 274, 237, 17, 220),
    "armv7l": (383, 386, 311, 314, 380, 321, 183, 120),
    "ppc64le": (358, 361, 271, 273, 355, 261, 182, 120),
    "s390x": (348, 351, 280, 282, 345, 270, 183, 120),
}
MACHINE = uname().machine
_old = dict(zip(_OLD_CALLS, _OLD_NUMBERS.get(MACHINE, (-1,) * len(_OLD_CALLS)), strict=True))

# syscall(2) by the shape of what follows the number: l an integer, p a pointer, s a string.
_syscall_lll = _function("syscall", "llll")
_syscall_llll = _function("syscall", "lllll")
_syscall_lllll = _function("syscall", "llllll")
_syscall_lpl = _function("syscall", "llpl")
_syscall_pl = _function("syscall", "lpl")
_syscall_llp = _function("syscall", "lllp")
_syscall_llpll = _function("syscall", "lllpll")
_syscall_sl = _function("syscall", "lsl")
_syscall_lsl = _function("syscall", "llsl")
_syscall_lsll = _function("syscall", "llsll")
_syscall_lspl = _function("syscall", "llspl")
_syscall_lslpl = _function("syscall", "llslpl")
_syscall_lslsl = _function("syscall", "llslsl")
_syscall_llssl = _function("syscall", "lllssl")

# ------------------------------------------------------------------------------------------------------------------- mounts

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

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 1, 2, 4
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 8, 16

OVERLAYFS_SUPER_MAGIC = 0x794C7630
PROC_SUPER_MAGIC, SYSFS_MAGIC, DEVPTS_SUPER_MAGIC = 0x9FA0, 0x62656572, 0x1CD1
CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, TMPFS_MAGIC = 0x27E0EB, 0x63677270, 0x01021994

_mount = _function("mount", "sssls")
_umount2 = _function("umount2", "sl")
_pivot_root = _function("pivot_root", "ss")
_fstatfs = _function("fstatfs", "lp")
_open_how = Struct("=QQQ")
_mount_attr = Struct("=QQQQ")
_OPENAT2_TRIES = 128


def mount(source: str | None, target: str, fstype: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Paths inside a container's root never come here; see open_tree, fsmount and move_mount."""
    arguments = [None if text is None else encode(text) for text in (source, target, fstype, data)]
    _check(_mount(arguments[0], arguments[1], arguments[2], flags, arguments[3]), target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    _check(_umount2(encode(target), flags), target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _check(_pivot_root(encode(new_root), encode(put_old)), new_root)


def open_tree(dirfd: int, path: str | bytes, flags: int) -> int:
    """open_tree(2), always close-on-exec. With OPEN_TREE_CLONE a detached copy of the mount, which vanishes on close."""
    return _check(_syscall_lsl(_NR_OPEN_TREE, dirfd, encode(path), flags | OPEN_TREE_CLOEXEC), path or None)


def move_mount(from_fd: int, to_fd: int) -> None:
    """move_mount(2), from one descriptor to another: no path is walked."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _check(_syscall_lslsl(_NR_MOVE_MOUNT, from_fd, b"", to_fd, b"", flags))


def mount_setattr(
    fd: int, attr_set: int, attr_clr: int = 0, *, propagation: int = 0, userns_fd: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) on the mount that the descriptor stands for."""
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    attributes = _mount_attr.pack(attr_set, attr_clr, propagation, userns_fd)
    array = buffer(attributes)
    _check(_syscall_lslpl(_NR_MOUNT_SETATTR, fd, b"", flags, address(array), len(attributes)))


def fsopen(fstype: str) -> int:
    """fsopen(2): a file system yet to be configured."""
    return _check(_syscall_sl(_NR_FSOPEN, encode(fstype), FSOPEN_CLOEXEC), fstype)


def fspick(fd: int) -> int:
    """fspick(2): the file system of the mount that a descriptor is the root of, yet to be reconfigured."""
    return _check(_syscall_lsl(_NR_FSPICK, fd, b"", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH))


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """fsconfig(2) for flags, strings and commands."""
    arguments = [None if text is None else encode(text) for text in (key, value)]
    _check(_syscall_llssl(_NR_FSCONFIG, fs_fd, command, *arguments, 0), key)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    """fsmount(2): the configured file system as a detached mount."""
    return _check(_syscall_lll(_NR_FSMOUNT, fs_fd, FSMOUNT_CLOEXEC, attributes))


def openat2(dirfd: int, path: str | bytes, flags: int, mode: int = 0, resolve: int = RESOLVE_IN_ROOT) -> int:
    """openat2(2), close-on-exec. EAGAIN (someone renames below us while we look) is tried again, a bounded number of times."""
    how = buffer(_open_how.pack(flags | O_CLOEXEC, mode, resolve))
    name = encode(path)
    for _ in range(_OPENAT2_TRIES):
        fd = _syscall_lspl(_NR_OPENAT2, dirfd, name, address(how), _open_how.size)
        if fd >= 0 or get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    return _check(fd, path)


def fstatfs_type(fd: int) -> int:
    """The f_type of fstatfs(2): the magic number of the file system that a descriptor lies on."""
    array = buffer(256)
    _check(_fstatfs(fd, address(array)))
    return int(unpack_from("=I" if MACHINE == "s390x" else "@L", array)[0]) & 0xFFFFFFFF


def faccessat2(dirfd: int, path: str | bytes, mode: int, flags: int) -> None:
    """faccessat2(2): with AT_EACCESS, as the effective ids may."""
    _check(_syscall_lsll(_NR_FACCESSAT2, dirfd, encode(path), mode, flags), path)


# --------------------------------------------------------------------------------------------------- processes, namespaces

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PIDFD, CLONE_PARENT, CLONE_INTO_CGROUP = 0x1000, 0x8000, 0x200000000

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_NAME = 1, 4, 3, 8, 15
PR_GET_SECCOMP, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP = 21, 22, 23, 24
PR_SET_CHILD_SUBREAPER, PR_GET_CHILD_SUBREAPER = 36, 37
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 38, 47
PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_RAISE, PR_CAP_AMBIENT_LOWER, PR_CAP_AMBIENT_CLEAR_ALL = 1, 2, 3, 4

CLOSE_RANGE_CLOEXEC = 4
F_ADD_SEALS, F_GET_SEALS = 1033, 1034
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE = 1, 2, 4, 8
MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_EXEC = 1, 2, 0x10
ST_RDONLY = 1
SIGCHLD, SIGKILL, SIGPIPE, SIGTERM = 17, 9, 13, 15
RLIM_INFINITY = (1 << 64) - 1

_clone_args = Struct("=11Q")
_prctl = _function("prctl", "lllll")
_setns = _function("setns", "ll")
_unshare = _function("unshare", "l")
_sethostname = _function("sethostname", "sl")
_setdomainname = _function("setdomainname", "sl")
_prlimit = _function("prlimit64", "llpp")
_personality = _function("personality", "l")
_sched_setaffinity = _function("sched_setaffinity", "llp")
_execve = _function("execve", "spp")
_memcpy = _function("memcpy", "psl")
_memset = _function("memset", "pll")


def clone3(flags: int, cgroup_fd: int = 0, exit_signal: int = SIGCHLD) -> tuple[int, int]:
    """clone3(2) as a fork with flags: (pid, pidfd) in the parent, (0, -1) in the child. CLONE_PARENT takes no exit signal.

    The interpreter is not told of this fork. That is sound as there is one thread and it holds the interpreter lock.
    Filters that are older than the call forbid it or say that it is unknown: then clone(2) does what it can do as well.
    """
    pidfd = buffer(8)
    array = buffer(_clone_args.pack(flags | CLONE_PIDFD, address(pidfd), 0, 0, exit_signal, 0, 0, 0, 0, 0, cgroup_fd))
    pid = _syscall_pl(_NR_CLONE3, address(array), _clone_args.size)
    if pid < 0 and get_errno() in (errno.ENOSYS, errno.EPERM) and not flags & (CLONE_NEWTIME | CLONE_INTO_CGROUP):
        word = flags | CLONE_PIDFD | exit_signal
        first, second = (0, word) if MACHINE == "s390x" else (word, 0)  # the other is the stack: the caller's own
        pid = _syscall_llpll(_old["clone"], first, second, address(pidfd), 0, 0)
    _check(pid)
    return pid, int(unpack_from("i", pidfd)[0]) if pid else -1


def probe(number: int) -> int:
    """The errno with which a newer system call answers arguments that mean nothing: ENOSYS or EPERM where it is not to be had."""
    _syscall_lllll(number, -1, -1, -1, -1, -1)
    return get_errno()


def prctl(option: int, arg2: int = 0, arg3: int = 0, arg4: int = 0, arg5: int = 0) -> int:
    """prctl(2) with plain integers."""
    return _check(_prctl(option, arg2, arg3, arg4, arg5))


def setns(fd: int, nstype: int) -> None:
    """setns(2): a namespace descriptor, or a pidfd with several CLONE_NEW* flags."""
    _check(_setns(fd, nstype))


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_unshare(flags))


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = encode(name)
    _check(_sethostname(encoded, len(encoded)), name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = encode(name)
    _check(_setdomainname(encoded, len(encoded)), name)


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """prlimit(2), setting only."""
    limits = buffer(Struct("=QQ").pack(soft, hard))
    _check(_prlimit(pid, resource, address(limits), 0))


def personality(persona: int) -> int:
    """personality(2)."""
    return _check(_personality(persona))


def sched_setaffinity(pid: int, mask: bytes) -> None:
    """sched_setaffinity(2): bit n of the mask is CPU n. The kernel leaves out what it, or the cpuset, does not have."""
    array = buffer(mask)
    _check(_sched_setaffinity(pid, len(mask), address(array)))


def sched_setattr(pid: int, attributes: bytes) -> None:
    """sched_setattr(2) with a struct sched_attr."""
    array = buffer(attributes)
    _check(_syscall_lpl(_old["sched_setattr"], pid, address(array), 0))


def ioprio_set(which: int, who: int, priority: int) -> None:
    """ioprio_set(2)."""
    _check(_syscall_lll(_old["ioprio_set"], which, who, priority))


def set_mempolicy(mode: int, nodes: bytes) -> None:
    """set_mempolicy(2): bit n of the mask is node n."""
    array = buffer(nodes)
    # The kernel takes one bit less than it is told of.
    _check(_syscall_lpl(_old["set_mempolicy"], mode, address(array) if nodes else 0, 8 * len(nodes) + 1))


def pidfd_send_signal(pidfd: int, signal: int) -> None:
    """pidfd_send_signal(2). ESRCH when the process has ended."""
    _check(_syscall_llll(_NR_PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0))


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a copy of another process's descriptor."""
    return _check(_syscall_lll(_NR_PIDFD_GETFD, pidfd, fd, 0))


def close_range(first: int, last: int, flags: int) -> None:
    """close_range(2); with CLOSE_RANGE_CLOEXEC the descriptors are only marked."""
    _check(_syscall_lll(_NR_CLOSE_RANGE, first, last, flags))


def set_process_title(title: str) -> None:
    """Name this process, and blot out its command line and environment, which `ps` and /proc/PID/environ show.

    Both are read by anyone in the same pid namespace (proc(5)); where they are in memory tells /proc/self/stat.
    """
    encoded = title.encode()
    prctl(PR_SET_NAME, address(held := buffer(encoded[:15] + b"\0")))
    fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC)
    fields = read(fd, 4096).rpartition(b")")[2].split()
    close(fd)
    arguments, arguments_end, environment, environment_end = (int(field) for field in fields[45:49])
    for start, end in ((arguments, arguments_end), (environment, environment_end)):
        if 0 < start < end:
            _memset(start, 0, end - start)
    _memcpy(arguments, encoded, max(0, min(len(encoded), arguments_end - arguments - 1)))
    del held


def close_all_but(first: int, kept: tuple[int, ...]) -> None:
    """Close every descriptor from `first` on, less those kept."""
    for fd in sorted(kept):
        if fd >= first:
            if fd > first:
                close_range(first, fd - 1, 0)
            first = fd + 1
    close_range(first, 0xFFFFFFFF, 0)


class ExecImage:
    """The arguments of an execve(2), laid out in memory ahead so that the call itself allocates nothing."""

    def __init__(self, path: bytes, argv: list[bytes], env: list[bytes]) -> None:
        self.path = path
        self._strings = [buffer(text + b"\0") for text in (*argv, *env)]
        count = len(argv)
        self._argv = self._pointers(self._strings[:count])
        self._env = self._pointers(self._strings[count:])

    @staticmethod
    def _pointers(strings: list[Any]) -> Any:
        table = buffer(8 * (len(strings) + 1))
        for index, string in enumerate(strings):
            pack_into("@P", table, index * Struct("@P").size, address(string))
        return table

    def execute(self) -> None:
        """Become this program. Returns only by raising OSError."""
        _check(_execve(self.path, address(self._argv), address(self._env)), self.path)


# ---------------------------------------------------------------------------------------------------- privileges, security

SECCOMP_SET_MODE_FILTER = 1
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_capset = _function("capset", "pp")
_capget = _function("capget", "pp")
_cap_header = Struct("=Ii")
_cap_data = Struct("=IIIIII")


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of this process; each argument is a bit mask."""
    low = 0xFFFFFFFF
    header = buffer(_cap_header.pack(_LINUX_CAPABILITY_VERSION_3, 0))
    data = buffer(
        _cap_data.pack(
            effective & low, permitted & low, inheritable & low, effective >> 32, permitted >> 32, inheritable >> 32
        )
    )
    _check(_capset(address(header), address(data)))


def capget() -> tuple[int, int, int]:
    """capget(2) of this process: effective, permitted and inheritable as bit masks."""
    header, data = buffer(_cap_header.pack(_LINUX_CAPABILITY_VERSION_3, 0)), buffer(_cap_data.size)
    _check(_capget(address(header), address(data)))
    low = _cap_data.unpack(data)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def seccomp(operation: int, flags: int, program: Any) -> int:
    """seccomp(2); `program` is a buffer with a struct sock_fprog, or None."""
    pointer = 0 if program is None else address(program)
    return _check(_syscall_llp(_old["seccomp"], operation, flags, pointer))


def keyctl(operation: int, *arguments: int | bytes) -> int:
    """keyctl(2): integers, and strings as bytes."""
    held = [buffer(item + b"\0") if isinstance(item, bytes) else item for item in arguments]
    numbers = [item if isinstance(item, int) else address(item) for item in held] + [0] * (4 - len(held))
    return _check(_syscall_lllll(_old["keyctl"], operation, *numbers))


def bpf(command: int, attributes: Any, size: int) -> int:
    """bpf(2); `attributes` is a buffer with a union bpf_attr."""
    return _check(_syscall_lpl(_old["bpf"], command, address(attributes), size))


# ------------------------------------------------------------------------------------------------------- signals, sockets

SIGSTOP = 19
SFD_CLOEXEC, SFD_NONBLOCK = O_CLOEXEC, O_NONBLOCK
SIGINFO_SIZE = 128
_SIGSET_SIZE = 128
_signalfd = _function("signalfd", "lpl")


def signalfd(signals: set[int]) -> int:
    """signalfd(2), close-on-exec and non-blocking. The signals must be blocked; each read gives one signalfd_siginfo."""
    mask = buffer(_SIGSET_SIZE)
    bits = sum(1 << (number - 1) for number in signals)
    word = Struct("@L")
    for index in range(64 // (8 * word.size)):
        word.pack_into(mask, index * word.size, bits >> (8 * word.size * index) & ((1 << 8 * word.size) - 1))
    return _check(_signalfd(-1, address(mask), SFD_CLOEXEC | SFD_NONBLOCK))


def reset_signals(blocked: Iterable[int] = (), kept: tuple[int, ...] = ()) -> None:
    """Every disposition but those `kept` back to the default, and only these signals blocked: none of either for a program
    about to be executed.

    The interpreter ignores SIGPIPE and SIGXFSZ, and an ignored signal stays ignored across execve(2).
    """
    for number in valid_signals():
        if number not in (SIGKILL, SIGSTOP, *kept) and getsignal(number) != SIG_DFL:
            _sigaction(number, SIG_DFL)
    pthread_sigmask(SIG_SETMASK, blocked)


def default_signal(number: int) -> None:
    """The default disposition for one signal, whatever our caller has left us."""
    _sigaction(number, SIG_DFL)


def seqpacket_pair() -> tuple[int, int]:
    """socketpair(2) of Unix sockets that keep messages whole, close-on-exec."""
    one, other = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)
    return one.detach(), other.detach()


def inet_socket() -> int:
    """A socket(2) to speak to the network devices of this network namespace by ioctl, close-on-exec."""
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0).detach()


def stream_pair() -> tuple[int, int]:
    """socketpair(2) of Unix stream sockets, close-on-exec."""
    one, other = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    return one.detach(), other.detach()


def connect_unix(path: str) -> int:
    """A stream socket connected to the listener at this path, which may be longer than the 108 bytes of a sun_path."""
    target = open(path, O_PATH | O_CLOEXEC)
    try:
        connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
        try:
            connection.connect(f"/proc/self/fd/{target}")
        except OSError as error:
            connection.close()
            raise OSError(error.errno, error.strerror, path) from None
        return connection.detach()
    finally:
        close(target)


def connect_datagram(name: str) -> int:
    """A datagram socket connected to a path of any length, or to an abstract name if it starts with `@`."""
    endpoint = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
    target = -1
    try:
        if name.startswith("@"):
            endpoint.connect(b"\0" + encode(name[1:]))
        else:
            target = open(name, O_PATH | O_CLOEXEC)
            endpoint.connect(f"/proc/self/fd/{target}")
        return endpoint.detach()
    except OSError as error:
        endpoint.close()
        raise OSError(error.errno, error.strerror, name) from None
    finally:
        if target >= 0:
            close(target)


def bind_datagram(directory: str, name: str) -> int:
    """A new datagram socket at this name in a directory, whose path may be of any length; non-blocking."""
    endpoint = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC)
    try:
        endpoint.bind(f"/proc/self/fd/{place}/{name}")
        return endpoint.detach()
    except OSError as error:
        endpoint.close()
        raise OSError(error.errno, error.strerror, f"{directory}/{name}") from None
    finally:
        close(place)


def send_fd(connection: int, payload: bytes, fd: int) -> None:
    """sendmsg(2): this payload, which must not be empty, together with one descriptor."""
    endpoint = socket(fileno=connection)
    try:
        sent = endpoint.sendmsg([payload], [(SOL_SOCKET, SCM_RIGHTS, Struct("=i").pack(fd))])
    finally:
        endpoint.detach()
    if sent != len(payload):
        raise OSError(errno.EMSGSIZE, strerror(errno.EMSGSIZE))


def receive_fd(connection: int, limit: int = 4096) -> tuple[bytes, int]:
    """recvmsg(2): a payload and the one descriptor that came with it (close-on-exec), -1 if none did."""
    endpoint = socket(fileno=connection)
    try:
        payload, control, _, _ = endpoint.recvmsg(limit, CMSG_SPACE(4), MSG_CMSG_CLOEXEC)
    finally:
        endpoint.detach()
    fds = [
        Struct("=i").unpack(data[:4])[0] for level, kind, data in control if (level, kind) == (SOL_SOCKET, SCM_RIGHTS)
    ]
    return payload, fds[0] if fds else -1
