# SPDX-License-Identifier: Apache-2.0
"""`pyoci plan`: what create would do, without doing it."""

from __future__ import annotations

from pyoci.cli.creation import BUNDLE, CONFIG, NO_NEW_KEYRING, NO_PIVOT, create_options
from pyoci.cli.options import STRING, Argument, Call, Command, Option
from pyoci.cli.output import put
from pyoci.cli.settings import settings
from pyoci.container import create
from pyoci.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="plan",
    summary="Show what `create` and `start` would do here, without doing it",
    description="""\
Reads a bundle as `create` does, looks at this host, and shows what would be done, in order: namespaces, cgroup and its
limits, mounts, devices, masks, capabilities, seccomp filter, hooks, the process. Nothing is made or changed.

`create` carries out the very plan that is shown here. What it would refuse, `plan` refuses with the same message.""",
    arguments=(
        Argument(
            metavar="container-id",
            help="The name that the container would have; it is part of the cgroup's path. The default is plan.",
            required=False,
        ),
    ),
    options=(
        BUNDLE,
        CONFIG,
        NO_PIVOT,
        NO_NEW_KEYRING,
        Option(
            name="format",
            kind=STRING,
            metavar="FORMAT",
            default="text",
            choices=("text", "json"),
            help="Show lines for people, or a JSON object.",
        ),
    ),
    examples=(
        ("pyoci plan --bundle /srv/web", "show what would be done for a bundle"),
        ("pyoci plan --format json > before.json", "keep it, to compare it with that of another config.json"),
    ),
    exit_codes=(("0", "the container could be created, as far as can be told"), ("1", "it could not")),
)


def run(call: Call, log: Log) -> int:
    plan = create.plan(settings(call, log), call.argument(0) or "plan", create_options(call))
    if call.text("format") == "json":
        put(dumps(plan.asdict(), indent=2) + "\n")
    else:
        from pyoci.plan import text  # for people only

        put(text.render(plan))
    return 0
