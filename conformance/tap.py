# SPDX-License-Identifier: Apache-2.0
"""Read the Test Anything Protocol as the validation programs of runtime-tools speak it, and judge it.

Their dialect has three habits that a reader must know. A program may print several documents, each with its header and
numbers of its own. A program that looks from outside and has no assertions prints an empty plan whatever happens, and tells
an error only in a block of diagnostics before it. And what `runtimetest` wrote inside the container comes as it is, or
within such a block.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

HEADER = "TAP version "
PLAN = re.compile(r"1\.\.(\d+)\b")
ASSERTION = re.compile(r"(not )?ok\b\s*(\d+)?\s*(?:- )?(.*)")
DIRECTIVE = re.compile(r"#\s*(SKIP|TODO)\b", re.IGNORECASE)


@dataclass
class Report:
    """What one program said: the numbers of its assertions, and all that speaks against it, in its order."""

    passed: int = 0
    skipped: int = 0
    complaints: list[str] = field(default_factory=list)


def read(text: str) -> Report:
    """Read what a program printed; nothing in it makes this fail.

    An assertion that is not ok, unless marked TODO or SKIP, is a complaint; so are an error that belongs to no assertion, a
    plan that is missing or does not fit, `Bail out!`, and the want of any document.
    """
    report = Report()
    documents = _documents(text)
    if not documents:
        report.complaints.append("it printed no TAP")
    for document in documents:
        _read_document(document, report)
    return report


def _documents(text: str) -> list[list[str]]:
    """The lines of each document without its header. What stands before the first one is not TAP."""
    documents: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith(HEADER):
            documents.append([])
        elif documents:
            documents[-1].append(line)
    return documents


def _read_document(lines: list[str], report: Report) -> None:
    plan: int | None = None
    seen = 0
    answered = True  # whether the last assertion has its diagnostics; before the first one there is nothing to explain
    rest = iter(lines)
    for line in rest:
        if line.strip() == "---":
            error = _error_in_block(rest)
            if error is not None and answered:
                report.complaints.append(f"error: {error}")
            answered = True
        elif match := PLAN.match(line):
            plan = int(match[1])
        elif match := ASSERTION.match(line):
            seen += 1
            answered = False
            if DIRECTIVE.search(match[3]):
                report.skipped += 1
            elif match[1]:
                report.complaints.append(f"not ok: {match[3]}")
            else:
                report.passed += 1
        elif line.startswith("Bail out!"):
            report.complaints.append(line)
    if plan is None:
        report.complaints.append(f"its plan is missing: it ended after {seen} assertions")
    elif plan != seen:
        report.complaints.append(f"its plan was {plan} assertions, and it made {seen}")


def _error_in_block(lines: Iterator[str]) -> str | None:
    """Read a block of diagnostics to its end; what its key `error` says, if it has one."""
    block = "\n".join(itertools.takewhile(lambda line: line.strip() != "...", lines))
    try:
        diagnostics = json.loads(block)  # YAML by the protocol; these programs write its subset JSON
    except ValueError:
        return None
    return str(diagnostics["error"]) if isinstance(diagnostics, dict) and "error" in diagnostics else None
