# SPDX-License-Identifier: Apache-2.0
"""A report as text for people, in the form that compilers and editors share, or as plain data."""

from __future__ import annotations

import unicodedata  # cold path: there is something to report

from pyoci.spec.report import ERROR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.spec.report import Problem, Report

_BOLD, _RED, _MAGENTA, _GREEN, _RESET = "\033[1m", "\033[1;31m", "\033[1;35m", "\033[1;32m", "\033[0m"
_WINDOW = 100
"""Characters of a source line that are shown."""


def text(report: Report, name: str, source: str | None = None, color: bool = False) -> str:
    """One line for each problem, `name:line:column: level: pointer: message`, and a count when there are several.

    With `source`, the text that was read, the line in question is shown beneath each with the place underlined; with
    `color`, for a terminal that has colours.
    """
    lines = source.split("\n") if source is not None else []
    pieces = []
    for problem in report:
        pieces.append(_headline(problem, name, color))
        if 0 < problem.line <= len(lines):
            pieces += _excerpt(problem, lines[problem.line - 1], color)
    if len(report) > 1:
        pieces.append(count(report))
    return "\n".join(pieces)


def count(report: Report) -> str:
    """How many there are, as "2 errors, 1 warning"."""
    counts = ((len(report.errors), "error"), (len(report.warnings), "warning"))
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts if n) or "no errors"


def as_data(report: Report, name: str) -> list[dict[str, object]]:
    """The problems as plain data for JSON: all fields of each, and the name of the file."""
    return [{"file": name, **problem.asdict()} for problem in report]


def _headline(problem: Problem, name: str, color: bool) -> str:
    place = f"{name}:{problem.line}:{problem.column}:" if problem.line else f"{name}:"
    level = f"{problem.level}:"
    if color:
        place = f"{_BOLD}{place}{_RESET}"
        level = f"{_RED if problem.level == ERROR else _MAGENTA}{level}{_RESET}"
    pointer = f"{_printable(problem.pointer)}: " if problem.pointer else ""
    return f"{place} {level} {pointer}{_printable(str(problem))}"


def _excerpt(problem: Problem, line: str, color: bool) -> list[str]:
    """The line with its number, and beneath it a caret and tildes under the place."""
    first = max(0, problem.column - 1 - _WINDOW // 2) if len(line) > _WINDOW else 0
    shown = line[first : first + _WINDOW]
    before = line[first : problem.column - 1]
    meant = line[problem.column - 1 : problem.column - 1 + problem.width][: _WINDOW - len(before)]
    pad = "".join("\t" if char == "\t" else " " * _columns(char) for char in before)
    mark = "^" + "~" * (sum(_columns(char) for char in meant) - 1)
    if color:
        mark = f"{_GREEN}{mark}{_RESET}"
    number = str(problem.line)
    return [f" {number} | {_printable(shown)}", f" {' ' * len(number)} | {pad}{mark}"]


def _columns(char: str) -> int:
    """How many columns of a terminal a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _printable(words: str) -> str:
    """Without control characters: what a configuration holds must not command a terminal."""
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in words)
