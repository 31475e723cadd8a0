# SPDX-License-Identifier: Apache-2.0
"""The manual page and the shell completions are those of the tables, and the programs that read them can."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import capabilities
from pyoci.cli import COMMANDS, load
from pyoci.cli.options import Command, Option

from .conftest import skip_or_fail

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
COMPLETIONS = DOCS / "completions"
Complete = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def writer() -> Any:
    loader = importlib.machinery.SourceFileLoader("docs", str(REPOSITORY / "hack" / "docs"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("docs", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        skip_or_fail(f"needs {name}")
    return str(path)


def test_they_are_current(writer: Any) -> None:
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*") if path.is_file() and path.suffix != ".md"}
    assert there == set(writer.DOCS)
    outdated = [name for name, make in writer.DOCS.items() if (DOCS / name).read_text() != make()]
    assert not outdated, "run hack/docs"


# The manual page


@pytest.fixture(scope="module")
def page() -> str:
    """The manual page as a terminal shows it, without a word about anything odd in it."""
    command = [tool("groff"), "-man", "-ww", "-Tascii", "-P-cbou", "-rLL=200n", str(DOCS / "pyoci.8")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "GROFF_NO_SGR": "1"})
    assert done.stderr == ""
    return done.stdout


def test_the_manual_names_everything(page: str) -> None:
    words = " ".join(page.split())
    for name in COMMANDS:
        command: Command = load(name).COMMAND
        assert f"{name} - {command.summary}" in words
        for option in command.options:
            assert (f" --{option.name}" in words) is not option.hidden
        for line, _ in command.examples:
            assert f"\n{' ' * 14}{line}\n" in page


def test_characters_that_roff_would_take_for_its_own(writer: Any) -> None:
    assert writer.prose(".x\n'y `a-b` --c-d 1-2 \\n") == "\\&.x\n\\&'y \\fBa-b\\fR \\-\\-c\\-d 1-2 \\en"
    assert writer.literal("'a-b'\n.x ^~`\\") == "\\&\\(aqa\\-b\\(aq\n\\&.x \\(ha\\(ti\\(ga\\e"


# Completions


@pytest.fixture
def names(tmp_path: Path) -> Path:
    """A directory with a few names in it, and a pyoci that knows two containers, or with a root one other."""
    program = tmp_path / "bin" / "pyoci"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\ncase "$*" in\n"list --quiet") echo web; echo db ;;\n"--root /r list --quiet") ')
    with program.open("a") as file:
        file.write('echo other ;;\n"--root=/r list --quiet") echo other ;;\nesac\n')
    program.chmod(0o755)
    (tmp_path / "a directory").mkdir()
    (tmp_path / "afile").write_text("")
    return tmp_path


BASH = """
source "$1"
compopt() { :; }
line=$2
read -ra COMP_WORDS <<<"${line//=/ = }"
[[ $line != *' ' && $line != *= ]] || COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_pyoci
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(params=["bash", "fish", "zsh"])
def complete(request: pytest.FixtureRequest, names: Path) -> Complete:
    """What a shell offers for a line that was begun."""
    shell: str = request.param
    program = tool(shell)

    def offered(line: str) -> list[str]:
        if shell == "bash":
            command = [program, "--norc", "-c", BASH, "bash", str(COMPLETIONS / "pyoci.bash"), line]
        elif shell == "fish":
            script = f"source {COMPLETIONS / 'pyoci.fish'}; complete -C {writer_quoted(line)}"
            command = [program, "--no-config", "-c", script]
        else:
            command = [program, "-f", str(REPOSITORY / "tests" / "fixtures" / "complete.zsh"), str(COMPLETIONS), line]
        path = f"{names / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=180, cwd=names,
            env={"PATH": path, "HOME": str(names), "TERM": "dumb", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.stderr == ""
        words = (found.partition("\t")[0].strip() for found in done.stdout.splitlines())
        return sorted({word.removesuffix("/").removesuffix("=") for word in words if word})

    return offered


def writer_quoted(line: str) -> str:
    return "'" + line.replace("'", "\\'") + "'"


def long_options(options: tuple[Option, ...]) -> set[str]:
    return {f"--{option.name}" for option in options if not option.hidden} | {"--help"}


def test_commands(complete: Complete) -> None:
    assert complete("pyoci ") == sorted([*COMMANDS, "help"])
    assert complete("pyoci --debug pa") == ["pause"]
    assert complete("pyoci --root /r pa") == ["pause"]
    assert complete("pyoci help pa") == ["pause"]


@pytest.mark.parametrize("name", ["create", "state", "exec", "ps", "update"])
def test_options_of_a_command(complete: Complete, name: str) -> None:
    assert set(complete(f"pyoci {name} --")) == long_options(load(name).COMMAND.options)


def test_global_options(complete: Complete) -> None:
    assert complete("pyoci --ro") == ["--root", "--rootless"]


def test_containers(complete: Complete) -> None:
    assert complete("pyoci start ") == ["db", "web"]
    assert complete("pyoci --root /r start ") == ["other"]
    assert complete("pyoci --root=/r delete --force ") == ["other"]
    assert complete("pyoci update --memory 64m w") == ["web"]
    assert complete("pyoci kill web we") == []


def test_signals(complete: Complete) -> None:
    assert complete("pyoci kill --all web U") == ["USR1", "USR2"]


def test_values(complete: Complete) -> None:
    assert complete("pyoci list --format ") == ["json", "table"]
    assert complete("pyoci list -f j") == ["json"]
    assert complete("pyoci exec --cap CAP_SYS_A") == ["CAP_SYS_ADMIN"]
    assert complete("pyoci --log af") == ["afile"]
    assert len(complete("pyoci exec -c ")) == len(capabilities.NAMES)


def test_values_after_an_equals_sign(complete: Complete) -> None:
    assert [found.rpartition("=")[2] for found in complete("pyoci list --format=j")] == ["json"]


def test_directories(complete: Complete) -> None:
    assert [found.replace("\\", "") for found in complete("pyoci create --bundle a")] == ["a directory"]


def test_what_is_passed_on_is_not_ours(complete: Complete) -> None:
    assert not set(complete("pyoci exec web ls --")) & long_options(load("exec").COMMAND.options)
    assert "db" not in complete("pyoci exec web ")
