# SPDX-License-Identifier: Apache-2.0
"""Over some files of procfs others may be bound, so that programs see the container's limits: lxcfs makes such files."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .configs import bind
from .harness import MNT_DETACH, PATIENCE, Container, eventually

LIBC = ctypes.CDLL(None, use_errno=True)
COVERED = ["cpuinfo", "diskstats", "loadavg", "meminfo", "slabinfo", "stat", "swaps", "uptime"]
MIB = 1 << 20


@pytest.fixture
def lxcfs(container: Container) -> Iterator[Path]:
    """The files of an lxcfs of our own."""
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")
    place = container.scratch / "lxcfs"
    place.mkdir()
    log = (container.scratch / "lxcfs.log").open("w+")
    command = ["lxcfs", "-f", "-p", str(container.scratch / "lxcfs.pid"), str(place)]
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually("lxcfs", lambda: (place / "proc").exists() or server.poll() is not None)
        if server.poll() is not None:
            log.seek(0)
            pytest.fail(f"lxcfs does not run here: {log.read()}")
        yield place
    finally:
        LIBC.umount2(os.fsencode(place), MNT_DETACH)
        server.send_signal(signal.SIGTERM)
        server.wait(PATIENCE)
        log.close()


@pytest.fixture
def limited(container: Container, lxcfs: Path) -> Container:
    """A container of 64 MB and one CPU, with lxcfs's files in place of the kernel's."""
    container.resources["memory"] = {"limit": 64 * MIB, "swap": 64 * MIB}
    container.resources["cpu"] = {"cpus": "0"}
    covered = [name for name in COVERED if (lxcfs / "proc" / name).exists()]
    container.mounts[:] += [bind(lxcfs / "proc" / name, f"/proc/{name}", "bind") for name in covered]
    assert {"cpuinfo", "meminfo", "stat", "uptime"} <= set(covered)
    return container


@pytest.mark.needs_lxcfs
@pytest.mark.needs_root
def test_the_limit_of_memory(limited: Container) -> None:
    """Where free(1) of procps looks; that of busybox asks the kernel."""
    assert limited.output("grep", "MemTotal", "/proc/meminfo").split() == ["MemTotal:", str(64 * 1024), "kB"]


@pytest.mark.needs_lxcfs
@pytest.mark.needs_root
def test_top_shows_the_limits(limited: Container) -> None:
    first, second = limited.output("top", "-b", "-n", "1").splitlines()[:2]
    words = first.replace(",", "").split()
    used, free = (int(words[words.index(word) - 1].removesuffix("K")) for word in ("used", "free"))
    assert words[0] == "Mem:"
    assert used + free == 64 * 1024
    assert second.startswith("CPU:")


@pytest.mark.needs_lxcfs
@pytest.mark.needs_root
def test_the_number_of_cpus(limited: Container) -> None:
    assert limited.sh("nproc; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat") == "1\n1\n1\n"


@pytest.mark.needs_lxcfs
@pytest.mark.needs_root
def test_uptime_is_that_of_the_container(limited: Container) -> None:
    assert float(limited.output("cat", "/proc/uptime").split()[0]) <= PATIENCE


@pytest.mark.parametrize("name", [*COVERED, "sys/kernel/ns_last_pid"])
def test_what_may_be_covered(container: Container, name: str) -> None:
    """With a file of ours, that only has to look like one of procfs's."""
    if not Path("/proc", name).exists():
        pytest.skip(f"needs /proc/{name}")
    ours = container.scratch / "ours"
    ours.write_text("ours\n")
    container.mounts.append(bind(ours, f"/proc/{name}", "bind", "ro"))
    assert container.output("cat", f"/proc/{name}") == "ours\n"
