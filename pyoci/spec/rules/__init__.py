# SPDX-License-Identifier: Apache-2.0
"""What no schema can say: rules that tie one part of a configuration to another.

A rule is a small generator in one of the modules here, and a row in that module's table. It is given the part of the
configuration its `path` names, and the whole; for each fault it yields where (a JSON pointer from its part), what is
wrong, and what was expected. It may read, besides its own part, only what `needs` names: so that it can be left out
when the schema has already refused something there, and one mistake is reported once.

The tables hold errors. Warnings, which only `pyoci validate` wants to know, are in `rules.advice`.
"""

from __future__ import annotations

from pyoci.spec.pointer import escape, overlap
from pyoci.spec.rules import cgroups, linux, mounts, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    Finding = tuple[str, str, str]
    Check = Callable[[Any, Any], Iterable[Finding]]
    Rule = tuple[str, str, tuple[str, ...], str, Check]
    """Name, path of its part, what else it reads, section of the specification, the check."""
    Fault = tuple[Rule, str, str, str]
    """The rule, a pointer from the top, what is wrong, what was expected."""

ERRORS: tuple[Rule, ...] = process.RULES + mounts.RULES + linux.RULES + cgroups.RULES
RUNNABLE: tuple[Rule, ...] = process.RUNNABLE
"""What `create` asks for beyond what the schemas do."""


def faults(
    value: Any, rules: Iterable[Rule] = ERRORS, rejected: Iterable[str] = (), within: str = ""
) -> Iterator[Fault]:
    """The faults that `rules` find in a configuration, leaving out rules that read what is `rejected` (JSON pointers).

    For a process or resources alone, `within` says where in a configuration the value would stand. Only rules whose
    path lies there and that read nothing else are then applied. Pointers are from the top of the value.
    """
    config = value
    for step in reversed(within.split("/")[1:]):
        config = {step: config}
    rejected = [within + pointer for pointer in rejected]
    for rule in rules:
        _, path, needs, _, check = rule
        if within and (needs or not (path + "/").startswith(within + "/")):
            continue
        if rejected and any(overlap(need, refused) for need in needs for refused in rejected):
            continue
        for pointer, part in _parts(config, path):
            # A rule on the whole says in `needs` what it reads.
            if pointer and rejected and any(overlap(pointer, refused) for refused in rejected):
                continue
            for suffix, message, expected in check(part, config):
                yield rule, (pointer + suffix)[len(within) :], message, expected


def check_runnable(config: Any) -> list[Fault]:
    """What keeps a valid configuration from being created: a process without a program."""
    return list(faults(config, RUNNABLE))


def _parts(config: Any, path: str) -> Iterable[tuple[str, Any]]:
    """The parts that `path` names, with their pointers; a step `*` stands for every item."""
    parts: list[tuple[str, Any]] = [("", config)]
    for step in path.split("/")[1:]:
        if step == "*":
            parts = [(f"{at}/{key}", item) for at, part in parts for key, item in _items(part)]
        else:
            parts = [(f"{at}/{step}", part[step]) for at, part in parts if type(part) is dict and step in part]
    return parts


def _items(part: Any) -> Iterable[tuple[object, Any]]:
    if type(part) is list:
        return enumerate(part)
    if type(part) is dict:
        return [(escape(key), item) for key, item in part.items()]
    return ()
