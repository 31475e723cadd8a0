# SPDX-License-Identifier: Apache-2.0
"""Run the validation programs of opencontainers/runtime-tools on a container runtime, and tell how it went.

The programs are not part of this project, and nothing here fetches them. Each runs as its project's `make localvalidation`
would run it: in a directory with the root filesystem's archive and `runtimetest`, the runtime's name in RUNTIME, judged by
its exit status and the TAP that it prints. Only the place is ours, see world.py.

expected.toml names the programs that cannot pass, with the reason for each. They run all the same and are shown with the
others, but do not count as failures; if one of them passes, that is one, since the file is wrong then.

--json writes what conformance/run writes (see runner.py); the id of a result is its program's name, and those that are not
expected to pass have the reason in one more key, `expected`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import tap
from .subject import ask
from .world import CGROUP_ROOT, Ending, World, adopt_orphans, hierarchies

EXPECTATIONS = Path(__file__).with_name("expected.toml")
TIME_LIMIT = 180
"""Seconds that a program may take. None takes a third of it here, but most wait a second between two looks at a container."""

CAP_SYS_RESOURCE = 24


Probe = Callable[[bool], bool]
"""Whether the programs find the host so; its argument is whether they see nothing but cgroup v2."""


def without_v1(controller: str) -> Probe:
    """A probe: is there no hierarchy of cgroup v1 with this controller?"""
    return lambda cgroup2: cgroup2 or not any(controller in one.controllers for one in hierarchies())


def without_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text()
    held = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return not int(held, 16) >> number & 1


def without_kernel_memory_limit() -> bool:
    """Linux 5.16 deprecated it, and takes no notice of what is written there."""
    major, minor = platform.release().split(".")[:2]
    return (int(major), int(minor)) >= (5, 16)


PROBES: dict[str, Probe] = {
    "without blkio.leaf_weight": lambda cgroup2: cgroup2 or not Path(CGROUP_ROOT, "blkio/blkio.leaf_weight").exists(),
    "without hugetlb of cgroup v1": without_v1("hugetlb"),
    "without net_cls of cgroup v1": without_v1("net_cls"),
    "without cpu of cgroup v1": without_v1("cpu"),
    "without devices of cgroup v1": without_v1("devices"),
    "without pids of cgroup v1": without_v1("pids"),
    "without a limit for kernel memory": lambda _: without_kernel_memory_limit(),
    "without SELinux": lambda _: not Path("/sys/fs/selinux/enforce").exists(),
    "without CAP_SYS_RESOURCE": lambda _: without_capability(CAP_SYS_RESOURCE),
}
"""What an expectation's `where` may say of the host."""


@dataclass(frozen=True)
class Expected:
    """Why a program is not expected to pass. `always` is false where it may be lucky."""

    reason: str
    always: bool = True


@dataclass(frozen=True)
class Outcome:
    """How one program went."""

    program: str
    passed: bool
    detail: str = ""
    """What spoke against it."""
    expected: Expected | None = None

    @property
    def surprising(self) -> bool:
        if self.expected is None:
            return not self.passed
        return self.passed and self.expected.always

    def line(self) -> str:
        if self.expected is None:
            return f"pass  {self.program}" if self.passed else f"fail  {self.program}: {self.detail}"
        if self.surprising:
            return f"fail  {self.program}: it passes, though {EXPECTATIONS.name} says: {self.expected.reason}"
        return f"{'pass ' if self.passed else 'known'} {self.program}: {self.expected.reason}"

    def result(self) -> dict[str, str]:
        result = {"id": self.program, "test": self.program, "result": "pass" if self.passed else "fail"}
        result["detail"] = self.detail
        if self.expected is not None:
            result["expected"] = self.expected.reason
        return result


def read_expectations(text: str, cgroup2: bool = False) -> dict[str, Expected]:
    """The programs that are not expected to pass on this host. Raises KeyError for a `where` that is not in PROBES."""
    return {
        name: Expected(entry["reason"], entry.get("always", True))
        for name, entry in tomllib.loads(text).items()
        if "where" not in entry or PROBES[entry["where"]](cgroup2)
    }


