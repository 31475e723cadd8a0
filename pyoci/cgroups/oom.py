# SPDX-License-Identifier: Apache-2.0
"""Being told when the kernel runs out of a container's memory.

Sources: cgroup-v1/memory.rst, "OOM Control", where an eventfd counts; cgroup-v2.rst, memory.events, where poll(2) tells of
a change and the file of the number of processes killed.
"""

from __future__ import annotations

from pyoci.cgroups.files import keyed
from pyoci.kernel.basic import (
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    O_CLOEXEC,
    O_RDONLY,
    O_WRONLY,
    POLLIN,
    POLLPRI,
    access,
    close,
    eventfd,
    eventfd_read,
    lseek,
    open,
    poll,
    read,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Watch(Protocol):
        """Poll `fd` for `events`; then ask `happened`, which answers once for all that has come since."""

        fd: int
        events: int

        def happened(self) -> bool: ...


_THERE = 0
_LAST_COUNT = 200  # milliseconds


def watch(paths: dict[str, str]) -> Watch | None:
    """Watch a container's memory from now on; None if nothing counts its memory. Raises OSError."""
    try:
        if "memory" in paths:
            return _EventWatch(paths["memory"])
        return _FileWatch(paths[""]) if "" in paths else None
    except FileNotFoundError:
        return None


class _EventWatch:
    def __init__(self, directory: str) -> None:
        self.events = POLLIN
        self._control = f"{directory}/cgroup.event_control"
        watched = open(f"{directory}/memory.oom_control", O_RDONLY | O_CLOEXEC)
        self.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        control = open(self._control, O_WRONLY | O_CLOEXEC)
        write(control, f"{self.fd} {watched}".encode())
        close(control)
        close(watched)

    def happened(self) -> bool:
        count = self._count()
        if not count or access(self._control, _THERE):
            return count > 0
        # The end of the cgroup is counted as well, but later than it shows.
        watching = poll()
        watching.register(self.fd, POLLIN)
        if count == 1 and watching.poll(_LAST_COUNT):
            count += self._count()
        return count > 1

    def _count(self) -> int:
        try:
            return eventfd_read(self.fd)
        except BlockingIOError:
            return 0


class _FileWatch:
    def __init__(self, directory: str) -> None:
        self.events = POLLPRI
        self.fd = open(f"{directory}/memory.events", O_RDONLY | O_CLOEXEC)
        self._kills = self._count()

    def happened(self) -> bool:
        known, self._kills = self._kills, self._count()
        return self._kills > known

    def _count(self) -> int:
        try:
            lseek(self.fd, 0, 0)
            return int(keyed(read(self.fd, 4096).decode(), "oom_kill") or 0)
        except OSError:
            return 0  # the cgroup is gone
