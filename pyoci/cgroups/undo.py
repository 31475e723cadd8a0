# SPDX-License-Identifier: Apache-2.0
"""What a cgroup's files held before an update, and how to give it back to them.

Values come in three forms: one for the whole file; one a line, each about a device or the like that its first word names;
and what reads otherwise than it is written.
"""

from __future__ import annotations

from pyoci.cgroups.files import get, keyed, put, write_failed
from pyoci.cgroups.writes import Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# By the beginning of a file's name, what a device gets that the file did not mention before: no limit, no own weight.
_NOTHING_OF_ITS_OWN = (
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("io.weight", "default"),
    ("io.bfq.weight", "default"),
    ("blkio.bfq.weight_device", "default"),
    ("blkio.", "0"),
)


Former = tuple[str, tuple[str, ...]]
"""A file, and what to write to it so that it is as before; of several values the first that the kernel takes."""


def remember(writes: Iterable[Write], paths: dict[str, str]) -> tuple[Former, ...]:
    """What to write so that all is as before these writes; the first written comes first.

    Files that cannot be read are left out: there is nothing in them, or nothing that would last.
    """
    held: dict[Former, None] = {}
    for write in writes:
        option: Write | None = write
        while option is not None:
            directory = paths.get(option.controller, "")
            if (text := _text(f"{directory}/{option.file}")) is not None:
                for file, values in _before(option, text, directory):
                    held.setdefault((f"{directory}/{file}", values))
                break
            option = option.otherwise
    return tuple(held)


def remember_file(path: str) -> tuple[Former, ...]:
    """As `remember`, for one file that takes back all that it tells."""
    text = _text(path)
    return ((path, (text,)),) if text else ()


def _before(write: Write, text: str, directory: str) -> Iterable[Former]:
    if write.file == "cpu.idle" and text.strip() == "0":
        # An idle group loses its weight, and has the default one when it is idle no more. So this is put back last.
        for file in ("cpu.weight", "cpu.shares"):
            if (weight := _text(f"{directory}/{file}")) is not None:
                yield file, (weight.strip(),)
    value = former(write.file, write.value, text)
    if value is None:
        return
    inherited = (_text(f"{directory}/{write.file}.effective") or "").strip() if value == "\n" else ""
    # A cpuset with processes may not be emptied again, even if it was empty before and so had what its parent has.
    yield write.file, (value, inherited) if inherited else (value,)


def former(file: str, written: str, text: str) -> str | None:
    """What undoes the writing of `written`, if `text` is what the file held; None if nothing can. Pure."""
    if file == "memory.oom_control":
        return keyed(text, "oom_kill_disable")
    subject, blank, _ = written.strip().partition(" ")
    lines = text.splitlines()
    if blank and file != "cpu.max":
        line = next((line for line in lines if line.partition(" ")[0] == subject), None)
        nothing = next((value for name, value in _NOTHING_OF_ITS_OWN if file.startswith(name)), None)
        return line or (f"{subject} {nothing}" if nothing else None)
    if (default := keyed(text, "default")) is not None:
        return default
    return (text.strip() or "\n") if len(lines) < 2 else None


def put_back(remembered: Iterable[Former]) -> tuple[str, ...]:
    """Write what `remember` gave, the last first; what could not be written, in words.

    The kernel checks values against each other, so what is refused is tried again as long as something else is taken.
    """
    waiting = list(reversed(list(remembered)))
    while True:
        refused, problems = [], []
        for path, values in waiting:
            problem = _put_first(path, values)
            if problem:
                refused.append((path, values))
                problems.append(problem)
        if not refused or len(refused) == len(waiting):
            return tuple(problems)
        waiting = refused


def as_writes(remembered: Iterable[Former], paths: dict[str, str]) -> tuple[Write, ...]:
    """What `remember` gave, for whoever is to be told of it: of several values the one that is taken in any case. Pure."""
    controllers = {path: controller for controller, path in paths.items()}
    writes = []
    for path, values in remembered:
        directory, _, file = path.rpartition("/")
        writes.append(Write(controller=controllers[directory], file=file, value=values[-1], why="as it was"))
    return tuple(writes)


def _put_first(path: str, values: tuple[str, ...]) -> str:
    problem = ""
    for value in values:
        try:
            put(path, value)
            return ""
        except OSError as error:
            problem = problem or write_failed(path, value, error).message
    return problem


def _text(path: str) -> str | None:
    try:
        return get(path)
    except OSError:
        return None
