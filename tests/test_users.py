# SPDX-License-Identifier: Apache-2.0
"""HOME from a passwd file that is not to be trusted."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from pyoci.users import PASSWD_LIMIT, find_home, home_directory
from tests.forked import in_child

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nweb2:x:33:33::/second:/bin/sh\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def home(root: Path, uid: int) -> bytes:
    fd, proc = os.open(root, os.O_PATH), os.open("/proc", os.O_PATH)
    try:
        return home_directory(fd, uid, proc)
    finally:
        os.close(fd)
        os.close(proc)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"u:x:7:7::/home/u:/bin/sh", b"/home/u"),
        (b"u:x:7:7::/home/u", b"/home/u"),
        (b"u:x:7:7:::/bin/sh", b"/"),
        (b"u:x:7:7::/a\0b:", b"/"),
        (b"#u:x:7:7::/home/u:", b"/"),
        (b"u:x:7", b"/"),
        (b"u:x:07:7::/home/u:", b"/"),
        (b"7:x:8:7::/home/u:", b"/"),  # a number is never a name
        (b"u:x:7:7::/\xff:", b"/\xff"),
        (b"", b"/"),
    ],
)
def test_line(line: bytes, expected: bytes) -> None:
    assert find_home(line, 7) == expected


def test_first_line_of_a_uid_counts(root: Path) -> None:
    (root / "etc/passwd").write_bytes(PASSWD)
    assert (home(root, 0), home(root, 33), home(root, 1000)) == (b"/root", b"/var/www", b"/")


def test_no_file(root: Path) -> None:
    assert home(root, 0) == b"/"


def test_fifo_does_not_block(root: Path) -> None:
    os.mkfifo(root / "etc/passwd")
    assert home(root, 0) == b"/"


def test_directory(root: Path) -> None:
    (root / "etc/passwd").mkdir()
    assert home(root, 0) == b"/"


def test_absolute_link_stays_in_the_root(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_bytes(b"r:x:0:0::/host:\n")
    (root / "etc/passwd").symlink_to(outside)
    assert home(root, 0) == b"/"
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/real")
    (root / "real").write_bytes(PASSWD)
    assert home(root, 0) == b"/root"


def test_no_more_is_read_than_the_limit(root: Path) -> None:
    filler = b"#" * 63 + b"\n"
    (root / "etc/passwd").write_bytes(filler * (PASSWD_LIMIT // 64) + PASSWD)
    assert home(root, 0) == b"/"


@pytest.mark.parametrize("left", [0, 1])
def test_no_descriptor_left_is_no_fault_of_the_file(root: Path, left: int) -> None:
    (root / "etc/passwd").write_bytes(PASSWD)

    def inside() -> str:
        fd, proc = os.open(root, os.O_PATH), os.open("/proc", os.O_PATH)
        lowest = os.dup(proc)  # of the numbers that are free
        os.close(lowest)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + left, hard))
        try:
            return home_directory(fd, 0, proc).decode()
        except OSError as error:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            return errno.errorcode[error.errno or 0]

    assert in_child(inside) == "EMFILE"


def test_needs_no_import_inside(root: Path) -> None:
    (root / "etc/passwd").write_bytes(PASSWD)
    assert in_child(lambda: home(root, 33).decode(), sealed=True) == "/var/www"
