# SPDX-License-Identifier: Apache-2.0
"""Run both suites on several runtimes, and write what came out as conformance/RESULTS.md."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import table
from .validation import CAP_SYS_RESOURCE, built_programs, without_capability
from .world import CGROUP_ROOT, hierarchies

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
SUITES = ("requirements", "runtime-tools")


def main() -> int:
    """Exit status: 0 when the table is written, whatever it says; 1 if a suite told nothing."""
    options = parse_options()
    if options.reuse:
        columns = [read_column(place) for place in sorted(options.reuse.iterdir()) if place.is_dir()]
        options.output.write_text(table.render(columns, host_facts()))
        return 0
    with tempfile.TemporaryDirectory(prefix="conformance-results-") as scratch:
        place = options.keep or Path(scratch) / "results"
        paths = [installed_pyoci(Path(scratch)), *others(options.runtime)]
        places = [place / f"{number}-{path.name}" for number, path in enumerate(paths)]
        with ThreadPoolExecutor(options.jobs) as jobs:
            list(jobs.map(run_suites, paths, [options.suite] * len(paths), places))
        columns = [read_column(column) for column in places]
    options.output.write_text(table.render(columns, host_facts()))
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="conformance/results",
        description="Run both suites on pyoci as it is in this checkout, the runc and crun in PATH, and those named, and "
        "write the table of what came out. Takes about ten minutes.",
    )
    parser.add_argument(
        "--suite", type=Path, metavar="DIR", help="the directory of opencontainers/runtime-tools, built"
    )
    parser.add_argument(
        "--runtime", action="append", default=[], metavar="PATH", help="one more runtime; may be repeated"
    )
    parser.add_argument("--jobs", type=int, metavar="N", default=2, help="runtimes at once (default: 2)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the results of the runs in this new directory")
    parser.add_argument(
        "--reuse", type=Path, metavar="DIR", help="run nothing: make the table of results that were kept"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", default=RESULTS, help="the table (default: conformance/RESULTS.md)"
    )
    options = parser.parse_args()
    if not options.reuse:
        if options.suite is None or not built_programs(options.suite):
            parser.error("--suite must name a directory of runtime-tools in which its programs have been built")
        if os.geteuid() != 0:
            parser.error("this takes root")
    return options


def installed_pyoci(scratch: Path) -> Path:
    """The program of this checkout, installed where it leaves no trace."""
    prefix = scratch / "prefix"
    subprocess.run([str(HERE.parent / "hack/install"), "--prefix", str(prefix)], check=True, stdout=subprocess.DEVNULL)
    return prefix / "bin/pyoci"


def others(named: list[str]) -> Iterator[Path]:
    """The runtimes to compare with: those of the distribution, and those that were named."""
    for name in ("runc", "crun"):
        if path := shutil.which(name):
            yield Path(path)
    for name in named:
        if path := shutil.which(name):
            yield Path(path).absolute()
        else:
            raise SystemExit(f"conformance/results: there is no program {name}")


def run_suites(path: Path, suite: Path, column: Path) -> None:
    """Run both suites on a runtime; what they say goes into files in `column`, which is made."""
    column.mkdir(parents=True)
    remarks, arguments = list[str](), list[str]()
    if path.name == "crun" and not Path(CGROUP_ROOT, "cgroup.controllers").exists():
        remarks.append("sees cgroup v2 alone, since it does not work where v1 and v2 are side by side")
        arguments.append("--cgroup2")
    if path.name == "crun" and without_capability(CAP_SYS_RESOURCE):
        remarks.append("makes no cgroups, which it cannot do without CAP_SYS_RESOURCE")
        wrapper = column / "crun"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(str(path))} --cgroup-manager=disabled "$@"\n')
        wrapper.chmod(0o755)
        path = wrapper
    (column / "remarks").write_text("".join(f"{remark}\n" for remark in remarks))
    programs = {
        "requirements": [str(HERE / "run")],
        "runtime-tools": [str(HERE / "runtime-tools"), "--suite", str(suite)],
    }
    for name in SUITES:
        print(f"{path}: {name}", flush=True)
        answer = column / f"{name}.json"
        with open(column / f"{name}.log", "wb") as log:
            command = [*programs[name], "--runtime", str(path), "--json", str(answer), *arguments]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        if not answer.exists():
            sys.stderr.write((column / f"{name}.log").read_text(errors="replace"))
            raise SystemExit(f"conformance/results: {name} told nothing about {path}")


def read_column(place: Path) -> table.Column:
    ours, theirs = (json.loads((place / f"{name}.json").read_text()) for name in SUITES)
    return table.Column(ours, theirs, (place / "remarks").read_text().splitlines())


def host_facts() -> list[str]:
    """What a reader must know of the host to make sense of the results, a sentence each."""
    v1 = sorted(name for one in hierarchies() for name in one.controllers)
    unified = [one.mount for one in hierarchies() if one.unified]
    facts = []
    if v1:
        facts.append(f"cgroup v1 has {', '.join(v1)}.")
    for mount in unified:
        controllers = ", ".join((mount / "cgroup.controllers").read_text().split()) or "no controllers"
        facts.append(f"cgroup v2 at `{mount}` has {controllers}.")
    if without_capability(CAP_SYS_RESOURCE):
        facts.append("Root does not have CAP_SYS_RESOURCE.")
    if not Path("/sys/module/apparmor").exists() and not Path("/sys/fs/selinux").exists():
        facts.append("The kernel has neither AppArmor nor SELinux.")
    return facts
