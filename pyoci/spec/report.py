# SPDX-License-Identifier: Apache-2.0
"""Problems of a configuration, collected: each once, in the order of the text."""

from __future__ import annotations

from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ERROR, WARNING = "error", "warning"


class Problem(Record):
    """One thing that is wrong, or hardly meant.

    `pointer` is a JSON pointer (RFC 6901) to it, `rule` the name of what it breaks, `section` where the specification
    says so. `line` and `column` count from 1, in characters, 0 where there is no place; `width` is how many
    characters of that line are meant. With `on_key`, the place is that of the property's name.
    """

    pointer: str
    message: str
    expected: str = ""
    level: str = ERROR
    rule: str = ""
    section: str = ""
    line: int = 0
    column: int = 0
    width: int = 1
    on_key: bool = False

    def __str__(self) -> str:
        return self.message + (f" (expected {self.expected})" if self.expected else "")


class Report:
    """The problems of one text. Iterates in the order of their places, errors before warnings where they share one."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self._problems: dict[tuple[str, str], Problem] = {}
        self.extend(problems)

    def add(self, problem: Problem) -> None:
        """Take a problem in, unless the same is said of the same place already."""
        self._problems.setdefault((problem.pointer, problem.message), problem)

    def extend(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.add(problem)

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self._problems.values(), key=_order))

    def __len__(self) -> int:
        return len(self._problems)

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self if problem.level == ERROR]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self if problem.level == WARNING]


def _order(problem: Problem) -> tuple[object, ...]:
    steps = [(0, int(step), "") if step.isdecimal() else (1, 0, step) for step in problem.pointer.split("/")]
    return problem.line, problem.column, steps, problem.level, problem.message
