# SPDX-License-Identifier: Apache-2.0
"""The standard streams of a program: none of the host's devices, and its user's if they are anybody's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.process.streams import own_stdio, replace_null_streams
from tests.forked import in_child
from tests.rootfs.roots import refusal


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "dev").mkdir()
    return tmp_path


def replaced(image: Path, streams: dict[int, str]) -> list[Any]:
    """Which streams are what the container has at /dev/null, and whether descriptors are left over."""

    def inside() -> list[Any]:
        for fd in (0, 1, 2):
            os.dup2(os.open(streams.get(fd, "/dev/zero"), os.O_RDWR), fd)
        root = os.open(image, os.O_PATH)
        proc = os.open("/proc", os.O_PATH)
        before = sorted(os.listdir("/proc/self/fd"))
        replace_null_streams(root, proc)
        place = os.stat(image / "dev").st_dev
        return [[os.fstat(fd).st_dev == place for fd in (0, 1, 2)], sorted(os.listdir("/proc/self/fd")) == before]

    answer: list[Any] = in_child(inside)
    return answer


@pytest.mark.needs_root
def test_the_hosts_null_device_is_replaced(image: Path) -> None:
    os.mknod(image / "dev/null", 0o020666, os.makedev(1, 3))
    assert replaced(image, {0: "/dev/null", 2: "/dev/null"}) == [[True, False, True], True]
    assert replaced(image, {}) == [[False, False, False], True]


@pytest.mark.needs_root
def test_a_null_device_that_cannot_be_opened(image: Path) -> None:
    def inside() -> str:
        k.unshare(k.CLONE_NEWNS)
        k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)
        k.mount("none", str(image / "dev"), "tmpfs", k.MS_NODEV)
        os.mknod(image / "dev/null", 0o020666, os.makedev(1, 3))
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        return refusal(replace_null_streams, os.open(image, os.O_PATH), os.open("/proc", os.O_PATH))

    assert in_child(inside) == (
        "open the container's /dev/null in the place of the host's: permission denied (is its file system mounted nodev?)"
    )


@pytest.mark.needs_root
def test_a_container_without_a_null_device(image: Path) -> None:
    assert replaced(image, {0: "/dev/null"}) == [[False, False, False], True]


@pytest.mark.needs_root
@pytest.mark.parametrize("kind", ["other device", "file", "link", "fifo"])
def test_something_else_at_its_place(image: Path, kind: str) -> None:
    """A fifo would block, a file would be written to, a link would lead elsewhere (CVE-2026-88265)."""
    place = image / "dev/null"
    if kind == "other device":
        os.mknod(place, 0o020666, os.makedev(1, 5))
    elif kind == "file":
        place.touch()
    elif kind == "link":
        (image / "victim").touch()
        place.symlink_to("../victim")
    else:
        os.mkfifo(place)

    def inside() -> str:
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        real = k.openat2

        def openat2(dirfd: int, path: str, flags: int, **more: int) -> int:
            assert flags & os.O_PATH, "to open what may be a device is to do something to it"
            return real(dirfd, path, flags, **more)

        k.openat2 = openat2  # type: ignore[assignment]
        return refusal(replace_null_streams, os.open(image, os.O_PATH), os.open("/proc", os.O_PATH))

    assert in_child(inside) == "/dev/null in the container is not the null device"


@pytest.mark.needs_root
def test_own_stdio() -> None:
    with tempfile.TemporaryFile() as regular:

        def inside() -> list[int]:
            reading, _ = os.pipe()
            os.dup2(reading, 0)
            os.dup2(regular.fileno(), 1)
            os.dup2(os.open("/dev/null", os.O_RDWR), 2)
            own_stdio(1234, False)
            return [os.fstat(fd).st_uid for fd in (0, 1, 2)] + [os.fstat(fd).st_gid for fd in (0, 1)]

        assert in_child(inside) == [1234, 1234, os.stat("/dev/null").st_uid, 0, os.fstat(regular.fileno()).st_gid]


@pytest.mark.needs_root
def test_a_file_that_is_read_stays_its_owners(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    def inside() -> int:
        os.dup2(os.open(tmp_path / "file", os.O_RDONLY), 0)
        own_stdio(1234, False)
        return os.fstat(0).st_uid

    assert in_child(inside) == 0


@pytest.mark.needs_root
@pytest.mark.parametrize("own", [False, True])
def test_only_a_terminal_of_its_own_becomes_the_users(own: bool) -> None:
    def inside() -> list[int]:
        master, slave = os.openpty()
        before = os.fstat(slave).st_uid
        for stream in (0, 1, 2):
            os.dup2(slave, stream)
        own_stdio(1234, own)
        return [before, os.fstat(slave).st_uid, master]

    before, after, _ = in_child(inside)
    assert after == (1234 if own else before)
