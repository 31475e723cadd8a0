# SPDX-License-Identifier: Apache-2.0
"""Stopping all processes of a container at once, and letting them go on.

Source: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, cgroup.freeze and cgroup.events.
"""

from __future__ import annotations

import select
import time

from pyoci.cgroups.files import GONE, get, keyed, put_checked, walk
from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import O_CLOEXEC, O_RDONLY, O_WRONLY, close, lseek, open, read, write

TIMEOUT = 10.0
_PAUSE = 0.01
_THAW_EVERY = 50


def is_frozen(paths: dict[str, str]) -> bool:
    """Whether the container was frozen by way of its own cgroup: one frozen together with its parent was not paused.

    A cgroup that is gone, or was never there, is not frozen. Raises OSError for anything else.
    """
    file = _state_file(paths)
    if file is None:
        return False
    try:
        return get(file).strip() == "1"
    except OSError as error:
        if error.errno in GONE:
            return False
        raise


def _state_file(paths: dict[str, str]) -> str | None:
    """The file that holds 1 if this very cgroup was told to freeze, whether or not it has got there yet."""
    if "freezer" in paths:
        return paths["freezer"] + "/freezer.self_freezing"
    return paths[""] + "/cgroup.freeze" if "" in paths else None


def freeze(paths: dict[str, str], timeout: float = TIMEOUT) -> None:
    """Stop all processes and wait until they have stopped. If that fails they are let go on. Raises CgroupError."""
    try:
        if "freezer" in paths:
            _freeze_v1(paths["freezer"], timeout)
        elif "" in paths:
            _freeze_v2(paths[""], timeout)
        else:
            raise CgroupError("cannot toggle freezer: cgroups not configured for container")
    except BaseException:
        _thaw_quietly(paths)
        raise


def thaw(paths: dict[str, str]) -> None:
    """Let all processes go on. Raises CgroupError."""
    if "freezer" in paths:
        put_checked(paths["freezer"] + "/freezer.state", "THAWED")
    elif "" in paths:
        put_checked(paths[""] + "/cgroup.freeze", "0")
    else:
        raise CgroupError("cannot toggle freezer: cgroups not configured for container")


def thaw_below(paths: dict[str, str]) -> None:
    """Let also those go on whom the container itself has frozen, in cgroups that it has made: else they would not die.

    In version 2 they do, frozen or not. Raises CgroupError.
    """
    if "freezer" not in paths:
        return
    try:
        walk(paths["freezer"], _thaw_one)
    except OSError as error:
        if error.errno not in GONE:
            raise CgroupError(f"thaw what is below {paths['freezer']}: {reason(error)}") from error


def _thaw_one(directory: int, name: str) -> None:
    try:
        fd = open("freezer.state", O_WRONLY | O_CLOEXEC, dir_fd=directory)
        try:
            write(fd, b"THAWED")
        finally:
            close(fd)
    except OSError as error:
        if error.errno not in GONE:
            raise


def _thaw_quietly(paths: dict[str, str]) -> None:
    try:
        thaw(paths)
    except CgroupError:
        pass  # why freezing failed is the better thing to know


def _freeze_v1(directory: str, timeout: float) -> None:
    """While new processes keep appearing FREEZING may last for ever: ask again, and now and then start over."""
    file = directory + "/freezer.state"
    deadline = time.monotonic() + timeout
    tries = 0
    while True:
        put_checked(file, "FROZEN")
        state = _read(file).strip()
        if state == "FROZEN":
            return
        if time.monotonic() > deadline:
            raise CgroupError(f"{file}: still {state} after {timeout:g} seconds")
        tries += 1
        if tries % _THAW_EVERY == 0:
            put_checked(file, "THAWED")
            time.sleep(_PAUSE)
        elif tries > 2:
            time.sleep(_PAUSE / 100)


def _freeze_v2(directory: str, timeout: float) -> None:
    put_checked(directory + "/cgroup.freeze", "1")
    events = directory + "/cgroup.events"
    try:
        fd = open(events, O_RDONLY | O_CLOEXEC)
        try:
            _wait_until_frozen(fd, events, timeout)
        finally:
            close(fd)
    except OSError as error:
        raise CgroupError(f"read {events}: {reason(error)}") from error


def _wait_until_frozen(fd: int, events: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    poll = select.poll()
    poll.register(fd, select.POLLPRI)
    while True:
        lseek(fd, 0, 0)
        if keyed(read(fd, 4096).decode(), "frozen") == "1":
            return
        if time.monotonic() > deadline:
            raise CgroupError(f"{events}: still not frozen after {timeout:g} seconds")
        poll.poll(_PAUSE * 1000)  # the kernel tells of each change; the limit is for one lost between read and poll


def _read(file: str) -> str:
    try:
        return get(file)
    except OSError as error:
        raise CgroupError(f"read {file}: {reason(error)}") from error
