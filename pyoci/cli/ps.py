# SPDX-License-Identifier: Apache-2.0
"""`pyoci ps`: the processes of a container."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, STRING, Argument, Call, Command, Option
from pyoci.cli.output import put
from pyoci.cli.settings import settings
from pyoci.container import query
from pyoci.errors import PyociError, failed
from pyoci.jsontext import dumps
from pyoci.kernel.basic import access, environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyoci.log import Log

COMMAND = Command(
    name="ps",
    summary="Show the processes of a container",
    description="""\
Shows the processes in the container's cgroup and those below it, with the host's pids. The table is what the host's ps
prints, without the lines of other processes; options for ps may follow the container's id.""",
    arguments=(
        CONTAINER_ID,
        Argument(
            metavar="ps option",
            help="Options for ps; the default is -ef. They must leave the PID column in place.",
            required=False,
            repeats=True,
        ),
    ),
    options=(
        Option(
            name="format",
            short="f",
            kind=STRING,
            metavar="FORMAT",
            default="table",
            choices=("table", "json"),
            help="Show the table of ps, or a JSON array of pids.",
        ),
    ),
    examples=(
        ("pyoci ps web", "the processes of the container web"),
        ("pyoci ps web -o pid,rss,comm", "their memory"),
        ("pyoci ps --format json web", "their pids, for a program"),
    ),
    passes_on=True,
)
_EXECUTABLE = 1
_USUAL_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"


def run(call: Call, log: Log) -> int:
    pids = query.pids(settings(call, log), call.argument(0))
    if call.text("format") == "json":
        put(dumps(pids or None) + "\n")
    else:
        put(lines_of(pids, _ps(call.arguments[1:] or ["-ef"])))
    return 0


def lines_of(pids: Collection[int], output: str) -> str:
    """Of the output of ps, the header and the lines of these processes. Raises PyociError if there is no PID column."""
    header, *lines = output.split("\n")  # and at nothing else, for a command line may hold it
    try:
        column = header.split().index("PID")
    except ValueError:
        raise PyociError(f"ps printed no PID column: its first line is {header!r}") from None
    kept = [line for line in lines if _number(line.split(), column) in pids]
    return "".join(f"{line}\n" for line in (header, *kept))


def _number(fields: Sequence[str], column: int) -> int:
    text = fields[column] if column < len(fields) else ""
    return int(text) if text.isascii() and text.isdigit() else -1


def _ps(arguments: Sequence[str]) -> str:
    import subprocess  # what ps prints is for people; they have the time

    try:
        done = subprocess.run((_find_ps(), *arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        raise failed("run ps", error) from error
    output = done.stdout.decode("utf-8", "backslashreplace")
    if done.returncode != 0:
        raise PyociError(f"ps {' '.join(arguments)}: exit code {done.returncode}: {output.strip()}")
    return output


def _find_ps() -> str:
    """The path of ps. Engines may call us without PATH, and a relative directory in it is nothing to trust."""
    for directory in (environ.get(b"PATH", b"").decode("utf-8", "surrogateescape") + ":" + _USUAL_PATH).split(":"):
        if directory.startswith("/") and access(f"{directory}/ps", _EXECUTABLE):
            return f"{directory}/ps"
    raise PyociError('ps is not installed here; "--format json" does without it')
