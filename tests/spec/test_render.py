# SPDX-License-Identifier: Apache-2.0
"""Reports as compilers print them."""

from __future__ import annotations

import json
from typing import Any

from pyoci.spec import render, validate
from pyoci.spec.report import WARNING, Problem, Report

SOURCE = '{\n\t"a": "\u6f22\u0301\U0001f600", "b": 5,\n  "c": [1]\n}'


def problem(**fields: Any) -> Problem:
    return Problem(**{"pointer": "/b", "message": "found the number 5", "expected": "a string", **fields})


def test_a_line_for_each_and_a_count() -> None:
    report = Report(
        [problem(line=2, column=20), problem(pointer="/c", level=WARNING, line=3, column=8), problem(pointer="")]
    )
    assert render.text(report, "config.json").splitlines() == [
        "config.json: error: found the number 5 (expected a string)",
        "config.json:2:20: error: /b: found the number 5 (expected a string)",
        "config.json:3:8: warning: /c: found the number 5 (expected a string)",
        "2 errors, 1 warning",
    ]


def test_a_single_problem_is_a_single_line() -> None:
    assert (
        render.text(Report([problem(line=1, column=1)]), "x")
        == "x:1:1: error: /b: found the number 5 (expected a string)"
    )


def test_the_line_is_shown_and_the_place_marked() -> None:
    report = Report([problem(line=2, column=7, width=5), problem(pointer="/c", line=3, column=8)])
    shown = render.text(report, "x", SOURCE).splitlines()
    # Wide characters take two columns and combining ones none; a tab is repeated.
    assert shown[1:3] == [' 2 | \t"a": "\u6f22\u0301\U0001f600", "b": 5,', "   | \t     ^~~~~~"]
    assert shown[4:6] == [' 3 |   "c": [1]', "   |        ^"]


def test_long_lines_are_cut_around_the_place() -> None:
    text = json.dumps({"ociVersion": "1.0.0", "annotations": {"a": "x" * 500}, "root": {"path": 5}, "b": "y" * 500})
    shown = render.text(Report(validate.lint(text).errors), "x", text).splitlines()
    place = shown[2].index("^")
    assert shown[1][place] == "5"
    assert max(map(len, shown[1:3])) < 110


def test_colours_are_for_terminals() -> None:
    report = Report([problem(line=3, column=8)])
    assert "\033" not in render.text(report, "x", SOURCE)
    assert render.text(report, "x", SOURCE, color=True).count("\033[0m") == 3


def test_nothing_from_the_configuration_commands_the_terminal() -> None:
    text = '{"ociVersion": "1.0.0", "root": {"path": "r", "a\\u001b[2J": 1}, "\u009b2J": \u009b'
    for report in (validate.lint(text), validate.lint(text[:-1] + "1}")):
        shown = render.text(report, "x", text)
        assert all(char.isprintable() or char in "\n\t" for char in shown)


def test_as_data() -> None:
    (entry,) = render.as_data(Report([problem(line=1, column=2, rule="r", section="s")]), "config.json")
    assert entry == {
        "file": "config.json", "pointer": "/b", "message": "found the number 5", "expected": "a string",
        "level": "error", "rule": "r", "section": "s", "line": 1, "column": 2, "width": 1, "on_key": False,
    }  # fmt: skip


def test_counts() -> None:
    assert render.count(Report()) == "no errors"
    assert render.count(Report([problem(level=WARNING)])) == "1 warning"
