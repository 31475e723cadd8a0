# SPDX-License-Identifier: Apache-2.0
"""`pyoci run`: create, start, wait and delete in one."""

from __future__ import annotations

from pyoci.cli.creation import NEW_ID, OPTIONS, create_options
from pyoci.cli.options import Call, Command, Option
from pyoci.cli.settings import settings
from pyoci.container import run as running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="run",
    summary="Make a container, start it and wait for its end",
    description="""\
Does what `create` and `start` do. In the foreground it then passes every signal that it gets on to the container,
waits for the container's process, deletes the container, and exits with the process's own exit code.

If process.terminal is true, the caller's terminal is connected with that of the container. If it is not, a container in
the foreground does not get the caller's terminal either, but pipes, which are connected with it.""",
    arguments=(NEW_ID,),
    options=(
        *OPTIONS,
        Option(name="detach", short="d", help="Return as soon as the container is started, and do not delete it."),
        Option(name="keep", help="Do not delete the container when its process has ended."),
        Option(name="no-subreaper", help="Do not adopt processes that the container's process leaves behind."),
    ),
    examples=(
        ("pyoci run test", "run the bundle in the current directory"),
        ("pyoci run --detach --pid-file /run/web.pid --bundle /srv/web web", "start it and return"),
    ),
    exit_codes=(
        ("0", "with --detach, the container is started"),
        ("1", "failed, and nothing is left of it"),
        ("other", "the exit code of the container's process, or 128 + signal if one killed it"),
    ),
    near_container=True,
)


def run(call: Call, log: Log) -> int:
    options = create_options(call).replace(
        detach=call.flag("detach"), keep=call.flag("keep"), no_subreaper=call.flag("no-subreaper")
    )
    return running.run(settings(call, log), call.argument(0), options)
