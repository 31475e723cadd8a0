# SPDX-License-Identifier: Apache-2.0
"""Tests fail on a runtime that has the hole that they are about: see broken.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .broken import BROKEN, REPOSITORY, build

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_busybox,
    pytest.mark.needs_cgroups,
    pytest.mark.needs_compiler,
    pytest.mark.needs_strace,
    pytest.mark.needs_speed,  # it is the tests that are tried here, and they are the same everywhere
]


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found(name: str, place: Path) -> None:
    directory = place / f"broken-{name.replace(' ', '-')}"
    program = build(name, directory)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    for test in BROKEN[name].tests:
        kind, _, case = test.rpartition(":")
        if kind == "torture":
            command = [str(REPOSITORY / "hack" / "torture"), "--runtime", str(program), case]
        else:
            command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "--runtime", str(program), test]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        )
        assert done.returncode == 1 and "1 failed" in done.stdout, f"{test} finds nothing:\n{done.stdout}"
