# SPDX-License-Identifier: Apache-2.0
"""docs/security.md tells what there is: each known hole has tests, these exist, and something is known to fail them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def writer() -> Any:
    loader = importlib.machinery.SourceFileLoader("advisories", str(REPOSITORY / "hack" / "advisories"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("advisories", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def rows(writer: Any) -> list[Any]:
    return [row for section in writer.sections() for row in section["row"]]


def test_it_is_current(writer: Any) -> None:
    assert writer.DOCUMENT.read_text() == writer.document(), "run hack/advisories"


def test_each_has_tests_that_exist(writer: Any) -> None:
    assert [row["id"] for row in rows(writer) if not row["tests"]] == []
    named = {test for row in rows(writer) for test in row["tests"]}
    there = {
        f"{file}::{function.name}"
        for file in {test.partition("::")[0] for test in named}
        for function in writer.functions(file)
    }
    assert named - there == set()


def test_each_is_proven_or_says_why_not(writer: Any) -> None:
    unproven = [row["id"] for row in rows(writer) if not writer.proven(row)]
    assert unproven == [row["id"] for row in rows(writer) if row.get("unproven")]


def test_each_broken_build_proves_something(writer: Any) -> None:
    assert set(writer.BROKEN) == {name for row in rows(writer) for name in row.get("proof", ())}


def test_what_is_broken_there_is_in_the_source(writer: Any) -> None:
    """Seen at once, and not only where there is time for the builds."""
    edits = [edit for broken in writer.BROKEN.values() for edit in broken.edits]
    assert [edit for edit in edits if edit.old not in (REPOSITORY / edit.file).read_text()] == []
