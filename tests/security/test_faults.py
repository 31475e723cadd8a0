# SPDX-License-Identifier: Apache-2.0
"""The fault suite, in a small size; hack/torture runs it in any."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .faults.cases import CASES
from .faults.report import read, table

TORTURE = Path(__file__).resolve().parent.parent.parent / "hack" / "torture"
SMALL = ("--kills", "19", "--faults", "12", "--rounds", "11", "--many", "8", "--mutations", "40", "--seed", "1")


ON_CGROUPS = (
    "create_failures_leave_nothing",
    "corrupt_state",
    "cgroup_left_overs",
    "sigkill_at_random_moments",
    "same_id_races",
)
"""Cases in which it matters which version of cgroups there is."""


@pytest.mark.needs_root
@pytest.mark.needs_strace
@pytest.mark.parametrize("name", CASES)
def test_fault(pyoci_program: Path, name: str) -> None:
    passes(pyoci_program, name)


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
@pytest.mark.parametrize("name", ON_CGROUPS)
def test_fault_with_cgroup2_alone(pyoci_program: Path, name: str) -> None:
    passes(pyoci_program, "--cgroup2", name)


def passes(program: Path, *words: str) -> None:
    done = subprocess.run(
        [str(TORTURE), "--runtime", str(program), *SMALL, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed", done.stdout


def test_a_table_of_what_runs_have_printed() -> None:
    printed = """\
/no/such/pyoci, seed 1
pass zombie_init (0.1 s):
pass sigkill_at_random_moments (674.1 s): 1000 of 1000 kills recovered from
left over: nothing
/no/such/pyoci, seed 2
pass same_id_races (1.0 s): 3 of 3 rounds
left over: nothing
/no/such/other, seed 1
FAIL sigkill_at_random_moments (3.0 s): 9 of 10 kills recovered from
    start (hooks), killed after 1.0 ms: a | b
left over: cgroup /sys/fs/cgroup/x
left over: cgroup /sys/fs/cgroup/y
left over: process 7
"""
    found = read(printed.splitlines())
    assert list(found) == ["/no/such/pyoci", "/no/such/other"]
    lines = {
        line.split(":")[0].split("|")[1].strip(): line for line in table(found).splitlines() if line.startswith("|")
    }
    assert set(CASES) < set(lines)
    assert lines["zombie_init"].endswith("| pass |  |")
    assert lines["sigkill_at_random_moments"].endswith(
        "| pass: 1000 of 1000 kills recovered from | FAIL: 9 of 10 kills recovered from |"
    )
    assert lines["left over in the end"].endswith("| nothing | 2 x cgroup, 1 x process |")
