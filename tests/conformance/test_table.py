# SPDX-License-Identifier: Apache-2.0
"""The table of results, from results that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.catalogue import Requirement, Section
from conformance.table import Column, first_words, render

SECTIONS = [
    Section(
        "runtime.md",
        "State",
        2,
        1,
        [
            Requirement("state-id", "MUST", 1, (1, 0), "The state has the id."),
            Requirement("state-pid", "MUST", 1, (1, 0), "The state has a | pid."),
            Requirement("state-more", "SHOULD", 1, (1, 0), "There is more."),
            Requirement("state-moon", "MUST", 1, (1, 0), "It is there on the moon.", "Nobody can look."),
        ],
    )
]


def column(name: str, ours: list[tuple[str, str, str]], theirs: list[tuple[str, str, str]], *remarks: str) -> Column:
    about = {"runtime": name, "version": "1", "spec": "1.3.0", "date": "2026-01-31", "kernel": "6.1", "cgroups": "v1"}
    results: list[dict[str, Any]] = [
        {"id": one, "test": f"test_of_{one}", "result": result, "detail": detail} for one, result, detail in ours
    ]
    programs = [
        {"id": one, "test": one, "result": result, "detail": "", **({"expected": why} if why else {})}
        for one, result, why in theirs
    ]
    return Column({**about, "results": results}, {**about, "results": programs}, list(remarks))


@pytest.fixture
def text() -> str:
    pyoci = column(
        "pyoci",
        [("state-id", "pass", ""), ("state-pid", "pass", ""), ("state-pid", "skip", "no"), ("state-more", "pass", "")],
        [
            ("hooks", "fail", "It is wrong."),
            ("mounts", "fail", "It is too old."),
            ("delete", "fail", ""),
            ("x", "pass", ""),
        ],
    )
    other = column(
        "other",
        [("state-id", "pass", ""), ("state-id", "fail", "no id\nin /tmp/x9"), ("state-pid", "skip", "too new")],
        [
            ("hooks", "fail", "It is wrong."),
            ("mounts", "pass", "It is too old."),
            ("delete", "pass", ""),
            ("x", "fail", "It sees no cgroups."),
        ],
        "sees no cgroups",
    )
    return render([pyoci, other], ["The host is small."], SECTIONS)


def test_what_it_is_about(text: str) -> None:
    assert "2026-01-31, Linux 6.1. The host is small." in text
    assert "other 1 sees no cgroups." in text


def test_the_sums(text: str) -> None:
    assert "| pyoci 1 | 1.3.0 | v1 | 2 of 2 | 1 of 1 | 1 of 4 |" in text
    assert "| other 1 | 1.3.0 | v1 | 0 of 1 | 0 of 0 | 2 of 4 |" in text


def test_a_requirement_is_met_if_no_test_of_it_fails_and_one_passes(text: str) -> None:
    assert "| `state-id` | The state has the id. | yes | **no** |" in text
    assert "| `state-pid` | The state has a \\| pid. | yes | - |" in text
    assert "| `state-more` | (SHOULD) There is more. | yes |  |" in text


def test_what_no_test_can_prove_has_its_reason(text: str) -> None:
    assert "| `state-moon` | It is there on the moon. | Nobody can look. |" in text
    assert text.count("state-moon") == 1


def test_where_a_runtime_fails(text: str) -> None:
    assert "### Where other 1 fails\n\n- `no id in ...` `test_of_state-id`\n" in text
    assert "Where pyoci" not in text


def test_tests_that_fail_for_the_same_reason_stand_together() -> None:
    failed = [(name, "fail", "known: It gives up. (1)") for name in ("state-id", "state-pid")]
    text = render([column("other", [*failed, failed[0]], [])], [], SECTIONS)
    assert "- It gives up. `test_of_state-id`, `test_of_state-pid`\n" in text


def test_the_programs(text: str) -> None:
    assert "| `hooks` | **no** | **no** | It is wrong. |" in text
    assert "| `x` | yes | **no** | other 1: It sees no cgroups. |" in text
    assert "### Programs that pyoci 1 fails without such a reason\n\n- no reason given `delete`\n" in text
    assert "### Programs that other" not in text


def test_what_another_passes_is_not_left_unsaid(text: str) -> None:
    assert "- other 1 passes `mounts`. It is too old.\n" in text
    assert "- other 1 passes `delete`. There is no excuse for that.\n" in text
    assert "passes `hooks`" not in text


def test_details_are_short_and_name_no_place() -> None:
    assert first_words("  cannot open\n/tmp/conformance-x1/rootfs: `no` ") == "`cannot open ...: 'no'`"
    assert (
        first_words("conformance-12-3 {'pid': 77}: time=\"2026-01-31T10:00:00Z\" no")
        == "`... {'pid': ...}: time=... no`"
    )
    assert first_words("known: It gives up. It is old. (hooks.py:171: assert 1 == 2)") == "It gives up. It is old."
    assert first_words("") == "no reason given"
    assert len(first_words("long " * 200)) < 260
