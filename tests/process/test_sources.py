# SPDX-License-Identifier: Apache-2.0
"""Who may open trees for init."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
ASK = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from pyoci.process import sources; print(sources._may_open_trees())"


@pytest.mark.needs_unshare
@pytest.mark.needs_user_namespaces
@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (
            ["--user", "--map-root-user", "--mount"],
            "True",
        ),  # as podman calls runtimes; mounts are locked together there
        (["--user", "--map-root-user"], "False"),
        (["--user"], "False"),
    ],
)
def test_root_of_a_user_namespace(options: list[str], answer: str) -> None:
    asked = subprocess.run(
        ["unshare", *options, sys.executable, "-B", "-c", ASK], check=True, capture_output=True, text=True
    )
    assert asked.stdout.strip() == answer
