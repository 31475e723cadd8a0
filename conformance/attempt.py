# SPDX-License-Identifier: Apache-2.0
"""One test in a process of its own, and several of them at once."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.lifecycle.harness import Container, Runtime

from . import suite
from .box import CLONE_NEWNS, MS_PRIVATE, MS_REC, Box, build_payload, cgroup2_alone, host_mount, unshare
from .subject import Subject

TIME_LIMIT = 120
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIGKILL = 9


@dataclass
class Outcome:
    """How one test went."""

    test: suite.Test
    result: str
    detail: str = ""
    left: list[str] = field(default_factory=list)
    """What it left behind, one line each."""


def prepare(cgroup2: bool) -> None:
    """Make this process the world of one test."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    signal.signal(
        signal.SIGTERM, lambda *_: None
    )  # it ends soon, and takes back what it made; what it executes is asked
    unshare(CLONE_NEWNS)
    host_mount("none", "/", flags=MS_REC | MS_PRIVATE)
    if cgroup2:
        cgroup2_alone()


def attempt(test: suite.Test, subject: Subject, scratch: Path, payload: Path) -> Outcome:
    """Run a test, and take away what it left."""
    containers: list[Container] = []
    try:
        test.proof(Box(Runtime(subject.name, subject.path), scratch, payload, containers))
        outcome = Outcome(test, "pass")
    except suite.Skipped as reason:
        outcome = Outcome(test, "skip", str(reason))
    except AssertionError as error:
        outcome = Outcome(test, "fail", str(error) or where(error))
    except BaseException as error:  # an interruption, too: what was made has to go
        outcome = Outcome(test, "fail", f"{type(error).__name__}: {error} ({where(error)})")
    for container in reversed(containers):
        try:
            outcome.left += container.clean_up()
        except AssertionError as error:
            outcome.left.append(str(error))
    return outcome


def where(error: BaseException) -> str:
    """The line of a proof that an exception came from."""
    last = [frame for frame in traceback.extract_tb(error.__traceback__) if "conformance" in frame.filename][-1]
    return f"{Path(last.filename).name}:{last.lineno}: {last.line}"


class Attempt:
    """A test under way, in a process of its own."""

    def __init__(self, test: suite.Test, subject: Subject, place: Path, payload: Path, cgroup2: bool) -> None:
        self.test = test
        self.scratch = Path(tempfile.mkdtemp(dir=place))
        self.scratch.chmod(0o755)
        self.answer = self.scratch.with_suffix(".json")
        self.deadline = time.monotonic() + TIME_LIMIT
        self.pid = os.fork()
        if self.pid == 0:
            try:
                prepare(cgroup2)
                outcome = attempt(test, subject, self.scratch, payload)
                self.answer.write_text(json.dumps([outcome.result, outcome.detail, outcome.left]))
            except BaseException:
                traceback.print_exc()
            os._exit(0)

    def outcome(self) -> Outcome | None:
        """How it went; None while it goes on. A test that takes longer than TIME_LIMIT has failed."""
        unknown = [f"whatever it has made: {self.scratch}"]
        if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() < self.deadline:
                return None
            os.kill(self.pid, SIGKILL)
            os.waitpid(self.pid, 0)
            return Outcome(self.test, "fail", f"not done within {TIME_LIMIT} s", unknown)
        if not self.answer.exists():
            return Outcome(self.test, "fail", "its process ended without an answer", unknown)
        result, detail, left = json.loads(self.answer.read_text())
        shutil.rmtree(self.scratch, ignore_errors=True)
        return Outcome(self.test, result, detail, left)


def run(tests: list[suite.Test], subject: Subject, jobs: int, cgroup2: bool) -> Iterator[Outcome]:
    """The outcomes of the tests, in their order."""
    place = Path(tempfile.mkdtemp(prefix="conformance-"))
    place.chmod(0o755)
    waiting, under_way = list(reversed(tests)), list[Attempt]()
    done: dict[str, Outcome] = {}
    try:
        payload = build_payload(place)
        for test in tests:
            while test.name not in done:
                while waiting and len(under_way) < jobs:
                    under_way.append(Attempt(waiting.pop(), subject, place, payload, cgroup2))
                ended = {one: outcome for one in under_way if (outcome := one.outcome()) is not None}
                under_way = [one for one in under_way if one not in ended]
                done |= {one.test.name: outcome for one, outcome in ended.items()}
                if not ended:
                    time.sleep(0.005)
            yield done.pop(test.name)
    finally:
        for one in under_way:
            os.waitpid(one.pid, 0)
        shutil.rmtree(place, ignore_errors=True)
