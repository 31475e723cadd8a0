# SPDX-License-Identifier: Apache-2.0
"""Values in GVariant's text format, as annotations give them for properties of systemd's units. Pure.

What is read are the basic types, arrays and tuples: `true`, `5`, `uint64 5`, `@t 5`, `'text'`, `['a', 'b']`, `('a', 1)`,
`@as []`, `b'bytes'`. Maybe types, dictionaries, handles and variants within variants no property of a unit takes. The first
value of an array decides for all of them, so `[5, uint64 6]`, where it is the second that tells the type, is refused.

Source: https://docs.gtk.org/glib/gvariant-text-format.html; the D-Bus specification, "Basic types".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEYWORDS = {
    **{"boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u"},
    **{"int64": "x", "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g"},
}
_BITS = {"y": (0, 8), "n": (1, 16), "q": (0, 16), "i": (1, 32), "u": (0, 32), "x": (1, 64), "t": (0, 64)}
_STRINGS = "sog"
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_END = ""  # what is read behind the last character


def parse(text: str) -> tuple[str, Any]:
    """The D-Bus signature and the value. Raises ValueError, in words that follow those of what was parsed."""
    reader = _Reader(text)
    signature, value = reader.value("")
    reader.blanks()
    if reader.peek() != _END:
        raise ValueError(f"there is more after the value: {text[reader.at :]!r}")
    return signature, value


class _Reader:
    """Reads a text from its start. `wanted` is the signature that is expected, "" where the text decides."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self) -> str:
        character = self.peek()
        if character == _END:
            raise ValueError("it ends too early")
        self.at += 1
        return character

    def blanks(self) -> None:
        while self.peek() in (" ", "\t", "\n"):
            self.at += 1

    def word(self, more: str = "") -> str:
        start = self.at
        while self.peek() != _END and (self.peek().isalnum() or self.peek() in more):
            self.at += 1
        return self.text[start : self.at]

    def value(self, wanted: str) -> tuple[str, Any]:
        self.blanks()
        first = self.peek()
        if first == "@":
            self.at += 1
            return self.value(_declared(self.signature(), wanted))
        if first in ("'", '"'):
            return self.string(wanted or "s")
        if first == "b" and self.text[self.at + 1 : self.at + 2] in ("'", '"'):
            self.at += 1
            return _as(wanted or "ay", "ay", self.string("s")[1].encode() + b"\0")
        if first == "[":
            return self.array(wanted)
        if first == "(":
            return self.tuple(wanted)
        if first.isalpha():
            word = self.word()
            if word in ("true", "false"):
                return _as(wanted or "b", "b", word == "true")
            if word not in _KEYWORDS:
                raise ValueError(f"{word!r} is no value, and no type")
            return self.value(_declared(_KEYWORDS[word], wanted))
        return _number(self.word("+-."), wanted)

    def signature(self) -> str:
        start = self.at
        if self.peek() == "a":
            self.at += 1
            self.signature()
        elif self.peek() == "(":
            self.at += 1
            while self.peek() not in (")", _END):
                self.signature()
            self.take()
        elif self.take() not in _KEYWORDS.values():
            raise ValueError(f"{self.text[start : self.at]!r} is no type")
        return self.text[start : self.at]

    def string(self, wanted: str) -> tuple[str, str]:
        quote, characters = self.take(), ""
        while (character := self.take()) != quote:
            if character == "\\":
                character = self.take()
                if character in ("u", "U"):
                    digits = "".join(self.take() for _ in range(4 if character == "u" else 8))
                    character = chr(int(digits, 16))
                else:
                    character = _ESCAPES.get(character, character)
            characters += character
        if wanted not in _STRINGS:
            raise ValueError(f"{characters!r} is no value of type {wanted!r}")
        if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in characters):
            raise ValueError(f"{characters!r} is no text that D-Bus takes")
        return wanted, characters

    def array(self, wanted: str) -> tuple[str, list[Any]]:
        if wanted and wanted[0] != "a":
            raise ValueError(f"an array is no value of type {wanted!r}")
        inner, values = wanted[1:], []
        for _ in self.items("]"):
            inner, value = self.value(inner)
            values.append(value)
        if not inner:
            raise ValueError("an array without values must tell its type, as in '@as []'")
        return f"a{inner}", values

    def tuple(self, wanted: str) -> tuple[str, tuple[Any, ...]]:
        types = _Reader(wanted[1:-1]) if wanted.startswith("(") else None
        if wanted and types is None:
            raise ValueError(f"a tuple is no value of type {wanted!r}")
        signature, values = "", []
        for _ in self.items(")"):
            inner, value = self.value(types.signature() if types else "")
            signature += inner
            values.append(value)
        if types and types.peek() != _END:
            raise ValueError(f"the tuple has too few values for its type {wanted!r}")
        return f"({signature})", tuple(values)

    def items(self, end: str) -> Any:
        """Stops before each item of a list that has its opening bracket still before it."""
        self.take()
        self.blanks()
        while self.peek() != end:
            yield
            self.blanks()
            if self.peek() == ",":
                self.take()
                self.blanks()
            elif self.peek() != end:
                raise ValueError(f"{end!r} is missing")
        self.take()


def _declared(signature: str, wanted: str) -> str:
    """The type that a value is said to be of. It must be the one that is expected: an array has but one, a tuple each its own."""
    if wanted and signature != wanted:
        raise ValueError(f"what is said to be of type {signature!r} is no value of type {wanted!r}")
    return signature


def _number(word: str, wanted: str) -> tuple[str, Any]:
    try:
        number: int | float = int(word, 8 if word.lstrip("+-0").isdigit() and word.lstrip("+-")[0] == "0" else 0)
    except ValueError:
        try:
            number = float(word)
        except ValueError:
            raise ValueError(f"{word!r} is no value") from None
        return _as(wanted or "d", "d", number)
    if wanted == "d":
        return "d", float(number)
    signature = wanted or "i"
    if signature not in _BITS:
        raise ValueError(f"{word} is no value of type {signature!r}")
    signed, bits = _BITS[signature]
    if not -(signed << (bits - 1)) <= number < 1 << (bits - signed):
        raise ValueError(f"{word} is out of range for type {signature!r}")
    return signature, number


def _as(wanted: str, signature: str, value: Any) -> tuple[str, Any]:
    if wanted != signature:
        raise ValueError(f"{value!r} is no value of type {wanted!r}")
    return signature, value
