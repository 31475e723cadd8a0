# SPDX-License-Identifier: Apache-2.0
"""`pyoci start`: let a created container run its program."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, Call, Command
from pyoci.cli.settings import settings
from pyoci.container import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="start",
    summary="Run the program of a created container",
    description="""\
Lets the process of a created container go on: it runs the startContainer hooks, then process.args. The poststart
hooks run before this command returns. Only a container whose status is "created" can be started.""",
    arguments=(CONTAINER_ID,),
    examples=(("pyoci create web && pyoci start web", "what `pyoci run --detach web` does in one step"),),
)


def run(call: Call, log: Log) -> int:
    start.start(settings(call, log), call.argument(0))
    return 0
