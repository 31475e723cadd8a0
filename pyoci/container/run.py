# SPDX-License-Identifier: Apache-2.0
"""run: create and start in one, and, unless detached, all the rest of the container's life."""

from __future__ import annotations

from pyoci.container.create import Creation
from pyoci.container.delete import end_and_destroy
from pyoci.container.handover import find_inherited, listen_fds
from pyoci.container.record import Container
from pyoci.container.start import finish_start, open_fifo, open_notify_proxy
from pyoci.errors import ContainerNotFound, PyociError
from pyoci.foreground import Foreground
from pyoci.kernel import basic as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.options import CreateOptions
    from pyoci.container.record import Settings


def run(settings: Settings, container_id: str, options: CreateOptions) -> int:
    """Run a container: 0 once it is started if detached, else the program's exit code (128 + signal) when it has ended.

    Raises SpecError, PyociError; then nothing is left.
    """
    inherited = find_inherited(options.preserve_fds, settings.log.fd, listen_fds())
    if options.detach:
        creation = Creation(settings, container_id, options, inherited, starts=True)
        _start(creation, None)
        return 0
    foreground = Foreground(settings.log.warning, subreaper=not options.no_subreaper)
    try:
        foreground.prepare()  # before there is a process that could end or be signalled
        creation = Creation(settings, container_id, options, inherited, foreground=foreground, starts=True)
        container = _start(creation, foreground)
        return stay(foreground, creation, container, options.keep)
    finally:
        foreground.close()


def _start(creation: Creation, foreground: Foreground | None) -> Container:
    """Create and start. What fails after the creation removes the container too: there is nobody who would delete it."""
    creation.create()
    container = Container(creation.settings, creation.directory.id)
    try:
        if foreground and creation.console >= 0:
            foreground.receive(creation.console)
        proxy = open_notify_proxy(container)
        lock = creation.directory.lock()
        try:
            starter = open_fifo(container, creation.launcher.pidfd)
            starter.release()
        finally:
            k.close(lock)  # what is to be undone takes it again
        finish_start(container, starter)
        if foreground:
            foreground.proxy = proxy
        elif proxy:
            proxy.await_ready(creation.launcher.pid, creation.launcher.pidfd)
    except BaseException as error:
        creation.give_back(error)
        creation.kill(error)
        try:
            if container.directory.exists():
                remove(container)
        except PyociError as another:
            error.add_note(f"and then, on the way back: {another.message}")
        raise
    return container


def stay(foreground: Foreground, creation: Creation, container: Container, keep: bool = False) -> int:
    """Wait for the container's process and, unless it is to be kept, remove the container: the exit code of the process.

    That something of the container is left is no failure of its program: a warning. Raises PyociError.
    """
    try:
        code = foreground.wait(creation.launcher.pid, creation.launcher.pidfd)
    except BaseException:
        if not keep:
            remove(container)
        raise
    try:
        if not keep:
            remove(container)
    except PyociError as error:
        container.settings.log.warning(error.message)
    return code


def remove(container: Container) -> None:
    """Remove the container, if it is still there: somebody may have deleted it, and given its id to another."""
    directory, ours = container.directory, container.state
    try:
        lock = directory.lock()
    except ContainerNotFound:
        return
    try:
        found = directory.load()
        if (found.init_process_pid, found.init_process_start) == (ours.init_process_pid, ours.init_process_start):
            hooks = directory.hooks("poststop")
            end_and_destroy(directory, ours, hooks, container.settings.log)
    finally:
        k.close(lock)
