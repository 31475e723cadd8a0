# SPDX-License-Identifier: Apache-2.0
"""Numbers out of the files of one cgroup."""

from __future__ import annotations

import errno

from pyoci.cgroups.files import get

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = (1 << 64) - 1


class Readings:
    """The files of a directory. One that is missing, or switched off, holds nothing; that is no failure."""

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def text(self, file: str) -> str | None:
        """The content, or None. Raises OSError."""
        try:
            return get(f"{self.directory}/{file}")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                return None
            raise

    def number(self, file: str) -> int:
        """The one number of a file; UNLIMITED for the word `max`."""
        return _number((self.text(file) or "").strip())

    def limit(self, file: str) -> int:
        """As `number`, but 0 for no limit."""
        number = self.number(file)
        return 0 if number == UNLIMITED else number

    def table(self, file: str) -> dict[str, int]:
        """A file of `key value` lines."""
        pairs = (line.partition(" ") for line in (self.text(file) or "").splitlines())
        return {key: _number(value) for key, _, value in pairs if value}


def _number(text: str) -> int:
    """Some counters come out a little below zero for a moment: that is 0."""
    if text == "max":
        return UNLIMITED
    return int(text) if text.isdigit() else 0


def kept(**figures: Any) -> dict[str, Any]:
    """The figures less those that are zero or empty."""
    return {name: figure for name, figure in figures.items() if figure}


def members(text: str) -> list[int]:
    """A list of CPUs or memory nodes as cpuset(7) writes it: `0-2,7` is [0, 1, 2, 7]."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.extend(range(int(first), int(last or first) + 1))
    return found


def entry(device: str, value: str, op: str = "") -> dict[str, Any]:
    """One figure about a block device, `major:minor`."""
    major, _, minor = device.partition(":")
    return kept(major=int(major), minor=int(minor), op=op, value=int(value))
