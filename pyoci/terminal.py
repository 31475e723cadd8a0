# SPDX-License-Identifier: Apache-2.0
"""The pseudo-terminal of a container: allocated inside, its master handed to whoever holds the other end.

The container's own devpts is used, so everything on the way to it is hostile: /dev/pts may be anything, and
/dev/console may be a symbolic link to a file of the host (CVE-2025-52565). Hence /dev/pts is entered by
descriptor and must be the root of a devpts file system, in which no one but the kernel makes files; the peer
of the master comes from the master (TIOCGPTPEER) and never from a path; and /dev/console is made and covered
by descriptor.

`set_up` and what it calls run inside, after the container's root has become ours.
"""

from __future__ import annotations

from _struct import Struct
from errno import EEXIST

from pyoci.errors import PyociError, describe, failed, reason
from pyoci.record import Record
from pyoci.syscalls import (
    AT_EMPTY_PATH,
    DEVPTS_SUPER_MAGIC,
    O_CLOEXEC,
    O_CREAT,
    O_DIRECTORY,
    O_EXCL,
    O_NOCTTY,
    O_NOFOLLOW,
    O_PATH,
    O_RDWR,
    O_WRONLY,
    OPEN_TREE_CLONE,
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    S_IFCHR,
    S_IFMT,
    S_IFREG,
    close,
    connect_unix,
    dup2,
    fstat,
    fstatfs_type,
    getpid,
    getsid,
    ioctl,
    move_mount,
    open_tree,
    openat2,
    receive_fd,
    send_fd,
    setsid,
)

# asm-generic/ioctls.h; MIPS, PowerPC and SPARC number theirs differently.
TIOCSCTTY, TIOCSWINSZ, TIOCGWINSZ = 0x540E, 0x5414, 0x5413
TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER = 0x80045430, 0x40045431, 0x5441

_DEVPTS_ROOT_INODE, _PTMX_INODE, _PTMX_DEVICE = 1, 2, 5 << 8 | 2
_NAME_LIMIT = 4096
_INT = Struct("=i")
_WINSIZE = Struct("=HHHH")


class Pty(Record):
    """A pseudo-terminal: both ends as descriptors, and the path of the slave as the container sees it."""

    master: int
    slave: int
    name: str


def open_pty(root_fd: int, height: int = 0, width: int = 0) -> Pty:
    """Allocate a pty in the devpts at /dev/pts below root_fd. A height or width of 0 leaves the size alone.

    Raises PyociError if there is no devpts, or no access to its ptmx.
    """
    try:
        master = _open_ptmx(root_fd)
    except OSError as error:
        raise failed("open /dev/pts/ptmx", error) from error
    try:
        ioctl(master, TIOCSPTLCK, _INT.pack(0))
        (number,) = _INT.unpack(ioctl(master, TIOCGPTN, _INT.pack(0)))
        if height and width:
            set_size(master, _WINSIZE.pack(height, width, 0, 0))
        slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)
    except OSError as error:
        close(master)
        raise failed("set up a pty in /dev/pts", error) from error
    return Pty(master=master, slave=slave, name=f"/dev/pts/{number}")


