# SPDX-License-Identifier: Apache-2.0
"""Help texts say all there is to say about every command."""

from __future__ import annotations

import pytest

from pyoci.cli import COMMANDS, help, load
from pyoci.cli.options import FLAG, HELP, STRING, Command, Option
from pyoci.cli.settings import GLOBAL

TABLES = {"": GLOBAL, **{name: load(name).COMMAND for name in COMMANDS}}
every_command = pytest.mark.parametrize("command", TABLES.values(), ids=TABLES)


@every_command
def test_every_section_is_there(command: Command) -> None:
    lines = help.text(command).splitlines()
    titles = [line for line in lines if line.endswith(":") and line.isupper()]
    wanted = ["NAME:", "USAGE:", "DESCRIPTION:"] + ["COMMANDS:"] * (not command.name)
    wanted += ["ARGUMENTS:"] * bool(command.arguments) + ["OPTIONS:", "EXAMPLES:", "EXIT STATUS:"]
    assert titles == wanted
    assert lines[1].strip() == f"pyoci {command.name}".strip() + f" - {command.summary}"


@every_command
def test_every_option_is_there(command: Command) -> None:
    text = help.text(command)
    for option in (*command.options, HELP):
        shown = f"\n   {help.option_form(option)}\n" in text
        assert shown is not option.hidden, option.name


@every_command
def test_every_argument_is_there(command: Command) -> None:
    text = help.text(command)
    for argument in command.arguments:
        assert argument.metavar in text.split("USAGE:\n")[1].split("\n")[0]


@every_command
def test_no_line_is_too_wide(command: Command) -> None:
    assert max(map(len, help.text(command).splitlines())) <= 110


@every_command
def test_the_table_is_sound(command: Command) -> None:
    names = [name for option in (*command.options, HELP) for name in (option.name, option.short) if name]
    assert len(names) == len(set(names))
    for option in command.options:
        assert (option.metavar != "") == (option.kind != FLAG), option.name
        assert option.help.endswith("."), option.name
        assert option.completes in ("", "file", "directory", "container", "capability")
        assert not option.default or not option.choices or option.default in option.choices
    assert not command.summary.endswith(".")
    assert command.summary[:1].isupper()
    assert command.exit_codes[0][0] == "0"


def test_all_commands_are_listed() -> None:
    listed = help.text(GLOBAL).split("COMMANDS:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)


def test_how_an_option_is_shown() -> None:
    option = Option(name="format", short="f", kind=STRING, metavar="F", help="Pick.", choices=("a", "b"), default="a")
    assert help.option_form(option) == "--format F, -f F"
    assert help.option_help(option) == "Pick. (one of a, b; default a)"
    assert help.option_form(HELP) == "--help, -h"
    assert help.option_help(HELP) == "Show this text."


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"], ["h"], ["--debug", "--help"]])
def test_asking_for_help(words: list[str]) -> None:
    from .test_main import call

    done = call(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == help.text(GLOBAL)


@pytest.mark.parametrize(
    "words",
    [
        ["spec", "--help"],
        ["spec", "-h"],
        ["help", "spec"],
        ["h", "spec"],
        ["--help", "spec"],
        ["spec", "more", "-h", "x"],
    ],
)
def test_asking_for_help_about_a_command(words: list[str]) -> None:
    from .test_main import call

    done = call(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == help.text(TABLES["spec"])
