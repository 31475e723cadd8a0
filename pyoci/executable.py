# SPDX-License-Identifier: Apache-2.0
"""Which file `process.args[0]` stands for. Runs inside, as the container's user, in the container's working
directory.

The rules and the texts are those of Go's os/exec LookPath, because engines know them: docker turns
`executable file not found in $PATH` and `no such file or directory` into exit code 127, and `permission
denied` into 126, but only when the name of the command stands in the text too.
"""

from __future__ import annotations

from errno import ENOSYS, EPERM

from pyoci.errors import PyociError, reason
from pyoci.syscalls import AT_EACCESS, AT_FDCWD, S_ISDIR, faccessat2, stat

X_OK = 1

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
            return reason(error)
        return None if mode & 0o111 else "permission denied"
    return None


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
