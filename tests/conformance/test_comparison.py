# SPDX-License-Identifier: Apache-2.0
"""Running both suites on several runtimes, with suites made up for it that tell how they were called."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import comparison
from conformance.comparison import others, read_column, run_suites
from conformance.world import Hierarchy

TELL = """#!/bin/sh
calls="$0 $*"
while [ $# -gt 0 ]; do
    [ "$1" = --runtime ] && runtime=$2
    [ "$1" = --json ] && file=$2
    shift
done
[ "$("$runtime" --version)" ] || exit 1
printf '{"runtime": "%s", "version": "1", "results": [], "said": "%s"}' "$calls" "$("$runtime" --version)" >"$file"
"""


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run", "runtime-tools"):
        (tmp_path / name).write_text(TELL)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(comparison, "HERE", tmp_path)
    return tmp_path


def runtime(path: Path, says: str = '"$@"') -> Path:
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


def test_both_suites_are_run(suites: Path) -> None:
    path, column = runtime(suites / "some"), suites / "column"
    run_suites(path, suites / "built", column)
    found = read_column(column)
    assert found.ours["runtime"] == f"{suites}/run --runtime {path} --json {column}/requirements.json"
    assert found.theirs["runtime"] == (
        f"{suites}/runtime-tools --suite {suites}/built --runtime {path} --json {column}/runtime-tools.json"
    )
    assert found.remarks == []


def test_crun_gets_what_it_can_work_with(suites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "CGROUP_ROOT", str(suites / "hybrid"))
    monkeypatch.setattr(comparison, "without_capability", lambda _: True)
    column = suites / "column"
    run_suites(runtime(suites / "crun"), suites / "built", column)
    found = read_column(column)
    assert found.ours["runtime"].endswith(" --cgroup2")
    assert found.ours["said"] == "--cgroup-manager=disabled --version"
    assert len(found.remarks) == 2


def test_crun_as_it_is_where_it_works(suites: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (suites / "alone").mkdir()
    (suites / "alone/cgroup.controllers").touch()
    monkeypatch.setattr(comparison, "CGROUP_ROOT", str(suites / "alone"))
    monkeypatch.setattr(comparison, "without_capability", lambda _: False)
    run_suites(runtime(suites / "crun"), suites / "built", suites / "column")
    found = read_column(suites / "column")
    assert (found.ours["said"], found.remarks) == ("--version", [])


def test_a_suite_that_tells_nothing(suites: Path) -> None:
    with pytest.raises(SystemExit, match="requirements told nothing about"):
        run_suites(runtime(suites / "silent", says=""), suites / "built", suites / "column")


def test_the_runtimes_that_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(others([])) == []
    runc, newer = runtime(tmp_path / "runc"), runtime(tmp_path / "newer")
    assert list(others([str(newer)])) == [runc, newer]
    with pytest.raises(SystemExit, match="there is no program nothing"):
        list(others(["nothing"]))


def test_what_is_told_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    found = [Hierarchy(Path("/v1"), False, ("pids", "cpuset")), Hierarchy(tmp_path, True)]
    monkeypatch.setattr(comparison, "hierarchies", lambda: found)
    monkeypatch.setattr(comparison, "without_capability", lambda _: True)
    facts = " ".join(comparison.host_facts())
    assert "cgroup v1 has cpuset, pids." in facts
    assert f"cgroup v2 at `{tmp_path}` has cpu, memory." in facts
    assert "CAP_SYS_RESOURCE" in facts
