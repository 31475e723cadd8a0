# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from errno import EINVAL, ENOSYS, EPERM

import pytest

from pyoci import kernel_calls
from pyoci import syscalls as k

EVERYTHING = (1 << 41) - 1


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that sets what the named calls answer; all others are there."""

    def set_to(error: int, *names: str, capabilities: int = EVERYTHING) -> None:
        numbers = {number for name, number, *_ in kernel_calls.NEEDED if name in names}
        monkeypatch.setattr(k, "probe", lambda number: error if number in numbers else EINVAL)
        monkeypatch.setattr(k, "capget", lambda: (capabilities, capabilities, 0))

    return set_to


@pytest.mark.needs_root
def test_nothing_is_missing_here_and_nothing_happens_when_it_is_asked() -> None:
    assert kernel_calls.missing() == ([], "")
    assert kernel_calls.hint() == ""


def test_a_call_that_there_never_was() -> None:
    assert k.probe(100_000) == ENOSYS


@pytest.mark.parametrize("error", [ENOSYS, EPERM])
@pytest.mark.parametrize("name", [name for name, *_ in kernel_calls.NEEDED])
def test_each_is_named(answers: Callable[..., None], name: str, error: int) -> None:
    answers(error, name)
    assert kernel_calls.missing()[0] == [name]
    assert f": {name}; " in kernel_calls.hint()


def test_the_newest_counts(answers: Callable[..., None]) -> None:
    answers(ENOSYS, "close_range", "openat2", "fsopen")
    assert kernel_calls.missing() == (["fsopen", "close_range", "openat2"], "5.11")


def test_who_may_not_mount_is_not_told_of_a_filter(answers: Callable[..., None]) -> None:
    answers(EPERM, "fsopen", "move_mount", "fsmount", "fspick", capabilities=0)
    assert kernel_calls.hint() == ""
    answers(ENOSYS, "fsopen", capabilities=0)
    assert "fsopen" in kernel_calls.hint()
