# SPDX-License-Identifier: Apache-2.0
"""The standard streams of the program: none of the host's devices, and its user's if they can be anybody's. Runs inside."""

from __future__ import annotations

from errno import EACCES, EPERM, EROFS
from fcntl import F_GETFL

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.rootfs.root import reopen

_PTY_MAJORS = range(136, 144)


def replace_null_streams(root_fd: int, proc: int) -> None:
    """Where a standard stream is the host's /dev/null, take the container's: whoever holds a file may change its mode.

    `proc` is the host's /proc, by which it is opened once it is known for what it is. Raises PyociError if it cannot be, or
    what the container has there is not the null device (CVE-2026-88265).
    """
    null = k.makedev(1, 3)
    theirs = -1
    for stream in (0, 1, 2):
        status = k.fstat(stream)
        if not k.S_ISCHR(status.st_mode) or status.st_rdev != null:
            continue
        if theirs < 0:
            try:
                theirs = k.openat2(root_fd, "dev/null", k.O_PATH, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS)
            except FileNotFoundError:
                return
            status = k.fstat(theirs)
            if not k.S_ISCHR(status.st_mode) or status.st_rdev != null:
                raise PyociError("/dev/null in the container is not the null device")
            seen, theirs = theirs, _open_null(theirs, proc)
            k.close(seen)
        k.dup2(theirs, stream)
    if theirs >= 0:
        k.close(theirs)


def _open_null(place: int, proc: int) -> int:
    try:
        return reopen(place, k.O_RDWR, proc)
    except OSError as error:
        hint = " (is its file system mounted nodev?)" if error.errno == EACCES else ""
        raise failed("open the container's /dev/null in the place of the host's", error, hint) from None


def own_stdio(uid: int, own_terminal: bool) -> None:
    """Give the standard streams to the user that the program will run as, so that it can open /dev/stdout again. Raises
    PyociError.

    Only what makes sense as somebody's own: pipes, sockets, files that are open for writing, and with `own_terminal` the
    pseudo-terminal that was made for it; never /dev/null or another device, among them the terminal of whoever called us,
    nor a file that is read: that may be anybody's, and an owner may write to it. The group stays, as the devpts mount has
    set it. What may not be changed is left alone.
    """
    for stream in (0, 1, 2):
        try:
            status = k.fstat(stream)
            if status.st_uid != uid and _can_be_owned(stream, status, own_terminal):
                k.fchown(stream, uid, -1)
        except OSError as error:
            if error.errno not in (EPERM, EROFS):
                raise failed(f"change the owner of standard stream {stream}", error) from error


def _can_be_owned(stream: int, status: k.stat_result, own_terminal: bool) -> bool:
    kind = k.S_IFMT(status.st_mode)
    if kind == k.S_IFCHR:  # whoever owns a terminal reads what is typed there for as long as it lasts
        return own_terminal and status.st_rdev >> 8 & 0xFFF in _PTY_MAJORS
    if kind == k.S_IFREG:
        return bool(k.fcntl(stream, F_GETFL) & (k.O_WRONLY | k.O_RDWR))
    return kind in (k.S_IFIFO, k.S_IFSOCK)
