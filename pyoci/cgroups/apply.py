# SPDX-License-Identifier: Apache-2.0
"""Writing limits, with all that can be said about one that the kernel refuses."""

from __future__ import annotations

import errno

from pyoci.cgroups.files import get, parent, put, put_fd, write_failed
from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import O_CLOEXEC, O_WRONLY, close, open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.cgroups.writes import Write


def apply_writes(writes: Iterable[Write], paths: dict[str, str]) -> tuple[str, ...]:
    """Do the writes, in order; what was tolerated, in words. Raises CgroupError."""
    notes: list[str] = []
    waiting: list[Write] = []
    queue = list(reversed(list(writes)))
    held, held_path = -1, ""
    try:
        while queue or waiting:
            if not queue:
                queue = [write.replace(later=()) for write in reversed(waiting)]
                waiting = []
            write = queue.pop()
            directory = paths.get(write.controller)
            if directory is None:
                note = _no_directory(write)
                notes.extend([] if write.silent else [note])
                continue
            if write.above:
                _check_above(write, directory)
            path = f"{directory}/{write.file}"
            try:
                # Rules for devices come by the dozen to the same file.
                if path != held_path:
                    if held >= 0:
                        close(held)
                    held, held_path = -1, ""
                    held = open(path, O_WRONLY | O_CLOEXEC)
                    held_path = path
                put_fd(held, path, write.value)
            except OSError as error:
                name = errno.errorcode.get(error.errno or 0, "")
                if name == "ENOENT" and write.otherwise is not None:
                    queue.append(write.otherwise)
                elif name in write.later:
                    waiting.append(write)
                elif name in write.tolerate:
                    notes.extend([] if write.silent else [write_failed(path, write.value, error).message])
                else:
                    raise write_failed(path, write.value, error, _hint(write, directory, error)) from error
    finally:
        if held >= 0:
            close(held)
    return tuple(notes)


def check_usage(writes: Iterable[Write], paths: dict[str, str]) -> None:
    """Raises CgroupError if one of the writes asks to be refused where more is in use already, as `apply_writes` does."""
    for write in writes:
        if write.above and write.controller in paths:
            _check_above(write, paths[write.controller])


def _no_directory(write: Write) -> str:
    message = f"cannot set {write.controller or write.why} limit: container could not join or create cgroup"
    if "ENOENT" not in write.tolerate:
        raise CgroupError(message)
    return message


def _check_above(write: Write, directory: str) -> None:
    try:
        present = int(get(f"{directory}/{write.above}"))
    except OSError:
        return  # nothing is in use where nothing is counted
    if int(write.value) <= present:
        raise CgroupError(f"rejecting {write.why} {write.value} <= usage {present} ({directory}/{write.above})")


def _hint(write: Write, directory: str, error: OSError) -> str:
    """What the errno alone does not tell. Only asked for once something has failed."""
    if error.errno == errno.EBUSY and write.file == "memory.limit_in_bytes":
        usage, peak = (_number(f"{directory}/memory.{key}_in_bytes") for key in ("usage", "max_usage"))
        return f": unable to set memory limit to {write.value} (current usage: {usage}, peak usage: {peak})"
    if error.errno != errno.ENOENT:
        return ""
    if write.file.startswith("memory.memsw."):
        return " (the kernel does not account swap: swapaccount=1)"
    controller = write.file.partition(".")[0]
    if (
        not write.controller
        and controller != "cgroup"
        and controller not in _number(f"{directory}/cgroup.controllers").split()
    ):
        return f": controller {controller} is not available here, {_refusal(directory, controller)}"
    if write.file.startswith("hugetlb."):
        return " (the kernel has no huge pages of this size)"
    return ""


def _number(file: str) -> str:
    try:
        return get(file).strip()
    except OSError as error:
        return reason(error)


def _refusal(directory: str, controller: str) -> str:
    """Why the parent does not hand a controller down: found out by asking it once more."""
    file = f"{parent(directory)}/cgroup.subtree_control"
    try:
        put(file, f"+{controller}")
    except OSError as error:
        if error.errno == errno.ENOENT:
            return f"nor in {parent(directory)}"
        why = " as it holds processes itself (cgroups(7), no internal processes)" if error.errno == errno.EBUSY else ""
        return f'since {parent(directory)} does not hand it down{why}: write "+{controller}" to {file}: {reason(error)}'
    return f"or was not until now: {parent(directory)} has just handed it down"
