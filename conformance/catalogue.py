# SPDX-License-Identifier: Apache-2.0
"""The requirements of the specification, as the file `requirements` lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")

SECTION = re.compile(r"\[(?P<file>[\w-]+\.md): (?P<title>.+)\] MUST (?P<must>\d+), SHOULD (?P<should>\d+)")
REQUIREMENT = re.compile(
    r"(?P<id>[a-z][a-z0-9-]*) (?P<kind>MUST|SHOULD)(?: x(?P<count>\d+))?(?: since (?P<since>[\d.]+))?: (?P<sense>\S.*)"
)
UNTESTED = re.compile(r" +untested: (?P<reason>\S.*)")

KEY_WORDS = re.compile(r"\b(?:(MUST|SHALL|REQUIRED)|(SHOULD|RECOMMENDED))\b")
HEADING = re.compile(r"#+ *(?:<a name=\"\w+\" ?/>)? *(?P<title>.+)")


class CatalogueError(Exception):
    """A line of the file that says nothing that we know."""


@dataclass(frozen=True)
class Requirement:
    id: str
    kind: str
    """MUST or SHOULD; the negations and the synonyms of RFC 2119 count as these."""
    count: int
    """For how many key words of its section it stands."""
    since: tuple[int, ...]
    """The first version of the specification that has it."""
    sense: str
    untested: str = ""
    """Why no test proves it; empty if one does."""


@dataclass(frozen=True)
class Section:
    file: str
    title: str
    must: int
    should: int
    requirements: list[Requirement] = field(default_factory=list)


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version, what follows them left out: (1, 0, 2) for "1.0.2-dev"."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else ()


def read(path: Path = REQUIREMENTS) -> list[Section]:
    """All sections in the order of the file.  Raises CatalogueError."""
    sections: list[Section] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if found := SECTION.fullmatch(line):
            sections.append(Section(found["file"], found["title"], int(found["must"]), int(found["should"])))
            continue
        listed = sections[-1].requirements if sections else []
        if sections and (found := REQUIREMENT.fullmatch(line)):
            count, since = int(found["count"] or 1), version(found["since"] or "1.0")
            listed.append(Requirement(found["id"], found["kind"], count, since, found["sense"]))
        elif listed and (found := UNTESTED.fullmatch(line)):
            one = listed.pop()
            listed.append(Requirement(one.id, one.kind, one.count, one.since, one.sense, found["reason"]))
        else:
            raise CatalogueError(f"{path}:{number}: neither a section, a requirement nor a reason: {line}")
    return sections


def requirements(sections: list[Section]) -> dict[str, Requirement]:
    """All requirements by id.  Raises CatalogueError for an id that is there twice."""
    found: dict[str, Requirement] = {}
    for one in (one for section in sections for one in section.requirements):
        if one.id in found:
            raise CatalogueError(f"two requirements are called {one.id}")
        found[one.id] = one
    return found


def miscounted(sections: list[Section]) -> Iterator[str]:
    """The sections whose requirements do not stand for as many key words as the section has, one line each."""
    for section in sections:
        for kind, recorded in (("MUST", section.must), ("SHOULD", section.should)):
            listed = sum(one.count for one in section.requirements if one.kind == kind)
            if listed != recorded:
                yield f"[{section.file}: {section.title}] has {recorded} {kind}, its requirements stand for {listed}"


def count_words(text: str) -> dict[str, tuple[int, int]]:
    """How often the key words of either kind stand below each heading of a file of the specification, its examples left
    out; sections without any are left out, too."""
    counts: dict[str, tuple[int, int]] = {}
    title, in_example = "", False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_example = not in_example
        if in_example:
            continue
        heading = HEADING.fullmatch(line)
        if heading and not heading["title"].startswith(
            "Example"
        ):  # what follows an example belongs to what it is one of
            title = heading["title"]
        for must, should in KEY_WORDS.findall(line):
            musts, shoulds = counts.get(title, (0, 0))
            counts[title] = (musts + bool(must), shoulds + bool(should))
    return counts


def differences(sections: list[Section], directory: Path) -> Iterator[str]:
    """Where the counts of our file and those of the specification's text in `directory` differ, one line each."""
    for file in sorted({section.file for section in sections}):
        text = count_words((directory / file).read_text())
        ours = {one.title: (one.must, one.should) for one in sections if one.file == file}
        for title in sorted({*text, *ours}):
            if text.get(title) != ours.get(title):
                yield f"{file}: {title}: the text has {text.get(title)}, our file has {ours.get(title)}"
