# SPDX-License-Identifier: Apache-2.0
"""Messages arrive whole, one by one, and the end of the other side is noticed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from pyoci.errors import PyociError
from pyoci.process import channel
from pyoci.process.channel import CLOSED, FAILED, READY, pair
from tests.forked import in_child


def test_messages_one_by_one() -> None:
    one, other = pair()
    one.send(READY)
    one.send(FAILED, b"why")
    one.send(FAILED, b"")
    assert [other.receive() for _ in range(3)] == [(READY, b""), (FAILED, b"why"), (FAILED, b"")]
    other.send(READY)
    assert one.receive() == (READY, b"")
    one.close()
    other.close()


def test_kinds_are_told_apart() -> None:
    names = ("MAPPED", "PLACED", "HOOKS", "GO", "LIMITS", "LISTENER", "READY", "FAILED", "REMARK", "STAGED")
    kinds = [getattr(channel, name) for name in names]
    assert len(set(kinds)) == len(kinds)
    assert {len(kind) for kind in kinds} == {1}
    assert CLOSED not in kinds


def test_the_end_comes_after_what_was_said() -> None:
    one, other = pair()
    one.send(FAILED, b"last words")
    one.close()
    one.close()  # once more does no harm
    assert [other.receive() for _ in range(3)] == [(FAILED, b"last words"), (CLOSED, b""), (CLOSED, b"")]
    other.close()


def test_the_end_by_a_signal() -> None:
    one, other = pair()
    pid = os.fork()
    if pid == 0:
        other.close()
        signal.pause()
    one.close()
    os.kill(pid, signal.SIGKILL)
    assert other.receive() == (CLOSED, b"")
    os.waitpid(pid, 0)
    other.close()


@pytest.mark.parametrize("words", [0, 1, 2])
def test_last_words_count_though_ours_are_unread(words: int) -> None:
    """Init may fail while it is told something: the kernel speaks of that first (ECONNRESET), but not only of that."""
    one, other = pair()
    one.send(READY)
    for word in range(words):
        other.send(FAILED, b"%d" % word)
    other.close()
    assert [one.receive() for _ in range(words + 2)] == [
        *((FAILED, b"%d" % word) for word in range(words)),
        (CLOSED, b""),
        (CLOSED, b""),
    ]
    one.close()


@pytest.mark.parametrize(
    ("sent", "gone", "words"),
    [
        ([], False, None),
        ([(READY, b"")], False, None),
        ([], True, b""),
        ([(READY, b""), (FAILED, b"why")], False, b"why"),
        ([(FAILED, b"why")], True, b"why"),
    ],
)
def test_last_words_are_not_waited_for(sent: list[tuple[bytes, bytes]], gone: bool, words: bytes | None) -> None:
    one, other = pair()
    for kind, payload in sent:
        other.send(kind, payload)
    if gone:
        other.close()
    assert one.last_words() == words
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("words", "gone", "told"),
    [(b"", False, "the step"), (b"", True, "the step"), (b"theirs", True, "theirs"), (b"theirs", False, "theirs")],
)
def test_whose_failure_it_is(words: bytes, gone: bool, told: str) -> None:
    one, other = pair()
    if words:
        other.send(FAILED, words)
    if gone:
        other.close()

    def step() -> None:
        raise PyociError("the step")

    with pytest.raises(PyociError) as caught:
        one.meanwhile(step, lambda said: PyociError(said.decode()))
    assert caught.value.message == told
    one.close()
    other.close()


def test_answering_who_has_gone() -> None:
    one, other = pair()
    one.answer(READY)
    assert other.receive() == (READY, b"")
    other.close()
    one.answer(READY)
    one.close()


def test_nobody_listens() -> None:
    one, other = pair()
    other.close()
    with pytest.raises(BrokenPipeError):
        one.send(READY)
    one.close()


@pytest.mark.parametrize("size", [65534, 65535, 65536, 1_000_000])
def test_long_messages_are_cut_rather_than_lost(size: int) -> None:
    one, other = pair()
    payload = os.urandom(size)
    one.send(FAILED, payload)
    one.send(READY)
    assert other.receive() == (FAILED, payload[:65535])
    assert other.receive() == (READY, b"")
    one.close()
    other.close()


def test_the_ends_are_not_inherited() -> None:
    one, other = pair()
    assert not os.get_inheritable(one.fd) and not os.get_inheritable(other.fd)
    one.close()
    other.close()


def test_where_nothing_can_be_imported() -> None:
    def inside() -> list[Any]:
        one, other = pair()
        one.send(FAILED, b"x")
        said = other.receive()
        one.close()
        return [said[1].decode(), other.receive()[0] == CLOSED]

    assert in_child(inside, sealed=True) == ["x", True]
