# SPDX-License-Identifier: Apache-2.0
"""`pyoci create`: all of a container but its program."""

from __future__ import annotations

from pyoci.cli.creation import NEW_ID, OPTIONS, create_options
from pyoci.cli.options import Call, Command
from pyoci.cli.settings import settings
from pyoci.container import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="create",
    summary="Make a container from a bundle, ready to start",
    description="""\
Makes the container that the bundle's config.json describes: its namespaces, cgroup, mounts, devices and hooks, and a
process in it that holds still just before it runs process.args. `pyoci start` lets it go on.

The process is left behind as an orphan, to be adopted by the caller's subreaper. It has the caller's standard input,
output and error, or a terminal of its own (see --console-socket).

If anything is wrong with config.json, all of it is told at once. If a step fails, what was done is undone.""",
    arguments=(NEW_ID,),
    options=OPTIONS,
    examples=(
        ("pyoci create web", "make the container web from the bundle in the current directory"),
        ("pyoci create --bundle /srv/web --pid-file /run/web.pid web", "tell the pid of its process as well"),
    ),
    exit_codes=(("0", "the container is created"), ("1", "failed, and nothing is left of it")),
    near_container=True,
)


def run(call: Call, log: Log) -> int:
    create.create(settings(call, log), call.argument(0), create_options(call))
    return 0
