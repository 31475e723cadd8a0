# SPDX-License-Identifier: Apache-2.0
"""`pyoci delete`: remove what is left of a container."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, Call, Command, Option
from pyoci.cli.settings import settings
from pyoci.container import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="delete",
    summary="Remove a stopped container",
    description="""\
Removes the cgroup and the state of a stopped container, then runs the poststop hooks. A container that was created and
never started is killed first. One that is running or paused is left alone unless --force is given.""",
    arguments=(CONTAINER_ID,),
    options=(
        Option(
            name="force",
            short="f",
            help="Kill the container if need be, wait for its end, and remove it. That there is none is no error then.",
        ),
        Option(
            name="regex",
            short="r",
            help="The name is a regular expression: remove every container with an id that it is found in. One that is"
            " not stopped is a warning.",
        ),
    ),
    examples=(
        ("pyoci delete web", "remove the container web, which has stopped"),
        ("pyoci delete --force web", "remove it, whatever its status"),
        ("pyoci delete --force --regex '^test-'", "remove all containers whose ids begin so"),
    ),
)


def run(call: Call, log: Log) -> int:
    chosen = settings(call, log)
    if call.flag("regex"):
        from pyoci.cli.matching import for_each  # for this option alone

        for_each(chosen, call.argument(0), lambda name: delete.delete(chosen, name, call.flag("force")))
    else:
        delete.delete(chosen, call.argument(0), call.flag("force"))
    return 0
