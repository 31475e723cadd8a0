# SPDX-License-Identifier: Apache-2.0
"""Where state is kept: --root, root's default, and that of everybody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyoci.cli import settings
from pyoci.errors import PyociError, UsageError


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    environment: dict[bytes, bytes] = {}
    monkeypatch.setattr(settings, "environ", environment)
    return environment


def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, mapping: str) -> None:
    """Be another user, or root of a namespace, as far as the module can tell."""
    file = tmp_path / "uid_map"
    file.write_text(mapping)
    monkeypatch.setattr(settings, "geteuid", lambda: uid)
    real = settings.open
    monkeypatch.setattr(
        settings, "open", lambda path, *rest: real(str(file) if path == "/proc/self/uid_map" else path, *rest)
    )


INITIAL = "         0          0 4294967295\n"
NESTED = "         0     100000      65536\n"


@pytest.mark.parametrize(
    ("uid", "mapping", "user", "honoured"),
    [
        (0, INITIAL, None, False),
        (0, INITIAL, b"somebody", False),
        (0, NESTED, None, True),
        (0, NESTED, b"somebody", True),
        (0, NESTED, b"root", False),
        (1000, INITIAL, None, True),
        (1000, INITIAL, b"root", True),
    ],
)
def test_the_default_root(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    environment: dict[bytes, bytes],
    uid: int,
    mapping: str,
    user: bytes | None,
    honoured: bool,
) -> None:
    pretend(monkeypatch, tmp_path, uid, mapping)
    environment[b"XDG_RUNTIME_DIR"] = os.fsencode(tmp_path)
    if user is not None:
        environment[b"USER"] = user
    root = settings.state_root(None)
    assert root == (str(tmp_path / "pyoci") if honoured else "/run/pyoci")
    if honoured:
        assert stat.S_IMODE(os.stat(root).st_mode) == 0o1700
        assert settings.state_root(None) == root
    else:
        assert not (tmp_path / "pyoci").exists()


@pytest.mark.parametrize("value", [None, b"", b"relative/dir"])
def test_a_runtime_directory_that_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[bytes, bytes], value: bytes | None
) -> None:
    pretend(monkeypatch, tmp_path, 1000, INITIAL)
    if value is not None:
        environment[b"XDG_RUNTIME_DIR"] = value
    assert settings.state_root(None) == "/run/pyoci"


def test_a_runtime_directory_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[bytes, bytes]
) -> None:
    pretend(monkeypatch, tmp_path, 1000, INITIAL)
    environment[b"XDG_RUNTIME_DIR"] = os.fsencode(tmp_path / "gone")
    with pytest.raises(PyociError, match=r"gone/pyoci \(from \$XDG_RUNTIME_DIR\): no such file or directory"):
        settings.state_root(None)


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert settings.absolute("/r") == "/r"
    message = "find the current directory, which 'r' is relative to: no such file or directory"
    with pytest.raises(PyociError, match=message):
        settings.absolute("r")


@pytest.mark.parametrize(
    ("given", "root"), [("/r", "/r"), ("r", "/usr/r"), (".", "/usr"), ("../run//x/./y/", "/run/x/y")]
)
def test_a_root_that_is_given(monkeypatch: pytest.MonkeyPatch, given: str, root: str) -> None:
    monkeypatch.chdir("/usr")
    assert settings.state_root(given) == root


@pytest.mark.parametrize("given", ["/", "//", "/..", "..", "../..", "/usr/.."])
def test_the_whole_system_is_no_root(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir("/usr")
    with pytest.raises(UsageError, match="which is the directory /"):
        settings.state_root(given)


def test_an_empty_root_is_the_current_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert settings.state_root("") == "/usr"
    monkeypatch.chdir("/")
    with pytest.raises(UsageError):
        settings.state_root("")
