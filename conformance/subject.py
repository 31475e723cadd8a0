# SPDX-License-Identifier: Apache-2.0
"""The runtime under test, and what it says of itself."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """The runtime, and what it says of itself."""

    path: str
    name: str
    version: str
    spec: str


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
