# SPDX-License-Identifier: Apache-2.0
"""A root as a mount among the host's: ours alone, and gone with all that was mounted on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyoci import syscalls as k
from pyoci.rootfs.attach import attach, detach
from tests.forked import in_child

from .roots import is_mounted, mountinfo, private_mounts, refusal

pytestmark = pytest.mark.needs_root


def attached(path: Path) -> int:
    """Attach a directory; the mount's id, which must be told before there is such a mount."""
    ids: list[int] = []

    def announce(number: int) -> None:
        assert f"\n{number} " not in Path("/proc/self/mountinfo").read_text()
        ids.append(number)

    attach(str(path), announce)
    return ids[0]


def test_it_comes_and_goes_with_what_is_mounted_below(tmp_path: Path) -> None:
    def inside() -> list[bool]:
        private_mounts()
        (tmp_path / "proc").mkdir()
        number = attached(tmp_path)
        k.mount("proc", str(tmp_path / "proc"), "proc", 0)
        there = [is_mounted(tmp_path), is_mounted(tmp_path / "proc")]
        detach(str(tmp_path), number)
        return [*there, is_mounted(tmp_path), is_mounted(tmp_path / "proc")]

    assert in_child(inside) == [True, True, False, False]


def test_what_is_mounted_below_stays_among_us(tmp_path: Path) -> None:
    def inside() -> str:
        private_mounts()
        k.mount(None, "/", None, k.MS_SHARED | k.MS_REC)
        attached(tmp_path)
        return mountinfo(tmp_path)["propagation"]

    assert in_child(inside) == ""


def test_what_was_mounted_there_before_stays(tmp_path: Path) -> None:
    """An engine's overlay, for one; and taking away ours twice does not touch it."""

    def inside() -> list[str]:
        private_mounts()
        k.mount("engine", str(tmp_path), "tmpfs", 0)
        number = attached(tmp_path)
        k.mount("later", str(tmp_path), "tmpfs", 0)
        told = [refusal(detach, str(tmp_path), number), mountinfo(tmp_path)["source"]]
        k.umount2(str(tmp_path), 0)
        for _ in range(2):
            detach(str(tmp_path), number)
        return [*told, mountinfo(tmp_path)["source"]]

    told, *sources = in_child(inside)
    assert told == f"unmount the root {tmp_path}: something else has been mounted over it"
    assert sources == ["later", "engine"]


def test_an_id_that_is_another_mounts_by_now(tmp_path: Path) -> None:
    """Somewhere else, and so not over the root."""

    def inside() -> bool:
        private_mounts()
        (tmp_path / "other").mkdir()
        (tmp_path / "root").mkdir()
        number = attached(tmp_path / "other")
        detach(str(tmp_path / "root"), number)
        return is_mounted(tmp_path / "other")

    assert in_child(inside)


def test_a_root_that_is_gone(tmp_path: Path) -> None:
    detach(str(tmp_path / "gone"), 1)
    assert "no such file or directory" in refusal(attach, str(tmp_path / "gone"), print)
