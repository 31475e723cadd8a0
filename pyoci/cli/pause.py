# SPDX-License-Identifier: Apache-2.0
"""`pyoci pause`: freeze a container."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, Call, Command
from pyoci.cli.settings import settings
from pyoci.container import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="pause",
    summary="Freeze all processes of a container",
    description="""\
Freezes the cgroup of a created or running container, and returns when all its processes stand still. Its status is
"paused" until `pyoci resume`.""",
    arguments=(CONTAINER_ID,),
    examples=(("pyoci pause web", "freeze the container web"),),
)


def run(call: Call, log: Log) -> int:
    control.pause(settings(call, log), call.argument(0))
    return 0
