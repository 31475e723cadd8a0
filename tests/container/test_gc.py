# SPDX-License-Identifier: Apache-2.0
"""gc, and who else may be at an id meanwhile. What it finds and clears is in tests/lifecycle/test_half_made.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.cgroups import layout, manage, marks
from pyoci.container import gc
from pyoci.container.record import Settings
from pyoci.log import Log
from pyoci.state import StateDir
from tests.cgroups import worlds

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups]


@pytest.mark.parametrize("lost", ["", "before the lock", "for good"])
def test_an_id_that_is_taken_while_its_cgroups_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """A `delete --force` may remove the directory by which gc holds the id, and a create make it anew."""
    real = StateDir.make

    def make(self: StateDir, root: str) -> None:
        real(self, root)
        if lost:
            os.rename(self.path, tmp_path / "removed")
        if lost == "before the lock":
            os.mkdir(self.path)

    monkeypatch.setattr(StateDir, "make", make)
    root = tmp_path / "root"
    root.mkdir()
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan, marks.mark_of(str(root), "box"))
        found = marks.find(layout.read(), str(root))
        assert set(found) == {"box"}
        finding = gc._without_state(Settings(root=str(root), log=Log()), "box", found["box"], pretend=False)
        assert (finding is None) == bool(lost)
        assert all(os.path.exists(path) == bool(lost) for path in paths.values())
    assert os.listdir(root) == (["box"] if lost == "before the lock" else [])


def test_it_holds_the_lock_of_the_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a `delete --force` waits, and a directory that has come after ours cannot be the one that we remove."""
    held: list[str] = []

    def look(*_: object, **__: object) -> None:
        inode = os.stat(tmp_path / "box").st_ino
        locks = Path("/proc/locks").read_text().splitlines()
        held.extend(line for line in locks if "FLOCK" in line and f":{inode} " in line)

    monkeypatch.setattr(gc, "remove_cgroups", look)
    finding = gc._without_state(Settings(root=str(tmp_path), log=Log()), "box", ["/sys/fs/cgroup/none"], pretend=False)
    assert finding is not None and held
    assert os.listdir(tmp_path) == []
