# SPDX-License-Identifier: Apache-2.0
"""Which of the newer system calls are not to be had here: loaded when something has failed, to tell why.

There is no other way around them that would be as safe, so what takes them is refused. The kernel's word alone, `function
not implemented` or, from a filter around us, `operation not permitted`, would leave the caller guessing.
"""

from __future__ import annotations

from errno import ENOSYS, EPERM

from pyoci import syscalls as k

_SYS_ADMIN = 21

NEEDED = (
    ("pidfd_send_signal", 424, "5.1", False),
    ("open_tree", 428, "5.2", False),
    ("move_mount", 429, "5.2", True),
    ("fsopen", 430, "5.2", True),
    ("fsconfig", 431, "5.2", False),
    ("fsmount", 432, "5.2", True),
    ("fspick", 433, "5.2", True),
    ("pidfd_open", 434, "5.3", False),
    ("close_range", 436, "5.11", False),
    ("openat2", 437, "5.6", False),
    ("mount_setattr", 442, "5.12", False),
)
"""Name, number, the Linux that has it (with the flags that we use), and whether the right to mount is asked for first."""


def missing() -> tuple[list[str], str]:
    """The names of those that this kernel does not know or a filter forbids, and the Linux that has them all; ([], "")."""
    may_mount = bool(k.capget()[0] >> _SYS_ADMIN & 1)
    found = []
    for name, number, version, asks_for_right in NEEDED:
        answer = k.probe(number)
        if answer == ENOSYS or (answer == EPERM and (may_mount or not asks_for_right)):
            found.append((name, version))
    newest = max((version for _, version in found), key=lambda text: int(text.partition(".")[2]), default="")
    return [name for name, _ in found], newest


def hint() -> str:
    """What to say behind a message about something that is not implemented or not permitted; "" if it is not for that."""
    names, version = missing()
    if not names:
        return ""
    return f" (not to be had here: {', '.join(names)}; it takes Linux {version}, and no system call filter that forbids it)"
