# SPDX-License-Identifier: Apache-2.0
"""Start this very call over, in an interpreter whose executable nobody can write to: launcher.c, in Python.

Slower than the launcher by the time that the first interpreter took, and with the same outcome. The process stays the
same one, and its open descriptors stay open.
"""

from __future__ import annotations

import sys
from errno import EBUSY

from pyoci.errors import PyociError, describe
from pyoci.seal import EXECUTABLE, SEALS
from pyoci.syscalls import (
    F_ADD_SEALS,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_STRING,
    MFD_ALLOW_SEALING,
    MFD_CLOEXEC,
    MFD_EXEC,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    O_CLOEXEC,
    O_NOFOLLOW,
    O_PATH,
    O_RDONLY,
    close,
    environ,
    execve,
    fchmod,
    fcntl,
    fsconfig,
    fsmount,
    fsopen,
    memfd_create,
    open,
    read,
    readlink,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# What the runtime reads, PATH for the programs it runs, TERM for messages. The list in launcher.c is the same one.
PASSED_ON = (
    b"DBUS_SESSION_BUS_ADDRESS",
    b"LISTEN_FDNAMES",
    b"LISTEN_FDS",
    b"LISTEN_PID",
    b"NOTIFY_SOCKET",
    b"NO_COLOR",
    b"PATH",
    b"TERM",
    b"USER",
    b"XDG_RUNTIME_DIR",
)
FLAGS = ("-I", "-S", "-B", "-X", "utf8")
_MARK = "pyoci-restarted"
_EMBEDDED = "_pyoci_calls"  # the interpreter of pyoci/embed has it
_CHUNK = 1 << 20
_SEAL_ATTEMPTS = 50


def restart() -> NoReturn:
    """Become a sealed interpreter that makes the same call. Raises PyociError if there is no way to."""
    if _EMBEDDED in sys.builtin_module_names:  # it takes no arguments of Python's
        raise PyociError(
            "cannot seal the interpreter: that is done before it starts, but its executable could not be looked at, or can "
            "still be written to"
        )
    if _MARK in sys._xoptions:
        raise PyociError("cannot seal the interpreter: it was started anew, and its executable can still be written to")
    library = __file__.rpartition("/pyoci/")[0]
    # Last in sys.path: of what lies beside the package, nothing may stand in for a module of the standard library.
    start = f"import sys; sys.path.append({library!r}); from pyoci.cli import main; main()"
    arguments = [sys.executable, *FLAGS, "-X", _MARK, "-c", start, *sys.argv[1:]]
    environment = clean(environ)
    try:
        _execute_overlay(library, arguments, environment)
    except OSError:  # may not mount, no overlays here, or a security module refuses what is mounted nowhere
        pass
    try:
        execve(sealed_copy(), arguments, environment)
    except OSError as error:
        raise PyociError(f"execute a sealed copy of {sys.executable}: {describe(error)}") from error


def clean(environment: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What of an environment may reach the runtime. LC_ALL=C with UTF-8 mode: the same texts for every caller."""
    return {b"LC_ALL": b"C"} | {name: environment[name] for name in PASSED_ON if name in environment}


def overlay_view(directory: str, name: str, other: str) -> int:
    """A file as seen through a read-only overlay that is mounted nowhere. Raises OSError.

    Without an upper layer there must be two lower ones; the `other` directory only makes up the number.
    """
    fs = fsopen("overlay")
    try:
        fsconfig(fs, FSCONFIG_SET_STRING, "xino", "off")  # unused, and noisy in the kernel's log
        fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir", f"{_escaped(directory)}:{_escaped(other)}")
        fsconfig(fs, FSCONFIG_CMD_CREATE)
        mount = fsmount(fs, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
    finally:
        close(fs)
    try:
        return open(name, O_PATH | O_NOFOLLOW | O_CLOEXEC, dir_fd=mount)
    finally:
        close(mount)  # from here on the mount is in nobody's namespace, and nobody can change its flags


def sealed_copy() -> int:
    """The executable of this process, copied into memory where nobody can change it any more. Raises OSError."""
    source = open(EXECUTABLE, O_RDONLY)
    flags = MFD_CLOEXEC | MFD_ALLOW_SEALING
    try:
        copy = memfd_create("pyoci", flags | MFD_EXEC)
    except OSError:  # before Linux 6.3
        copy = memfd_create("pyoci", flags)
    while chunk := read(source, _CHUNK):
        while chunk:
            chunk = chunk[write(copy, chunk) :]
    close(source)
    fchmod(copy, 0o555)
    seal(copy)
    return copy


def seal(file: int) -> None:
    """Let nobody change a file in memory any more. Raises OSError.

    The kernel refuses (EBUSY) while anybody holds a page of the file, be it a worker that moves pages about, or one of
    its lists of such as were used last. It waits for them by itself, but for 150 ms only: too little on a machine that
    is busy.
    """
    for attempt in range(_SEAL_ATTEMPTS):
        try:
            fcntl(file, F_ADD_SEALS, SEALS)
            return
        except OSError as error:
            if error.errno != EBUSY or attempt == _SEAL_ATTEMPTS - 1:
                raise


def _execute_overlay(library: str, arguments: list[str], environment: dict[bytes, bytes]) -> None:
    directory, _, name = readlink(EXECUTABLE).rpartition("/")
    execve(overlay_view(directory or "/", name, library), arguments, environment)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")
