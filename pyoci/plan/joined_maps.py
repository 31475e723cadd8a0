# SPDX-License-Identifier: Apache-2.0
"""Mappings beside a user namespace that is joined, which has its own (config-linux.md, User namespace mappings)."""

from __future__ import annotations

from pyoci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.user_namespaces import Lines

_PLACEHOLDER = ((0, 0, 1),)


def check_joined_maps(linux: dict[str, Any], joined: tuple[Lines, Lines] | None) -> list[str]:
    """Warnings of mappings that the config has beside the path of a user namespace. `joined` are its maps, None if unknown.

    Engines give both and mean the same by it, or, as podman has it, nothing: runc once asked for a map in any case. Raises
    SpecError where it is not the same.
    """
    given = [name for name in ("uidMappings", "gidMappings") if linux.get(name)]
    path = next((item.get("path") for item in linux.get("namespaces") or () if item["type"] == "user"), None)
    if not given or not path:
        return []
    what = " and ".join(f"/linux/{name}" for name in given)
    if joined is None:
        return [
            f"{what} left out: the user namespace {path}, which is joined, has maps already, and they cannot be read"
        ]
    for name, lines in zip(("uidMappings", "gidMappings"), joined, strict=True):
        wanted = tuple((item["containerID"], item["hostID"], item["size"]) for item in linux.get(name) or ())
        if wanted not in ((), _PLACEHOLDER) and _merged(wanted) != _merged(lines):
            raise SpecError(
                f"/linux/{name} is not the map of the user namespace {path}, which is joined: "
                f"{_shown(wanted)}, and there {_shown(lines)}"
            )
    return [f"{what} left out: the user namespace {path}, which is joined, has its maps already"]


def _merged(lines: Lines) -> list[list[int]]:
    """What the lines say, in one way: the kernel sorts them if there are many, and one may be written as several."""
    merged: list[list[int]] = []
    for inside, outside, size in sorted(lines):
        if merged and [inside - merged[-1][2], outside - merged[-1][2]] == merged[-1][:2]:
            merged[-1][2] += size
        else:
            merged.append([inside, outside, size])
    return merged


def _shown(lines: Lines) -> str:
    """The lines as in /proc/PID/uid_map."""
    return ", ".join(" ".join(str(number) for number in line) for line in lines) or "none"
