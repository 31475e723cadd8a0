# SPDX-License-Identifier: Apache-2.0
"""Value objects, the stuff that plans are made of.

A record class lists its fields as annotations, with defaults where there are any, and is then built by keyword
only, compared by value and never changed:

    class Mount(Record):
        source: str
        flags: int = 0

This is what `dataclasses` gives too, but that module (with `re`, `inspect` and `ast` behind it) costs more to import
than all else that a `state` or `kill` does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_: object):
        return lambda cls: cls


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=True)
class Record:
    """Base of all value objects. Raises TypeError for a missing or an unknown field, as a dataclass would."""

    _fields: tuple[str, ...] = ()
    _names: frozenset[str] = frozenset()
    _defaults: dict[str, object] = {}  # noqa: RUF012  a ClassVar would have to be imported

    def __init_subclass__(cls) -> None:
        own = [name for name in cls.__annotations__ if not name.startswith("_")]
        cls._fields = cls._fields + tuple(name for name in own if name not in cls._fields)
        cls._names = frozenset(cls._fields)
        cls._defaults = {**cls._defaults, **{name: cls.__dict__[name] for name in own if name in cls.__dict__}}

    def __init__(self, **values: Any) -> None:
        held = self.__dict__
        held.update(self._defaults)
        held.update(values)
        if held.keys() != self._names:
            missing = [name for name in self._fields if name not in held]
            unknown = [name for name in values if name not in self._fields]
            raise TypeError(f"{type(self).__name__}: missing fields {missing}, unknown fields {unknown}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is a value: build a new one with replace({name}=...)")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__[name] for name in self._fields))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={self.__dict__[n]!r}' for n in self._fields)})"

    def replace(self, **changes: Any) -> Self:
        """A copy of this record with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def asdict(self) -> dict[str, object]:
        """The fields as plain JSON-able data: records become dicts, tuples lists, bytes their length."""
        return {name: _plain(self.__dict__[name]) for name in self._fields}


def _plain(value: object) -> object:
    if isinstance(value, Record):
        return value.asdict()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return {"bytes": len(value)}
    return value
