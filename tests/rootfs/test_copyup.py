# SPDX-License-Identifier: Apache-2.0
"""What tmpcopyup takes along, and what it leaves behind."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.rootfs.copyup import copy_tree
from tests.forked import in_child
from tests.rootfs.roots import descriptors


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target"
    path.mkdir()
    return path


def copy(source: Path, target: Path) -> None:
    """As init does it: the target by a descriptor that stands for a mount."""
    before = descriptors()
    reading, writing = os.open(source, os.O_RDONLY), os.open(target, os.O_PATH)
    proc = os.open("/proc", os.O_PATH)
    mask = os.umask(0)
    try:
        copy_tree(reading, writing, proc)
    finally:
        os.umask(mask)
        os.close(proc)
        os.close(reading)
        os.close(writing)
    assert descriptors() == before


def test_directories_files_and_links(source: Path, target: Path) -> None:
    (source / "a/b").mkdir(parents=True)
    (source / "a/b/file").write_bytes(os.urandom((1 << 20) + 17))
    (source / "empty").touch()
    (source / "dangling").symlink_to("/no/such/place")
    (source / "a/up").symlink_to("../../outside")
    (source / os.fsdecode(b"\xff\n")).write_text("odd")
    copy(source, target)
    assert (target / "a/b/file").read_bytes() == (source / "a/b/file").read_bytes()
    assert os.readlink(target / "dangling") == "/no/such/place"
    assert os.readlink(target / "a/up") == "../../outside"
    names = [sorted(os.fsencode(path.relative_to(top)) for path in top.rglob("*")) for top in (source, target)]
    assert names[0] == names[1]


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o755, 0o4755, 0o2750, 0o1777])
def test_modes(source: Path, target: Path, mode: int) -> None:
    if os.geteuid() != 0 and not mode & 0o400:
        pytest.skip("only root reads what nobody may read")
    (source / "file").touch()
    (source / "dir").mkdir()
    for name in ("file", "dir"):
        (source / name).chmod(mode)
    try:
        copy(source, target)
        assert [(target / name).stat().st_mode & 0o7777 for name in ("file", "dir")] == [mode, mode]
    finally:
        for top in (source, target):
            (top / "dir").chmod(0o755)


@pytest.mark.needs_root
def test_owners(source: Path, target: Path) -> None:
    (source / "file").touch()
    (source / "dir").mkdir()
    (source / "link").symlink_to("file")
    os.mkfifo(source / "fifo")
    for number, name in enumerate(("file", "dir", "link", "fifo"), 1):
        os.lchown(source / name, 1000 + number, 2000 + number)
    (source / "file").chmod(0o6755)  # a change of owner takes set-id bits away, so the mode must come after it
    copy(source, target)
    for number, name in enumerate(("file", "dir", "link", "fifo"), 1):
        status = os.lstat(target / name)
        assert (status.st_uid, status.st_gid) == (1000 + number, 2000 + number), name
    assert os.lstat(target / "file").st_mode & 0o7777 == 0o6755


def test_a_fifo_stays_a_fifo(source: Path, target: Path) -> None:
    os.mkfifo(source / "fifo", 0o640)
    copy(source, target)  # and nobody waits for it to be written to
    assert os.lstat(target / "fifo").st_mode == 0o010640


@pytest.mark.needs_root
def test_devices_and_sockets_stay_behind(source: Path, target: Path) -> None:
    os.mknod(source / "char", 0o020666, os.makedev(1, 5))
    os.mknod(source / "block", 0o060666, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
    (source / "file").touch()
    copy(source, target)
    assert os.listdir(target) == ["file"]


def test_what_is_there_already_is_not_written_into(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("kept")
    (target / "file").symlink_to(tmp_path / "outside")
    (source / "file").write_text("of the image")
    with pytest.raises(FileExistsError):
        copy(source, target)
    assert (tmp_path / "outside").read_text() == "kept"


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_file_that_becomes_something_else_is_the_one_that_it_was(
    source: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A neighbour with the same volume swaps it between our look and our open. A device's opening could have effects."""
    (tmp_path / "outside").write_text("secret")
    (source / "file").write_text("x")
    real = k.fstat

    def fstat(fd: int) -> os.stat_result:
        status = real(fd)
        if stat.S_ISREG(status.st_mode):
            os.unlink(source / "file")
            if kind == "link":
                (source / "file").symlink_to(tmp_path / "outside")
            else:
                os.mkfifo(source / "file")
        return status

    monkeypatch.setattr(k, "fstat", fstat)
    copy(source, target)
    assert (target / "file").read_text() == "x"


def test_directories_within_each_other_have_an_end(source: Path, target: Path) -> None:
    deepest = source
    for _ in range(300):
        deepest = deepest / "d"
        deepest.mkdir()
    with pytest.raises(OSError, match="File name too long"):
        copy(source, target)


def test_short_writes(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "file").write_bytes(bytes(range(256)))
    real = k.write
    monkeypatch.setattr(k, "write", lambda fd, content: real(fd, content[:7]))
    copy(source, target)
    assert (target / "file").read_bytes() == bytes(range(256))


@pytest.mark.needs_root
def test_into_a_detached_file_system(source: Path) -> None:
    """The way it is used: the tmpfs is filled before anything sees it."""
    (source / "dir").mkdir()
    (source / "dir/file").write_text("x")

    def inside() -> list[Any]:
        context = k.fsopen("tmpfs")
        k.fsconfig(context, k.FSCONFIG_CMD_CREATE)
        tree = k.fsmount(context)
        reading = os.open(source, os.O_RDONLY)
        copy_tree(reading, tree, os.open("/proc", os.O_PATH))
        fd = os.open("dir/file", os.O_RDONLY, dir_fd=tree)
        return [os.read(fd, 9).decode(), k.fstatfs_type(fd) == k.TMPFS_MAGIC]

    assert in_child(inside, sealed=True) == ["x", True]
