# SPDX-License-Identifier: Apache-2.0
"""One call for all containers whose ids match: who is called, and what comes of those that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci.cli.matching import for_each
from pyoci.container.record import Settings
from pyoci.errors import CgroupError, ContainerNotFound, InvalidOperation, PyociError, UsageError
from pyoci.log import Log

NAMES = ["db", "test-1", "test-2", "web"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for name in NAMES:
        (tmp_path / name).mkdir()
    return Settings(root=str(tmp_path), log=Log())


def called(settings: Settings, pattern: str) -> list[str]:
    names: list[str] = []
    for_each(settings, pattern, names.append)
    return names


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("^test-", ["test-1", "test-2"]),
        ("b", ["db", "web"]),
        ("^(db|web)$", ["db", "web"]),
        ("", NAMES),
        ("none", []),
    ],
)
def test_who_is_called(settings: Settings, pattern: str, names: list[str]) -> None:
    assert called(settings, pattern) == names


def failing(failures: dict[str, PyociError], names: list[str]) -> Callable[[str], None]:
    def act(name: str) -> None:
        names.append(name)
        if name in failures:
            raise failures[name]

    return act


def test_one_that_has_ended_is_a_warning(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    names: list[str] = []
    failures = {"db": InvalidOperation("container not running"), "web": ContainerNotFound("web")}
    for_each(settings, "", failing(failures, names))
    assert names == NAMES
    assert capfd.readouterr().err.splitlines() == [
        "pyoci: warning: container db: container not running",
        'pyoci: warning: container web: container does not exist: "web"',
    ]


def test_a_failure_does_not_keep_the_others_from_their_turn(settings: Settings) -> None:
    names: list[str] = []
    with pytest.raises(CgroupError) as raised:
        for_each(settings, "", failing({"db": CgroupError("no"), "web": PyociError("nor this")}, names))
    assert names == NAMES
    assert (raised.value.message, raised.value.__notes__) == ("no", ["nor this"])


def test_what_is_no_pattern(settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"--regex: '\[' is no regular expression"):
        called(settings, "[")


def test_a_root_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PyociError, match=r"list the containers below .*: no such file or directory"):
        called(Settings(root=str(tmp_path / "none"), log=Log()), "")
