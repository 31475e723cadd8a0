# SPDX-License-Identifier: Apache-2.0
"""Containers for a test, gone at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.container.boxes import Box


@pytest.fixture
def boxes(tmp_path: Path, subreaper: None) -> Iterator[Callable[[], Box]]:
    made: list[Box] = []

    def make() -> Box:
        made.append(Box(tmp_path))
        return made[-1]

    try:
        yield make
    finally:
        for box in made:
            box.close()


@pytest.fixture
def box(boxes: Callable[[], Box]) -> Box:
    return boxes()
