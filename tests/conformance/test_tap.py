# SPDX-License-Identifier: Apache-2.0
"""The dialect of TAP that the validation programs speak, and what in it speaks against a runtime."""

from __future__ import annotations

import pytest

from conformance.tap import read

ERROR = """  ---
  {
    "error": "hooks came too late\\nRefer to: config.md",
    "reference": "config.md"
  }
  ...
"""


def test_assertions_that_hold() -> None:
    report = read("TAP version 13\nok 1 - has a hostname\nok 2 # SKIP no sysctl\nnot ok 3 # TODO later\n1..3\n")
    assert (report.passed, report.skipped, report.complaints) == (1, 2, [])


def test_a_plan_in_front() -> None:
    assert read("TAP version 13\n1..1\nok 1 # SKIP for Solaris\n").complaints == []


def test_an_assertion_that_does_not_hold() -> None:
    report = read("TAP version 13\nok 1 - it starts\nnot ok 2 - it ends # 3 times\n1..2\n")
    assert (report.passed, report.complaints) == (1, ["not ok: it ends # 3 times"])


@pytest.mark.parametrize("text", ["", "ok 1 - without a header\n1..1\n", "failed to create the container\n"])
def test_no_tap_is_a_complaint(text: str) -> None:
    assert read(text).complaints == ["it printed no TAP"]


def test_what_stands_before_the_header_is_passed_over() -> None:
    assert read("not ok, says a warning\nTAP version 13\nok 1 - fine\n1..1\n").complaints == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("TAP version 13\nok 1 - one\n", "its plan is missing: it ended after 1 assertions"),
        ("TAP version 13\n1..3\nok 1 - one\n", "its plan was 3 assertions, and it made 1"),
        ("TAP version 13\nok 1 - one\nok 2 - two\n1..1\n", "its plan was 1 assertions, and it made 2"),
        ("TAP version 13\nBail out! no bundle\n1..0\n", "Bail out! no bundle"),
    ],
)
def test_a_program_that_did_not_come_to_its_end(text: str, complaint: str) -> None:
    assert read(text).complaints == [complaint]


def test_an_error_with_an_empty_plan() -> None:
    """Programs that only look from outside assert nothing, and say what is wrong in diagnostics."""
    report = read(f"TAP version 13\n{ERROR}1..0\n")
    assert report.complaints == ["error: hooks came too late\nRefer to: config.md"]


def test_an_empty_plan_alone_is_success() -> None:
    assert read("TAP version 13\n1..0\n").complaints == []


def test_an_error_that_an_assertion_was_about() -> None:
    """`create` without an id is to fail, and the diagnostics of the assertion that it does so show the error."""
    assert read(f"TAP version 13\nok 1 - create fails without an id\n{ERROR}1..1\n").complaints == []


def test_an_error_after_the_diagnostics_of_the_last_assertion() -> None:
    assert len(read(f"TAP version 13\nok 1 - state fails without an id\n{ERROR}{ERROR}1..1\n").complaints) == 1


def test_assertions_within_diagnostics_are_not_the_programs_own() -> None:
    block = '  ---\n  {\n    "stdout": "TAP version 13\\n1..1"\nnot ok 1 - inside\n  }\n  ...\n'
    report = read(f"TAP version 13\n{block}ok 1 - seccomp\n1..1\n")
    assert (report.passed, report.complaints) == (1, [])


def test_diagnostics_that_never_end() -> None:
    report = read("TAP version 13\nok 1 - fine\n  ---\n  {\n1..1\n")
    assert report.complaints == ["its plan is missing: it ended after 1 assertions"]


def test_several_documents() -> None:
    one = "TAP version 13\nok 1 - read bps\n1..1\n"
    other = "TAP version 13\nok 1 - read bps\nnot ok 2 - write bps\n1..2\n"
    report = read(one + other)
    assert (report.passed, report.complaints) == (2, ["not ok: write bps"])
