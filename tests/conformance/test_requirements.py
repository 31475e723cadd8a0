# SPDX-License-Identifier: Apache-2.0
"""The list of requirements: it is complete, and each of them has a test or a reason why it has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance import catalogue, deviations, suite
from conformance import proofs as proofs  # whose modules enter their tests
from conformance.attempt import Outcome
from conformance.catalogue import CatalogueError, Requirement
from conformance.runner import judge, verdict

HEADING = "[runtime.md: State] MUST 2, SHOULD 0\n"


@pytest.fixture
def catalogue_of(tmp_path: Path) -> Callable[[str], list[catalogue.Section]]:
    def read(text: str) -> list[catalogue.Section]:
        (tmp_path / "requirements").write_text(text)
        return catalogue.read(tmp_path / "requirements")

    return read


Reader = Callable[[str], list[catalogue.Section]]


def requirement(name: str, since: str = "1.0", untested: str = "") -> Requirement:
    return Requirement(name, "MUST", 1, catalogue.version(since), "Something.", untested)


def test_each_requirement_has_a_test_or_a_reason_and_each_test_a_requirement() -> None:
    assert suite.unproven(catalogue.requirements(catalogue.read())) == []


def test_the_requirements_stand_for_all_key_words_of_their_sections() -> None:
    assert list(catalogue.miscounted(catalogue.read())) == []


def test_all_files_that_bind_a_runtime_on_linux_are_there() -> None:
    files = {section.file for section in catalogue.read()}
    assert files == {
        "runtime.md", "runtime-linux.md", "config.md", "config-linux.md", "features.md", "features-linux.md",
    }  # fmt: skip


def test_known_deviations_are_of_tests_that_are_there() -> None:
    assert [name for tests in deviations.read().values() for name in tests if name not in suite.TESTS] == []


def test_what_is_wrong_between_requirements_and_tests() -> None:
    """The check itself: it would not pass if it saw nothing."""
    test = next(iter(suite.TESTS.values()))
    complaints = suite.unproven({"new": requirement("new"), test.ids[0]: requirement(test.ids[0], untested="so")})
    assert "new has neither a test nor a reason" in complaints
    assert f"{test.ids[0]} has a test and a reason for none" in complaints
    assert any(line.endswith("which nobody demands") for line in complaints)


def test_reading(catalogue_of: Reader) -> None:
    text = f"# a comment\n\n{HEADING}one MUST x2 since 1.0.2: Something is.\ntwo SHOULD: Be: so.\n    untested: why\n"
    (section,) = catalogue_of(text)
    assert (section.file, section.title, section.must, section.should) == ("runtime.md", "State", 2, 0)
    one, two = section.requirements
    assert one == Requirement("one", "MUST", 2, (1, 0, 2), "Something is.")
    assert two == Requirement("two", "SHOULD", 1, (1, 0), "Be: so.", "why")
    assert list(catalogue.miscounted([section])) == [
        "[runtime.md: State] has 0 SHOULD, its requirements stand for 1",
    ]


@pytest.mark.parametrize(
    "text",
    ["one MUST: Be.\n", f"{HEADING}one MAY: Be.\n", f"{HEADING}    untested: why\n", f"{HEADING}One MUST: Be.\n"],
    ids=["no section", "another kind", "a reason for nothing", "a bad name"],
)
def test_a_line_that_says_nothing(catalogue_of: Reader, text: str) -> None:
    with pytest.raises(CatalogueError):
        catalogue_of(text)


def test_one_name_twice(catalogue_of: Reader) -> None:
    with pytest.raises(CatalogueError, match="two requirements are called one"):
        catalogue.requirements(catalogue_of(f"{HEADING}one MUST: Be.\none MUST: Be.\n"))


def test_counting_the_key_words_of_a_text() -> None:
    text = """# <a name="x" />First
It MUST be, and MUST NOT not be. It is REQUIRED, and SHOULD be NOT RECOMMENDED.
### Example
```
this MUST not count
```
But this MUST.
## Second
MUSTARD
## <a name="third" /> Third
SHALL
"""
    assert catalogue.count_words(text) == {"First": (4, 2), "Third": (1, 0)}


def test_a_copy_of_the_specification_with_other_words(catalogue_of: Reader, tmp_path: Path) -> None:
    sections = catalogue_of(f"{HEADING}one MUST x2: Be.\n")
    (tmp_path / "runtime.md").write_text("## State\nMUST MUST\n")
    assert list(catalogue.differences(sections, tmp_path)) == []
    (tmp_path / "runtime.md").write_text("## State\nMUST\n## More\nSHOULD\n")
    assert len(list(catalogue.differences(sections, tmp_path))) == 2


def judged(spec: str, outcome: str, *ids: str, since: str = "", left: tuple[str, ...] = ()) -> list[str]:
    known = {"old": requirement("old"), "new": requirement("new", "1.3")}
    test = suite.Test("test", ids, lambda box: None, catalogue.version(since))
    return [str(one["result"]) for one in judge(Outcome(test, outcome, "why", list(left)), known, spec)]


def test_a_runtime_does_not_fail_what_is_newer_than_its_specification() -> None:
    assert judged("1.3.0", "fail", "old", "new") == ["fail", "fail"]
    assert judged("1.0.2-dev", "fail", "old", "new") == ["fail", "skip"]
    assert judged("1.0.2-dev", "fail", "new", "old") == ["skip", "skip"], "the test is about what is new"
    assert judged("1.0.2", "fail", "old", since="1.1") == ["skip"]
    assert judged("1.0.2", "pass", "new") == ["pass"]


def test_what_is_left_behind_is_a_failure() -> None:
    assert judged("1.3.0", "pass", "old", left=("a process",)) == ["fail"]


def test_the_verdict_on_a_test() -> None:
    assert verdict([{"result": "skip"}, {"result": "pass"}]) == "pass"
    assert verdict([{"result": "pass"}, {"result": "fail"}]) == "fail"
    assert verdict([{"result": "skip"}]) == "skip"


def test_whom_a_deviation_is_of() -> None:
    assert deviations.known("pyoci", "9.9") == deviations.read()["pyoci"]
    assert deviations.known("runc", "1.1.5+ds1") == deviations.read()["runc 1.1"]
    assert deviations.known("runc", "1.15") == {}
