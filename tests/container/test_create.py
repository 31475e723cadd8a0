# SPDX-License-Identifier: Apache-2.0
"""create: what it writes, what it claims first, and what it leaves when it fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from tests.container.boxes import Box, Failed

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def test_a_container_that_waits(box: Box) -> None:
    box.create()
    assert box.status() == "created"
    box.start()
    assert box.status() == "running"


def test_a_cgroup_in_use_stays_in_use(boxes: Callable[[], Box]) -> None:
    first, second = boxes(), boxes()
    second.config["linux"]["cgroupsPath"] = f"/{first.id}"
    first.run("sleep", "1000")
    with pytest.raises(Failed, match="cgroup is not empty"):
        second.create()
    assert first.status() == "running"
    assert second.left() == []


def test_hooks_in_the_container_need_not_read_their_state(box: Box) -> None:
    """Who writes it to them must live on, though its signals are back at their defaults, and it is no init to be spared."""
    box.config["linux"]["namespaces"] = [{"type": "mount"}]
    box.config["annotations"] = {"long": "x" * 200_000}
    box.config["hooks"] = {"createContainer": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]}
    box.create()
    box.start()
    assert box.status() == "running"
