# SPDX-License-Identifier: Apache-2.0
"""Durations as Go programs write them."""

from __future__ import annotations

import pytest

from pyoci.cli.events import duration
from pyoci.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1h", 3600), ("1.5h", 5400), ("+2s", 2), (".5s", 0.5), ("1.s", 1),
     ("250us", 0.00025), ("250\u00b5s", 0.00025), ("250\u03bcs", 0.00025), ("1h2m3.5s", 3723.5), ("9ns", 9e-9)],
)  # fmt: skip
def test_durations(text: str, expected: float) -> None:
    assert duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["5", "s", "5x", "5 s", "1s5", "-5s", ".s", "1..5s", "\u0661s", "5S", "five"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration"):
        duration(text)


@pytest.mark.parametrize("text", ["0s", "0h0m", "", "0.0s", "9" * 400 + "s"])
def test_durations_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="more than 0"):
        duration(text)
