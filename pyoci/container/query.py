# SPDX-License-Identifier: Apache-2.0
"""Commands that only look."""

from __future__ import annotations

from pyoci import state as states
from pyoci.container.record import Container
from pyoci.errors import PyociError, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.container.record import Settings


def state(settings: Settings, container_id: str) -> dict[str, Any]:
    """The state of one container. Raises ContainerNotFound, StateError."""
    return Container(settings, container_id).describe()


def list_containers(settings: Settings) -> list[dict[str, Any]]:
    """The state of each container below the root, `owner` being a uid. One that cannot be read is a warning.

    Raises FileNotFoundError if the root is not there.
    """
    described = []
    for container_id in states.container_ids(settings.root):
        try:
            container = Container(settings, container_id)
            described.append({**container.describe(), "owner": container.directory.owner()})
        except PyociError as error:
            if states.StateDir(settings.root, container_id).exists():  # and has not been deleted meanwhile
                settings.log.warning(f"container {container_id} is left out: {error.message}")
    return described


def pids(settings: Settings, container_id: str) -> list[int]:
    """Every process in the container's cgroup and below it, by the host's numbers. Raises PyociError."""
    from pyoci.cgroups.processes import pids as members  # list, which is in this module too, does without

    container = Container(settings, container_id)
    paths = container.state.cgroup_paths
    try:
        if paths:
            return members(paths)
        return [container.state.init_process_pid] if states.is_alive(container.state) else []
    except OSError as error:
        raise failed(f"list the processes of container {container_id}", error) from None
