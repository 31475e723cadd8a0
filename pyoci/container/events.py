# SPDX-License-Identifier: Apache-2.0
"""events: what a container uses, and that it has run out of memory."""

from __future__ import annotations

from time import monotonic

from pyoci.cgroups.files import GONE
from pyoci.cgroups.oom import watch
from pyoci.cgroups.stats import collect
from pyoci.container.record import Container
from pyoci.errors import CgroupError, InvalidOperation, PyociError, describe
from pyoci.kernel import basic as k
from pyoci.state import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.container.record import Settings

_LONGEST_POLL = 3600.0  # poll(2) takes milliseconds in an int


def stats(settings: Settings, container_id: str) -> dict[str, Any]:
    """The statistics of a container as one event. Raises InvalidOperation, PyociError."""
    container = _running(settings, container_id)
    try:
        return _stats(container)
    except OSError as error:
        raise _unreadable(container_id, error) from error


def follow(
    settings: Settings, container_id: str, interval: float, tell: Callable[[dict[str, Any]], None], reader: int
) -> None:
    """Tell each event: statistics every `interval` seconds, and when the kernel has killed for want of memory.

    Returns when the container has stopped, or nobody reads the descriptor `reader` any more. Raises as `stats` does.
    """
    container = _running(settings, container_id)
    init = container.open_init()
    try:
        memory = watch(container.state.cgroup_paths)
    except OSError as error:
        raise _unreadable(container_id, error) from error
    poll = k.poll()
    poll.register(init, k.POLLIN)
    poll.register(reader, 0)  # the end of a pipe's reader is told unasked
    if memory:
        poll.register(memory.fd, memory.events)
    else:
        settings.log.warning(f"container {container_id}: nothing here counts its memory, so no oom event will be seen")
    due = monotonic() + interval
    while True:
        wait = min(max(due - monotonic(), 0), _LONGEST_POLL)
        ready = {fd for fd, _ in poll.poll(wait * 1000)}
        if memory and memory.happened():
            tell({"type": "oom", "id": container_id})
        if init in ready or reader in ready:
            return
        if monotonic() >= due:
            due = max(due + interval, monotonic())
            try:
                tell(_stats(container))
            except OSError as error:
                if error.errno in GONE:
                    return
                settings.log.warning(_unreadable(container_id, error).message)


def _running(settings: Settings, container_id: str) -> Container:
    container = Container(settings, container_id)
    if container.status() == STOPPED:
        raise InvalidOperation(f"container with id {container_id} is not running")
    if not container.state.cgroup_paths:
        raise CgroupError(f"container {container_id} has no cgroup, and so nothing counts what it uses")
    return container


def _stats(container: Container) -> dict[str, Any]:
    """One event. As for runc, which makes no network interfaces any more, there is nothing to tell about these."""
    state, rdt = container.state, {}
    if state.intel_rdt_path:
        from pyoci.cgroups import stats_rdt  # few hosts have it

        rdt = stats_rdt.collect(state.intel_rdt_path, state.intel_rdt_mon_path)
    data = {**collect(state.cgroup_paths), "intel_rdt": rdt, "network_interfaces": None}
    return {"type": "stats", "id": state.id, "data": data}


def _unreadable(container_id: str, error: OSError) -> PyociError:
    return PyociError(f"read the statistics of container {container_id}: {describe(error)}")
