# SPDX-License-Identifier: Apache-2.0
"""Run the tests against a runtime, each in a process and a mount namespace of its own, and tell how it went.

A test's process inherits the orphans of what it starts (it is their subreaper), so that what a test has left behind can be
told from what others have. It mounts in a namespace of its own; containers and cgroups are the host's.

What --json writes, for those who make tables of it:

    {"suite": "requirements",
     "runtime": "runc",                     the name of its program
     "version": "1.1.5+ds1",                as its --version says
     "spec": "1.0.2-dev",                   the version of the specification that it says it follows
     "date": "2026-01-31",
     "kernel": "6.1.0",
     "cgroups": "v1",                       or "v2", if that is alone at /sys/fs/cgroup
     "results": [{"id": "state-pid",        a requirement; there is one entry for each test that proves it
                  "test": "state_of_a_created_container",
                  "result": "pass",         or "fail", or "skip": nothing is known, or nothing is demanded of it
                  "detail": ""}, ...]}      why it failed or was skipped, the first line of it the shortest

A requirement that no test can prove is there, too: with null for the test, "skip", and the reason. What a requirement
demands, and where in the specification, is read with `conformance.catalogue`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from . import catalogue, deviations, suite
from . import proofs as proofs  # whose modules enter their tests
from .attempt import Outcome, run
from .subject import Subject, ask


def judge(outcome: Outcome, known: dict[str, catalogue.Requirement], spec: str) -> list[dict[str, Any]]:
    """The outcome as a result for each requirement that it proves. A runtime does not fail what is newer than the
    specification that it follows."""
    results = []
    test = outcome.test
    earliest = max(test.since, known[test.ids[0]].since)
    for name in test.ids:
        result, detail = outcome.result, outcome.detail
        if result == "pass" and outcome.left:
            result, detail = "fail", "left behind: " + "; ".join(outcome.left)
        since = max(earliest, known[name].since)
        if result == "fail" and since > catalogue.version(spec):
            later = ".".join(map(str, since))
            result, detail = "skip", f"demanded since {later}, later than {spec} that it follows; {detail}"
        results.append({"id": name, "test": test.name, "result": result, "detail": detail})
    return results


def verdict(results: list[dict[str, Any]]) -> str:
    """A test as a whole: it failed if it failed one requirement, and was skipped if it proved none."""
    found = {one["result"] for one in results}
    return next(result for result in ("fail", "pass", "skip") if result in found)


def check(sections: list[catalogue.Section], spec: str | None) -> int:
    """Look for requirements without a test, and count; the number of complaints that were printed."""
    complaints = suite.unproven(catalogue.requirements(sections)) + list(catalogue.miscounted(sections))
    for runtime, tests in deviations.read().items():
        complaints += [f"{runtime} deviates in {name}, which is no test" for name in tests if name not in suite.TESTS]
    if spec is not None:
        complaints += catalogue.differences(sections, Path(spec))
    for line in complaints:
        print(line)
    return len(complaints)


def chosen(names: list[str]) -> list[suite.Test]:
    """The tests with these names or that prove these requirements; all if none is named. Raises SystemExit."""
    found = [
        test
        for test in suite.TESTS.values()
        if not names or {test.name, test.name.partition("[")[0], *test.ids} & set(names)
    ]
    known = {name for test in found for name in (test.name, test.name.partition("[")[0], *test.ids)}
    for name in names:
        if name not in known:
            raise SystemExit(f"no test has this name or proves such a requirement: {name}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="conformance/run", description="Test what the OCI runtime specification demands of a runtime.",
        epilog="The requirements are in conformance/requirements. Needs root, ip(8) and a C compiler.",
    )  # fmt: skip
    parser.add_argument("--runtime", metavar="PATH", default="pyoci", help="the runtime (default: pyoci in PATH)")
    parser.add_argument("--json", metavar="FILE", help="write the results to this file, too")
    parser.add_argument("--cgroup2", action="store_true", help="show it cgroup v2 alone, whatever this host has")
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=os.cpu_count(), help="tests at once (default: as many as CPUs)"
    )
    parser.add_argument("--list", action="store_true", help="list the tests and what each proves")
    parser.add_argument(
        "--check", action="store_true", help="see that each requirement has a test or a reason for none"
    )
    parser.add_argument(
        "--spec", metavar="DIR", help="with --check: count the key words in this copy of the specification"
    )
    parser.add_argument("names", metavar="ID", nargs="*", help="requirements or tests (default: all)")
    options = parser.parse_args()
    sections = catalogue.read()
    if options.check or options.spec:
        return 1 if check(sections, options.spec) else 0
    tests = chosen(options.names)
    if options.list:
        for test in tests:
            print(test.name, *test.ids)
        return 0
    program = shutil.which(options.runtime)
    if program is None:
        parser.error(f"there is no program {options.runtime}")
    if os.geteuid() != 0:
        parser.error("this takes root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # with what is under way taken back
    return tell(tests, sections, ask(os.path.abspath(program)), options)


def tell(
    tests: list[suite.Test], sections: list[catalogue.Section], subject: Subject, options: argparse.Namespace
) -> int:
    """Run the tests and print how each went; the exit status, which is 0 if there is nothing that is not known."""
    known = catalogue.requirements(sections)
    expected = deviations.known(subject.name, subject.version)
    surprises: list[str] = []
    everything: list[dict[str, Any]] = []
    counts = {"pass": 0, "fail": 0, "skip": 0}
    left: list[str] = []
    for outcome in run(tests, subject, options.jobs, options.cgroup2):
        results = judge(outcome, known, subject.spec)
        result = verdict(results)
        because = expected.get(outcome.test.name, "")
        if because and result == "fail" and not outcome.left:
            for one in results:
                one["detail"] = f"known: {because} ({one['detail']})" if one["result"] == "fail" else one["detail"]
        elif because and result == "pass":
            surprises.append(f"{outcome.test.name} passed, though it is known to fail: {because}")
        elif result == "fail":
            surprises.append(f"{outcome.test.name} failed")
        counts[result] += 1
        left += [f"{outcome.test.name}: {line}" for line in outcome.left]
        everything += results
        detail = next((one["detail"] for one in results if one["result"] == result), "")
        print(f"{result}  {outcome.test.name}" + (f": {detail.strip()}" if detail else ""), flush=True)
    print(*(f"left behind by {line}" for line in left), sep="\n", end="\n" if left else "")
    if options.json:
        unproven = [
            {"id": one.id, "test": None, "result": "skip", "detail": one.untested}
            for one in known.values()
            if one.untested and (not options.names or one.id in options.names)
        ]
        report = subject.report("requirements", everything + unproven, options.cgroup2)
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    print(f"{counts['skip']} skipped, {len(left)} left behind, {len(surprises)} not as expected")
    print(*surprises, sep="\n", end="\n" if surprises else "")
    print(f"{counts['pass']} passed, {counts['fail']} failed")
    return 1 if surprises or left else 0
