# SPDX-License-Identifier: Apache-2.0
"""`pyoci validate`: all that is wrong with a config.json."""

from __future__ import annotations

from pyoci.bundle import read_config
from pyoci.cli.options import STRING, Call, Command, Option
from pyoci.cli.output import put
from pyoci.errors import SpecError
from pyoci.jsontext import dumps
from pyoci.kernel.basic import environ, isatty
from pyoci.spec import render, validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="validate",
    summary="Find all that is wrong with a config.json",
    description="""\
Checks a config.json against the schemas of the runtime specification and against the rules that they cannot express.
All errors are shown at once, each with its place in the file and its JSON pointer; so are warnings of what is allowed
and yet hardly meant, such as a property whose name is misspelt.

The file alone is looked at, not this host; `pyoci plan` tells whether the host has what it asks for. `create` and `run`
make the same check, without the warnings.""",
    options=(
        Option(
            name="bundle",
            short="b",
            kind=STRING,
            metavar="DIR",
            default=".",
            completes="directory",
            help="Check the config.json of this bundle.",
        ),
        Option(
            name="config",
            short="f",
            kind=STRING,
            metavar="FILE",
            completes="file",
            help="Check FILE instead.",
        ),
        Option(
            name="format",
            kind=STRING,
            metavar="FORMAT",
            default="text",
            choices=("text", "json"),
            help="Show lines for people and editors, or a JSON array with an object for each problem.",
        ),
    ),
    examples=(
        ("pyoci validate", "check the bundle in the current directory"),
        ("pyoci validate --config web.json --format json", "check a file, for a program"),
    ),
    exit_codes=(("0", "there is no error, though there may be warnings"), ("1", "there are errors")),
)


def run(call: Call, log: Log) -> int:
    name = _path(call)
    text = read_config(name, name)
    report = validate.lint(text)
    if call.text("format") == "json":
        put(dumps(render.as_data(report, name), indent=2) + "\n")
    elif len(report):
        put(render.text(report, name, text, color=isatty(1) and b"NO_COLOR" not in environ) + "\n")
    if report.errors:
        raise SpecError(f"{name}: {render.count(report)}")
    if call.text("format") == "text" and not len(report):
        put(f"{name}: {render.count(report)}\n")
    return 0


def _path(call: Call) -> str:
    """The file's path as the caller would write it, for that is how messages name it."""
    bundle = call.text("bundle")
    if call.text("config"):
        return call.text("config")
    return "config.json" if bundle in ("", ".") else f"{bundle.rstrip('/')}/config.json"
