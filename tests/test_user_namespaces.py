# SPDX-License-Identifier: Apache-2.0
"""Whose the ids of a user namespace are that is there already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.user_namespaces import maps_of
from tests.forked import in_child
from tests.rootfs.roots import descriptors, private_mounts
from tests.user_namespaces import user_namespace

pytestmark = pytest.mark.needs_user_namespaces


@pytest.mark.needs_root
def test_the_maps_and_nothing_left_behind() -> None:
    before = descriptors()
    with user_namespace("0 1000 5\n10 3000 1\n", "0 2000 1\n") as path:
        assert maps_of(path) == (((0, 1000, 5), (10, 3000, 1)), ((0, 2000, 1),))
    assert descriptors() == before


@pytest.mark.needs_root
def test_who_looks_has_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our caller's descriptors are still there, and whoever is root in that namespace is near to it."""
    enter, secret, seen = k.setns, tmp_path / "secret", tmp_path / "seen"
    secret.touch()

    def look_and_enter(fd: int, flags: int) -> None:
        fds = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        seen.write_text(" ".join(os.readlink(link) for link in fds if os.path.lexists(link)))
        enter(fd, flags)

    monkeypatch.setattr(k, "setns", look_and_enter)
    with user_namespace("0 1000 5\n", "0 2000 1\n") as path, secret.open():
        assert maps_of(path)
    assert "user:[" in seen.read_text()
    assert str(secret) not in seen.read_text()


@pytest.mark.needs_root
def test_maps_that_are_not_written_yet() -> None:
    with user_namespace("", "") as path:
        assert maps_of(path) == ((), ())


@pytest.mark.needs_root
def test_a_namespace_that_nobody_is_in(tmp_path: Path) -> None:
    def inside() -> Any:
        private_mounts()
        place = tmp_path / "users"
        place.touch()
        with user_namespace("0 1000 5\n", "0 2000 1\n") as path:
            k.mount(path, str(place), None, k.MS_BIND)
        return maps_of(str(place))

    assert in_child(inside) == [[[0, 1000, 5]], [[0, 2000, 1]]]


def test_where_they_cannot_be_had(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/nonexistent", f"{tmp_path}/fifo", str(tmp_path), "/proc/self/ns/net", "/proc/self/ns/user"):
        before = descriptors()
        assert maps_of(path) is None
        assert descriptors() == before
