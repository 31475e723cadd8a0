# SPDX-License-Identifier: Apache-2.0
"""Which file `process.args[0]` stands for, and why the kernel may not execute it. Runs inside, as the container's user,
in the container's working directory.

The rules and the texts are those of Go's os/exec LookPath, because engines know them: docker turns
`executable file not found in $PATH` and `no such file or directory` into exit code 127, and `permission
denied` into 126, but only when the name of the command stands in the text too.
"""

from __future__ import annotations

from errno import EACCES, ENOENT, ENOEXEC, ENOSYS, EPERM

from pyoci.errors import PyociError, reason
from pyoci.syscalls import (
    AT_EACCESS,
    AT_FDCWD,
    MACHINE,
    O_CLOEXEC,
    O_NOCTTY,
    O_NONBLOCK,
    O_RDONLY,
    S_ISDIR,
    S_ISREG,
    ST_NOEXEC,
    close,
    faccessat2,
    fstat,
    open,
    read,
    stat,
    statvfs,
)

X_OK = 1

_PAGE = 4096
_SCRIPT_LINE = 256  # as much of the first line as the kernel looks at
_MACHINES = {3: "i686", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64", 258: "loongarch64"}
_PT_INTERP, _MOST_HEADERS = 3, 64

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class NotExecutable(PyociError):
    """The command cannot be executed; `name` is as the configuration gives it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"exec: {quote(name)}: {why}")


def find_executable(name: str, search_path: str | None) -> str:
    """The path to execute for this command: the name itself if it has a slash, else the first match in
    `search_path`.

    search_path: the value of PATH in the environment of the process, None if it has none.
    Raises NotExecutable. A match in a relative directory of PATH is refused, as Go does.
    """
    if "/" in name:
        why = _obstacle(name)
        if why is not None:
            raise NotExecutable(name, why)
        return name
    for directory in search_path.split(":") if search_path and name not in ("", ".", "..") else ():
        candidate = f"{directory.rstrip('/')}/{name}" if directory else name
        if _obstacle(candidate) is None:
            if not directory.startswith("/"):
                raise NotExecutable(name, "cannot run executable found relative to current directory")
            return candidate
    raise NotExecutable(name, "executable file not found in $PATH")


def _obstacle(path: str) -> str | None:
    """Why this file cannot be executed with our effective ids, None if it can."""
    try:
        mode = stat(path).st_mode
    except OSError as error:
        return f"stat {path}: {reason(error)}"
    if S_ISDIR(mode):
        return "is a directory: permission denied"
    try:
        faccessat2(AT_FDCWD, path, X_OK, AT_EACCESS)
    except OSError as error:
        # An older seccomp profile answers so to a call it does not know. Then the mode has to do.
        if error.errno not in (ENOSYS, EPERM):
            return reason(error) + (" (its file system is mounted noexec)" if _is_noexec(path, mode) else "")
        return None if mode & 0o111 else "permission denied"
    return None


def _is_noexec(path: str, mode: int) -> bool:
    """Whether that is what stands between a file with execute bits and its execution."""
    try:
        return bool(mode & 0o111 and statvfs(path).f_flag & ST_NOEXEC)
    except OSError:
        return False


def explain(path: str, number: int, deeper: bool = True) -> str:
    """What the kernel means by refusing to execute a file that is there, with this errno; "" if that cannot be told.

    To be called when nothing else is left to do: the file is anyone's, and a filter may end us for the looking.
    """
    try:
        head = _head(path)
    except OSError:
        return ""
    if head[:2] == b"#!":
        return _explain_script(head[2:_SCRIPT_LINE], number) if deeper else ""
    if head[:4] == b"\x7fELF":
        return _explain_elf(head, number)
    if number != ENOEXEC:
        return ""
    return "it is empty" if not head else "it is neither a program nor a script that names its interpreter after #!"


def _head(path: str) -> bytes:
    """The first page of a regular file. There is no procfs left by which to hold it before it is opened: something else may
    take its place, which is not waited for; and all that we could open, the program could.
    """
    if not S_ISREG(stat(path).st_mode):
        return b""
    fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
    try:
        return read(fd, _PAGE) if S_ISREG(fstat(fd).st_mode) else b""
    finally:
        close(fd)


def _explain_script(line: bytes, number: int) -> str:
    words = line.partition(b"\n")[0].partition(b"\0")[0].replace(b"\t", b" ").split(b" ")
    name = next((word for word in words if word), b"").decode("utf-8", "surrogateescape")
    if not name:
        return ""
    if _is_missing(name):
        ending = ": its first line ends with a carriage return" if name.endswith("\r") else ""
        return f"its interpreter {quote(name)} is not in the container{ending}"
    why = _obstacle(name) if number == EACCES else explain(name, number, deeper=False)
    return f"its interpreter {quote(name)}: {why}" if why else ""


def _explain_elf(head: bytes, number: int) -> str:
    """See elf(5). What is cut off reads as zeros."""
    wide, order = head[4:5] == b"\2", "big" if head[5:6] == b"\2" else "little"

    def field(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], order)  # type: ignore[arg-type]

    machine = _MACHINES.get(field(18, 2), "another kind of machine")
    if number == ENOEXEC and not MACHINE.startswith(machine):
        return f"it is a program for {machine}, and this machine is {MACHINE}"
    start, size, count = (
        (field(32, 8), field(54, 2), field(56, 2)) if wide else (field(28, 4), field(42, 2), field(44, 2))
    )
    for at in range(start, start + size * min(count, _MOST_HEADERS), size or 1) if number == ENOENT else ():
        if field(at, 4) == _PT_INTERP:
            offset, length = (field(at + 8, 8), field(at + 32, 8)) if wide else (field(at + 4, 4), field(at + 16, 4))
            loader = head[offset : offset + length].partition(b"\0")[0].decode("utf-8", "surrogateescape")
            if loader and _is_missing(loader):
                return f"the loader {quote(loader)} that it needs is not in the container"
    return ""


def _is_missing(path: str) -> bool:
    try:
        stat(path)
    except OSError as error:
        return error.errno == ENOENT
    return False


def quote(text: str) -> str:
    """The text in double quotes, unprintable characters escaped, so that one message stays one line."""
    return '"' + "".join(char if char.isprintable() and char not in '"\\' else _escape(char) for char in text) + '"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as a path from the kernel holds it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
