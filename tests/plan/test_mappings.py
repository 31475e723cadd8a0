# SPDX-License-Identifier: Apache-2.0
"""Which mounts get which id maps, and what of that cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import SpecError
from pyoci.plan.model import IdMap, Join, Mapping, Mount, Namespaces
from pyoci.plan.mounts import plan_mounts

HOST = Namespaces(new=k.CLONE_NEWNS)
OWN = Namespaces(
    new=k.CLONE_NEWNS | k.CLONE_NEWUSER,
    uid_map=(IdMap(container=0, host=1000, size=10),),
    gid_map=(IdMap(container=0, host=2000, size=10),),
)
JOINED = Namespaces(new=k.CLONE_NEWNS, join=(Join(type="user", path="/run/user-ns", flag=k.CLONE_NEWUSER),))
LINES = [{"containerID": 0, "hostID": 5000, "size": 3}]
PLANNED = (IdMap(container=0, host=5000, size=3),)


def planned(options: list[str], namespaces: Namespaces = HOST, euid: int = 0, **more: Any) -> Mount:
    entry = {"destination": "/data", "type": "none", "source": "/srv", "options": options, **more}
    return plan_mounts([entry], "/bundle", namespaces, euid)[0]


def test_no_mapping_unless_asked_for() -> None:
    assert planned(["bind"], OWN).mapping is None


@pytest.mark.parametrize(("option", "recursive"), [((), False), (("idmap",), False), (("ridmap",), True)])
@pytest.mark.parametrize("namespaces", [HOST, OWN, JOINED])
def test_a_mounts_own_maps_come_first(option: tuple[str, ...], recursive: bool, namespaces: Namespaces) -> None:
    mapping = planned(["bind", *option], namespaces, uidMappings=LINES, gidMappings=LINES).mapping
    assert mapping == Mapping(uid_map=PLANNED, gid_map=PLANNED, recursive=recursive)


def test_without_them_those_of_the_containers_user_namespace() -> None:
    assert planned(["rbind", "ridmap"], OWN).mapping == Mapping(
        uid_map=OWN.uid_map, gid_map=OWN.gid_map, recursive=True
    )


def test_those_of_a_joined_user_namespace_are_read_when_it_is_opened() -> None:
    assert planned(["bind", "idmap"], JOINED).mapping == Mapping(user_namespace="/run/user-ns")


def test_a_mapping_is_no_data_for_the_file_system() -> None:
    mount = planned(["idmap", "size=1m"], type="tmpfs", uidMappings=LINES, gidMappings=LINES)
    assert (mount.kind, mount.parameters) == ("new", (("size", "1m"),))


@pytest.mark.parametrize(
    ("options", "more", "text"),
    [
        (["bind", "idmap"], {}, "neither the mount nor the container has id mappings"),
        (["bind", "idmap"], {"uidMappings": LINES}, "go together"),
        (["bind"], {"gidMappings": LINES}, "go together"),
        (["bind", "remount", "idmap"], {"uidMappings": LINES, "gidMappings": LINES}, "not for a remount"),
        (["idmap"], {"type": "cgroup", "uidMappings": LINES, "gidMappings": LINES}, "not for a cgroup"),
    ],
)
def test_what_cannot_be(options: list[str], more: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        planned(options, **more)


def test_an_ordinary_user_maps_no_bind_mount() -> None:
    with pytest.raises(SpecError, match="only root"):
        planned(["bind", "idmap"], euid=1000, uidMappings=LINES, gidMappings=LINES)


def test_but_a_file_system_of_his_own() -> None:
    assert planned(["idmap"], OWN, euid=1000, type="tmpfs").mapping
