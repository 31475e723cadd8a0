# SPDX-License-Identifier: Apache-2.0
"""New processes and namespaces, privileges, signals."""

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
from _struct import Struct, pack_into, unpack_from

from pyoci.kernel.basic import (
    MACHINE,
    O_CLOEXEC,
    O_NONBLOCK,
    O_RDONLY,
    PR_SET_NAME,
    SIGCHLD,
    SIGKILL,
    SIGSTOP,
    check,
    close,
    close_range,
    default_signal,
    encode,
    open,
    prctl,
    read,
)
from pyoci.libc import address, buffer, function, get_errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# Calls from 2019 on have one number everywhere; older ones that libc does not wrap stand in a table by machine.
_NR_CLONE3, _NR_PIDFD_GETFD = 435, 438
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
_old = dict(zip(_OLD_CALLS, _OLD_NUMBERS.get(MACHINE, (-1,) * len(_OLD_CALLS)), strict=True))

# syscall(2) by the shape of what follows the number: l an integer, p a pointer.
_syscall_lll = function("syscall", "llll")
_syscall_lllll = function("syscall", "llllll")
_syscall_lpl = function("syscall", "llpl")
_syscall_pl = function("syscall", "lpl")
_syscall_llp = function("syscall", "lllp")
_syscall_llpll = function("syscall", "lllpll")

CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x80, 0x20000, 0x2000000, 0x4000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x8000000, 0x10000000, 0x20000000, 0x40000000
CLONE_PIDFD, CLONE_PARENT, CLONE_INTO_CGROUP = 0x1000, 0x8000, 0x200000000

MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_EXEC = 1, 2, 0x10
RLIM_INFINITY = (1 << 64) - 1
SECCOMP_SET_MODE_FILTER = 1
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

SFD_CLOEXEC, SFD_NONBLOCK = O_CLOEXEC, O_NONBLOCK
SIGINFO_SIZE = 128
_SIGSET_SIZE = 128

_clone_args = Struct("=11Q")
_cap_header = Struct("=Ii")
_cap_data = Struct("=IIIIII")
_setns = function("setns", "ll")
_unshare = function("unshare", "l")
_sethostname = function("sethostname", "sl")
_setdomainname = function("setdomainname", "sl")
_prlimit = function("prlimit64", "llpp")
_personality = function("personality", "l")
_sched_setaffinity = function("sched_setaffinity", "llp")
_execve = function("execve", "spp")
_memcpy = function("memcpy", "psl")
_memset = function("memset", "pll")
_capset = function("capset", "pp")
_capget = function("capget", "pp")
_signalfd = function("signalfd", "lpl")


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
    check(pid)
    return pid, int(unpack_from("i", pidfd)[0]) if pid else -1


def probe(number: int) -> int:
    """The errno with which a newer system call answers arguments that mean nothing: ENOSYS or EPERM where it is not to be had."""
    _syscall_lllll(number, -1, -1, -1, -1, -1)
    return get_errno()


def setns(fd: int, nstype: int) -> None:
    """setns(2): a namespace descriptor, or a pidfd with several CLONE_NEW* flags."""
    check(_setns(fd, nstype))


def unshare(flags: int) -> None:
    """unshare(2)."""
    check(_unshare(flags))


def sethostname(name: str) -> None:
    """sethostname(2)."""
    encoded = encode(name)
    check(_sethostname(encoded, len(encoded)), name)


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    encoded = encode(name)
    check(_setdomainname(encoded, len(encoded)), name)


def prlimit(pid: int, resource: int, soft: int, hard: int) -> None:
    """prlimit(2), setting only."""
    limits = buffer(Struct("=QQ").pack(soft, hard))
    check(_prlimit(pid, resource, address(limits), 0))


def personality(persona: int) -> int:
    """personality(2)."""
    return check(_personality(persona))


def sched_setaffinity(pid: int, mask: bytes) -> None:
    """sched_setaffinity(2): bit n of the mask is CPU n. The kernel leaves out what it, or the cpuset, does not have."""
    array = buffer(mask)
    check(_sched_setaffinity(pid, len(mask), address(array)))


def sched_setattr(pid: int, attributes: bytes) -> None:
    """sched_setattr(2) with a struct sched_attr."""
    array = buffer(attributes)
    check(_syscall_lpl(_old["sched_setattr"], pid, address(array), 0))


