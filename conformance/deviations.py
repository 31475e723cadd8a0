# SPDX-License-Identifier: Apache-2.0
"""Failures of runtimes that are known, as the file deviations.toml lists them."""

from __future__ import annotations

import tomllib
from pathlib import Path

DEVIATIONS = Path(__file__).with_name("deviations.toml")


def read(path: Path = DEVIATIONS) -> dict[str, dict[str, str]]:
    """For each runtime, a name or a name and the beginning of a version, the tests that it fails and the reasons."""
    tables = tomllib.loads(path.read_text())
    return {
        runtime: {test: str(entry["because"]) for entry in entries for test in entry["tests"]}
        for runtime, entries in tables.items()
    }


def known(name: str, version: str) -> dict[str, str]:
    """The tests that a runtime is known to fail, and the reasons."""
    found: dict[str, str] = {}
    for runtime, tests in read().items():
        if f"{name} {version} ".startswith((f"{runtime} ", f"{runtime}.")):
            found |= tests
    return found
