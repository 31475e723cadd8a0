# SPDX-License-Identifier: Apache-2.0
"""Problems are told once, in the order of the text."""

from __future__ import annotations

from pyoci.spec.report import WARNING, Problem, Report


def test_sorted_by_place_and_told_once() -> None:
    late = Problem(pointer="/a", message="x", line=3, column=1)
    early = Problem(pointer="/z", message="x", line=2, column=9)
    report = Report([late, early, late.replace(rule="another")])
    assert list(report) == [early, late]
    assert len(report) == 2


def test_without_places_indexes_count_as_numbers() -> None:
    report = Report(Problem(pointer=f"/mounts/{index}/type", message="x") for index in (10, 9, 100))
    assert [problem.pointer for problem in report] == ["/mounts/9/type", "/mounts/10/type", "/mounts/100/type"]


def test_levels() -> None:
    error, warning = Problem(pointer="", message="a"), Problem(pointer="", message="b", level=WARNING)
    report = Report([warning, error])
    assert (report.errors, report.warnings) == ([error], [warning])
    assert not Report()


def test_words() -> None:
    assert str(Problem(pointer="", message="found null", expected="a list")) == "found null (expected a list)"
    assert str(Problem(pointer="", message="found null")) == "found null"
