# SPDX-License-Identifier: Apache-2.0
"""Help texts, made from the tables of the commands. Nothing here is on the way of a container."""

from __future__ import annotations

from textwrap import fill

from pyoci.cli import COMMANDS, load
from pyoci.cli.options import FLAG, HELP, Command, Option, synopsis
from pyoci.cli.output import put
from pyoci.cli.settings import GLOBAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_WIDTH = 100
_INDENT = "   "


def put_help(command: Command) -> None:
    """Show all about a command, or about pyoci as a whole (GLOBAL)."""
    put(text(command))


def text(command: Command) -> str:
    """The whole help text of a command, in the order of a manual page."""
    name = f"pyoci {command.name}".strip()
    sections = [
        ("NAME", [f"{_INDENT}{name} - {command.summary}\n"]),
        ("USAGE", [f"{_INDENT}{synopsis(command)}\n"]),
        ("DESCRIPTION", ["\n".join(map(_paragraph, command.description.split("\n\n")))]),
        ("COMMANDS", _commands() if command is GLOBAL else []),
        ("ARGUMENTS", [_item(a.metavar, a.help) for a in command.arguments if a.help]),
        (
            "OPTIONS",
            [_item(option_form(o), option_help(o)) for o in (*command.options, HELP) if not o.hidden],
        ),
        (
            "EXAMPLES",
            [f"{_INDENT}{line}\n{_wrapped(about, _INDENT * 3)}" for line, about in command.examples],
        ),
        ("EXIT STATUS", [_term(code, meaning) for code, meaning in command.exit_codes]),
    ]
    return "\n".join(f"{title}:\n{''.join(items)}" for title, items in sections if items)


def option_form(option: Option) -> str:
    """The option as it is written: `--bundle DIR, -b DIR`."""
    value = "" if option.kind == FLAG else f" {option.metavar}"
    long = f"--{option.name}{value}"
    return f"{long}, -{option.short}{value}" if option.short else long


def option_help(option: Option) -> str:
    """What the option does, with its choices and its default."""
    notes = [f"one of {', '.join(option.choices)}"] if option.choices else []
    if option.default:
        notes.append(f"default {option.default}")
    return f"{option.help} ({'; '.join(notes)})" if notes else option.help


def _commands() -> Iterable[str]:
    return [_term(name, load(name).COMMAND.summary) for name in COMMANDS]


def _term(term: str, about: str) -> str:
    return fill(about, _WIDTH, initial_indent=f"{_INDENT}{term:<10} ", subsequent_indent=" " * 14) + "\n"


def _item(term: str, about: str) -> str:
    return f"{_INDENT}{term}\n{_wrapped(about, _INDENT * 3)}"


def _paragraph(paragraph: str) -> str:
    if paragraph.startswith(" "):
        return "".join(f"{_INDENT}{line}\n" for line in paragraph.split("\n"))
    return _wrapped(paragraph, _INDENT)


def _wrapped(about: str, indent: str) -> str:
    return fill(about, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False) + "\n"
