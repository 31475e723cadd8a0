# SPDX-License-Identifier: Apache-2.0
"""Where the cases run: the runtime, its containers, and what counts as left behind."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ...lifecycle import harness
from ...lifecycle.harness import Container, Result, Runtime, cgroups_named, children, mounts_below

PATIENCE = 30.0
"""No command without a container to wait for may take longer, in seconds."""

APPLETS = ("sh", "cat", "echo", "false", "ls", "mkdir", "sleep", "true")
PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
LIMITS = {"memory": {"limit": 64 << 20}, "pids": {"limit": 100}}
CGROUP2 = (b"tmpfs", b"cgroup2")
OWN_DIRECTORIES = ("/run", "/dev/shm")
INSIDE = (
    "Traceback (most recent call last)",
    "Exception ignored in",
    "Fatal Python error",
    "internal error",
    "goroutine 1 [",
)
"""What nobody may ever be shown."""

Case = Callable[["World"], str]
CASES: dict[str, Case] = {}


class Skipped(Exception):
    """A case that this machine cannot run, and why."""


def case(function: Case) -> Case:
    """Register a case under its name."""
    CASES[function.__name__] = function
    return function


class Sizes(NamedTuple):
    """Commands to kill, faults to inject, rounds of races and of growth, containers at once, and configs to mutate."""

    kills: int
    faults: int
    rounds: int
    many: int
    mutations: int


class World:
    """One run of the suite. `sizes` say how much is done of what is done more than once; `seed` makes it repeatable.

    cgroup2: in a world that has cgroup version 2 alone, with those controllers that the host does not use otherwise.
    """

    def __init__(self, program: str, sizes: Sizes, seed: int, cgroup2: bool = False) -> None:
        self.cgroup2 = cgroup2
        self.kills, self.faults, self.rounds, self.many, self.mutations = sizes
        self.chance = random.Random(seed)
        self.runtime = Runtime(os.path.basename(program), program)
        self.token = f"torture-{os.getpid()}"
        self.numbers = itertools.count(1)
        self.boxes: list[Container] = []

    def __enter__(self) -> World:
        harness.PATIENCE = PATIENCE
        libc = ctypes.CDLL(None, use_errno=True)
        # Whoever a killed command leaves behind comes to us; whatever it leaves mounted is in nobody else's way.
        # Where programs of the whole machine put files we have directories of our own, so that what is found there is
        # the runtime's.
        for result in (
            libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0),
            libc.unshare(CLONE_NEWNS),
            libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None),
            *(libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, b"mode=1777") for path in OWN_DIRECTORIES),
            *(libc.mount(kind, os.fsencode(harness.CGROUP_ROOT), kind, 0, None) for kind in CGROUP2 if self.cgroup2),
        ):
            if result != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{self.token}-"))
        self.scratch.chmod(0o755)
        self.temporary = self.scratch / "tmp"
        self.temporary.mkdir()
        self.runtime.environment = {"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": str(self.temporary)}
        busybox = shutil.which("busybox")
        if busybox is None:
            raise Skipped("there is no busybox to run in containers")
        self.busybox = self.scratch / "busybox"
        shutil.copyfile(busybox, self.busybox)
        self.busybox.chmod(0o755)
        self.witness = self.box()
        try:
            self.witness.launch("sleep", "1000000")  # longer than any run of the suite
        except BaseException:
            self.__exit__()
            raise
        self.groups_of_witness = set(cgroups_named(self.witness.id))
        return self

    def __exit__(self, *ignored: object) -> None:
        for box in reversed(self.boxes):
            with contextlib.suppress(AssertionError):
                box.clean_up()
        for point in mounts_below(self.scratch):  # which a killed runtime has left beside its record
            subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def fill(self, rootfs: Path) -> None:
        for directory in ("bin", "dev", "etc", "proc", "sys", "tmp"):
            (rootfs / directory).mkdir()
        os.link(self.busybox, rootfs / "bin" / "busybox")
        for applet in APPLETS:
            (rootfs / "bin" / applet).symlink_to("busybox")

    def box(self) -> Container:
        """A container, not created yet, that is cleaned up at the end at the latest."""
        name = f"{self.token}-{next(self.numbers)}"
        box = Container(self.runtime, self.scratch, name, self.fill, siblings=self.boxes)
        box.root.mkdir(exist_ok=True)
        box.process["args"] = ["sleep", "1000"]
        resources = box.config["linux"]["resources"]
        resources |= {name: limit for name, limit in LIMITS.items() if harness.has_controller(name)}
        self.boxes.append(box)
        return box

    def release(self, box: Container) -> None:
        """Forget a container whose end has been checked."""
        self.boxes.remove(box)
        shutil.rmtree(box.bundle, ignore_errors=True)

    @contextlib.contextmanager
    def container(self) -> Iterator[Container]:
        """A container that must be gone without a trace by the end of the block, `delete --force` having been called."""
        box = self.box()
        try:
            yield box
            self.cleared(box)
        except BaseException:
            box.clean_up()  # or one fault would be counted more than once
            raise
        finally:
            self.release(box)

    def cleared(self, box: Container) -> None:
        """Whatever has happened to it: the commands that look answer, `delete --force` removes all, and only its own."""
        answers(box.call("list"), 0)
        answers(box.call("state", box.id), 0, 1)
        self.deleted(box)
        box.leaves_nothing()
        self.witness_is_unharmed()

    def deleted(self, box: Container) -> None:
        # An init that we adopted ends only when we reap it: the runtime may be waiting for that.
        delete = box.background("delete", "--force", box.id)
        number = box.calls
        harness.eventually(f"the end of delete --force {box.id}", lambda: (box.reap(), delete.poll() is not None)[1])
        box.live.remove(delete)
        said = (box.bundle / f"stderr.{number}").read_text(errors="backslashreplace")
        assert delete.returncode == 0, f"delete --force: exit {delete.returncode}, {said}"

    def witness_is_unharmed(self) -> None:
        witness = self.witness
        state = witness.state()
        assert (state["status"], state["pid"]) == ("running", witness.pid), f"the witness is harmed: {state}"
        assert set(cgroups_named(witness.id)) == self.groups_of_witness, "the witness lost a cgroup"

    def left_over(self) -> list[str]:
        """What is still there when all but the witness are gone, and it is, too."""
        self.deleted(self.witness)
        found = self.witness.traces()
        found += [f"state {path}" for path in self.witness.root.iterdir() if self.token in path.name]
        found += [f"cgroup {path}" for path in cgroups_named(self.token)]
        found += [f"mount {path}" for path in mounts_below(self.scratch)]
        found += [f"process {pid}" for pid in children()]
        return list(dict.fromkeys(found))


def answers(result: Result, *statuses: int) -> Result:
    """The call ended with one of these statuses, and if not with 0 then with a word that is no look into its inside."""
    assert result.status in statuses, f"{result}"
    assert result.status == 0 or result.err.strip(), f"failed without a word: {result}"
    for word in INSIDE:
        assert word not in result.out + result.err, f"shows its inside: {result}"
    return result


def together(box: Container, calls: list[list[str]]) -> list[Result]:
    """Make calls at the same time; their results in the same order."""
    started = []
    for arguments in calls:
        process = box.background(*arguments)
        started.append((process, box.calls, arguments))
    results = []
    for process, number, arguments in started:
        deadline = time.monotonic() + 2 * PATIENCE  # a lock may be waited for, and then be given up
        while process.poll() is None and time.monotonic() < deadline:
            box.reap()
            time.sleep(0.002)
        hangs = process.poll() is None
        if hangs:
            process.kill()
            process.wait()
        box.live.remove(process)
        out, err = (
            (box.bundle / f"{name}.{number}").read_text(errors="backslashreplace") for name in ("stdout", "stderr")
        )
        result = Result(arguments, process.returncode, out, err)
        assert not hangs, f"hung: {result}"
        results.append(result)
    return results


def collect(complaints: list[str], total: int, what: str) -> str:
    """The remark on a case of many tries; fails if there is a complaint, showing some."""
    remark = f"{total - len(complaints)} of {total} {what}"
    if complaints:
        raise AssertionError("\n".join([remark, *complaints[:12]]))
    return remark


@contextlib.contextmanager
def stranger(world: World, start: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that has nothing to do with a container, and must survive whatever happens to one."""
    process = start()
    world.witness.live.append(process)
    try:
        yield process
        assert process.poll() is None, "a stranger was killed"
    finally:
        process.kill()
        process.wait()
        world.witness.live.remove(process)


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "1000"])