def ioprio_set(which: int, who: int, priority: int) -> None:
    """ioprio_set(2)."""
    check(_syscall_lll(_old["ioprio_set"], which, who, priority))


def set_mempolicy(mode: int, nodes: bytes) -> None:
    """set_mempolicy(2): bit n of the mask is node n."""
    array = buffer(nodes)
    # The kernel takes one bit less than it is told of.
    check(_syscall_lpl(_old["set_mempolicy"], mode, address(array) if nodes else 0, 8 * len(nodes) + 1))


def pidfd_getfd(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2): a copy of another process's descriptor."""
    return check(_syscall_lll(_NR_PIDFD_GETFD, pidfd, fd, 0))


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
        check(_execve(self.path, address(self._argv), address(self._env)), self.path)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2) of this process; each argument is a bit mask."""
    low = 0xFFFFFFFF
    header = buffer(_cap_header.pack(_LINUX_CAPABILITY_VERSION_3, 0))
    data = buffer(
        _cap_data.pack(
            effective & low, permitted & low, inheritable & low, effective >> 32, permitted >> 32, inheritable >> 32
        )
    )
    check(_capset(address(header), address(data)))


def capget() -> tuple[int, int, int]:
    """capget(2) of this process: effective, permitted and inheritable as bit masks."""
    header, data = buffer(_cap_header.pack(_LINUX_CAPABILITY_VERSION_3, 0)), buffer(_cap_data.size)
    check(_capget(address(header), address(data)))
    low = _cap_data.unpack(data)
    return low[0] | low[3] << 32, low[1] | low[4] << 32, low[2] | low[5] << 32


def seccomp(operation: int, flags: int, program: Any) -> int:
    """seccomp(2); `program` is a buffer with a struct sock_fprog, or None."""
    pointer = 0 if program is None else address(program)
    return check(_syscall_llp(_old["seccomp"], operation, flags, pointer))


def keyctl(operation: int, *arguments: int | bytes) -> int:
    """keyctl(2): integers, and strings as bytes."""
    held = [buffer(item + b"\0") if isinstance(item, bytes) else item for item in arguments]
    numbers = [item if isinstance(item, int) else address(item) for item in held] + [0] * (4 - len(held))
    return check(_syscall_lllll(_old["keyctl"], operation, *numbers))


def bpf(command: int, attributes: Any, size: int) -> int:
    """bpf(2); `attributes` is a buffer with a union bpf_attr."""
    return check(_syscall_lpl(_old["bpf"], command, address(attributes), size))


def signalfd(signals: set[int]) -> int:
    """signalfd(2), close-on-exec and non-blocking. The signals must be blocked; each read gives one signalfd_siginfo."""
    mask = buffer(_SIGSET_SIZE)
    bits = sum(1 << (number - 1) for number in signals)
    word = Struct("@L")
    for index in range(64 // (8 * word.size)):
        word.pack_into(mask, index * word.size, bits >> (8 * word.size * index) & ((1 << 8 * word.size) - 1))
    return check(_signalfd(-1, address(mask), SFD_CLOEXEC | SFD_NONBLOCK))


def hold_signals() -> Iterable[int]:
    """Block every signal, so that no handler runs in a child before it has put us behind it: `let_signals` wants the answer."""
    before: Iterable[int] = pthread_sigmask(SIG_BLOCK, valid_signals())
    return before


def let_signals(before: Iterable[int]) -> None:
    """Block only what was blocked before `hold_signals`. Raises KeyboardInterrupt if that is what came meanwhile."""
    pthread_sigmask(SIG_SETMASK, before)


def reset_signals(blocked: Iterable[int] = (), kept: tuple[int, ...] = ()) -> None:
    """Every disposition but those `kept` back to the default, and only these signals blocked: none of either for a program
    about to be executed.

    The interpreter ignores SIGPIPE and SIGXFSZ, and an ignored signal stays ignored across execve(2).
    """
    for number in valid_signals():
        if number not in (SIGKILL, SIGSTOP, *kept) and getsignal(number) != SIG_DFL:
            default_signal(number)
    pthread_sigmask(SIG_SETMASK, blocked)
