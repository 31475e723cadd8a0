# SPDX-License-Identifier: Apache-2.0
"""The table of docs/engines.md is about the tests that there are, and says what became of them."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def writer() -> Any:
    loader = importlib.machinery.SourceFileLoader("engines_table", str(REPOSITORY / "hack" / "engines-table"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("engines_table", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def rows(section: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|\n").split("|")] for line in section.splitlines() if line[:1] == "|"]


def test_it_has_every_test_of_every_engine(writer: Any) -> None:
    _, section, _ = writer.parts_of(writer.DOCUMENT.read_text())
    found, engine = set(), ""
    for first, *_ in rows(section):
        titled = [name for name, title in writer.ENGINES.items() if title == first]
        if titled:
            (engine,) = titled
        elif not first.startswith("---"):
            found.add((engine, first))
    assert found == {(engine, writer.words(test)) for engine, test in writer.written_tests()}, "run hack/engines-table"


def test_pyoci_passes_all_of_them(writer: Any) -> None:
    _, section, _ = writer.parts_of(writer.DOCUMENT.read_text())
    lines = rows(section)
    ours = [at for at, head in enumerate(lines[0]) if head.endswith(": pyoci")]
    assert len(ours) == 1 + len(writer.SUITES)
    tests = [row for row in lines if row[0] not in writer.ENGINES.values() and not row[0].startswith("---")]
    assert tests
    lacking = [row for row in tests for at in ours if not row[at].startswith("yes")]
    # The criu of one of these releases is not for the kernel that they have all run on.
    excused = [row for row in lacking if row[0] == "a checkpoint" and "yes" in row]
    assert [row for row in lacking if row not in excused] == []
    assert [row for row in excused for at in ours if "FAILED" in row[at]] == []


RESULTS = """<testsuites><testsuite><properties><property name="system" value="Debian GNU/Linux 12 (bookworm)"/>
<property name="packages" value="runc 1.2"/><property name="Python" value="3.11"/><property name="kernel" value="6.1-x"/>
<property name="cgroup" value="v1"/></properties>
<testcase name="test_a_b[runc]"><properties><property name="engine" value="cri"/><property name="runtime" value="runc"/>
</properties><skipped message="for a reason"/></testcase>
<testcase name="test_a_b[pyoci-1]"><properties><property name="engine" value="cri"/><property name="runtime" value="pyoci"/>
</properties></testcase>
<testcase name="test_a_b[pyoci-2]"><properties><property name="engine" value="cri"/><property name="runtime" value="pyoci"/>
</properties></testcase>
<testcase name="test_c[pyoci]"><properties><property name="engine" value="cri"/><property name="runtime" value="pyoci"/>
</properties><failure message="x"/></testcase>
<testcase name="test_d[pyoci]"><properties><property name="engine" value="docker"/><property name="runtime" value="pyoci"/>
</properties><skipped message="drives real engines, which takes --engines"/></testcase>
<testcase name="test_of_another_kind"/>
</testsuite></testsuites>"""


def test_what_becomes_of_results(writer: Any, tmp_path: Path) -> None:
    old, new = tmp_path / "old.xml", tmp_path / "new.xml"
    old.write_text(RESULTS)
    new.write_text(
        RESULTS.replace("12 (bookworm)", "forky/sid")
        .replace("<failure ", "<system-out ")
        .replace("runc 1.2", "runc 1.3")
    )
    found = writer.results(old, new)
    assert {case[1:]: outcomes for case, outcomes in found.outcomes.items() if case.release == "bookworm"} == {
        ("cri", "test_a_b", "runc"): ["not run: for a reason"],
        ("cri", "test_a_b", "pyoci"): ["", ""],
        ("cri", "test_c", "pyoci"): ["FAILED"],
    }
    assert writer.circumstances(found).splitlines() == [
        "- bookworm: runc 1.2; Python 3.11, Linux 6.1, cgroup v1",
        "- forky: runc 1.3; Python 3.11, Linux 6.1, cgroup v1",
    ]
    table = rows(writer.table(found))
    title = writer.ENGINES["cri"]
    assert table.count([title, "bookworm: pyoci", "bookworm: runc", "forky: pyoci", "forky: runc"]) == 1
    assert table.count(["a b", "yes (2)", "not run: for a reason", "yes (2)", "not run: for a reason"]) == 1
    assert table.count(["c", "FAILED", "not run", "yes", "not run"]) == 1
