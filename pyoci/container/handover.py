# SPDX-License-Identifier: Apache-2.0
"""What create, run and exec are handed by their caller, and what he gets back: descriptors, pid files, pidfds."""

from __future__ import annotations

from errno import EBADF

from pyoci import syscalls as k
from pyoci.errors import PyociError, describe, failed
from pyoci.record import Record
from pyoci.state import write_all

_FIRST_FD = 3
_NAME_KEPT = 60
"""How many characters of a file's name, of up to 4 bytes each, that of a temporary file has: there may be 255 bytes in all."""


class Inherited(Record):
    """The caller's descriptors: `count` of them from 3 on the program will inherit, `others` it must not."""

    count: int
    others: tuple[int, ...]

    def close_others(self) -> None:
        """To be called when what the caller has named by a descriptor (`/dev/fd/5`) has been opened, and before anything is
        forked: init waits for days, and what it does not need it must not hold.
        """
        for fd in self.others:
            try:
                k.close(fd)
            except OSError:  # of a file that could not be written to its end: it is closed all the same (close(2))
                pass


def find_inherited(preserve_fds: int, log: int, listening: int) -> Inherited:
    """What the caller has left open beside stdio: all that is, but for the log.

    preserve_fds: how many the command line asks for, on top of those of socket activation, `listening`, which come first.
    To be called before anything else is opened. Raises PyociError.
    """
    count = preserve_fds + listening
    for fd in range(_FIRST_FD, _FIRST_FD + count):
        try:
            if fd == log:  # which is ours: it has the number because the caller has nothing there
                raise OSError(EBADF, k.strerror(EBADF))
            k.fstat(fd)
        except OSError as error:
            raise failed(
                f"unable to preserve fds: descriptor {fd}, of the {count} from 3 on, cannot be had", error
            ) from None
    try:
        open_fds = [int(name) for name in k.listdir("/proc/self/fd")]
    except OSError as error:
        raise failed("see which descriptors are open", error) from None
    others = (fd for fd in open_fds if fd >= _FIRST_FD + count and fd != log)
    return Inherited(count=count, others=tuple(fd for fd in others if _is_open(fd)))


def _is_open(fd: int) -> bool:
    """That of the listing itself is not any more."""
    try:
        k.fstat(fd)
    except OSError:
        return False
    return True


def listen_fds() -> int:
    """How many descriptors systemd's socket activation hands to us to hand on: sd_listen_fds(3)."""
    count, pid = (k.environ.get(name, b"") for name in (b"LISTEN_FDS", b"LISTEN_PID"))
    is_number = count.isdigit() and len(count) < 10  # no process has so many, nor does int() take any length
    return int(count) if is_number and pid == b"%d" % k.getpid() else 0


def own_streams() -> dict[str, str]:
    """What our standard streams are, by number: a container without a terminal gets them, and a restored one others. Raises
    PyociError.
    """
    try:
        return {stream: k.readlink(f"/proc/self/fd/{stream}") for stream in ("0", "1", "2")}
    except OSError as error:
        raise failed("see what the standard streams are", error) from None


def connect_pidfd_socket(path: str) -> int:
    """A connection to whoever wants a pidfd (--pidfd-socket), made while nothing is; -1 for nobody. Raises PyociError."""
    if not path:
        return -1
    try:
        return k.connect_unix(path)
    except OSError as error:
        raise PyociError(f"connect to the pidfd socket {describe(error)}") from None


def send_pidfd(connection: int, pidfd: int, kind: bytes) -> None:
    """Send a pidfd and, as runc does, of what: b"standard" for init, b"setns" for an exec. Raises PyociError."""
    try:
        k.send_fd(connection, kind, pidfd)
    except OSError as error:
        raise failed("send the pidfd", error) from None
    finally:
        k.close(connection)


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid as digits alone, whole or not at all: callers wait for the file. Raises PyociError."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name[:_NAME_KEPT]}.{k.getpid()}"
    try:
        fd = k.open(temporary, k.O_WRONLY | k.O_CREAT | k.O_EXCL | k.O_CLOEXEC, 0o666)
        try:
            try:
                write_all(fd, b"%d" % pid)
            finally:
                k.close(fd)
            k.rename(temporary, path)
        except OSError:
            k.unlink(temporary)
            raise
    except OSError as error:
        raise failed(f"write the pid file {path}", error) from None
