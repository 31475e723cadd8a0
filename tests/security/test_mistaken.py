# SPDX-License-Identifier: Apache-2.0
"""What may be taken for something that it is not: a live process for a dead one, a name for a line, others for ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..lifecycle.harness import Container, eventually, process_state
from ..lifecycle.test_mounts import host_mount
from .blocking import compiled


@pytest.mark.needs_compiler
def test_who_ends_its_first_thread_has_not_stopped(container: Container, place: Path) -> None:
    """It could not be killed then, and deleted while it runs."""
    program = container.rootfs / "bin" / "survive"
    program.write_bytes(compiled("survive", place).read_bytes())
    program.chmod(0o755)
    container.launch("survive")
    eventually("the end of its first thread", lambda: process_state(container.pid) == "Z")
    assert container.status == "running"
    container.delete().refused("running")
    container.kill("KILL").ok()
    container.becomes("stopped")
    container.delete().ok()
    container.leaves_nothing()


@pytest.mark.parametrize("end", ["\r", "\v", "\x1c", "\x85", "\u2028"])
def test_a_mount_by_any_name_keeps_nobody_from_making_containers(container: Container, end: str) -> None:
    """The kernel leaves these as they are in mountinfo. Whoever may rename the directory of a volume may have one there."""
    with host_mount(container.scratch / f"a{end}b"):
        container.run(args=["true"]).ok()
        container.leaves_nothing()


def test_who_got_the_cgroup_of_a_container_that_has_ended(containers: Callable[[], Container]) -> None:
    first, second = containers(), containers()
    second.linux["cgroupsPath"] = first.linux["cgroupsPath"] = f"/{first.id}"
    first.launch("sleep", "1000")
    first.kill("KILL").ok()
    first.wait()
    second.launch("sleep", "1000")
    first.delete().ok()
    assert second.status == "running"
    assert second.exec("echo", "hello").ok().out == "hello\n"
