# SPDX-License-Identifier: Apache-2.0
"""Where state is kept: --root, root's default, and that of everybody else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyoci import syscalls as k
from pyoci.cli import settings
from pyoci.errors import PyociError, UsageError
from tests.forked import in_child
from tests.user_namespaces import user_namespace


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bytes]:
    environment: dict[bytes, bytes] = {}
    monkeypatch.setattr(settings, "environ", environment)
    return environment


def pretend(monkeypatch: pytest.MonkeyPatch, uid: int, first: int) -> None:
    """Be another user, or root of a namespace, as far as the module can tell: `first` is where the host's root is root."""
    monkeypatch.setattr(settings, "geteuid", lambda: uid)
    monkeypatch.setattr(settings, "PROC_USER_INIT_INO", first)


INITIAL = os.stat("/proc/self/ns/user").st_ino
NESTED = INITIAL + 1


@pytest.mark.parametrize(
    ("uid", "first", "user", "honoured"),
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
    first: int,
    user: bytes | None,
    honoured: bool,
) -> None:
    pretend(monkeypatch, uid, first)
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
    monkeypatch: pytest.MonkeyPatch, environment: dict[bytes, bytes], value: bytes | None
) -> None:
    pretend(monkeypatch, 1000, INITIAL)
    if value is not None:
        environment[b"XDG_RUNTIME_DIR"] = value
    assert settings.state_root(None) == "/run/pyoci"


def test_a_runtime_directory_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[bytes, bytes]
) -> None:
    pretend(monkeypatch, 1000, INITIAL)
    environment[b"XDG_RUNTIME_DIR"] = os.fsencode(tmp_path / "run" / "user")
    assert settings.state_root(None) == str(tmp_path / "run" / "user" / "pyoci")
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in tmp_path.rglob("*")}
    assert modes == {"run": "0o700", "user": "0o700", "pyoci": "0o1700"}


def test_a_runtime_directory_that_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[bytes, bytes]
) -> None:
    pretend(monkeypatch, 1000, INITIAL)
    (tmp_path / "file").touch()
    environment[b"XDG_RUNTIME_DIR"] = os.fsencode(tmp_path / "file" / "run")
    with pytest.raises(PyociError, match=r"run/pyoci \(from \$XDG_RUNTIME_DIR\): not a directory"):
        settings.state_root(None)
    (tmp_path / "dangling").symlink_to("nowhere")
    environment[b"XDG_RUNTIME_DIR"] = os.fsencode(tmp_path / "dangling")
    with pytest.raises(PyociError, match=r"dangling/pyoci \(from \$XDG_RUNTIME_DIR\): no such file or directory"):
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


@pytest.mark.needs_root
@pytest.mark.needs_user_namespaces
def test_root_of_a_namespace_with_the_hosts_maps(tmp_path: Path) -> None:
    def inside() -> str:
        settings.environ.update({b"XDG_RUNTIME_DIR": os.fsencode(tmp_path), b"USER": b"somebody"})
        namespace = os.open(path, os.O_RDONLY)
        k.setns(namespace, k.CLONE_NEWUSER)
        return settings.state_root(None)

    with user_namespace("0 0 4294967295\n", "0 0 4294967295\n") as path:
        assert in_child(inside) == str(tmp_path / "pyoci")
