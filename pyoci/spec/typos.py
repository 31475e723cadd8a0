# SPDX-License-Identifier: Apache-2.0
"""Properties that the specification does not know: ignored, as it demands, but worth a warning when one asks for it."""

from __future__ import annotations

from difflib import get_close_matches  # cold path: only `pyoci validate` and error messages come here

from pyoci.jsontext import quote
from pyoci.spec.pointer import escape
from pyoci.spec.report import WARNING, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Schema = dict[str, Any]


def suggestion(word: str, known: Iterable[str]) -> str:
    """ "What to append when one of the known words is close to `word`, else nothing. Case does not count."""
    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), by_lower, 1, 0.6)
    return f", did you mean {quote(by_lower[close[0]])}?" if close else ""


def unknown_properties(value: Any, schema: Schema) -> Iterator[Problem]:
    """A warning for each property of `value` that its schema does not name."""
    homes = _homes(schema, "")
    for pointer, name, known in _unknown(value, schema, ""):
        hint = suggestion(name, known)
        elsewhere = [] if hint else homes.get(name, [])
        if len(elsewhere) == 1:
            hint = f"; it belongs to {elsewhere[0] or 'the top of the configuration'}"
        yield Problem(
            pointer=pointer,
            message=f"unknown property {quote(name)} is ignored{hint}",
            level=WARNING,
            rule="unknown-property",
            section="config.md, Extensibility",
            on_key=True,
        )


def _unknown(value: Any, schema: Schema, pointer: str) -> Iterator[tuple[str, str, Iterable[str]]]:
    """Pointer and name of each unknown property, with the names that are known in its place."""
    if type(value) is list and "items" in schema:
        for index, item in enumerate(value):
            yield from _unknown(item, schema["items"], f"{pointer}/{index}")
    if type(value) is not dict or not schema.keys() & {"properties", "additionalProperties"}:
        return
    properties = schema.get("properties", {})
    for name, item in value.items():
        at = f"{pointer}/{escape(name)}"
        if name in properties:
            yield from _unknown(item, properties[name], at)
        elif "additionalProperties" in schema:
            yield from _unknown(item, schema["additionalProperties"], at)
        else:
            yield at, name, properties


def _homes(schema: Schema, pointer: str) -> dict[str, list[str]]:
    """By property name, the objects that have one of that name. Items of lists are left out."""
    found: dict[str, list[str]] = {}
    for name, part in schema.get("properties", {}).items():
        found.setdefault(name, []).append(pointer)
        for inner, places in _homes(part, f"{pointer}/{name}").items():
            found.setdefault(inner, []).extend(places)
    return found
