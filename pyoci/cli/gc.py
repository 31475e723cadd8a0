# SPDX-License-Identifier: Apache-2.0
"""`pyoci gc`: clear what commands that were killed left behind."""

from __future__ import annotations

from pyoci.cli.options import Argument, Call, Command, Option
from pyoci.cli.output import put
from pyoci.cli.settings import absolute, settings
from pyoci.container import gc
from pyoci.errors import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.record import Settings
    from pyoci.log import Log

COMMAND = Command(
    name="gc",
    summary="Clear what commands that were killed left behind",
    description="""\
Looks below each root for creates and deletes that were killed on their way, kills what processes there are of such a
container, and removes its cgroup and its state, as `pyoci delete --force` would. So it does with cgroups without
processes that are marked as made for a container below that root of which there is no state any more. Each is shown in
a line.

A container that was made in full is left alone, also if it has stopped: whoever made it will delete it. So is one
that a command is still at, and one whose record is damaged, of which a warning tells.""",
    arguments=(
        Argument(
            metavar="root",
            help="Where to look, instead of below --root.",
            required=False,
            repeats=True,
        ),
    ),
    options=(Option(name="dry-run", short="n", help="Only show what would be cleared."),),
    examples=(
        ("pyoci gc", "clear what is left below the default root"),
        ("pyoci gc --dry-run /run/containerd/runc/k8s.io /run/docker/runtime-runc/moby", "look below those of engines"),
    ),
    exit_codes=(("0", "nothing is left"), ("1", "something could not be cleared; it is shown with the reason")),
)


def run(call: Call, log: Log) -> int:
    chosen = settings(call, log)
    roots = [absolute(root) for root in call.arguments] or [chosen.root]
    given = bool(call.arguments) or (call.outer is not None and call.outer.given("root"))
    cleared = [_collect(chosen.replace(root=root), call.flag("dry-run"), given) for root in roots]
    return 0 if all(cleared) else 1


def _collect(chosen: Settings, pretend: bool, given: bool) -> bool:
    try:
        found = gc.collect(chosen, pretend)
    except FileNotFoundError as error:
        if given:
            raise failed(f"look for what is left below {chosen.root}", error) from error
        return True  # nobody has created a container yet
    for finding in found:
        outcome = (
            f"cannot be cleared: {finding.failure}" if finding.failure else "to be cleared" if pretend else "cleared"
        )
        put(f"{chosen.root}/{finding.id}: {finding.what}: {outcome}\n")
    return not any(finding.failure for finding in found)
