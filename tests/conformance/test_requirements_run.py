# SPDX-License-Identifier: Apache-2.0
"""`conformance/run` on pyoci and on runc: nothing fails but what is known to, and nothing is left behind."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import catalogue, suite
from conformance.attempt import Outcome, run
from conformance.box import Box
from conformance.subject import ask

from ..lifecycle.conftest import REPOSITORY, place, pyoci_program  # noqa: F401  fixtures

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups, pytest.mark.needs_compiler, pytest.mark.needs_ip]


def passes(program: Path | str, results: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "conformance/run"), "--runtime", str(program), "--json", str(results)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    shown = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("pass"))
    assert done.returncode == 0, shown
    assert re.fullmatch(r"\d+ passed, \d+ failed", done.stdout.splitlines()[-1]), shown
    data = json.loads(results.read_text())
    assert {one["id"] for one in data["results"]} == set(catalogue.requirements(catalogue.read()))
    assert {one["test"] for one in data["results"]} - {None} == set(suite.TESTS)


def test_pyoci(pyoci_program: Path, tmp_path: Path) -> None:  # noqa: F811
    passes(pyoci_program, tmp_path / "results")


@pytest.mark.needs_runc
def test_runc(tmp_path: Path) -> None:
    passes("runc", tmp_path / "results")


def leaves_a_container(box: Box) -> None:
    box.hold()
    (box.root / box.id).rename(box.root / "lost")


def leaves_a_mount(box: Box) -> None:
    (box.bundle / "mounted").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(box.bundle / "mounted")], check=True)


def is_wrong(box: Box) -> None:
    assert box.create().status != 0, "it should fail"


def breaks(box: Box) -> None:
    raise KeyError("broken")


def lacks(box: Box) -> None:
    raise suite.Skipped("no such thing")


@pytest.fixture(scope="module")
def outcomes(pyoci_program: Path) -> dict[str, Outcome]:  # noqa: F811
    """What becomes of tests that are as bad as their names."""
    tests = [
        suite.Test(proof.__name__, ("state-id",), proof)
        for proof in (leaves_a_container, leaves_a_mount, is_wrong, breaks, lacks)
    ]
    return {one.test.name: one for one in run(tests, ask(str(pyoci_program)), jobs=2, cgroup2=False)}


def test_what_tests_leave_behind_is_found_and_taken_away(outcomes: dict[str, Outcome]) -> None:
    left = "\n".join(outcomes["leaves_a_container"].left)
    assert "process" in left and "cgroup" in left
    assert "mount" in "\n".join(outcomes["leaves_a_mount"].left)
    assert not [path for path in Path("/sys/fs/cgroup").glob("*/conformance-*") if path.name in left]


def test_what_becomes_of_tests_that_do_not_pass(outcomes: dict[str, Outcome]) -> None:
    assert outcomes["is_wrong"].result == "fail" and "it should fail" in outcomes["is_wrong"].detail
    assert outcomes["is_wrong"].left == []
    assert outcomes["breaks"].result == "fail" and "KeyError: 'broken'" in outcomes["breaks"].detail
    assert (outcomes["lacks"].result, outcomes["lacks"].detail) == ("skip", "no such thing")
