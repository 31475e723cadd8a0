# SPDX-License-Identifier: Apache-2.0
"""The fault suite, in a small size; hack/torture runs it in any."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .faults.cases import CASES

TORTURE = Path(__file__).resolve().parent.parent.parent / "hack" / "torture"
SMALL = ("--kills", "19", "--faults", "12", "--rounds", "11", "--many", "8", "--seed", "1")


@pytest.mark.needs_strace
@pytest.mark.parametrize("name", CASES)
def test_fault(pyoci_program: Path, name: str) -> None:
    done = subprocess.run(
        [str(TORTURE), "--runtime", str(pyoci_program), *SMALL, name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "1 passed, 0 failed", done.stdout
