# SPDX-License-Identifier: Apache-2.0
"""Values in GVariant's text format."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.cgroups.gvariant import parse


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        (" false ", "b", False),
        ("5", "i", 5),
        ("-5", "i", -5),
        ("0x1f", "i", 31),
        ("010", "i", 8),
        ("0", "i", 0),
        ("1.5", "d", 1.5),
        ("1e3", "d", 1000.0),
        ("uint64 18446744073709551615", "t", (1 << 64) - 1),
        ("@t 5", "t", 5),
        ("byte 0xff", "y", 255),
        ("int16 -32768", "n", -32768),
        ("double 2", "d", 2.0),
        ("'inactive-or-failed'", "s", "inactive-or-failed"),
        ('"it\'s"', "s", "it's"),
        (r"'a\tb\'c\\\u00e9\U0001F600'", "s", "a\tb'c\\\u00e9\U0001f600"),
        ("objectpath '/a/b'", "o", "/a/b"),
        ("['a', 'b']", "as", ["a", "b"]),
        ("[uint64 1, 2]", "at", [1, 2]),
        ("@as []", "as", []),
        ("@au [1,2]", "au", [1, 2]),
        ("[[1], [2, 3]]", "aai", [[1], [2, 3]]),
        ("('a', 1, true)", "(sib)", ("a", 1, True)),
        ("[('/dev/null', 'rwm'), ('/dev/zero', 'r')]", "a(ss)", [("/dev/null", "rwm"), ("/dev/zero", "r")]),
        ("@(st) ('a', 1)", "(st)", ("a", 1)),
        ("[uint64 1, uint64 2]", "at", [1, 2]),
        ("@at [1, uint64 2]", "at", [1, 2]),
        ("@a(st) [('a', uint64 1), @(st) ('b', 2)]", "a(st)", [("a", 1), ("b", 2)]),
        ("uint64 @t uint64 5", "t", 5),
        ("b'ab'", "ay", b"ab\0"),
    ],
)
def test_values(text: str, signature: str, value: Any) -> None:
    assert parse(text) == (signature, value)


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("", "is no value"),
        ("yes", "'yes' is no value, and no type"),
        ("5 5", "more after the value"),
        ("'open", "ends too early"),
        ("uint16 65536", "out of range for type 'q'"),
        ("uint32 -1", "out of range for type 'u'"),
        ("2147483648", "out of range for type 'i'"),
        ("[]", "must tell its type"),
        ("[1, 'a']", "no value of type 'i'"),
        ("[1 2]", "']' is missing"),
        ("(1", "')' is missing"),
        ("@s 5", "no value of type 's'"),
        ("@w 5", "'w' is no type"),
        ("@(st) ('a')", "too few values"),
        ("@(s) ('a', 1)", "ends too early"),
        ("uint64 'a'", "no value of type 't'"),
        ("uint64 true", "no value of type 't'"),
        ("uint64 1.5", "no value of type 't'"),
        ("['a', uint64 5]", "said to be of type 't' is no value of type 's'"),
        ("['a', true]", "True is no value of type 's'"),
        ("[5, uint64 6]", "said to be of type 't' is no value of type 'i'"),
        ("[[1], [uint64 2]]", "said to be of type 't' is no value of type 'i'"),
        ("[(1, 'a'), (2, objectpath '/b')]", "said to be of type 'o' is no value of type 's'"),
        ("@as [uint64 5]", "said to be of type 't' is no value of type 's'"),
        ("@as @at [5]", "said to be of type 'at' is no value of type 'as'"),
        ("@t int32 5", "said to be of type 'i' is no value of type 't'"),
        ("int32 uint64 5", "said to be of type 't' is no value of type 'i'"),
        ("@(st) (uint64 1, 1)", "said to be of type 't' is no value of type 's'"),
        ("handle 5", "'handle' is no value, and no type"),
        ("@h 5", "'h' is no type"),
        (r"'a\u0000'", "no text that D-Bus takes"),
        (r"'\ud800'", "no text that D-Bus takes"),
        ("nan", "'nan' is no value"),
        ("1_0", "more after the value"),
    ],
)
def test_what_is_no_value(text: str, fragment: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert fragment in str(caught.value)
