# SPDX-License-Identifier: Apache-2.0
"""Commands that act on the processes of a container: kill, pause, resume."""

from __future__ import annotations

from pyoci import state as states
from pyoci.cgroups.freezer import freeze, is_frozen, thaw
from pyoci.container.record import Container
from pyoci.errors import InvalidOperation, failed
from pyoci.kernel import basic as k
from pyoci.state import CREATED, PAUSED, RUNNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.record import Settings


def kill(settings: Settings, container_id: str, signal: int, all: bool = False) -> None:
    """Send a signal to init, or with `all` to every process of the container; `all` does not mind if there is none.

    SIGKILL ends all of a container without a pid namespace of its own, as nothing there would die with init.
    Raises InvalidOperation, CgroupError.
    """
    container = Container(settings, container_id)
    try:
        if all or (signal == k.SIGKILL and container.state.shares_pids and container.state.cgroup_paths):
            _kill_all(container, signal, all)
        else:
            _kill_init(container, signal)
    except OSError as error:
        raise failed(f"send signal {signal} to container {container_id}", error) from None


def _kill_init(container: Container, signal: int) -> None:
    pidfd = container.open_init()
    try:
        k.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise InvalidOperation("container not running") from None
    finally:
        k.close(pidfd)
    paths = container.state.cgroup_paths
    if signal == k.SIGKILL and "freezer" in paths and is_frozen(paths):
        thaw(paths)  # in cgroup v1 what is frozen does not even die


def _kill_all(container: Container, signal: int, indifferent: bool) -> None:
    from pyoci.cgroups.processes import kill_all, pids  # a plain kill does without

    state, paths = container.state, container.state.cgroup_paths
    if not paths:
        if states.is_alive(state) or not indifferent:
            _kill_init(container, signal)
        return
    if states.may_have_processes(state) and (indifferent or pids(paths)):
        kill_all(paths, signal)
    elif not indifferent:
        raise InvalidOperation("container not running")


def pause(settings: Settings, container_id: str) -> None:
    """Freeze every process of a container. Raises InvalidOperation, CgroupError."""
    container = Container(settings, container_id)
    lock = container.directory.lock()
    if container.status() not in (CREATED, RUNNING):
        raise InvalidOperation("container not running")
    freeze(container.state.cgroup_paths)
    k.close(lock)


def resume(settings: Settings, container_id: str) -> None:
    """Let the processes of a paused container go on. Raises InvalidOperation, CgroupError."""
    container = Container(settings, container_id)
    lock = container.directory.lock()
    if container.status() != PAUSED:
        raise InvalidOperation("container not paused")
    thaw(container.state.cgroup_paths)
    k.close(lock)
