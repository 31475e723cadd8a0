# SPDX-License-Identifier: Apache-2.0
"""Nothing accumulates, however often it is done."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ...lifecycle.harness import CGROUP_ROOT, children
from .world import OWN_DIRECTORIES, World, answers, case


@case
def nothing_accumulates(world: World) -> str:
    """Mounts, cgroups, processes, descriptors and files are after many rounds what they were after the first."""
    _round(world)
    before = _counts(world)
    for _ in range(world.rounds):
        _round(world)
    after = _counts(world)
    grown = {name: (before[name], after[name]) for name in before if after[name] > before[name]}
    assert not grown, f"grown from, to: {grown}"
    return f"{world.rounds} rounds, with {', '.join(f'{number} {name}' for name, number in after.items())}"


def _round(world: World) -> None:
    with world.container() as box:
        box.launch()
        answers(box.exec("true"), 0)
        box.call("pause", box.id).ok()
        box.call("resume", box.id).ok()
        box.kill("KILL").ok()
        box.wait()
        box.delete().ok()
        box.run(args=["true"]).ok()
        box.process["args"] = ["no-such-program"]
        answers(box.create(), 0, 1)


def _counts(world: World) -> dict[str, int]:
    """Of what is ours alone: others may work on this machine. The mount namespace is, and so are /run and /dev/shm in it."""
    places = (world.witness.root, world.temporary, *map(Path, OWN_DIRECTORIES))
    named = [name for name in os.listdir(tempfile.gettempdir()) if world.token in name]
    return {
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": sum(world.token in name for _, names, _ in os.walk(CGROUP_ROOT) for name in names),
        "processes": len(children()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "files": len(named) + sum(len(files) + len(below) for place in places for _, below, files in os.walk(place)),
    }
