# SPDX-License-Identifier: Apache-2.0
"""Namespaces: which are made, which are joined and in what order, and whose ids are whose."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.plan.model import IdMap, Join, Namespaces
from pyoci.plan.namespaces import FLAGS, PROC_NAMES, host_id, plan_namespaces

MAP = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65535}]
LINES = (IdMap(container=0, host=1000, size=1), IdMap(container=1, host=100000, size=65535))


def planned(*namespaces: tuple[str, str] | str, **linux: Any) -> Namespaces:
    entries = [{"type": one} if isinstance(one, str) else {"type": one[0], "path": one[1]} for one in namespaces]
    return plan_namespaces({"namespaces": entries, **linux})


@pytest.mark.parametrize("linux", [{}, {"namespaces": None}, {"namespaces": []}])
def test_none_at_all(linux: dict[str, Any]) -> None:
    assert plan_namespaces(linux) == Namespaces(new=0)


@pytest.mark.parametrize("name", FLAGS)
def test_each_kind(name: str) -> None:
    made, joined = planned(name), planned((name, "/run/ns"))
    assert made == Namespaces(new=FLAGS[name])
    assert joined == Namespaces(new=0, join=(Join(type=name, path="/run/ns", flag=FLAGS[name]),))
    assert made.has(FLAGS[name]) and joined.has(FLAGS[name])
    assert not any(made.has(flag) or joined.has(flag) for other, flag in FLAGS.items() if other != name)


def test_an_empty_path_is_none() -> None:
    assert planned(("pid", "")) == Namespaces(new=k.CLONE_NEWPID)


def test_the_flags_are_the_kernels() -> None:
    assert len(set(FLAGS.values())) == 8
    for name, flag in FLAGS.items():
        constant = "CLONE_NEW" + {"mount": "NS", "network": "NET"}.get(name, name.upper())
        assert flag == getattr(k, constant) == getattr(os, constant, flag)
        assert os.path.exists(f"/proc/self/ns/{PROC_NAMES[name]}") or name == "time"


def test_the_user_namespace_is_joined_first_and_the_mounts_last() -> None:
    listed = [("mount", "/m"), ("pid", "/p"), ("network", "/n"), ("user", "/u"), ("cgroup", "/c"), ("ipc", "/i")]
    assert [join.type for join in planned(*listed).join] == ["user", "ipc", "network", "pid", "cgroup", "mount"]


def test_made_and_joined() -> None:
    both = planned("pid", ("network", "/n"), "mount")
    assert both.new == k.CLONE_NEWPID | k.CLONE_NEWNS
    assert [join.type for join in both.join] == ["network"]


def test_maps_are_for_a_new_user_namespace_only() -> None:
    assert planned("user", uidMappings=MAP, gidMappings=MAP[:1]).uid_map == LINES
    assert planned("user", uidMappings=MAP, gidMappings=MAP[:1]).gid_map == LINES[:1]
    for other in (planned("pid", uidMappings=MAP), planned(("user", "/u"), uidMappings=MAP, gidMappings=MAP)):
        assert (other.uid_map, other.gid_map) == ((), ())


def test_clocks() -> None:
    offsets = {"monotonic": {"secs": 5, "nanosecs": 7}, "boottime": {"secs": -3}}
    assert planned("time", timeOffsets=offsets).time_offsets == (("monotonic", 5, 7), ("boottime", -3, 0))


@pytest.mark.parametrize(
    ("inside", "outside"), [(0, 1000), (1, 100000), (2, 100001), (65535, 165534), (65536, None), (-1, None)]
)
def test_ids_outside(inside: int, outside: int | None) -> None:
    assert host_id(LINES, inside) == outside


def test_ids_without_a_map() -> None:
    assert host_id((), 1234) == 1234
