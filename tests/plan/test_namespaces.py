# SPDX-License-Identifier: Apache-2.0
"""Namespaces: which are made, which are joined and in what order, and whose ids are whose."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import SpecError
from pyoci.plan.model import IdMap, Join, Namespaces
from pyoci.plan.namespaces import FLAGS, PROC_NAMES, check_joined_maps, host_id, plan_namespaces

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


def joined(maps: Any, path: str = "/u", **linux: Any) -> list[str]:
    return check_joined_maps({"namespaces": [{"type": "pid"}, {"type": "user", "path": path}], **linux}, maps)


THERE = ((0, 1000, 1), (1, 100_000, 65535))
HAS = "the user namespace /u, which is joined, has"


def test_the_maps_that_a_joined_user_namespace_has_may_be_given_once_more() -> None:
    assert joined((THERE, THERE)) == []
    assert joined((THERE, THERE[:1]), uidMappings=MAP, gidMappings=MAP[:1]) == [
        f"/linux/uidMappings and /linux/gidMappings left out: {HAS} its maps already"
    ]
    assert joined((THERE[::-1], ()), uidMappings=MAP) == [f"/linux/uidMappings left out: {HAS} its maps already"]


def test_the_same_may_be_said_in_other_lines() -> None:
    lines = [{"containerID": 5, "hostID": 25, "size": 5}, {"containerID": 0, "hostID": 20, "size": 5}]
    assert joined((((0, 20, 10),), ()), uidMappings=lines)
    with pytest.raises(SpecError):
        joined((((0, 20, 9),), ()), uidMappings=lines)
    with pytest.raises(SpecError):
        joined((((0, 20, 5), (5, 26, 5)), ()), uidMappings=lines)


def test_what_podman_says_beside_a_path_means_nothing() -> None:
    lines = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert joined((THERE, THERE), uidMappings=lines, gidMappings=lines)


def test_other_maps_may_not() -> None:
    with pytest.raises(SpecError) as caught:
        joined((THERE[:1], THERE), uidMappings=MAP, gidMappings=MAP)
    assert caught.value.message == (
        "/linux/uidMappings is not the map of the user namespace /u, which is joined: "
        "0 1000 1, 1 100000 65535, and there 0 1000 1"
    )
    with pytest.raises(SpecError, match=r"/linux/gidMappings is not .*: 0 1000 1, 1 100000 65535, and there none"):
        joined((THERE, ()), uidMappings=MAP, gidMappings=MAP)


def test_maps_that_are_not_known_cannot_be_compared() -> None:
    (warning,) = joined(None, uidMappings=MAP, gidMappings=MAP)
    assert warning.endswith(f"{HAS} maps already, and they cannot be read")
    assert joined(None) == []


def test_mappings_of_a_new_user_namespace_are_not_compared() -> None:
    assert joined(None, path="", uidMappings=MAP, gidMappings=MAP) == []
    assert check_joined_maps({"uidMappings": MAP}, None) == []


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
