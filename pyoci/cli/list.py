# SPDX-License-Identifier: Apache-2.0
"""`pyoci list`: all containers below the root."""

from __future__ import annotations

from pyoci.cli.options import STRING, Call, Command, Option
from pyoci.cli.output import put
from pyoci.cli.settings import settings
from pyoci.container import query
from pyoci.errors import failed
from pyoci.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyoci.log import Log

COMMAND = Command(
    name="list",
    summary="Show all containers",
    description="""\
Shows the containers below the root (see `pyoci --help`, --root). What cannot be read is told as a warning, and the
rest is shown all the same.""",
    options=(
        Option(
            name="format",
            short="f",
            kind=STRING,
            metavar="FORMAT",
            default="table",
            choices=("table", "json"),
            help="Show a table, or a JSON array of objects as `pyoci state` shows them (null if there is none).",
        ),
        Option(name="quiet", short="q", help="Show the ids only."),
    ),
    examples=(
        ("pyoci list", "a table of all containers"),
        ("pyoci list --quiet", "their ids, one a line"),
        ("pyoci --root /run/containerd/runc/moby list --format json", "those of docker, for a program"),
    ),
)
_HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
_MIN_WIDTH, _PADDING = 12, 3


def run(call: Call, log: Log) -> int:
    states = _states(call, log)
    if call.flag("quiet"):
        put("".join(f"{state['id']}\n" for state in states))
    elif call.text("format") == "json":
        put(dumps(states or None) + "\n")
    else:
        put(table([_HEADER, *([str(state[name.lower()]) for name in _HEADER] for state in states)]))
    return 0


def _states(call: Call, log: Log) -> list[dict[str, Any]]:
    chosen = settings(call, log)
    try:
        states = query.list_containers(chosen)
    except FileNotFoundError as error:
        if call.outer is not None and call.outer.given("root"):
            raise failed(f"list the containers below {chosen.root}", error) from error
        return []  # nobody has created a container yet
    return [{**state, "owner": _user_name(state["owner"])} for state in states]


def _user_name(uid: int) -> str:
    """The user's name, or `#1000` if nobody has that number."""
    import pwd  # it may ask name services, which is more than other commands should load

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of aligned columns, as wide as runc makes them: programs cut its table at these places."""
    columns = range(len(rows[0]) - 1)
    widths = [max(_MIN_WIDTH, *(len(row[column]) + _PADDING for row in rows)) for column in columns]
    return "".join("".join(row[column].ljust(widths[column]) for column in columns) + row[-1] + "\n" for row in rows)
