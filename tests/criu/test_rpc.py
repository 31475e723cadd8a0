# SPDX-License-Identifier: Apache-2.0
"""criu's messages: the bytes of protocol buffers, there and back."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.criu import rpc
from pyoci.criu.rpc import REQUEST, RESPONSE, decode, encode

SHAPE: rpc.Shape = {"one": 1, "two": 2, "far": 400, "inner": (3, {"name": 1, "number": 2})}


@pytest.mark.parametrize(
    ("values", "content"),
    [
        ({}, b""),
        ({"one": True}, b"\x08\x01"),
        ({"one": 150}, b"\x08\x96\x01"),  # the example of protobuf's own documentation
        ({"two": "testing"}, b"\x12\x07testing"),  # likewise
        ({"inner": {"number": 150}}, b"\x1a\x03\x10\x96\x01"),
        ({"one": -1}, b"\x08" + b"\xff" * 9 + b"\x01"),
        ({"two": ["a", "b"]}, b"\x12\x01a\x12\x01b"),
        ({"far": 0}, b"\x80\x19\x00"),
        ({"two": "x" * 200}, b"\x12\xc8\x01" + b"x" * 200),
    ],
)
def test_bytes(values: dict[str, Any], content: bytes) -> None:
    assert encode(SHAPE, values) == content
    single = {name: value[-1] if isinstance(value, list) else value for name, value in values.items()}
    assert decode(SHAPE, content) == single


def test_a_path_that_is_no_text() -> None:
    assert encode(SHAPE, {"two": "\udcff"}) == b"\x12\x01\xff"
    assert decode(SHAPE, b"\x12\x01\xff") == {"two": "\udcff"}


def test_what_is_unknown_is_passed_over() -> None:
    fixed = b"\x51" + b"\x00" * 8 + b"\x55" + b"\x00" * 4
    assert decode(SHAPE, fixed + b"\x78\x05" + b"\x7a\x01x" + b"\x08\x02") == {"one": 2}


@pytest.mark.parametrize("content", [b"\x08", b"\x08\x80", b"\x12\x05abc", b"\x0b", b"\x08" + b"\xff" * 11])
def test_what_is_no_message(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode(SHAPE, content)


def test_the_numbers_of_each_message_are_its_own() -> None:
    def check(shape: rpc.Shape) -> None:
        numbers = [field[0] if isinstance(field, tuple) else field for field in shape.values()]
        assert len(numbers) == len(set(numbers))
        for field in shape.values():
            if isinstance(field, tuple):
                check(field[1])

    check(REQUEST)
    check(RESPONSE)
