# SPDX-License-Identifier: Apache-2.0
"""The end of a container's cgroups, with all that was made inside them."""

from __future__ import annotations

import errno
import time

from pyoci.cgroups.files import GONE, walk
from pyoci.cgroups.processes import pids
from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import rmdir, stat

TIMEOUT = 10.0


def exists(paths: dict[str, str]) -> bool:
    """Whether any of the cgroups is there."""
    return any(_is_there(path) for path in paths.values())


def _is_there(path: str) -> bool:
    try:
        stat(path)
    except OSError as error:
        return error.errno not in GONE
    return True


def remove(paths: dict[str, str], timeout: float = TIMEOUT, below: bool = True) -> None:
    """Remove the cgroups with all that were made below them; without `below`, only those that have none. What is gone
    already is no error.

    Processes that are about to end keep a cgroup busy; they are waited for, `timeout` seconds. Raises CgroupError, once all
    has been tried.
    """
    deadline = time.monotonic() + timeout
    failures = [text for path in dict.fromkeys(paths.values()) if (text := _remove(path, deadline, below))]
    if failures:
        raise CgroupError("; ".join(failures))


def _remove(directory: str, deadline: float, below: bool) -> str:
    """ "" or why this cgroup could not be removed."""
    pause = 0.001
    walked = False
    while True:
        try:
            rmdir(directory)
            return ""
        except OSError as error:
            # On a read-only mount EROFS is said of what does not exist, too.
            if error.errno in GONE or not _is_there(directory):
                return ""
            if error.errno != errno.EBUSY or not below or (walked and time.monotonic() > deadline):
                return _not_removed(directory, error)
        try:
            walked = True
            walk(directory, lambda _fd, _name: None, _remove_child)
        except OSError as error:
            if error.errno not in GONE:
                return _not_removed(directory, error)
        try:
            rmdir(directory)
            return ""
        except OSError:
            time.sleep(pause)  # what it failed for shows in the next round
        pause = min(pause * 2, 0.1)


def _remove_child(parent: int, name: str) -> None:
    try:
        rmdir(name, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.EBUSY, *GONE):
            raise


def _not_removed(directory: str, error: OSError) -> str:
    text = f"rmdir {directory}: {reason(error)}"
    try:
        members = pids({"": directory})
    except OSError:
        members = []
    return f"{text}: {len(members)} process(es) in it, the first is {members[0]}" if members else text
