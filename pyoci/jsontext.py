# SPDX-License-Identifier: Apache-2.0
"""JSON text, read and written without the standard library's `json` package.

`import json` brings `re`, `enum` and `functools` along and costs more than a whole `state` command (6 to 9 ms against
0.4). The scanner and the string writer beneath it are C and live in `_json`, with the same arguments in every CPython
from 3.11 on; this module drives them directly.

Stricter than `json`: NaN and Infinity are refused, so are integers of more than MAX_DIGITS digits, texts larger than
MAX_SIZE characters, and anything after the value. Of a key that stands twice, the last one counts.
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_SIZE = 64 << 20
MAX_DIGITS = 64
_BLANKS = " \t\n\r"

quote = _json.encode_basestring_ascii
"""A string as a JSON string in pure ASCII: it can be written under any locale."""


class JsonError(ValueError):
    """The text is not JSON. `line` and `column` count from 1, in characters."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"{message} at line {line}, column {column}")
        self.message, self.line, self.column = message, line, column


class _Refused(ValueError):
    """A literal that JSON text may hold but we do not take."""


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused("an integer too large for anything")
    return int(digits)


def _constant(name: str) -> object:
    raise _Refused(f"{name} is no JSON value")


class _Context:
    """The settings that the C scanner reads off the object it is given."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_constant)


_scan = _json.make_scanner(_Context())  # type: ignore[arg-type]


def loads(text: str) -> Any:
    """The value of a JSON text (RFC 8259). Raises JsonError."""
    if len(text) > MAX_SIZE:
        raise JsonError(f"text larger than {MAX_SIZE} characters", 1, 1)
    start = _skip_blanks(text, 0)
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise _at("expected a value", text, stop.value) from None
    except RecursionError:
        raise JsonError("nested too deeply", 1, 1) from None
    except _Refused as refused:
        raise _at(str(refused), text, _position_of_refused(text)) from None
    except SystemError:
        # The scanner wants to raise json.JSONDecodeError, and takes for granted that somebody has loaded it (3.11).
        import json.decoder  # noqa: F401  only once the text is known to be bad

        return loads(text)
    except ValueError as error:
        message, position = getattr(error, "msg", str(error)), getattr(error, "pos", 0)
        message = message.removesuffix(" at").removesuffix(" starting")
        raise _at(message[:1].lower() + message[1:], text, position) from None
    end = _skip_blanks(text, end)
    if end != len(text):
        raise _at("unexpected text after the value", text, end)
    return value


def drop_nulls(value: Any) -> list[tuple[str | int, ...]]:
    """Take the properties that are null out of all objects, in place. Returns the steps to each of them.

    In a configuration a property that is null counts as absent, as it does for runc and crun.
    """
    dropped: list[tuple[str | int, ...]] = []
    stack: list[tuple[tuple[str | int, ...], Any]] = [((), value)] if type(value) in (dict, list) else []
    while stack:
        steps, node = stack.pop()
        for step, item in list(node.items() if type(node) is dict else enumerate(node)):
            if type(item) in (dict, list):
                stack.append(((*steps, step), item))
            elif item is None and type(node) is dict:
                del node[step]
                dropped.append((*steps, step))
    return dropped


def dumps(value: Any, indent: int = 0) -> str:
    """JSON text for plain data: dicts with string keys, lists, tuples, strings, ints, finite floats, bools and None.

    With `indent`, one item a line, as Go's MarshalIndent writes it; else compact. Raises TypeError for anything else.
    """
    pieces: list[str] = []
    _write(value, pieces.append, indent, "\n")
    return "".join(pieces)


def _write(value: Any, put: Any, indent: int, newline: str) -> None:
    kind = type(value)
    if kind is str:
        put(quote(value))
    elif value is None or kind is bool:
        put("null" if value is None else "true" if value else "false")
    elif kind is int or kind is float:
        if value - value != 0:
            raise TypeError(f"no JSON value: {value!r}")
        put(repr(value))
    elif kind is dict:
        items = ((quote(key) + (": " if indent else ":"), item) for key, item in value.items())
        _write_items(items, "{}", put, indent, newline)
    elif kind is list or kind is tuple:
        _write_items((("", item) for item in value), "[]", put, indent, newline)
    else:
        raise TypeError(f"no JSON value: {value!r}")


def _write_items(items: Any, brackets: str, put: Any, indent: int, newline: str) -> None:
    inner = newline + " " * indent if indent else ""
    lead = brackets[0] + inner
    for key, item in items:
        put(lead + key)
        _write(item, put, indent, inner)
        lead = "," + inner
    put(brackets if lead[0] == brackets[0] else (newline if indent else "") + brackets[1])


def _skip_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANKS:
        position += 1
    return position


def _at(message: str, text: str, position: int) -> JsonError:
    line_start = text.rfind("\n", 0, position) + 1
    return JsonError(message, text.count("\n", 0, position) + 1, position - line_start + 1)


def _position_of_refused(text: str) -> int:
    """Where the first literal stands that `_integer` or `_constant` refused; the C scanner does not tell."""
    import re  # only once the text is known to be bad

    pattern = rf'"(?:\\.|[^"\\])*"|(NaN|-?Infinity|-?\d{{{MAX_DIGITS + 1},}})'
    for match in re.finditer(pattern, text, re.DOTALL):
        if match.group(1) and (match.group(1)[-1].isalpha() or len(match.group(1)) > MAX_DIGITS):
            return match.start()
    return 0
