# SPDX-License-Identifier: Apache-2.0
"""`pyoci events`: what a container uses, again and again, and that it has run out of memory."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, STRING, Call, Command, Option
from pyoci.cli.output import put
from pyoci.cli.settings import settings
from pyoci.container import events
from pyoci.errors import UsageError
from pyoci.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.log import Log

COMMAND = Command(
    name="events",
    summary="Show what a container uses, and when it runs out of memory",
    description="""\
Writes events, each a line that holds a JSON object with the keys "type", "id" and, for statistics, "data":

    {"type":"stats","id":"web","data":{"cpu":{"usage":{"total":1523,...}},"pids":{"current":3},...}}
    {"type":"oom","id":"web"}

Statistics come at each interval, the first after one has passed. CPU times are in nanoseconds, memory in bytes. An event
of type "oom" comes when the kernel has killed a process because the container's memory was used up. The command ends
when the container does.""",
    arguments=(CONTAINER_ID,),
    options=(
        Option(
            name="interval",
            kind=STRING,
            metavar="DURATION",
            default="5s",
            help="The time between statistics, with a unit: 500ms, 5s, 1m30s.",
        ),
        Option(name="stats", help="Show the statistics once, at once, and end."),
    ),
    examples=(
        ("pyoci events --stats web", "the statistics of the container web"),
        ("pyoci events --interval 1s web", "the same every second, and oom events as they come"),
    ),
)
_STDOUT = 1
_SECONDS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(call: Call, log: Log) -> int:
    interval = duration(call.text("interval"))
    if call.flag("stats"):
        _tell(events.stats(settings(call, log), call.argument(0)))
    else:
        events.follow(settings(call, log), call.argument(0), interval, _tell, _STDOUT)
    return 0


def _tell(event: dict[str, Any]) -> None:
    put(dumps(event) + "\n")


def duration(text: str) -> float:
    """Seconds, from a duration as Go's time package writes it: `1h2m3.5s`. Raises UsageError unless it is above 0."""
    seconds, rest = 0.0, text.removeprefix("+")
    while rest:
        unit = rest.lstrip("0123456789.")
        digits = rest[: len(rest) - len(unit)]
        rest = unit.lstrip("".join(_SECONDS))
        scale = _SECONDS.get(unit[: len(unit) - len(rest)])
        whole, _, fraction = digits.partition(".")
        if scale is None or not (whole + fraction).isdigit():
            raise UsageError(f"events: --interval is {text!r}, and not a duration as 500ms, 5s or 1m30s")
        seconds += float(digits) * scale
    if not 0 < seconds < float("inf"):
        raise UsageError(f"events: --interval is {text!r}, and has to be more than 0")
    return seconds
