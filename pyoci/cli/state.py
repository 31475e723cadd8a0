# SPDX-License-Identifier: Apache-2.0
"""`pyoci state`: one container as JSON."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, Call, Command
from pyoci.cli.output import put
from pyoci.cli.settings import settings
from pyoci.container import query
from pyoci.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="state",
    summary="Show the state of a container",
    description="""\
Writes the state of a container as a JSON object: ociVersion, id, status, pid, bundle and annotations, as in "State" of
the runtime specification, and rootfs, created (RFC 3339) and owner besides.

The status is found out at the time of the call. It is one of:

    creating   while `create` is at work
    created    the container waits for `start`
    running    its process lives
    paused     its cgroup is frozen
    stopped    its process has ended; pid is 0 then""",
    arguments=(CONTAINER_ID,),
    examples=(("pyoci state web", "show the state of the container web"),),
)


def run(call: Call, log: Log) -> int:
    put(dumps(query.state(settings(call, log), call.argument(0)), indent=2) + "\n")
    return 0
