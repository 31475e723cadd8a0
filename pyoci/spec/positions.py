# SPDX-License-Identifier: Apache-2.0
"""Where the values of a JSON text stand: JSON pointer to line and column.

A second look at a text that is known to be JSON, taken only when there is something to be said about it.
"""

from __future__ import annotations

import re  # cold path: nothing imports this module unless a configuration is wrong or to be explained
from bisect import bisect_right

from pyoci import jsontext
from pyoci.record import Record
from pyoci.spec.pointer import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r'[{}\[\]:,]|"(?:[^"\\]|\\.)*"|[^\s{}\[\]:,"]+')


class Span(Record):
    """Offsets in the text: of a value and, in an object, of its key. Both ends are 0 where there is no key."""

    start: int
    end: int
    key_start: int = 0
    key_end: int = 0


class Positions:
    """The spans of all values. Of a key that stands twice in an object the last counts; `repeated` has the others."""

    def __init__(self, text: str) -> None:
        self._lines = [0] + [match.end() for match in re.finditer("\n", text)]
        self._spans: dict[str, Span] = {}
        self.repeated: list[tuple[str, Span]] = []
        for pointer, span in _spans(text):
            earlier = self._spans.get(pointer)
            if earlier and earlier.key_end:
                self.repeated.append((pointer, earlier))
            self._spans[pointer] = span

    def span(self, pointer: str) -> Span:
        """The span of what `pointer` names or, if the text has no such thing, of what would hold it."""
        while pointer not in self._spans and pointer:
            pointer = pointer.rpartition("/")[0]
        return self._spans.get(pointer) or Span(start=0, end=0)

    def place(self, start: int, end: int) -> tuple[int, int, int]:
        """Line and column of an offset, from 1, and how many of the characters up to `end` are on that line."""
        line = bisect_right(self._lines, start)
        line_end = self._lines[line] - 1 if line < len(self._lines) else end
        return line, start - self._lines[line - 1] + 1, max(1, min(end, line_end) - start)


class _Open:
    """An object or array that the scan is in."""

    def __init__(self, pointer: str, start: int, key: tuple[int, int], is_list: bool) -> None:
        self.pointer, self.start, self.key, self.is_list = pointer, start, key, is_list
        self.step = "0" if is_list else ""
        self.step_key = (0, 0)
        self.before_key = not is_list


def _spans(text: str) -> Iterator[tuple[str, Span]]:
    """Pointer and span of every value, each container after what it holds."""
    stack: list[_Open] = []
    for match in _TOKEN.finditer(text):
        token, start, end = match.group(), match.start(), match.end()
        top = stack[-1] if stack else None
        if token == ",":
            assert top
            top.before_key = not top.is_list
            top.step = str(int(top.step) + 1) if top.is_list else ""
        elif token in "}]":
            done = stack.pop()
            yield done.pointer, Span(start=done.start, end=end, key_start=done.key[0], key_end=done.key[1])
        elif token != ":" and top and top.before_key:
            name = jsontext.loads(token) if "\\" in token else token[1:-1]
            top.step, top.step_key, top.before_key = escape(name), (start, end), False
        elif token != ":":
            pointer = f"{top.pointer}/{top.step}" if top else ""
            key = top.step_key if top else (0, 0)
            if token in "{[":
                stack.append(_Open(pointer, start, key, token == "["))
            else:
                yield pointer, Span(start=start, end=end, key_start=key[0], key_end=key[1])
