# SPDX-License-Identifier: Apache-2.0
"""The end of cgroups, with what was made below them."""

from __future__ import annotations

import os

import pytest

from pyoci.cgroups import join, manage
from pyoci.cgroups.remove import exists, remove
from pyoci.errors import CgroupError
from tests.cgroups import worlds

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups]


@pytest.mark.parametrize("timeout", [0, 10])
def test_with_all_below_however_little_time_there_is(timeout: float) -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        for path in set(paths.values()):
            os.makedirs(f"{path}/a/b")
            os.mkdir(f"{path}/c")
        remove(paths, timeout)
        assert not exists(paths)


def test_with_nothing_below() -> None:
    plan, other = worlds.planned(worlds.fresh_path()), worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan, other):
        paths, others = manage.create(plan), manage.create(other)
        for path in set(others.values()):
            os.mkdir(f"{path}/a")
        remove(paths, below=False)
        assert not exists(paths)
        with pytest.raises(CgroupError, match="device or resource busy"):
            remove(others, below=False)
        assert all(os.path.exists(f"{path}/a") for path in others.values())


def test_who_does_not_go_is_told() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        with pytest.raises(CgroupError, match=rf"device or resource busy: 1 process\(es\) in it, the first is {pid}"):
            remove(paths, timeout=0)
