# SPDX-License-Identifier: Apache-2.0
"""`kill --regex` and `delete --regex`, which crun has, too, and runc has not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .harness import Container

pytestmark = pytest.mark.differs(runc="has no option --regex")


@pytest.fixture
def three(containers: Callable[[], Container]) -> list[Container]:
    made = [containers() for _ in range(3)]
    for container in made:
        container.launch()
    return made


def pattern(*chosen: Container) -> str:
    return f"^({'|'.join(container.id for container in chosen)})$"


def test_kill_of_all_that_match(three: list[Container]) -> None:
    one, two, other = three
    one.call("kill", "--regex", pattern(one, two), "KILL").ok()
    for container in (one, two):
        container.becomes("stopped")
    assert other.status == "running"
    again = one.call("kill", "--regex", pattern(one, other), "KILL").ok()
    assert one.id in again.err  # which does not run any more
    other.becomes("stopped")


def test_delete_of_all_that_match(three: list[Container]) -> None:
    one, two, other = three
    one.kill("KILL").ok()
    one.becomes("stopped")
    told = one.call("delete", "--regex", pattern(one, two)).ok().err
    assert two.id in told
    assert set(one.call("list", "--quiet").ok().out.split()) == {two.id, other.id}
    one.call("delete", "--force", "--regex", pattern(two)).ok()
    assert one.call("list", "--quiet").ok().out.split() == [other.id]


def test_nothing_matches(three: list[Container]) -> None:
    three[0].call("delete", "--force", "--regex", "nobody").ok()
    assert len(three[0].call("list", "--quiet").ok().out.split()) == 3


def test_what_is_no_pattern(three: list[Container]) -> None:
    three[0].call("kill", "--regex", "(").refused("regular expression")