def built_programs(suite: Path) -> list[str]:
    """The names of the programs in a suite; none if it is not built."""
    return sorted(file.stem for file in suite.glob("validation/*/*.t")) if (suite / "runtimetest").exists() else []


def run_program(suite: Path, program: str, runtime: str, cgroup2: bool = False, seconds: float = TIME_LIMIT) -> Ending:
    """Run one program in a world of its own."""
    with World(program, cgroup2) as world:
        for archive in suite.glob("rootfs-*.tar.gz"):
            (world.scratch / archive.name).symlink_to(archive)
        shutil.copy(suite / "runtimetest", world.scratch)
        bundles = world.scratch / "tmp"
        bundles.mkdir()
        wrapper = world.scratch / "runtime"  # RUNTIME is one word, and the containers are not to be among the host's
        root = shlex.quote(str(world.scratch / "state"))
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(runtime)} --root {root} "$@"\n')
        wrapper.chmod(0o755)
        argv = [str(suite / "validation" / program / f"{program}.t")]
        return world.run(argv, {"RUNTIME": str(wrapper), "TMPDIR": str(bundles)}, seconds)


def judge(program: str, ending: Ending, expected: Expected | None) -> Outcome:
    complaints = list(dict.fromkeys(tap.read(ending.out).complaints))
    if ending.status is None:
        complaints.append("it did not end in time")
    elif ending.status != 0:
        complaints.append(f"it exited with status {ending.status}")
    if complaints:
        complaints += dict.fromkeys(line for line in ending.err.splitlines() if line.strip())
    return Outcome(program, not complaints, "; ".join(complaints), expected)


def parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="conformance/runtime-tools",
        description="Run the validation programs of opencontainers/runtime-tools on a container runtime.",
        epilog="Build them as their README says: make runtimetest validation-executables. Needs root, and unshare(1).",
    )
    parser.add_argument("--suite", type=Path, metavar="DIR", required=True, help="the directory of that project, built")
    parser.add_argument("--runtime", default="pyoci", metavar="PATH", help="the runtime (default: pyoci in PATH)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file, too")
    parser.add_argument(
        "--cgroup2", action="store_true", help="show the programs cgroup v2 alone, whatever this host has"
    )
    parser.add_argument("--verbose", action="store_true", help="show all that the programs print")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help="the programs to run (default: all)")
    options = parser.parse_args(arguments)
    runtime = shutil.which(options.runtime)
    if runtime is None:
        parser.error(f"there is no program {options.runtime}")
    options.runtime = os.path.abspath(runtime)
    options.suite = options.suite.resolve()
    built = built_programs(options.suite)
    if not built:
        parser.error(f"{options.suite} has no programs: build them with `make runtimetest validation-executables`")
    unknown = [name for name in options.programs if name not in built]
    if unknown:
        parser.error(f"{options.suite} has no program {' '.join(unknown)}")
    options.programs = options.programs or built
    if os.geteuid() != 0:
        parser.error("this takes root")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 if all went as expected, 1 if not, 2 for a wrong call."""
    options = parse_options(arguments)
    expectations = read_expectations(EXPECTATIONS.read_text(), options.cgroup2)
    subject = ask(options.runtime)
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was made is taken away
    outcomes = []
    for program in options.programs:
        ending = run_program(options.suite, program, options.runtime, options.cgroup2)
        outcome = judge(program, ending, expectations.get(program))
        outcomes.append(outcome)
        print(outcome.line(), flush=True)
        if options.verbose:
            print(ending.out, ending.err, sep="\n", flush=True)
    if options.json:
        report = subject.report("runtime-tools", [outcome.result() for outcome in outcomes], options.cgroup2)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    failed = sum(outcome.surprising for outcome in outcomes)
    known = sum(not outcome.passed and not outcome.surprising for outcome in outcomes)
    print(f"{known} cannot pass, as expected")
    print(f"{len(outcomes) - failed - known} passed, {failed} failed")
    return 1 if failed else 0
