# SPDX-License-Identifier: Apache-2.0
"""Attacks run against pyoci; with --runtime PATH against any other runtime."""

from __future__ import annotations

import os

import pytest

from ..lifecycle.conftest import busybox, container, containers, place, pyoci_program, runtime

__all__ = ["busybox", "container", "containers", "place", "pyoci_program", "runtime"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames:
        paths = metafunc.config.getoption("--runtime") or ["pyoci"]
        metafunc.parametrize("runtime", paths, ids=[os.path.basename(path) for path in paths], indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if str(item.path).startswith(here):
            for name in ("needs_root", "needs_busybox", "needs_cgroups"):
                item.add_marker(getattr(pytest.mark, name))
