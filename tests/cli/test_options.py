# SPDX-License-Identifier: Apache-2.0
"""The grammar of the command line, on a made-up command."""

from __future__ import annotations

import pytest

from pyoci.cli.options import (
    FLAG,
    INT,
    REPEAT,
    STRING,
    Argument,
    Call,
    Command,
    Option,
    check_arguments,
    parse,
)
from pyoci.errors import UsageError

COMMAND = Command(
    name="try",
    summary="",
    description="",
    arguments=(Argument(metavar="<what>", help=""), Argument(metavar="more", help="", required=False)),
    options=(
        Option(name="flag", short="f", help="", kind=FLAG),
        Option(name="text", short="t", help="", kind=STRING, default="usual"),
        Option(name="number", short="n", help="", kind=INT),
        Option(name="fd", help="", kind=INT, default="-1"),
        Option(name="word", short="w", help="", kind=REPEAT),
        Option(name="format", help="", kind=STRING, choices=("table", "json"), default="table"),
        Option(name="when", help="", kind=STRING, choices=("auto", "true", "false"), default="auto"),
    ),
)
PASSING = COMMAND.replace(passes_on=True)


def read(*words: str, command: Command = COMMAND) -> Call:
    return parse(Call(command), list(words))


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([], {}),
        (["--flag"], {"flag": True}),
        (["-flag"], {"flag": True}),
        (["-f"], {"flag": True}),
        (["--f"], {"flag": True}),
        (["--flag=false"], {"flag": False}),
        (["-f=0"], {"flag": False}),
        (["--flag=T"], {"flag": True}),
        (["--flag", "--flag=false"], {"flag": False}),
        (["--text", "x"], {"text": "x"}),
        (["--text=x"], {"text": "x"}),
        (["-text", "x"], {"text": "x"}),
        (["-text=x"], {"text": "x"}),
        (["-t", "x"], {"text": "x"}),
        (["-t=x"], {"text": "x"}),
        (["--text=a=b"], {"text": "a=b"}),
        (["--text="], {"text": ""}),
        (["--text", ""], {"text": ""}),
        (["--text", "--flag"], {"text": "--flag"}),
        (["--text", "-"], {"text": "-"}),
        (["--text", "--"], {"text": "--"}),
        (["--text", "x", "--text", "y"], {"text": "y"}),
        (["--number", "3"], {"number": 3}),
        (["-n=007"], {"number": 7}),
        (["--fd", "-1"], {"fd": -1}),
        (["--fd=5"], {"fd": 5}),
        (["-w", "a", "--word=b,c", "-word", "d"], {"word": ("a", "b,c", "d")}),
        (["--format", "json"], {"format": "json"}),
        (["--when", "AUTO"], {"when": "auto"}),
        (["--when=1"], {"when": "true"}),
        (["--when=F"], {"when": "false"}),
        (["--when="], {"when": ""}),
        (["--help"], {"help": True}),
        (["-h"], {"help": True}),
    ],
)
def test_options(words: list[str], values: dict[str, object]) -> None:
    call = read(*words)
    assert call.values == values
    assert call.arguments == []


@pytest.mark.parametrize(
    ("words", "arguments", "flag"),
    [
        (["a", "b"], ["a", "b"], False),
        (["a", "--flag", "b"], ["a", "b"], True),
        (["a", "b", "-f"], ["a", "b"], True),
        (["--flag", "a"], ["a"], True),
        (["--", "--flag"], ["--flag"], False),
        (["-f", "--", "-x", "--"], ["-x", "--"], True),
        (["-"], ["-"], False),
        (["", "-f"], [""], True),
    ],
)
def test_arguments_among_options(words: list[str], arguments: list[str], flag: bool) -> None:
    call = read(*words)
    assert (call.arguments, call.flag("flag")) == (arguments, flag)


@pytest.mark.parametrize(
    ("words", "arguments", "flag"),
    [
        (["-f", "id", "ls", "-f", "--text"], ["id", "ls", "-f", "--text"], True),
        (["id", "--flag"], ["id", "--flag"], False),
        (["id", "--", "ls", "--"], ["id", "ls", "--"], False),
        (["--", "id", "--", "ls"], ["id", "--", "ls"], False),
        (["id"], ["id"], False),
        (["--flag"], [], True),
    ],
)
def test_a_command_that_passes_its_arguments_on(words: list[str], arguments: list[str], flag: bool) -> None:
    call = read(*words, command=PASSING)
    assert (call.arguments, call.flag("flag")) == (arguments, flag)


def test_the_first_word_that_is_no_option_ends_the_global_ones() -> None:
    call = parse(Call(COMMAND), ["--text", "x", "-f", "create", "--text", "y"], first_only=True)
    assert call.values == {"text": "x", "flag": True}
    assert call.rest == ["create", "--text", "y"]
    assert parse(Call(COMMAND), ["-f", "--", "create"], first_only=True).rest == ["create"]


def test_values_that_were_not_given() -> None:
    call = read("a")
    assert call.text("text") == "usual"
    assert call.text("format") == "table"
    assert call.text("no-such-option") == ""
    assert call.flag("flag") is False
    assert (call.number("number"), call.number("fd")) == (0, -1)
    assert call.texts("word") == ()
    assert call.argument(0) == "a"
    assert call.argument(1) == ""
    assert not call.given("flag")
    assert read("--flag=false").given("flag")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--falg"], "unknown option --falg; did you mean --flag?"),
        (["--zzzz"], "unknown option --zzzz (usage: pyoci try [options] <what> [more])"),
        (["--zzzz=1"], "unknown option --zzzz "),
        (["-fn"], "unknown option -fn"),
        (["---flag"], "unknown option ---flag"),
        (["-9"], "unknown option -9"),
        (["--=x"], "unknown option --"),
        (["--text"], "flag needs an argument: --text"),
        (["-n"], "flag needs an argument: -n"),
        (["--flag=maybe"], "'maybe' is neither true nor false"),
        (["--flag="], "'' is neither true nor false"),
        (["--number", "x"], "--number takes a whole number from 0 on, not 'x'"),
        (["--number=-1"], "not '-1'"),
        (["--number=1.5"], "not '1.5'"),
        (["--number="], "not ''"),
        (["--number=1_0"], "not '1_0'"),
        (["--number=\u0663"], "takes a whole number"),
        (["--number=1000000000"], "takes a whole number"),
        (["--format=yaml"], "invalid format 'yaml': it is one of table, json"),
    ],
)
def test_options_that_cannot_be_read(words: list[str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert told in caught.value.message
    assert caught.value.message.startswith("try: ")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "<what> is missing"),
        ([""], "<what> is empty"),
        (["a", "b", "c"], "nothing is expected after 2 arguments: 'c'"),
    ],
)
def test_numbers_of_arguments_that_are_refused(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=r"^try: ") as caught:
        check_arguments(read(*words))
    assert told in caught.value.message


def test_numbers_of_arguments_that_are_taken() -> None:
    check_arguments(read("a"))
    check_arguments(read("a", "b"))
    repeated = COMMAND.replace(arguments=(Argument(metavar="x", help="", required=False, repeats=True),))
    check_arguments(read(command=repeated))
    check_arguments(read("a", "b", "c", command=repeated))


def test_what_was_read_before_an_error_is_kept() -> None:
    call = Call(COMMAND)
    with pytest.raises(UsageError):
        parse(call, ["--text", "x", "--nonsense", "--flag"])
    assert call.values == {"text": "x"}
