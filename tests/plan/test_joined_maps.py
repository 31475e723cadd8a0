# SPDX-License-Identifier: Apache-2.0
"""Mappings beside the path of a user namespace: the same once more, nothing, or a mistake."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.errors import SpecError
from pyoci.plan.joined_maps import check_joined_maps

MAP = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 65535}]


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
