# SPDX-License-Identifier: Apache-2.0
"""What the README says is so."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_the_first_command_runs_a_container() -> None:
    result = subprocess.run(
        ["hack/run-busybox"],
        cwd=REPOSITORY,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout
    shown = README[README.index("    I am PID 1") : README.index("## The tests")]
    lines = [line.strip() for line in shown.splitlines() if line.strip() not in ("", "...")]
    # Pids inside, the host's file system and how interfaces are described are not pyoci's.
    steady = [line for line in lines if not re.match(r"\d|ext4", line)]
    assert len(steady) > 6
    told = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert [line for line in steady if " ".join(line.split()) not in told] == []
    assert len(re.findall(r"^\d+: \w+: <", result.stdout, re.MULTILINE)) == 1, "only lo"


def test_links_and_parts_exist() -> None:
    links = re.findall(r"\]\((?!https:)([^)]+)\)", README)
    parts = re.findall(r"`((?:hack|tests|pyoci)/[\w/.-]*)[` ]", README)
    layers = re.findall(r"[├└]──── ([\w/]+(?:\.py)?)", README)
    assert len(layers) > 8
    wanted = links + parts + [f"pyoci/{name}" for name in layers]
    assert [name for name in wanted if not (REPOSITORY / name).exists()] == []
