# SPDX-License-Identifier: Apache-2.0
"""docs/tested.md says what pytest's files say."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def writer() -> Any:
    loader = importlib.machinery.SourceFileLoader("test_report", str(REPOSITORY / "hack" / "test-report"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("test_report", loader))  # type: ignore[arg-type]
    sys.modules[loader.name] = module  # where dataclasses looks for it
    loader.exec_module(module)
    return module


def results(file: Path, tests: str, *cases: str) -> None:
    file.parent.mkdir(exist_ok=True)
    named = {"tests": tests, "kernel": "6.1.0-9-amd64", "rounds of a race": "12"}
    facts = "".join(f'<property name="{name}" value="{value}"/>' for name, value in named.items())
    file.write_text(f"<testsuites><testsuite><properties>{facts}</properties>{''.join(cases)}</testsuite></testsuites>")


def case(name: str, inner: str = "") -> str:
    return f'<testcase classname="tests.x" name="{name}">{inner}</testcase>'


SKIPPED = '<skipped type="pytest.skip" message="needs root"/>'
EXPECTED = '<skipped type="pytest.xfail" message="1.1.5 does not"/>'
FAILED = '<failure message="assert 1 == 2&#10;more"/>'


def written(writer: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(writer, "DOCUMENT", directory / "document.md")
    monkeypatch.setattr(writer.sys, "argv", ["test-report", str(directory)])
    writer.main()
    lines: list[str] = (directory / "document.md").read_text().splitlines()
    return lines


def test_places_that_ran_the_same_tests_share_tables(
    writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results(tmp_path / "trixie-dev.xml", "a b", case("t1"), case("t2", SKIPPED), case("t3"))
    results(tmp_path / "host-user.xml", "a b", case("t1"), case("t2", FAILED), case("t3", EXPECTED))
    results(tmp_path / "trixie-root.xml", "a", case("t1"))
    lines = written(writer, tmp_path, monkeypatch)
    first, second = lines.index("# These tests, for pyoci alone"), lines.index("# A part of them")
    whole, part = lines[first:second], lines[second:]
    assert "- `b`" in whole
    assert "| host-user | 6.1.0 | all |" in whole
    counts = [line for line in whole if line.count("|") == 7]
    assert counts == [
        "|  | tests | passed | skipped | failed as expected | failed |",
        "| --- | --- | --- | --- | --- | --- |",
        "| host-user | 3 | 1 | 0 | 1 | 1 |",
        "| trixie-dev | 3 | 2 | 1 | 0 | 0 |",
    ]
    assert "- host-user: `tests.x::t2: assert 1 == 2`" in whole
    assert "| needs root |  | 1 |" in whole
    assert "- `b`" not in part
    assert "| trixie-root | 1 | 1 | 0 | 0 | 0 |" in part


def test_each_test_of_several_runtimes_has_a_line(writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results(tmp_path / "host-root.xml", "a", case("t1"))
    several = [case("t1[pyoci]"), case("t1[runc]", EXPECTED), case("t2[pyoci-1-x]"), case("t2[runc-1-x]", FAILED)]
    results(tmp_path / "runtimes" / "trixie-root.xml", "c", *several)
    lines = written(writer, tmp_path, monkeypatch)
    part = lines[lines.index("# With criu and podman") :]
    assert [line for line in part if line[0:1] == "|"] == [
        "|  | trixie-root, pyoci | trixie-root, runc |",
        "| --- | --- | --- |",
        "| x::t1 | passed | failed as expected |",
        "| x::t2 1-x | passed | failed |",
    ]
    assert "- trixie-root: 1.1.5 does not" in part


def test_no_results_are_no_document(writer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no results"):
        written(writer, tmp_path, monkeypatch)
