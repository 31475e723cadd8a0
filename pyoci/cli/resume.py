# SPDX-License-Identifier: Apache-2.0
"""`pyoci resume`: thaw a container."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, Call, Command
from pyoci.cli.settings import settings
from pyoci.container import control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="resume",
    summary="Let the processes of a paused container go on",
    description="Thaws the cgroup of a container that `pyoci pause` has frozen.",
    arguments=(CONTAINER_ID,),
    examples=(("pyoci resume web", "let the container web go on"),),
)


def run(call: Call, log: Log) -> int:
    control.resume(settings(call, log), call.argument(0))
    return 0
