# SPDX-License-Identifier: Apache-2.0
"""The tests, each with the requirements that it proves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .box import Box
from .catalogue import version

Proof = Callable[[Box], None]


class Skipped(Exception):
    """What this host, or this runtime, has not got for a test."""


@dataclass(frozen=True)
class Test:
    name: str
    ids: tuple[str, ...]
    """The requirements of the catalogue that it proves. It is about the first; the others are not demanded earlier here."""
    proof: Proof
    """Raises AssertionError if the runtime does not do what they demand, and Skipped."""
    since: tuple[int, ...] = ()
    """The first version of the specification that has what it makes use of, if that is later than the requirements."""


TESTS: dict[str, Test] = {}


def _add(test: Test) -> None:
    assert test.name not in TESTS, f"two tests are called {test.name}"
    TESTS[test.name] = test


def proves(*ids: str, since: str = "") -> Callable[[Proof], Proof]:
    """Enter a function as a test that proves these requirements."""

    def enter(proof: Proof) -> Proof:
        _add(Test(proof.__name__, ids, proof, version(since)))
        return proof

    return enter


def each(
    cases: Mapping[str, Any], *ids: str, since: str = "", newer: Mapping[str, str] | None = None
) -> Callable[[Callable[[Box, Any], None]], Callable[[Box, Any], None]]:
    """Enter a function as one test for each case, that is given to it.  In `ids`, {} stands for the name of the case; what
    follows a space in that name only tells it from others.  `newer` has the cases that came with a later version."""

    def enter(proof: Callable[[Box, Any], None]) -> Callable[[Box, Any], None]:
        for case, value in cases.items():
            proven = tuple(name.format(case.partition(" ")[0]) for name in ids)
            came = version((newer or {}).get(case, since))
            _add(Test(f"{proof.__name__}[{case}]", proven, functools.partial(_given, proof, value), came))
        return proof

    return enter


def _given(proof: Callable[[Box, Any], None], value: Any, box: Box) -> None:
    proof(box, value)


def unproven(known: Mapping[str, Any]) -> list[str]:
    """What is wrong between the requirements and the tests, one line each; `known` maps ids to requirements."""
    proven = {name for test in TESTS.values() for name in test.ids}
    lines = [
        f"{test.name} proves {name}, which nobody demands"
        for test in TESTS.values()
        for name in test.ids
        if name not in known
    ]
    lines += [
        f"{name} has neither a test nor a reason"
        for name, one in known.items()
        if not one.untested and name not in proven
    ]
    lines += [
        f"{name} has a test and a reason for none" for name, one in known.items() if one.untested and name in proven
    ]
    return lines
