# SPDX-License-Identifier: Apache-2.0
"""Many commands about one id, and many containers at once."""

from __future__ import annotations

import json
from collections.abc import Callable

from ...lifecycle.harness import Container, Result
from .world import World, answers, case, collect, together

AT_ONCE = 8


def _create(box: Container) -> list[str]:
    return ["create", "--bundle", str(box.bundle), box.id]


def _one_wins(results: list[Result]) -> None:
    assert [result.status for result in results].count(0) == 1, "\n".join(map(str, results))


def _all_win(results: list[Result]) -> None:
    assert all(result.status == 0 for result in results), "\n".join(map(str, results))


def _anything(results: list[Result]) -> None:
    pass


RACES: dict[str, tuple[str, Callable[[Container], list[list[str]]], Callable[[list[Result]], None]]] = {
    "create": ("", lambda box: [_create(box)] * AT_ONCE, _one_wins),
    "start": ("created", lambda box: [["start", box.id]] * AT_ONCE, _one_wins),
    "delete": ("created", lambda box: [["delete", box.id]] * AT_ONCE, _one_wins),
    "delete --force": ("running", lambda box: [["delete", "--force", box.id]] * AT_ONCE, _all_win),
    "kill": ("running", lambda box: [["kill", box.id, "KILL"]] * AT_ONCE, _anything),
    "create, delete --force": ("", lambda box: [_create(box), ["delete", "--force", box.id]] * (AT_ONCE // 2), _anything),
    "start, delete --force": ("created", lambda box: [["start", box.id], ["delete", "--force", box.id]] * (AT_ONCE // 2), _anything),
    "start, kill": ("created", lambda box: [["start", box.id], ["kill", box.id, "KILL"]] * (AT_ONCE // 2), _anything),
    "pause, resume": ("running", lambda box: [["pause", box.id], ["resume", box.id]] * (AT_ONCE // 2), _anything),
    "exec, delete --force": (
        "running", lambda box: [*[["exec", box.id, "true"]] * (AT_ONCE - 1), ["delete", "--force", box.id]], _anything,
    ),
    "everything": (
        "created",
        lambda box: [_create(box), ["start", box.id], ["exec", box.id, "true"], ["kill", box.id, "TERM"], ["pause", box.id],
                     ["resume", box.id], ["delete", box.id], ["delete", "--force", box.id], ["list"], ["state", box.id]],
        _anything,
    ),
}  # fmt: skip


@case
def same_id_races(world: World) -> str:
    """Of several creates, starts and deletes exactly one wins; the others fail at once, and none breaks another."""
    complaints = []
    names = list(RACES)
    for number in range(world.rounds):
        name = names[number % len(names)]
        before, calls, judge = RACES[name]
        try:
            with world.container() as box:
                box.write_config()
                if before:
                    box.create().ok()
                if before == "running":
                    box.start().ok()
                results = together(box, calls(box))
                for result in results:
                    if "exec" in result.argv and result.status == 137:
                        continue  # it was killed with its container
                    answers(result, *((0, 1, 255) if "exec" in result.argv else (0, 1)))
                judge(results)
        except AssertionError as error:
            complaints.append(f"{name}: {error}")
    return collect(complaints, world.rounds, f"rounds of {AT_ONCE} commands at once")


@case
def many_at_once(world: World) -> str:
    """Many containers are created by a few commands at a time, listed, entered and deleted."""
    boxes = [world.box() for _ in range(world.many)]
    for box in boxes:
        box.write_config()
    first = boxes[0]
    _in_parts(first, [_create(box) for box in boxes])
    _in_parts(first, [["start", box.id] for box in boxes])
    listed = {entry["id"]: entry["status"] for entry in json.loads(first.call("list", "--format", "json").ok().out)}
    missing = [box.id for box in boxes if listed.get(box.id) != "running"]
    assert not missing, f"list does not show as running: {missing}"
    _in_parts(first, [["exec", box.id, "true"] for box in boxes])
    _in_parts(first, [["delete", "--force", box.id] for box in boxes])
    for box in boxes:
        box.leaves_nothing()
        world.release(box)
    world.witness_is_unharmed()
    return f"{len(boxes)} at once"


def _in_parts(box: Container, calls: list[list[str]]) -> None:
    for start in range(0, len(calls), AT_ONCE):
        for result in together(box, calls[start : start + AT_ONCE]):
            answers(result, 0)
