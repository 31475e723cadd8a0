# SPDX-License-Identifier: Apache-2.0
"""What is to be written to a cgroup, as data."""

from __future__ import annotations

from pyoci.record import Record


class Write(Record):
    """One write(2) to a cgroup's file.

    `controller` is the key into the paths of a plan, `file` a name in that directory. `why` is the property asked for.

    Errnos by name: one in `tolerate` makes the write pass as not done, with `silent` without a word; one in `later` has it
    tried again after all others, for values that the kernel checks against each other. If the file does not exist,
    `otherwise` is done in its place. `above` names a file whose present number must be less than the value, or else nothing is written.
    """

    controller: str
    file: str
    value: str
    why: str
    tolerate: tuple[str, ...] = ()
    silent: bool = False
    later: tuple[str, ...] = ()
    otherwise: Write | None = None
    above: str = ""

    def subject(self) -> str:
        """The device or the like that the value is about, in files that hold one for each; "" if it is for the whole file."""
        first, _, more = self.value.strip().partition(" ")
        return first if more and first != "default" and not self.file.startswith("cpu") else ""

    def keys(self) -> set[str]:
        """What the value tells of its subject, in files that take several things of it, as in `8:0 rbps=1 wbps=2`."""
        return {key for key, sign, _ in (word.partition("=") for word in self.value.split()) if sign}

    def without(self, keys: set[str]) -> str:
        """The value less these keys; "" if nothing is left of it, or it has none."""
        if not self.keys() - keys:
            return ""
        return " ".join(word for word in self.value.split() if word.partition("=")[0] not in keys)

    def text(self) -> str:
        """`memory.max = 67108864`, for people."""
        return f"{self.file} = {self.value.strip()}"
