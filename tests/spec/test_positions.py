# SPDX-License-Identifier: Apache-2.0
"""Every value of a JSON text is found where it stands."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pyoci.spec.pointer import escape, overlap
from pyoci.spec.positions import Positions
from tests.spec import samples


def value_at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        value = value[int(name) if isinstance(value, list) else name]
    return value


def pointers(value: Any, at: str = "") -> list[str]:
    found = [at]
    for step, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += pointers(item, f"{at}/{escape(step)}")
    return found


@pytest.mark.parametrize("indent", [None, 0, 1, 4, "\t"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_text_at_each_span_is_the_value(indent: Any, ascii_only: bool) -> None:
    value = {**samples.complete(), 'k\u00e9y\U0001f600 "\\/~\n': [{"": [[], {}, 'a]}"\\', -1.5e3, None, True]}]}
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    positions = Positions(text)
    for pointer in pointers(value):
        span = positions.span(pointer)
        assert json.loads(text[span.start : span.end]) == value_at(value, pointer)
        if pointer and isinstance(value_at(value, pointer.rpartition("/")[0]), dict):
            assert escape(json.loads(text[span.key_start : span.key_end])) == pointer.rpartition("/")[2]
        else:
            assert span.key_end == 0


def test_lines_and_columns_count_characters_from_one() -> None:
    text = '{"\u00e9\U0001f600": 1,\r\n\t"b": [true,\n  "\u0301x"]}'
    positions = Positions(text)
    places = {}
    for pointer in ("", "/\u00e9\U0001f600", "/b", "/b/0", "/b/1"):
        span = positions.span(pointer)
        places[pointer] = positions.place(span.start, span.end)
    # A value of several lines is as wide as its first line.
    assert places == {
        "": (1, 1, 10),
        "/\u00e9\U0001f600": (1, 8, 1),
        "/b": (2, 7, 6),
        "/b/0": (2, 8, 4),
        "/b/1": (3, 3, 4),
    }


def test_of_a_repeated_key_the_last_counts() -> None:
    text = '{"a": {"x": 1},\n "b": 2,\n "a": 3}'
    positions = Positions(text)
    assert positions.place(positions.span("/a").start, 0)[:2] == (3, 7)
    assert [(pointer, positions.place(span.key_start, 0)[:2]) for pointer, span in positions.repeated] == [
        ("/a", (1, 2))
    ]


def test_what_is_not_there_is_where_it_would_be() -> None:
    positions = Positions('{"a": {"b": 1}}')
    assert positions.span("/a/c/d") == positions.span("/a")
    assert positions.span("/z") == positions.span("")


def test_deep_nesting() -> None:
    depth = 3000
    positions = Positions("[" * depth + "]" * depth)
    assert positions.span("/0" * (depth - 1)).start == depth - 1


def test_texts_by_chance() -> None:
    chance = random.Random(3)
    for _ in range(100):
        value = samples.mutate(samples.complete(), chance)
        text = json.dumps(value, indent=chance.choice((None, 1, 3)))
        positions = Positions(text)
        for pointer in chance.sample(pointers(value), 10):
            span = positions.span(pointer)
            assert json.loads(text[span.start : span.end]) == value_at(value, pointer)


def test_pointers() -> None:
    assert escape("a/b~1") == "a~1b~01"
    assert escape(5) == "5"
    assert overlap("/a/b", "/a") and overlap("/a", "/a/b") and overlap("", "/a") and overlap("/a", "/a")
    assert not overlap("/a", "/ab") and not overlap("/a/1", "/a/2")
