# SPDX-License-Identifier: Apache-2.0
"""The rows of tests/lifecycle/hindrances.py mean tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .lifecycle.hindrances import NO_CGROUP_OF_HIS_OWN, ORDINARY_USER, SYSTEMD, applies

LIFECYCLE = Path(__file__).parent / "lifecycle"
NAMES = [name for rows in (ORDINARY_USER, NO_CGROUP_OF_HIS_OWN, SYSTEMD) for names in rows.values() for name in names]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_means_a_test(name: str) -> None:
    module, _, function = name.partition(" ")[0].partition("::")
    assert re.search(rf"^(?:def|class) {function or 'test_'}", (LIFECYCLE / f"{module}.py").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "test", "expected"),
    [
        ("test_run", "test_run.py::test_a", True),
        ("test_run", "test_running.py::test_a", False),
        ("test_run::test_a", "test_run.py::test_a[pyoci-/no/slice]", True),
        ("test_run::test_a", "test_run.py::test_b", False),
        ("test_run::test_a own users", "test_run.py::test_a[pyoci-own users-nice]", True),
        ("test_run::test_a own users", "test_run.py::test_a[pyoci-host users-nice]", False),
    ],
)
def test_which_tests_a_row_means(name: str, test: str, expected: bool) -> None:
    assert applies(name, f"tests/lifecycle/{test}") == expected
