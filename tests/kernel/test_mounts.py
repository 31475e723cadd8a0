# SPDX-License-Identifier: Apache-2.0
"""The wrappers around the calls for mounts and paths, each against what the kernel then shows."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.kernel import basic, mounts
from tests.forked import in_child

IN_ROOT = k.RESOLVE_IN_ROOT


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        yield tmp_path, fd
    finally:
        os.close(fd)


def private_mounts() -> None:
    k.unshare(k.CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)


def mountinfo(point: str) -> list[str]:
    """The fields of the topmost mount at a place."""
    lines = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [line for line in lines if line[4] == point][-1]


def test_openat2_stays_in_the_root(directory: tuple[Path, int]) -> None:
    path, fd = directory
    (path / "etc").mkdir()
    (path / "etc/passwd").write_text("inside")
    (path / "absolute").symlink_to("/etc/passwd")
    (path / "dots").symlink_to("../../../etc/passwd")
    for name in ("etc/passwd", "/etc/passwd", "absolute", "dots", "../../etc/passwd"):
        opened = k.openat2(fd, name, os.O_RDONLY)
        assert os.read(opened, 99) == b"inside"
        assert not os.get_inheritable(opened)
        os.close(opened)
    with pytest.raises(OSError, match="Invalid cross-device link"):
        k.openat2(fd, "absolute", os.O_RDONLY, resolve=k.RESOLVE_BENEATH)
    with pytest.raises(OSError, match="Too many levels"):
        k.openat2(fd, "absolute", os.O_RDONLY, resolve=k.RESOLVE_NO_SYMLINKS)
    with pytest.raises(FileNotFoundError) as caught:
        k.openat2(fd, "none", os.O_RDONLY)
    assert caught.value.filename == "none"


def test_openat2_makes_files_with_a_mode(directory: tuple[Path, int]) -> None:
    path, fd = directory
    mask = os.umask(0)
    try:
        os.close(k.openat2(fd, b"\xff", os.O_CREAT | os.O_WRONLY, 0o640))
    finally:
        os.umask(mask)
    assert os.stat(os.fsencode(path) + b"/\xff").st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR])
def test_openat2_tries_again_when_somebody_renames_meanwhile(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [-1, -1, 7]
    monkeypatch.setattr(mounts, "_syscall_lspl", lambda *_: answers.pop(0))
    for module in (mounts, basic):
        monkeypatch.setattr(module, "get_errno", lambda: number)
    assert k.openat2(3, "a", 0) == 7


def test_openat2_does_not_try_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[Any] = []

    def never(*arguments: Any) -> int:
        tries.append(arguments)
        return -1

    monkeypatch.setattr(mounts, "_syscall_lspl", never)
    for module in (mounts, basic):
        monkeypatch.setattr(module, "get_errno", lambda: errno.EAGAIN)
    with pytest.raises(BlockingIOError) as caught:
        k.openat2(3, "a", 0)
    assert (len(tries), caught.value.filename) == (128, "a")


def test_openat2_does_not_try_again_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [-1]
    monkeypatch.setattr(mounts, "_syscall_lspl", lambda *_: answers.pop(0))
    for module in (mounts, basic):
        monkeypatch.setattr(module, "get_errno", lambda: errno.ENOENT)
    with pytest.raises(FileNotFoundError):
        k.openat2(3, "a", 0)


@pytest.mark.needs_root
def test_a_detached_mount_is_attached_with_its_attributes(tmp_path: Path) -> None:
    def inside() -> list[Any]:
        private_mounts()
        fd = os.open(tmp_path, os.O_PATH)
        context = k.fsopen("tmpfs")
        k.fsconfig(context, k.FSCONFIG_SET_STRING, "source", "named")
        k.fsconfig(context, k.FSCONFIG_SET_STRING, "mode", "0700")
        k.fsconfig(context, k.FSCONFIG_CMD_CREATE)
        tree = k.fsmount(context, k.MOUNT_ATTR_NOEXEC)
        flags = [os.get_inheritable(context), os.get_inheritable(tree)]
        k.mount_setattr(tree, k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NOATIME, k.MOUNT_ATTR_NOEXEC | k.MOUNT_ATTR__ATIME)
        k.move_mount(tree, fd)
        info = mountinfo(str(tmp_path))
        kind = k.fstatfs_type(tree)
        k.umount2(str(tmp_path), k.MNT_DETACH)
        return [flags, info[5], info[-2], os.fstat(tree).st_mode & 0o7777, kind]

    assert in_child(inside) == [[False, False], "rw,nosuid,noatime", "named", 0o700, k.TMPFS_MAGIC]


@pytest.mark.needs_root
def test_propagation_and_recursion(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    def inside() -> list[Any]:
        private_mounts()
        k.mount("tmpfs", str(tmp_path / "a"), "tmpfs", 0)
        (tmp_path / "a/b").mkdir()
        k.mount("tmpfs", str(tmp_path / "a/b"), "tmpfs", k.MS_NODEV)
        fd = os.open(tmp_path / "a", os.O_PATH)
        k.mount_setattr(fd, 0, propagation=k.MS_SHARED)
        one = [mountinfo(str(tmp_path / name))[6] for name in ("a", "a/b")]
        k.mount_setattr(fd, k.MOUNT_ATTR_RDONLY, recursive=True)
        both = [mountinfo(str(tmp_path / name))[5] for name in ("a", "a/b")]
        copy = k.open_tree(fd, b"", k.OPEN_TREE_CLONE | k.AT_EMPTY_PATH | k.AT_RECURSIVE)
        return [one[0].startswith("shared:"), one[1], both, os.get_inheritable(copy)]

    assert in_child(inside) == [True, "-", ["ro,relatime", "ro,nodev,relatime"], False]


def test_an_unknown_file_system() -> None:
    with pytest.raises(OSError) as caught:
        k.fsopen("nosuchfs")
    assert caught.value.filename == "nosuchfs"


def test_access_as_the_effective_ids() -> None:
    k.faccessat2(k.AT_FDCWD, "/proc/self/status", os.R_OK, k.AT_EACCESS)
    with pytest.raises(PermissionError):
        k.faccessat2(k.AT_FDCWD, "/proc/self/status", os.X_OK, k.AT_EACCESS)
