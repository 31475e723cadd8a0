# SPDX-License-Identifier: Apache-2.0
"""What the tests say in a guest: one that fails there fails here."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import pytest

from .conftest import PLACES, SUITE, Guest

EXCUSES = ("needs systemd", "needs cgroup v2", "needs a cgroup that belongs to the caller", "needs root, or newuidmap")
"""What no test may be skipped for, as this is what the guest is there for."""


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    """What became of a test, and what was said about it."""
    for child in case:
        if child.tag in ("failure", "error"):
            return "failed", child.text or child.get("message") or ""
        if child.tag == "skipped":
            reason = child.get("message") or ""
            return ("failed as expected" if child.get("type") == "pytest.xfail" else "skipped"), reason
    return "passed", ""


@pytest.mark.parametrize("place", PLACES)
def test_all_is_well_in_a_guest(guest: Guest, place: str) -> None:
    outcomes: Counter[str] = Counter()
    complaints = []
    for case in guest.results(place).iterfind("testcase"):
        kind, said = outcome(case)
        outcomes[kind] += 1
        if kind == "failed" or (kind == "skipped" and said.startswith(EXCUSES)):
            complaints.append(f"{case.get('classname')}::{case.get('name')} {kind}: {said}")
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(outcomes.items()))
    guest.told.append(f"{SUITE}, {place}: {told}")
    if complaints:
        pytest.fail(f"{SUITE}, {place}: {told}\n\n" + "\n\n".join(complaints), pytrace=False)
    assert outcomes["passed"], "no test was run"


def test_the_guest_came_to_its_end(guest: Guest) -> None:
    """Some failure shows in no test: a session that crashed, or took too long."""
    assert guest.process.wait() == 0, guest.said()
