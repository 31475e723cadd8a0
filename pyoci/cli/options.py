# SPDX-License-Identifier: Apache-2.0
"""The command line as tables, and the parser that reads calls by them.

A command's table holds everything there is to tell about it: the parser, the help texts, the manual page and the shell
completions are all made from it. The grammar is that of Go's `flag` package, for the engines write their calls to
suit runc: `--name value`, `--name=value`, one dash or two, flags as `--name` or `--name=false`, the last of several
values counts, `--` ends the options. `-abc` is one option of that name and not three.

Options may stand after the arguments, too, except for commands whose arguments are a command line of their own.
"""

from __future__ import annotations

from pyoci.errors import UsageError
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FLAG, STRING, INT, REPEAT = "flag", "string", "int", "repeat"

_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_INT_DIGITS = 9


class Option(Record):
    """One option. Its values are bool, str, int (from 0 on, or the default) or a tuple of str, by `kind`.

    `completes` tells shells what stands for the value: "file", "directory", "capability" or "".
    A hidden option is taken but not shown.
    """

    name: str
    help: str
    kind: str = FLAG
    short: str = ""
    metavar: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    completes: str = ""
    hidden: bool = False


class Argument(Record):
    """One positional argument; the last one of a command may be repeated. `completes` is "container", "signal" or ""."""

    metavar: str
    help: str
    required: bool = True
    repeats: bool = False
    completes: str = ""


class Command(Record):
    """All there is to tell about a command. `examples` are pairs of a command line and what it does, `exit_codes`
    pairs of a code and its meaning. `description` is paragraphs parted by blank lines; an indented one stays as it is.

    `passes_on`: what follows the first argument is not ours, whatever it looks like.
    `near_container`: it lets a process into a container, so that what is inside may get a look at it.
    `failure`: the exit code if it fails.
    """

    name: str
    summary: str
    description: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    exit_codes: tuple[tuple[str, str], ...] = (
        ("0", "done"),
        ("1", "failed; the reason is on stderr and in the log"),
    )
    passes_on: bool = False
    near_container: bool = False
    failure: int = 1


HELP = Option(name="help", short="h", help="Show this text.")
CONTAINER_ID = Argument(metavar="<container-id>", help="The name of the container.", completes="container")


