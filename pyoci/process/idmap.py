# SPDX-License-Identifier: Apache-2.0
"""Writes the id maps of a new user namespace (user_namespaces(7)).

Root writes them itself. An ordinary user may map himself alone, if setgroups is given up; for more he needs the helpers
newuidmap and newgidmap, which know what /etc/subuid and /etc/subgid allow him.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import IdMap

_USUAL_PATH = "/usr/local/bin:/usr/bin:/bin"


def write_id_maps(pid: int, uid_map: tuple[IdMap, ...], gid_map: tuple[IdMap, ...]) -> None:
    """Give the user namespace of a process its maps. Raises PyociError."""
    if k.geteuid() == 0:
        _write(pid, "uid_map", uid_map)
        _write(pid, "gid_map", gid_map)
        return
    if _maps_only(uid_map, k.geteuid()):
        _write(pid, "uid_map", uid_map)
    else:
        _help("newuidmap", pid, uid_map)
    if _maps_only(gid_map, k.getegid()):
        _put(f"/proc/{pid}/setgroups", b"deny")
        _write(pid, "gid_map", gid_map)
    else:
        _help("newgidmap", pid, gid_map)


def _maps_only(id_map: tuple[IdMap, ...], own: int) -> bool:
    return len(id_map) == 1 and id_map[0].size == 1 and id_map[0].host == own


def _write(pid: int, name: str, id_map: tuple[IdMap, ...]) -> None:
    text = "".join(f"{line.container} {line.host} {line.size}\n" for line in id_map)
    _put(f"/proc/{pid}/{name}", text.encode())


def _put(path: str, content: bytes) -> None:
    try:
        fd = k.open(path, k.O_WRONLY | k.O_CLOEXEC)
        try:
            k.write(fd, content)
        finally:
            k.close(fd)
    except OSError as error:
        first, *others = content.decode().splitlines()
        more = f" and {len(others)} more" if others else ""
        raise failed(f'write "{first}"{more} to {path}', error) from None


def _help(name: str, pid: int, id_map: tuple[IdMap, ...]) -> None:
    """Run newuidmap(1) or newgidmap(1), found in the caller's PATH."""
    numbers = [str(number) for line in id_map for number in (line.container, line.host, line.size)]
    search = k.environ.get(b"PATH", b"").decode("utf-8", "surrogateescape") or _USUAL_PATH
    for directory in search.split(":"):
        path = f"{directory}/{name}"
        if directory.startswith("/") and _is_executable(path):
            break
    else:
        raise PyociError(f"{name} is not in $PATH, and an ordinary user needs it to map more than himself")
    image = k.ExecImage(k.encode(path), [k.encode(part) for part in (name, str(pid), *numbers)], [])
    child = k.fork()
    if child == 0:
        try:
            k.reset_signals()
            image.execute()
        finally:
            k._exit(127)
    if status := k.waitstatus_to_exitcode(k.waitpid(child, 0)[1]):
        raise PyociError(f"{name} {pid} {' '.join(numbers)}: exit status {status}: see /etc/subuid and /etc/subgid")


def _is_executable(path: str) -> bool:
    try:
        return k.access(path, 1)
    except OSError:
        return False
