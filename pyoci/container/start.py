# SPDX-License-Identifier: Apache-2.0
"""start: let init go on to the program (runtime.md, Lifecycle, steps 7 to 9)."""

from __future__ import annotations

from pyoci import jsontext
from pyoci.container.record import Container, hook_state
from pyoci.errors import HookFailed, InvalidOperation, PyociError
from pyoci.kernel import basic as k
from pyoci.process.exec_fifo import Starter
from pyoci.state import CREATED, FIFO, NOTIFY, OPENED, RUNNING, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.record import Settings
    from pyoci.notify import Proxy

_REFUSALS = {
    STOPPED: "cannot start a container that has stopped",
    RUNNING: "cannot start an already running container",
}


def start(settings: Settings, container_id: str) -> None:
    """Start a created container. Raises InvalidOperation, HookFailed, and PyociError where the program cannot be executed.

    The lock is let go as soon as the container is past being started: its program and hooks may take their time.
    """
    lock = StateDir(settings.root, container_id).lock()
    container = Container(settings, container_id)
    status = container.status()
    was_killed = status == RUNNING and container.directory.has(OPENED)  # the start before us: init may still wait
    if status != CREATED and not was_killed:
        raise InvalidOperation(_REFUSALS.get(status) or f"cannot start a container in the {status} state")
    if not container.state.has_process:
        raise InvalidOperation("cannot start a container that was created without a process: it has nothing to run")
    pidfd = container.open_init()
    proxy = open_notify_proxy(container)
    starter = open_fifo(container, pidfd)
    starter.release()
    k.close(lock)
    try:
        finish_start(container, starter)
    except HookFailed as error:
        _take_back(container, error)
        raise
    if proxy:
        proxy.await_ready(container.state.init_process_pid, pidfd)


def open_fifo(container: Container, pidfd: int) -> Starter:
    """Have init go on. Whoever does has the container's lock. Raises PyociError."""
    return Starter(f"{container.directory.path}/{FIFO}", f"{container.directory.path}/{OPENED}", pidfd)


def open_notify_proxy(container: Container) -> Proxy | None:
    """The way for the program to say that it is ready, if our caller wants to know, and did at create. Raises PyociError."""
    if not k.environ.get(b"NOTIFY_SOCKET"):
        return None
    from pyoci import notify  # few callers want to know

    host, directory = notify.host_socket(), f"{container.directory.path}/{NOTIFY}"
    return notify.Proxy(host, directory) if host and container.directory.has(NOTIFY) else None


def finish_start(container: Container, starter: Starter) -> None:
    """See the program executed and run the poststart hooks. Raises HookFailed: then the container's end is the caller's."""
    starter.await_program()
    _run_poststart(container)


def _run_poststart(container: Container) -> None:
    hooks = container.directory.hooks("poststart")
    if hooks:
        from pyoci.hooks import run_hooks  # most containers have none

        told = {**hook_state(container.state), "status": RUNNING, "pid": container.state.init_process_pid}
        run_hooks("poststart", hooks, jsontext.dumps(told).encode(), directory=container.state.bundle)


def _take_back(container: Container, error: PyociError) -> None:
    """A hook that fails is the end of the container (runtime.md, Lifecycle, steps 7 and 9)."""
    from pyoci.container.run import remove  # only when a hook has failed

    try:
        remove(container)
    except PyociError as another:
        error.add_note(f"and then: {another.message}")
