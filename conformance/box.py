# SPDX-License-Identifier: Apache-2.0
"""A container that tells what it finds around itself, and the world in which a test has it."""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lifecycle.harness import CGROUP_ROOT, Container, Runtime, eventually, mounts_below

SOURCE = Path(__file__).with_name("payload.c")
PAYLOAD = "/payload"
"""Where a container has it."""

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_SHARED, MS_PRIVATE = 0x1000, 0x4000, 1 << 20, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


@contextmanager
def unshared(flags: int) -> Iterator[int]:
    """The pid of a process that sleeps in new namespaces."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare(flags)
            os.write(writing, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writing)
    try:
        assert os.read(reading, 1), "it could not be done"
        yield pid
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def host_mount(source: str, target: Path | str, kind: str = "none", flags: int = 0, data: str | None = None) -> None:
    """mount(2), in the test's own mount namespace."""
    arguments = (source.encode(), os.fsencode(target), kind.encode(), flags, None if data is None else data.encode())
    _checked(_libc.mount(*arguments), f"mount {kind} at {target}")


def cgroup2_alone() -> None:
    """Let this process see cgroup version 2 and none of version 1, whatever the host has."""
    if not (CGROUP_ROOT / "cgroup.controllers").exists():
        host_mount("none", CGROUP_ROOT, "tmpfs")
        host_mount("none", CGROUP_ROOT, "cgroup2")


def build_payload(directory: Path) -> Path:
    """Compile the payload, statically.  Raises SystemExit where no compiler can."""
    target = directory / "payload"
    errors = "neither musl-gcc nor cc is there"
    for compiler in filter(None, map(shutil.which, ("musl-gcc", "cc"))):
        made = subprocess.run(
            [compiler, "-std=gnu11", "-Wall", "-O1", "-static", "-o", str(target), str(SOURCE)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        if made.returncode == 0:
            target.chmod(0o755)
            return target
        errors = made.stderr
    raise SystemExit(f"cannot build the payload: {errors.strip()}")


@dataclass(frozen=True)
class MountInfo:
    point: str
    kind: str
    options: set[str]
    super_options: set[str]
    propagation: set[str]
    """Which of shared, master and unbindable it is."""


def parse_mountinfo(text: str) -> list[MountInfo]:
    """See proc_pid_mountinfo(5)."""
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        dash = fields.index("-")
        tags = {tag.partition(":")[0] for tag in fields[6:dash]}
        found.append(
            MountInfo(fields[4], fields[dash + 1], set(fields[5].split(",")), set(fields[dash + 3].split(",")), tags)
        )
    return found


class Report:
    """What the payload reported: its JSON, and what can be read off the files of /proc in it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def status(self, name: str) -> str:
        """A line of /proc/self/status."""
        for line in str(self["files"]["/proc/self/status"]).splitlines():
            if line.startswith(f"{name}:"):
                return line.partition(":")[2].strip()
        raise AssertionError(f"no {name} in /proc/self/status")

    def mounts(self) -> list[MountInfo]:
        return parse_mountinfo(self["files"]["/proc/self/mountinfo"])

    def mount(self, point: str) -> MountInfo:
        """The mount that is on top at a path."""
        found = [one for one in self.mounts() if one.point == point]
        assert found, f"nothing is mounted at {point}"
        return found[-1]


class Box(Container):
    """A container whose root holds the payload and empty directories, with the base config and the payload as its process."""

    def __init__(self, runtime: Runtime, scratch: Path, payload: Path, siblings: list[Container] | None = None) -> None:
        self.payload = payload
        siblings = [] if siblings is None else siblings
        name = f"conformance-{os.getpid()}-{next(_numbers)}"
        super().__init__(runtime, scratch, name, self.fill_root, siblings=siblings)
        siblings.append(self)
        self.process["args"] = [PAYLOAD, "report"]

    def fill_root(self, rootfs: Path) -> None:
        shutil.copy(self.payload, rootfs / "payload")
        for name in ("data", "dev", "proc", "sys"):  # in its own user namespace a runtime may not be able to make them
            (rootfs / name).mkdir()

    def another(self) -> Box:
        """One more container, with the same state directory; it is deleted like this one."""
        return Box(self.runtime, self.scratch, self.payload, self.siblings)

    # Calls.

    def look(self, *paths: str, delete: bool = True) -> Report:
        """What the container finds, in a whole life from create to delete."""
        if paths:
            self.process["args"] += paths
        self.create().ok()
        self.start().ok()
        assert self.wait() == 0, f"the payload failed: {self.error_file.read_text()}"
        report = self.report()
        if delete:
            self.delete().ok()
        return report

    def report(self) -> Report:
        """What the payload has written to standard output; it must have by now, or soon."""
        eventually(f"a report of {self.id}", lambda: "\n" in self.printed())
        return Report(json.loads(self.printed().splitlines()[0]))

    def hold(self, *paths: str) -> Report:
        """Create and start a container that lives until it gets a signal; what it finds."""
        self.process["args"] = [PAYLOAD, "hold", *paths]
        self.create().ok()
        self.start().ok()
        return self.report()

    def end(self) -> None:
        """Kill the container and delete it."""
        self.kill("KILL").ok()
        self.wait()
        self.delete().ok()

    def works(self) -> None:
        """The container can be created. It is deleted at once."""
        self.create().ok()
        self.kill("KILL").ok()
        self.wait()
        self.delete().ok()

    def refuses(self) -> None:
        """Create fails, and there is no container then; one with the base config can be had in this very world."""
        self.another().works()
        self.refused()

    def refused(self) -> None:
        """Create fails, and there is no container then."""
        result = self.create()
        assert result.status != 0, f"create should fail: {result}"
        assert self.call("state", self.id).status != 0, "create failed, but the container exists"

    # The host's view.

    def cgroup(self, controller: str) -> Path:
        """The directory of the created container's cgroup, for a controller of version 1 or, where it is alone, of 2."""
        lines = [line.split(":", 2) for line in Path(f"/proc/{self.pid}/cgroup").read_text().splitlines()]
        if (CGROUP_ROOT / "cgroup.controllers").exists():
            return CGROUP_ROOT / next(path for _, names, path in lines if not names).lstrip("/")
        path = next(path for _, names, path in lines if controller in names.split(","))
        return CGROUP_ROOT / controller / path.lstrip("/")

    def namespaces(self) -> dict[str, str]:
        """The namespaces of the created container's process."""
        return namespaces(self.pid)

    @contextmanager
    def volume(self, *, shared: bool = False) -> Iterator[Path]:
        """A directory of the host with a file system mounted on it and another below that, at `below`."""
        path = self.scratch / "volume"
        path.mkdir()
        host_mount("volume", path, "tmpfs", data="mode=755")
        host_mount("none", path, flags=MS_SHARED if shared else MS_PRIVATE)
        (path / "below").mkdir()
        host_mount("below", path / "below", "tmpfs", data="mode=755")
        (path / "file").write_text("outer")
        (path / "below" / "file").write_text("inner")
        try:
            yield path
        finally:
            for point in mounts_below(path):
                _libc.umount2(os.fsencode(point), 2)


def namespaces(pid: int | str = "self") -> dict[str, str]:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds}


@functools.cache
def capabilities() -> int:
    """The effective capabilities of this process, as the mask that the kernel shows."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    raise AssertionError("no CapEff in /proc/self/status")
