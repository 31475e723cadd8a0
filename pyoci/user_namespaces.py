# SPDX-License-Identifier: Apache-2.0
"""Whose the ids of a user namespace are that is there already (user_namespaces(7)).

The kernel shows the maps of a process, not those of a namespace, and a path may lead to one in which nobody is. So a child
of ours joins it for as long as it takes to read them.
"""

from __future__ import annotations

from pyoci import syscalls as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    Lines = tuple[tuple[int, int, int], ...]


def maps_of(path: str) -> tuple[Lines, Lines] | None:
    """The uid_map and gid_map of a user namespace: first id inside, first id of ours, how many. None if not to be had.

    Lines of ids that we have no numbers for are left out.
    """
    try:
        namespace = k.open(path, k.O_RDONLY | k.O_CLOEXEC | k.O_NONBLOCK)
    except OSError:
        return None
    told, tell = k.pipe2(k.O_CLOEXEC)
    waiting, release = k.pipe2(k.O_CLOEXEC)
    pid = k.fork()
    if pid == 0:
        try:
            k.close_all_but(3, (namespace, tell, waiting))  # what our caller has left open has no business in there
            k.prctl(k.PR_SET_DUMPABLE, 0)  # whoever is root in there is not to look into what is a copy of us
            k.setns(namespace, k.CLONE_NEWUSER)
            k.write(tell, b"j")
            k.read(waiting, 1)  # until the maps are read
        finally:
            k._exit(0)
    for fd in (namespace, tell, waiting):
        k.close(fd)
    try:
        if not k.read(told, 1):
            return None
        return _lines(f"/proc/{pid}/uid_map"), _lines(f"/proc/{pid}/gid_map")
    except OSError:
        return None
    finally:
        k.close(release)
        k.close(told)
        k.waitpid(pid, 0)


def _lines(path: str) -> Lines:
    fd = k.open(path, k.O_RDONLY | k.O_CLOEXEC)
    try:
        pieces = []
        while piece := k.read(fd, 1 << 16):
            pieces.append(piece)
    finally:
        k.close(fd)
    numbers = [int(number) for number in b"".join(pieces).split()]
    lines = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    return tuple(line for line in lines if line[1] != _NOBODY)


_NOBODY = (1 << 32) - 1
