# SPDX-License-Identifier: Apache-2.0
"""Records behave as frozen, keyword-only dataclasses would."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.record import Record


class Point(Record):
    x: int
    y: int = 2


class Named(Point):
    name: str = "p"
    parts: tuple[Point, ...] = ()
    _private: int = 0


def test_fields_and_defaults() -> None:
    assert (Point(x=1).x, Point(x=1).y, Point(x=1, y=3).y) == (1, 2, 3)
    assert Named._fields == ("x", "y", "name", "parts")
    assert repr(Named(x=1)) == "Named(x=1, y=2, name='p', parts=())"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Point: missing fields ['x'], unknown fields []"),
        ({"x": 1, "z": 1}, "Point: missing fields [], unknown fields ['z']"),
        ({"y": 1, "z": 1}, "Point: missing fields ['x'], unknown fields ['z']"),
        ({"z": 1}, "Point: missing fields ['x'], unknown fields ['z']"),
    ],
)
def test_other_fields_than_there_are(values: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        Point(**values)
    assert str(caught.value) == said


def test_positional_values_are_refused() -> None:
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[misc]


def test_a_value_does_not_change() -> None:
    point = Point(x=1)
    with pytest.raises(AttributeError, match=r"Point is a value: build a new one with replace\(x=\.\.\.\)"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        point.z = 2  # type: ignore[attr-defined]
    assert point.replace(x=2) == Point(x=2)
    assert point == Point(x=1)


def test_equality_and_hash() -> None:
    assert Point(x=1) == Point(x=1, y=2)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Named(x=1), "another class"
    assert Point(x=1) != (1, 2)
    assert len({Point(x=1), Point(x=1), Point(x=2)}) == 2
    with pytest.raises(TypeError):
        hash(Point(x={}))  # type: ignore[arg-type]


def test_one_record_does_not_see_the_fields_of_another() -> None:
    first, second = Point(x=1), Point(x=2)
    assert (first.x, second.x) == (1, 2)
    assert Point._defaults == {"y": 2}


def test_as_plain_data() -> None:
    named = Named(x=1, parts=(Point(x=3), Point(x=4, y={"k": (1, Point(x=5))})))  # type: ignore[arg-type]
    assert named.asdict() == {
        "x": 1,
        "y": 2,
        "name": "p",
        "parts": [{"x": 3, "y": 2}, {"x": 4, "y": {"k": [1, {"x": 5, "y": 2}]}}],
    }
    assert Point(x=b"12345").asdict() == {"x": {"bytes": 5}, "y": 2}  # type: ignore[arg-type]