def _open_ptmx(root_fd: int) -> int:
    """A new master. Nothing is opened before it is known for what it is: opening some devices has effects."""
    directory = openat2(root_fd, "dev/pts", O_PATH | O_DIRECTORY, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    try:
        if fstatfs_type(directory) != DEVPTS_SUPER_MAGIC or fstat(directory).st_ino != _DEVPTS_ROOT_INODE:
            raise PyociError("/dev/pts is not a devpts mount, and process.terminal needs one")
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
        master = openat2(directory, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW, resolve=resolve)
    finally:
        close(directory)
    status = fstat(master)
    if (status.st_ino, status.st_rdev) != (_PTMX_INODE, _PTMX_DEVICE):
        close(master)
        raise PyociError("/dev/pts/ptmx is not the device that makes pseudo-terminals")
    return master


def bind_console(root_fd: int, slave: int) -> None:
    """Mount the slave over /dev/console, which is made if it is missing. Raises PyociError."""
    try:
        directory = openat2(root_fd, "dev", O_PATH | O_DIRECTORY, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        try:
            target = _console_target(directory)
            try:
                _cover(target, slave)
            finally:
                close(target)
            seen = openat2(directory, "console", O_PATH | O_NOFOLLOW, resolve=RESOLVE_BENEATH)
            same = fstat(seen).st_rdev == fstat(slave).st_rdev
            close(seen)
        finally:
            close(directory)
    except OSError as error:
        raise failed("mount the terminal on /dev/console", error) from error
    if not same:
        raise PyociError("mount the terminal on /dev/console: something else is there afterwards")


def _console_target(directory: int) -> int:
    """What stands at /dev/console, made if need be, as an O_PATH descriptor: it is not opened, and not
    followed.
    """
    try:
        close(openat2(directory, "console", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o620, RESOLVE_BENEATH))
    except OSError as error:
        if error.errno != EEXIST:
            raise
    target = openat2(directory, "console", O_PATH | O_NOFOLLOW, resolve=RESOLVE_BENEATH)
    if S_IFMT(fstat(target).st_mode) not in (S_IFREG, S_IFCHR):
        close(target)
        raise PyociError("/dev/console in the container is neither a file nor a device: refusing to mount on it")
    return target


def _cover(target: int, slave: int) -> None:
    tree = open_tree(slave, "", OPEN_TREE_CLONE | AT_EMPTY_PATH)
    try:
        move_mount(tree, target)
    finally:
        close(tree)


def send_master(connection: int, pty: Pty) -> None:
    """Hand the master to the receiver of the console socket, with the name of the slave as the message."""
    try:
        send_fd(connection, pty.name.encode(), pty.master)
    except OSError as error:
        raise failed("send the terminal over the console socket", error) from error


def become_controlling(slave: int) -> None:
    """Make the slave our controlling terminal, in a session of our own, and our three standard streams."""
    try:
        if getsid(0) != getpid():
            setsid()
        ioctl(slave, TIOCSCTTY, 0)
        for stream in (0, 1, 2):
            dup2(slave, stream)
    except OSError as error:
        raise failed("make the pty the controlling terminal", error) from error


def set_up(root_fd: int, size: tuple[int, int], connection: int, console: bool) -> None:
    """Be on a terminal of the container's own, whose master goes over the connection, which is closed here. `console`: it is
    mounted on /dev/console, too. Raises PyociError.
    """
    pty = open_pty(root_fd, *size)
    if console:
        bind_console(root_fd, pty.slave)
    send_master(connection, pty)
    close(pty.master)
    close(connection)
    become_controlling(pty.slave)
    close(pty.slave)


def connect_console_socket(path: str) -> int:
    """A connection to the console socket of the caller (parent side), made early so that a wrong path fails
    early.
    """
    try:
        return connect_unix(path)
    except OSError as error:
        raise PyociError(f"connect to the console socket {describe(error)}") from error


def receive_master(connection: int) -> int:
    """The master that the child sends, where we are the receiver ourselves (parent side)."""
    try:
        name, master = receive_fd(connection, _NAME_LIMIT)
    except OSError as error:
        raise PyociError(f"receive the terminal from the container: {reason(error)}") from error
    if master < 0 or not name:
        raise PyociError("receive the terminal from the container: it ended without sending one")
    return master


def get_size(terminal: int) -> bytes:
    """The struct winsize of a terminal, for `set_size`."""
    return bytes(ioctl(terminal, TIOCGWINSZ, bytes(_WINSIZE.size)))


def set_size(terminal: int, size: bytes) -> None:
    """Set the struct winsize of a terminal; the kernel tells its foreground processes by SIGWINCH."""
    ioctl(terminal, TIOCSWINSZ, size)
