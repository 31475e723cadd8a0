# SPDX-License-Identifier: Apache-2.0
"""docs/properties.md and docs/differences.md leave nothing out, name tests that there are, and are current."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyoci.spec import schemas
from tests.test_specs import all_properties

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = ["config", "state", "features"]


@pytest.fixture(scope="module")
def tables() -> Any:
    loader = importlib.machinery.SourceFileLoader("tables", str(REPOSITORY / "hack" / "tables"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("tables", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


# Properties. That our schemas have all there are is for test_specs to say.


def test_each_document_has_its_table(tables: Any) -> None:
    assert list(tables.rows()) == DOCUMENTS == list(tables.TITLES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_property_has_one_row(tables: Any, document: str) -> None:
    rows = list(tables.rows()[document])
    for pointer in dict.fromkeys(pointer for pointer, _ in all_properties(schemas.load(document))):
        assert sum(tables.covers(row, pointer) for row in rows) == 1, pointer


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_row_has_a_property(tables: Any, document: str) -> None:
    pointers = [pointer for pointer, _ in all_properties(schemas.load(document))]
    assert [
        row for row in tables.rows()[document] if not any(tables.covers(row, pointer) for pointer in pointers)
    ] == []


def test_whole_sections_are_those_of_other_platforms(tables: Any) -> None:
    """Where one row speaks for many properties, pyoci does the same with all of them: nothing."""
    whole = [row for table in tables.rows().values() for row in table if row.endswith(tables.EVERYTHING)]
    assert sorted(whole) == ["/freebsd/**", "/solaris/**", "/vm/**", "/windows/**", "/zos/**"]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_row_says_something_and_has_a_test(tables: Any, document: str) -> None:
    for pointer, (does, tests) in tables.rows()[document].items():
        assert does.endswith("."), pointer
        assert tests, pointer
        assert len(set(tests)) == len(tests), pointer


def named(tables: Any) -> set[str]:
    rows = [tests for table in tables.rows().values() for _, tests in table.values()]
    others = [[f"lifecycle/{test}" for test in entry["tests"]] for entry in tables.verdicts()["crun"]]
    return {test for tests in rows + others for test in tests}


def test_the_tests_exist(tables: Any) -> None:
    there: dict[str, set[str]] = {}
    missing = []
    for test in sorted(named(tables)):
        file, _, function = test.partition("::")
        path = REPOSITORY / "tests" / file
        if file not in there:
            there[file] = tables.functions(path) if path.exists() else set()
        if function not in there[file]:
            missing.append(test)
    assert missing == [], "renamed or removed: correct specs/properties.toml or tests/lifecycle/differences.toml"


# Differences


@pytest.fixture(scope="module")
def found(tables: Any) -> dict[tuple[str, str], list[str]]:
    """As hack/tables finds them; by another process, as pytest is not made to run within itself."""
    code = (
        "import importlib.machinery as m, importlib.util as u; l = m.SourceFileLoader('tables', 'hack/tables'); "
        "t = u.module_from_spec(u.spec_from_loader('tables', l)); l.exec_module(t); print(repr(t.found()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result: dict[tuple[str, str], list[str]] = eval(done.stdout)
    return result


def test_each_difference_has_a_verdict(tables: Any, found: dict[tuple[str, str], list[str]]) -> None:
    without = [(reason, file) for file, reason in found if tables.verdict(file, reason) is None]
    assert without == [], "say in tests/lifecycle/differences.toml who is right"


def test_each_verdict_is_about_a_difference(tables: Any, found: dict[tuple[str, str], list[str]]) -> None:
    used = [tables.verdict(file, reason) for file, reason in found]
    assert [entry["does"] for entry in tables.verdicts()["runc"] if entry not in used] == []


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_verdicts_are_whole(tables: Any, runtime: str) -> None:
    for entry in tables.verdicts()[runtime]:
        assert entry["right"] in ("pyoci", "either", runtime), entry
        assert entry["does"] and entry["by"], entry
        assert set(entry) - {"does", "right", "by"} <= {"where" if runtime == "runc" else "tests"}, entry


def test_a_test_of_crun_stands_once(tables: Any) -> None:
    tests = [test for entry in tables.verdicts()["crun"] for test in entry["tests"]]
    assert len(set(tests)) == len(tests)


# Both


def test_they_are_current() -> None:
    done = subprocess.run([sys.executable, "hack/tables", "--check"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "run hack/tables"
