# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.cgroups import layout, manage, marks
from tests.cgroups import worlds

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups]


def test_what_is_made_is_found_by_its_mark(tmp_path: Path) -> None:
    path = worlds.fresh_path()
    plan = worlds.planned(f"{path}/inner")
    other = worlds.planned(worlds.fresh_path())
    (tmp_path / "other").mkdir()
    with worlds.removed_afterwards(worlds.planned(path), plan, other):
        made = manage.create(plan, marks.mark_of(str(tmp_path), "box"))
        manage.create(other, marks.mark_of(str(tmp_path / "other"), "box"))
        found = marks.find(layout.read(), str(tmp_path))
        assert {name: sorted(paths) for name, paths in found.items()} == {
            "box": sorted({os.path.realpath(path) for path in made.values()})
        }
    assert marks.find(layout.read(), str(tmp_path)) == {}


def test_what_was_there_gets_no_mark(tmp_path: Path) -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        manage.create(plan)
        manage.create(plan, marks.mark_of(str(tmp_path), "box"))
        assert marks.find(layout.read(), str(tmp_path)) == {}


def test_who_takes_a_cgroup_over_marks_it_anew(tmp_path: Path) -> None:
    plan = worlds.planned(worlds.fresh_path())
    first, second = (marks.mark_of(str(tmp_path), name) for name in ("first", "second"))
    with worlds.removed_afterwards(plan):
        made = manage.create(plan, first).values()
        assert (marks.are_on(made, first), marks.are_on(made, second)) == (True, False)
        manage.create(plan, second)
        assert (marks.are_on(made, first), marks.are_on(made, second)) == (False, True)


def test_a_root_by_another_name_is_the_same_root(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert marks.mark_of(str(tmp_path / "link"), "box") == marks.mark_of(str(tmp_path), "box")


def test_where_no_mark_can_be_put_nothing_happens(tmp_path: Path) -> None:
    marks.put(str(tmp_path / "missing"), "1:2:box")
