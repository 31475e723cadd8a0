# SPDX-License-Identifier: Apache-2.0
"""A table of what runs of the suite have printed, one column for each runtime."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable

from .world import CASES

FIRST = re.compile(r"^(?P<program>\S+), seed \d+$")
OUTCOME = re.compile(r"^(?P<outcome>pass|skip|FAIL) (?P<case>\w+) \([\d.]+ s\): ?(?P<remark>.*)$")
LEFT = re.compile(r"^left over: (?P<what>.*)$")

HEAD = """\
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by hack/torture --report from what runs of hack/torture have printed. -->

# What is left when something breaks

`hack/torture` kills and hinders a runtime's commands, and looks after each fault whether the commands that look still
answer, whether `delete --force` succeeds and leaves no state, cgroup, mount or process, and whether other containers have
noticed. No command may take longer than 30 seconds, fail without a word, or show its inside. A case passes if that is so each
time. CI runs it in a small size, and part of it with `--cgroup2`, where cgroup v2 is all there is; these are the figures of a
release, by

    hack/torture --kills 1000 --faults 1000 --rounds 110 --many 200 --mutations 10000 > pyoci.txt
    hack/torture --rounds 1000 nothing_accumulates >> pyoci.txt
    hack/torture --runtime runc ... > runc.txt
    hack/torture --report pyoci.txt runc.txt > docs/torture.md

An empty cell was not measured.
"""


def read(lines: Iterable[str]) -> dict[str, dict[str, str]]:
    """Program -> case -> what came of it, of printed lines; of a case that ran more than once, the last."""
    found: dict[str, dict[str, str]] = {}
    own: dict[str, str] = {}
    for line in lines:
        if match := FIRST.match(line.rstrip()):
            own = found.setdefault(match["program"], {})
        elif match := OUTCOME.match(line.rstrip()):
            # Of what a failed case has to tell, figures are for the table; the rest is what one call said.
            remark = match["remark"] if match["outcome"] != "FAIL" or match["remark"][:1].isdigit() else ""
            own[match["case"]] = f"{match['outcome']}: {remark}".rstrip(": ").replace("|", "\\|")
        elif match := LEFT.match(line.rstrip()):
            before = own.get("left over", "nothing")
            own["left over"] = match["what"] if before == "nothing" else f"{before}; {match['what']}"
    return found


def table(found: dict[str, dict[str, str]]) -> str:
    """The document, with the programs in their order."""
    lines = [HEAD, f"| | {' | '.join(map(title, found))} |", "|---|" + "---|" * len(found)]
    for name, case in CASES.items():
        about = (case.__doc__ or "").partition("\n")[0].rstrip(".")
        lines.append(f"| {name}: {about} | {' | '.join(own.get(name, '') for own in found.values())} |")
    lines.append(
        f"| left over in the end | {' | '.join(shortened(own.get('left over', '')) for own in found.values())} |"
    )
    return "\n".join([*lines, ""])


def shortened(text: str) -> str:
    """What is left over, counted by kind where it is much."""
    parts = [part.split(" ")[0] for part in text.split("; ") if part and part != "nothing"]
    return ", ".join(f"{parts.count(kind)} x {kind}" for kind in dict.fromkeys(parts)) or text


def title(program: str) -> str:
    """A runtime's name, with the version that it tells if it is there."""
    name = os.path.basename(program)
    if shutil.which(program) is None:
        return name
    said = subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True).stdout
    version = re.search(r"version:? (\d[\w.~+-]*)", said)
    return f"{name} {version[1]}" if version else name
