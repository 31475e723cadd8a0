# SPDX-License-Identifier: Apache-2.0
"""A world of its own for one program that drives a container runtime, and the end of all that it leaves in it.

The program runs in a scratch directory, in mount and cgroup namespaces of its own: what it takes for the roots of the cgroup
hierarchies are cgroups that were made for it. So two programs that use the same cgroup path do not meet, and whatever
lies below is its own. The caller of `World.run` adopts the orphans, as a container engine does; so whatever
runs at the end, as a child of the caller, was started by the program.

Needs root, and unshare(1).
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
CGROUP_ROOT = "/sys/fs/cgroup"

_PASS_ON = """for controller in $(cat {0}/cgroup.controllers); do
    echo +$controller >{0}/cgroup.subtree_control || echo "cannot pass on $controller" >&2
done"""
"""Shell commands that give a cgroup's controllers to its children, as far as they can be had."""


def adopt_orphans() -> None:
    """Make this process the parent of all descendants whose parents end."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


@dataclass(frozen=True)
class Hierarchy:
    """A cgroup hierarchy: where it is mounted, whether it is that of cgroup v2, and the controllers that one of v1 has."""

    mount: Path
    unified: bool
    controllers: tuple[str, ...] = ()


def hierarchies() -> list[Hierarchy]:
    """What is mounted below CGROUP_ROOT, less what is hidden by later mounts."""
    known = {line.split()[0] for line in Path("/proc/cgroups").read_text().splitlines()}
    found: dict[str, Hierarchy] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind = fields[fields.index("-") + 1]
        if kind in ("cgroup", "cgroup2") and fields[4].startswith(CGROUP_ROOT):
            controllers = () if kind == "cgroup2" else tuple(name for name in fields[-1].split(",") if name in known)
            found[fields[4]] = Hierarchy(Path(fields[4]), kind == "cgroup2", controllers)
    return [one for one in found.values() if (one.mount / "cgroup.procs").exists()]


@dataclass(frozen=True)
class Ending:
    """How a program ended: its wait status as a shell shows it, None if its time ran out; and what it printed."""

    status: int | None
    out: str
    err: str


class World:
    """A scratch directory and cgroups for one program; a context manager that takes them away with all that is in them.

    With `cgroup2` the program sees nothing but cgroup v2, as on a host that has no other.
    """

    def __init__(self, name: str, cgroup2: bool = False) -> None:
        self.cgroup2 = cgroup2
        self.hierarchies = [one for one in hierarchies() if one.unified or not cgroup2]
        self.scratch = Path(tempfile.mkdtemp(prefix=f"conformance-{name}-"))
        self.scratch.chmod(0o755)  # the container's root user may be an ordinary one outside
        self.cgroups = [one.mount / self.scratch.name for one in self.hierarchies]

    def __enter__(self) -> World:
        try:
            for hierarchy, cgroup in zip(self.hierarchies, self.cgroups, strict=True):
                _make_cgroup(hierarchy, cgroup)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def run(self, argv: list[str], environment: dict[str, str], seconds: float) -> Ending:
        """Run a program in this world until it ends or its time is over, and end all that it started."""
        out, err = self.scratch / "stdout", self.scratch / "stderr"
        writing = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawnp(
            "sh",
            ["sh", "-ec", self._entrance(), "sh", *argv],
            {**os.environ, **environment},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(out), writing, 0o600),
                (os.POSIX_SPAWN_OPEN, 2, str(err), writing, 0o600),
            ],
            setpgroup=0,
        )
        try:
            status = _wait_for(pid, time.monotonic() + seconds)
        finally:
            self._end_processes()
        return Ending(status, out.read_text(errors="replace"), err.read_text(errors="replace"))

    def _entrance(self) -> str:
        """A shell script that enters this world and runs its arguments there."""
        outside = [f"cd {shlex.quote(str(self.scratch))}"]
        outside += [f"echo $$ >{shlex.quote(str(cgroup))}/cgroup.procs" for cgroup in self.cgroups]
        inside = []
        for hierarchy, cgroup in zip(self.hierarchies, self.cgroups, strict=True):
            if hierarchy.unified:  # cgroup v2 gives no controllers to the children of a cgroup with processes
                leaf = shlex.quote(str(cgroup / "leaf"))
                inside += [f"mkdir {leaf}", f"echo $$ >{leaf}/cgroup.procs", _PASS_ON.format(shlex.quote(str(cgroup)))]
            if not self.cgroup2:
                inside.append(f"mount --bind {shlex.quote(str(cgroup))} {shlex.quote(str(hierarchy.mount))}")
        if self.cgroup2:
            inside += [f"mount -t tmpfs none {CGROUP_ROOT}", f"mount -t cgroup2 none {CGROUP_ROOT}"]
        script = "\n".join([*inside, 'exec "$@"'])
        return "\n".join([*outside, f'exec unshare --mount --cgroup sh -ec {shlex.quote(script)} sh "$@"'])

    def _end_processes(self) -> None:
        """Kill all children, and those that they leave, until there are none. The frozen ones are thawed first."""
        while pids := _children():
            for directory in self._cgroups_below():
                for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                    with suppress(OSError):
                        (directory / file).write_text(word)
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in pids:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _cgroups_below(self) -> list[Path]:
        """The cgroups of this world, children before parents."""
        return [Path(place) for top in self.cgroups for place, _, _ in os.walk(top, topdown=False)]

    def _remove(self) -> None:
        self._end_processes()
        for cgroup in self._cgroups_below():
            _remove_cgroup(cgroup)
        shutil.rmtree(self.scratch)


def _make_cgroup(hierarchy: Hierarchy, cgroup: Path) -> None:
    """Make a cgroup that may do what its parent may."""
    if hierarchy.unified:
        subprocess.run(["sh", "-c", _PASS_ON.format(shlex.quote(str(hierarchy.mount)))], check=True)
    cgroup.mkdir()
    for name in ("cpuset.cpus", "cpuset.mems"):
        inherited = hierarchy.mount / name
        if inherited.exists() and not hierarchy.unified:
            (cgroup / name).write_text(inherited.read_text())


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup once its processes, all killed by now, have left it."""
    deadline = time.monotonic() + 30
    while True:
        try:
            cgroup.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _children() -> list[int]:
    pids: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):
            pids += map(int, (thread / "children").read_text().split())
    return pids


def _wait_for(pid: int, deadline: float) -> int | None:
    """The exit status of a child; None if it still runs at the deadline. Buries everyone who dies meanwhile."""
    while time.monotonic() < deadline:
        dead, status = os.waitpid(-1, os.WNOHANG)
        if dead == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if dead == 0:
            time.sleep(0.01)
    return None
