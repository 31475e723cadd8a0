# SPDX-License-Identifier: Apache-2.0
"""JSON text as `json` reads and writes it, but for what is refused on purpose."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from typing import Any

import pytest

from pyoci import jsontext
from pyoci.jsontext import JsonError, dumps, loads

VALUES: list[Any] = [
    None, True, False, 0, -1, 10**63, 1.5, -2e-300, 1e22, "", "text", "ä\u2028\U0001f600", '"\\/\b\f\n\r\t\x00\x1f\x7f',
    "\ud800", [], {}, [[]], [{}], {"": {}}, {"a": [1, {"b": None}], "ä": [True, "x"]}, [[1, 2], [], [3]],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_there_and_back(value: Any) -> None:
    assert loads(dumps(value)) == value
    assert loads(dumps(value, indent=3)) == value
    assert dumps(value) == json.dumps(value, separators=(",", ":"))
    assert dumps(value, indent=2) == json.dumps(value, indent=2)


def random_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth else 5)
    if kind < 5:
        text = "".join(chance.choices('ab"\\\n\u00e4\u20ac\U0001f600\x00/ ', k=chance.randrange(6)))
        return (None, chance.random() * 10 ** chance.randrange(-9, 9), chance.randrange(-9, 10**12), text, False)[kind]
    items = [random_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return items if kind == 5 else {f"{number}{chance.random()}": item for number, item in enumerate(items)}


@pytest.mark.parametrize("seed", range(200))
def test_any_value_as_json_has_it(seed: int) -> None:
    value = random_value(random.Random(seed), 5)
    text = json.dumps(value, indent=random.Random(seed).choice([None, 1, 4]), ensure_ascii=bool(seed % 2))
    assert loads(text) == value
    assert dumps(value, indent=4) == json.dumps(value, indent=4)
    assert dumps(value) == json.dumps(value, separators=(",", ":"))


def test_of_a_key_that_stands_twice_the_last_counts() -> None:
    assert loads('{"a": 1, "b": 2, "a": 3}') == {"a": 3, "b": 2}


def test_blanks_around() -> None:
    assert loads(" \t\r\n[ 1 ]\n ") == [1]


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("", "expected a value", 1, 1),
        ("  \n ", "expected a value", 2, 2),
        ("{", "expecting property name enclosed in double quotes", 1, 2),
        ('{"a" 1}', "expecting ':' delimiter", 1, 6),
        ('{"a": 1\n "b": 2}', "expecting ',' delimiter", 2, 2),
        ("[1,\n  2,\n  x]", "expected a value", 3, 3),
        ("{} x", "unexpected text after the value", 1, 4),
        ("[1]\n[2]", "unexpected text after the value", 2, 1),
        ('"a', "unterminated string", 1, 1),
        ('"a\nb"', "invalid control character", 1, 3),
        (r'"\x"', "invalid \\escape", 1, 2),
        ("\ufeff{}", "expected a value", 1, 1),
        ("nul", "expected a value", 1, 1),
        ("01", "unexpected text after the value", 1, 2),
        ("+1", "expected a value", 1, 1),
        ("NaN", "NaN is no JSON value", 1, 1),
        ('{"NaN": 1,\n "b": -Infinity}', "-Infinity is no JSON value", 2, 7),
        ('["Infinity", "\\"NaN", Infinity]', "Infinity is no JSON value", 1, 23),
        ('{"a":\n ' + "9" * 65 + "}", "an integer too large for anything", 2, 2),
        ('["' + "9" * 99 + '", -' + "9" * 65 + "]", "an integer too large for anything", 1, 105),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_wrong_and_where(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(JsonError) as caught:
        loads(text)
    error = caught.value
    assert (error.message, error.line, error.column) == (message, line, column)
    assert str(error) == f"{message} at line {line}, column {column}"


def test_sixty_four_digits_are_not_too_many() -> None:
    assert loads("-" + "9" * 63) == -int("9" * 63)
    assert loads("9" * 64) == int("9" * 64)


def test_nesting_without_end() -> None:
    for text in ("[" * 200_000, '{"a":' * 200_000):
        with pytest.raises(JsonError, match="nested too deeply"):
            loads(text)


def test_a_text_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsontext, "MAX_SIZE", 10)
    assert loads('"12345678"') == "12345678"
    with pytest.raises(JsonError, match="larger than 10 characters"):
        loads('"123456789"')


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), b"x", {1: 2}, {None: 1}, object(), {1}])
def test_what_is_no_plain_data(value: Any) -> None:
    for indent in (0, 2):
        with pytest.raises(TypeError):
            dumps([value], indent)


def test_broken_text_where_nobody_has_loaded_json() -> None:
    """The C scanner raises json.decoder.JSONDecodeError, which pyoci does not load ahead (and Python 3.11 not for us)."""
    program = (
        "import sys; from pyoci import jsontext\n"
        "assert 'json.decoder' not in sys.modules\n"
        "assert jsontext.loads('[1]') == [1] and 'json.decoder' not in sys.modules\n"
        "try: jsontext.loads('[1')\n"
        "except jsontext.JsonError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    assert ran.stdout == "expecting ',' delimiter at line 1, column 3\n"


def test_nulls_are_dropped_from_objects_alone() -> None:
    value = {"a": None, "b": [None, {"c": None, "d": 1}], "e": {"f": {"g/h": None}}}
    assert sorted(jsontext.drop_nulls(value), key=str) == [("a",), ("b", 1, "c"), ("e", "f", "g/h")]
    assert value == {"b": [None, {"d": 1}], "e": {"f": {}}}
    for plain in (None, 5, "null", []):
        assert jsontext.drop_nulls(plain) == []
