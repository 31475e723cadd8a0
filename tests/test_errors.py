# SPDX-License-Identifier: Apache-2.0
"""Errors say what engines look for."""

from __future__ import annotations

import errno

import pytest

from pyoci import errors
from pyoci.errors import PyociError, StageFailed, describe, failed, reason, said_of


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EACCES, "whatever"), "permission denied"),
        (OSError(errno.ENOENT, "whatever", "/a"), "no such file or directory"),
        (OSError(errno.EPERM, ""), "operation not permitted"),
        (OSError("no number"), "no number"),
    ],
)
def test_reasons_are_spelled_as_go_spells_them(error: OSError, text: str) -> None:
    assert reason(error) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (None, "is a directory"),
        ("/a", "/a: is a directory"),
        (b"/\xc3\xa4", "/ä: is a directory"),
        (b"/\xff", "/\ufffd: is a directory"),
        (7, "7: is a directory"),
    ],
)
def test_the_object_goes_with_the_reason(name: object, text: str) -> None:
    assert describe(OSError(errno.EISDIR, "", name)) == text


def test_a_failed_step() -> None:
    error = failed("mount /proc", OSError(errno.EBUSY, ""))
    assert type(error) is PyociError
    assert (error.message, str(error), error.exit_code) == (("mount /proc: device or resource busy",) * 2 + (1,))
    assert error.errno == errno.EBUSY
    assert failed("mount /proc", OSError(errno.EBUSY, ""), " (so)").message == f"{error.message} (so)"


@pytest.mark.parametrize("number", [None, errno.EBUSY])
@pytest.mark.parametrize("text", ["mount /proc: why", "", "a\0b"])
def test_what_goes_from_one_process_to_the_other(number: int | None, text: str) -> None:
    error = PyociError(text)
    error.errno = number
    heard = StageFailed.heard(said_of(error, text))
    assert (heard.message, str(heard), heard.errno) == (text, text, number)


def test_the_kernels_own_error_on_its_way() -> None:
    assert StageFailed.heard(said_of(OSError(errno.EBUSY, ""), "x")).errno == errno.EBUSY
    assert StageFailed.heard(said_of(KeyError("x"), "x")).errno is None


def test_words_that_engines_look_for() -> None:
    assert errors.ContainerNotFound("x").message == 'container does not exist: "x"'
    assert errors.ContainerExists("x").message == 'container with given ID already exists: "x"'


def test_the_tree_of_errors() -> None:
    state_errors = (errors.ContainerNotFound, errors.ContainerExists, errors.InvalidId, errors.InvalidOperation)
    assert all(issubclass(error, errors.StateError) for error in state_errors)
    others = (errors.UsageError, errors.SpecError, errors.StageFailed, errors.HookFailed, errors.CgroupError)
    assert all(issubclass(error, PyociError) and not issubclass(error, errors.StateError) for error in others)
    assert not issubclass(PyociError, OSError), "or a handler of kernel failures would take it for one"
