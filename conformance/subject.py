# SPDX-License-Identifier: Apache-2.0
"""The runtime under test, and what it says of itself."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .world import CGROUP_ROOT


@dataclass(frozen=True)
class Subject:
    """The runtime, and what it says of itself."""

    path: str
    name: str
    version: str
    spec: str

    def report(self, suite: str, results: Sequence[Mapping[str, object]], cgroup2: bool) -> dict[str, object]:
        """What --json writes of a run of either suite. `cgroup2`: it was shown nothing but cgroup v2."""
        alone = cgroup2 or Path(CGROUP_ROOT, "cgroup.controllers").exists()
        return {
            "suite": suite,
            "runtime": self.name,
            "version": self.version,
            "spec": self.spec,
            "date": datetime.now(UTC).date().isoformat(),
            "kernel": platform.release(),
            "cgroups": "v2" if alone else "v1",
            "results": results,
        }


def ask(path: str) -> Subject:
    """What a runtime says of its version. Raises SystemExit if it says nothing."""
    told = subprocess.run([path, "--version"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True).stdout
    lines = [line.split() for line in told.splitlines() if line.strip()]
    if not lines:
        raise SystemExit(f"{path} --version says nothing")
    spec = next((words[1] for words in lines if words[0] == "spec:"), "1.0.0")
    with suppress(ValueError, KeyError):
        told = subprocess.run([path, "features"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        spec = json.loads(told)["ociVersionMax"]
    return Subject(path, lines[0][0], lines[0][-1], spec)
