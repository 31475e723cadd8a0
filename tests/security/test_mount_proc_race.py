# SPDX-License-Identifier: Apache-2.0
"""Two containers share files, and one of them races the other's way to /proc (CVE-2019-19921, CVE-2023-27561)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..lifecycle.configs import bind
from ..lifecycle.harness import Container
from .blocking import compiled

pytestmark = [pytest.mark.needs_compiler]

MASKED = ("keys", "timer_list")
READONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
WRITTEN = (
    "sys/net/ipv4/ip_forward",
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "self/oom_score_adj",
    "self/setgroups",
)
FAKE = "nobody may write here\n"


def fake_proc(directory: Path) -> list[int]:
    """What a runtime would take for the kernel's files, were it led there, as descriptors: their names will change."""
    opened = []
    for name in WRITTEN:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(FAKE)
        opened.append(os.open(directory / name, os.O_RDONLY | os.O_CLOEXEC))
    return opened


def mounts_of(pid: int) -> list[list[str]]:
    """The lines of a process's mountinfo (proc(5)), in fields."""
    return [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]


def everything_lies_in_a_procfs(pid: int) -> None:
    """Wherever /proc has been moved to by now: masks and read-only paths are mounted on a procfs, and all are there."""
    mounts = mounts_of(pid)
    procs = {fields[0] for fields in mounts if fields[fields.index("-") + 1] == "proc"}
    covered = {fields[4].rpartition("/")[2] for fields in mounts if fields[1] in procs}
    wanted = {name for name in (*MASKED, *READONLY) if Path("/proc", name).exists()}
    assert covered >= wanted, f"not covered: {wanted - covered}, in {mounts}"


@pytest.fixture
def attacker(containers: Callable[[], Container], place: Path) -> Container:
    """A container that has another's files as a volume, and a program to exchange names in it."""
    container = containers()
    shutil.copy(compiled("swap", place), container.rootfs / "bin" / "swap")
    return container


@pytest.mark.parametrize("what", ["a link", "a directory"])
def test_proc_race(containers: Callable[[], Container], attacker: Container, race_seconds: float, what: str) -> None:
    """The image's /proc is exchanged for something else all the time that the container is made."""
    container = containers()
    fakes = fake_proc(container.rootfs / "fake")
    if what == "a link":
        (container.rootfs / "other").symlink_to("fake")
    else:
        fakes += fake_proc(container.rootfs / "other")
    container.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    container.process["oomScoreAdj"] = 100
    attacker.mounts.append(bind(container.rootfs, "/shared", "rbind"))
    attacker.launch("swap", "/shared/proc", "/shared/other")
    attacker.prints("ready")
    try:
        made = tried = 0
        deadline = time.monotonic() + race_seconds
        while time.monotonic() < deadline or tried < 6:
            tried += 1
            if container.create(args=["sleep", "1000"]).status == 0:
                made += 1
                everything_lies_in_a_procfs(container.pid)
                assert Path(f"/proc/{container.pid}/oom_score_adj").read_text() == "100\n"
                container.delete("--force").ok()
            container.reap()
            assert all(os.pread(fd, 100, 0) == FAKE.encode() for fd in fakes), "a fake was written to"
    finally:
        for fd in fakes:
            os.close(fd)
    assert made or what == "a link", "nothing could be made at all"
