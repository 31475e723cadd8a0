# SPDX-License-Identifier: Apache-2.0
"""run: create and start in one, and, unless detached, all the rest of the container's life."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.container.create import Creation
from pyoci.container.delete import destroy, end
from pyoci.container.record import Container
from pyoci.container.start import finish_start
from pyoci.foreground import Foreground
from pyoci.process.exec_fifo import Starter
from pyoci.state import FIFO
from pyoci.terminal import receive_master

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.record import CreateOptions, Settings


def run(settings: Settings, container_id: str, options: CreateOptions) -> int:
    """Run a container: 0 once it is started if detached, else the program's exit code (128 + signal) when it has ended.

    Raises SpecError, PyociError; then nothing is left.
    """
    foreground = None if options.detach else Foreground(subreaper=not options.no_subreaper)
    if foreground:
        foreground.prepare()  # before there is a process that could end or be signalled
    creation = Creation(settings, container_id, options, foreground=foreground is not None)
    creation.create()
    container = Container(settings, container_id)
    try:
        master = receive_master(creation.console) if creation.console >= 0 else None
        starter = Starter(f"{creation.directory.path}/{FIFO}", creation.launcher.pidfd)
        starter.release()
        finish_start(container, starter)
        code = foreground.wait(creation.launcher.pid, creation.launcher.pidfd, master) if foreground else 0
    except BaseException:
        creation.launcher.kill()
        if container.directory.exists():
            _remove(container)
        raise
    if foreground:
        if not options.keep:
            _remove(container)
        foreground.close()
    k.close(creation.launcher.pidfd)
    return code


def _remove(container: Container) -> None:
    config, log = container.directory.config(), container.settings.log
    end(container.state, log)
    destroy(container.directory, container.state, config, log)
