# SPDX-License-Identifier: Apache-2.0
"""Configs that nobody would write: refused with a word, or taken; and never a hang, a crash, or something left behind."""

from __future__ import annotations

from ...lifecycle.harness import CGROUP_ROOT, Container
from ...lifecycle.strange import BODIES, mutate, starting_point, unsafe
from .world import World, answers, case, collect

AT_ONCE = 50
"""Configs that one container is given, one after the other."""


@case
def malformed_bodies(world: World) -> str:
    """Texts in config.json that are no config: each is refused with a word"""
    complaints = []
    for name, body in BODIES.items():
        try:
            with world.container() as box:
                content = body if isinstance(body, bytes) else body.encode()
                (box.bundle / "config.json").write_bytes(content)
                answers(box.call("create", "--bundle", str(box.bundle), box.id), 1)
                box.leaves_nothing()
        except AssertionError as error:
            complaints.append(f"{name}: {error}")
    return collect(complaints, len(BODIES), "texts that are no config refused")


def _mutate(world: World, box: Container) -> list[str]:
    """Give it a config that asks for nothing beyond the container; what has been changed."""
    while True:
        box.config = starting_point(box.bundle, f"/{box.id}", world.chance)
        done = [mutate(box.config, world.chance) for _ in range(world.chance.choice((1, 1, 1, 2, 3)))]
        if not unsafe(box.config, box.id):
            box.write_config()
            return done


@case
def mutated_configs(world: World) -> str:
    """One to three places of a good config removed, doubled, or something strange: refused with a word, or a container"""
    complaints: list[str] = []
    for first in range(0, world.mutations, AT_ONCE):
        with world.container() as box:
            for number in range(first, min(first + AT_ONCE, world.mutations)):
                done = _mutate(world, box)
                try:
                    _attempt(world, box)
                except AssertionError as error:
                    complaints.append(f"number {number}, {done}: {error}")
                    box.clean_up()
    return collect(complaints, world.mutations, "configs with strange values refused or taken")


def _attempt(world: World, box: Container) -> None:
    result = answers(box.call("create", "--bundle", str(box.bundle), box.id), 0, 1)
    if result.status == 0:
        box.call("state", box.id).ok()
        world.deleted(box)
    # The whole tree of cgroups is looked through when the last of them has been tried.
    left = [
        str(path)
        for path in (*CGROUP_ROOT.glob(f"*/{box.id}"), CGROUP_ROOT / box.id, box.root / box.id)
        if path.exists()
    ]
    left += [f"process {pid}" for pid in box.reap()]
    assert not left, f"{result}left behind: {left}"