class Call:
    """A parsed command line: the options by name, the arguments in order, and the global options in `outer`."""

    def __init__(self, command: Command, outer: Call | None = None) -> None:
        self.command = command
        self.outer = outer
        self.arguments: list[str] = []
        self.rest: list[str] = []
        self.values: dict[str, bool | int | str | tuple[str, ...]] = {}

    def given(self, name: str) -> bool:
        """Whether the option was on the command line at all."""
        return name in self.values

    def flag(self, name: str) -> bool:
        """The value of an option of kind FLAG."""
        return self.values.get(name) is True

    def text(self, name: str) -> str:
        """The value of an option of kind STRING, or its default; nothing if the command has no such option."""
        value = self.values.get(name)
        if isinstance(value, str):
            return value
        return next((option.default for option in self.command.options if option.name == name), "")

    def number(self, name: str) -> int:
        """The value of an option of kind INT, or its default, which is 0 if it has none."""
        value = self.values.get(name)
        return value if isinstance(value, int) else int(self.text(name) or 0)

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of an option of kind REPEAT, in order."""
        value = self.values.get(name)
        return value if isinstance(value, tuple) else ()

    def argument(self, index: int) -> str:
        """The argument at that place, or nothing."""
        return self.arguments[index] if index < len(self.arguments) else ""


def parse(call: Call, words: list[str], first_only: bool = False) -> Call:
    """Read the words of a command line into `call`. Raises UsageError; the call then holds what came before.

    With `first_only`, the first word that is no option ends the call; it and all others are left in `call.rest`.
    """
    names = {name: option for option in (HELP, *call.command.options) for name in (option.name, option.short) if name}
    at = 0
    while at < len(words):
        word = words[at]
        if len(word) < 2 or word[0] != "-":
            if first_only:
                call.rest.extend(words[at:])
                return call
            call.arguments.append(word)
            at += 1
            if call.command.passes_on:
                break
        elif word == "--":
            at += 1
            break
        else:
            at = _parse_option(call, names, words, at)
    if first_only:
        call.rest.extend(words[at:])
    else:
        if call.command.passes_on and call.arguments and words[at : at + 1] == ["--"]:
            at += 1
        call.arguments.extend(words[at:])
    return call


def check_arguments(call: Call) -> None:
    """Raises UsageError unless there are as many arguments as the command takes."""
    table = call.command.arguments
    required = sum(argument.required for argument in table)
    given = len(call.arguments)
    if given < required:
        raise _misused(call.command, f"{table[given].metavar} is missing")
    if given > len(table) and not (table and table[-1].repeats):
        raise _misused(
            call.command, f"nothing is expected after {len(table)} arguments: {call.arguments[len(table)]!r}"
        )
    for argument, value in zip(table, call.arguments, strict=False):
        if argument.required and not value:
            raise _misused(call.command, f"{argument.metavar} is empty")


def synopsis(command: Command) -> str:
    """The form of a call, as `pyoci kill [options] <container-id> [signal]`."""
    words = ["pyoci", command.name, "[options]"] if command.name else ["pyoci", "[global options]"]
    for argument in command.arguments:
        text = argument.metavar + ("..." if argument.repeats else "")
        words.append(text if argument.required else f"[{text}]")
    return " ".join(words)


def truth(text: str) -> bool | None:
    """A yes or no as Go spells it (true, false, 1, 0, t, f), or None."""
    return _TRUTHS.get(text)


def suggestion(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?` if the word looks like a slip for a known one, else nothing."""
    from difflib import get_close_matches  # brings `re` along: only once a call has failed

    close = get_close_matches(word, known, 1, 0.7)
    return f"; did you mean {close[0]}?" if close else ""


def _parse_option(call: Call, names: dict[str, Option], words: list[str], at: int) -> int:
    word = words[at]
    name, equals, value = word.lstrip("-").partition("=") if word[:3] != "---" else (word, "", "")
    option = names.get(name)
    shown = word.partition("=")[0]
    if option is None:
        known = [f"--{o.name}" for o in names.values() if not o.hidden]
        raise _misused(call.command, f"unknown option {shown}{suggestion('--' + name, known)}")
    if option.kind == FLAG:
        truth_value = truth(value) if equals else True
        if truth_value is None:
            raise _misused(call.command, f"{shown} is a flag: {value!r} is neither true nor false")
        call.values[option.name] = truth_value
        return at + 1
    if not equals:
        at += 1
        if at == len(words):
            raise _misused(call.command, f"flag needs an argument: {shown}")
        value = words[at]
    if option.kind == REPEAT:
        call.values[option.name] = (*call.texts(option.name), value)
    else:
        call.values[option.name] = _convert(call.command, option, shown, value)
    return at + 1


def _convert(command: Command, option: Option, shown: str, value: str) -> int | str:
    if option.kind == INT:
        is_number = value.isascii() and value.isdigit() and len(value) <= _INT_DIGITS
        if not is_number and (not value or value != option.default):
            raise _misused(command, f"{shown} takes a whole number from 0 on, not {value!r}")
        return int(value)
    if not (option.choices and value):
        return value
    choice = _truth_or_other(value) if "true" in option.choices else value
    if choice not in option.choices:
        raise _misused(command, f"invalid {option.name} {value!r}: it is one of {', '.join(option.choices)}")
    return choice


def _truth_or_other(value: str) -> str:
    """The choice that is meant, where true and false are among them; runc has the others in capitals, too."""
    said = truth(value)
    return value.lower() if said is None else ("true" if said else "false")


def _misused(command: Command, message: str) -> UsageError:
    if not command.name:
        return UsageError(f"{message} (pyoci --help tells more)")
    return UsageError(f"{command.name}: {message} (usage: {synopsis(command)})")
