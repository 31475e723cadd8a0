# SPDX-License-Identifier: Apache-2.0
"""The linters pass: on a laptop those that are there, in CI all of them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import skip_or_fail

REPOSITORY = Path(__file__).resolve().parent.parent


def passes(*command: str) -> None:
    result = subprocess.run(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}"


def python_tool(name: str) -> list[str]:
    if importlib.util.find_spec(name) is None:
        skip_or_fail(f"needs {name}, as hack/test installs it")
    return [sys.executable, "-m", name]


def shell_scripts() -> list[str]:
    """Every script in the repository that git knows or would take, and whose first line names sh."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "hack", ".ci"]
    names = subprocess.run(listing, cwd=REPOSITORY, check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    return [name for name in names if (REPOSITORY / name).read_bytes().startswith(b"#!/bin/sh\n")]


def test_ruff_finds_nothing() -> None:
    passes(*python_tool("ruff"), "check", ".")


def test_code_is_formatted() -> None:
    passes(*python_tool("ruff"), "format", "--check", ".")


def test_types_are_sound() -> None:
    passes(*python_tool("mypy"))


def test_shell_scripts_are_sound() -> None:
    if shutil.which("shellcheck") is None:
        skip_or_fail("needs shellcheck")
    scripts = shell_scripts()
    assert "hack/install" in scripts
    passes("shellcheck", *scripts)


def test_every_source_file_names_its_licence() -> None:
    places = [REPOSITORY / name for name in ("pyoci", "conformance", "tests")]
    sources = [path for place in places for pattern in ("**/*.py", "**/*.c") for path in place.glob(pattern)]
    sources += [REPOSITORY / name for name in shell_scripts()]
    line = b"SPDX-License-Identifier: Apache-2.0"
    assert [str(path) for path in sources if line not in b"".join(path.read_bytes().splitlines()[:2])] == []
