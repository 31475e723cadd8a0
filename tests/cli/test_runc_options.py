# SPDX-License-Identifier: Apache-2.0
"""Every command and option of runc is one of pyoci's, with the same short name, and takes a value if runc's does."""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple

import pytest

from pyoci.cli import COMMANDS, load
from pyoci.cli.options import FLAG, HELP, Command
from pyoci.cli.settings import GLOBAL

from .runc_options import FLAGS, REASONS, RUNC_1_5


class Found(NamedTuple):
    name: str
    short: str
    takes_value: bool


def of_pyoci(name: str) -> set[Found]:
    command: Command = load(name).COMMAND if name else GLOBAL
    return {Found(option.name, option.short, option.kind != FLAG) for option in (HELP, *command.options)}


def of_runc_1_5(name: str) -> set[Found]:
    words = ((word, kind) for kind, text in RUNC_1_5[name].items() for word in text.split())
    return {Found(word.partition(":")[0], word.partition(":")[2], kind != FLAGS) for word, kind in words}


def of_help(text: str) -> set[Found]:
    """The options in a help text of runc's: `--bundle value, -b value  path to the root of ...`."""
    found = set()
    for line in text.splitlines():
        if not re.match(r"\s+--?\w", line):
            continue
        forms = [form.split() for form in re.split(r"\s{2,}", line.strip())[0].split(", ")]
        names = sorted((words[0].lstrip("-") for words in forms), key=len, reverse=True)
        found.add(Found(names[0], names[1] if len(names) > 1 else "", len(forms[0]) > 1))
    return found


def missing(name: str, wanted: set[Found]) -> set[Found]:
    if name not in COMMANDS and name:
        return set() if (name, "") in REASONS else {Found(name, "", False)}
    return {found for found in wanted - of_pyoci(name) if (name, found.name) not in REASONS}


@pytest.mark.parametrize("name", RUNC_1_5)
def test_the_options_of_runc_1_5(name: str) -> None:
    assert missing(name, of_runc_1_5(name)) == set()


def helps(*words: str) -> str:
    return subprocess.run(["runc", *words, "--help"], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def commands_of_runc() -> list[str]:
    _, _, rest = helps().partition("\nCOMMANDS:\n")
    return [line.split()[0].rstrip(",") for line in rest.partition("\n\n")[0].splitlines()]


@pytest.mark.needs_runc
def test_the_options_of_the_runc_that_is_installed(commands_of_runc: list[str]) -> None:
    assert {"create", "update", "checkpoint", "features"} <= set(commands_of_runc)
    options = {name: of_help(helps(name)) for name in commands_of_runc if name != "help"} | {"": of_help(helps())}
    assert Found("bundle", "b", True) in options["create"] and Found("detach", "d", False) in options["exec"]
    assert {name: gap for name, found in options.items() if (gap := missing(name, found))} == {}


def test_no_reason_is_outdated() -> None:
    assert [
        (name, option)
        for name, option in REASONS
        if name in COMMANDS and (not option or option in {found.name for found in of_pyoci(name)})
    ] == []


def test_a_gap_would_be_found() -> None:
    assert missing("create", {Found("teleport", "", False)})
    assert missing("create", {Found("bundle", "B", True)})
    assert missing("create", {Found("bundle", "b", False)})
    assert missing("teleport", set())
