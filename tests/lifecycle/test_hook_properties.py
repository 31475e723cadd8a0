# SPDX-License-Identifier: Apache-2.0
"""The properties of a hook, for each of the six kinds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .harness import Container
from .test_hooks import BEFORE_START, KINDS, add, hook, live, notes

__all__ = ["notes"]
differs = pytest.mark.differs

LATE = [kind for kind in KINDS if kind not in BEFORE_START]


def with_kinds(known: dict[str, str], kinds: list[str] = KINDS) -> Any:
    """The kinds, those that runc is known to do otherwise with its reason."""
    names = [pytest.param(kind, marks=differs(runc=known[kind]) if kind in known else ()) for kind in kinds]
    return pytest.mark.parametrize("kind", names)


@with_kinds({})
def test_the_arguments_of_each_kind_of_hook(container: Container, notes: Path, kind: str) -> None:
    script = f"""printf '%s|' "$0" "$@" > {notes}/args"""
    args = ["sh", "-c", script, "first", "", "a b"]
    add(container, kind, {"path": "/bin/sh", "args": args, "env": ["PATH=/bin:/usr/bin"]})
    live(container)
    assert (notes / "args").read_text() == "first||a b|"


@with_kinds({})
def test_the_environment_of_each_kind_of_hook(container: Container, notes: Path, kind: str) -> None:
    entry = hook(f"cat /proc/self/environ > {notes}/environ") | {"env": ["B=2", "A=1", "PATH=/bin:/usr/bin"]}
    add(container, kind, entry)
    live(container)
    seen = (notes / "environ").read_text().rstrip("\0").split("\0")
    of_the_shells_own = {"PWD", "SHLVL", "OLDPWD", "_"}
    assert {one for one in seen if one.partition("=")[0] not in of_the_shells_own} == {
        "B=2",
        "A=1",
        "PATH=/bin:/usr/bin",
    }


@with_kinds({kind: "1.1.5 hands its own environment on" for kind in KINDS if kind != "startContainer"})
def test_each_kind_of_hook_without_an_environment(container: Container, notes: Path, kind: str) -> None:
    """It has none, but for startContainer, which like runc's has that of the program."""
    entry = hook(f"/bin/cat /proc/self/environ > {notes}/environ")
    del entry["env"]
    add(container, kind, entry)
    container.process["env"] = ["PATH=/bin", "PROGRAM=x", "HOME=/root"]
    secret = {"env": {"PATH": os.environ["PATH"], "SECRET": "x"}}
    container.create(args=["true"], **secret).ok()
    container.call("start", container.id, **secret).ok()
    container.wait()
    container.call("delete", container.id, **secret).ok()
    seen = (notes / "environ").read_text()
    assert "SECRET" not in seen
    assert ("PROGRAM=x" in seen) == (kind == "startContainer")


@with_kinds({})
def test_each_kind_of_hook_is_given_its_time(container: Container, notes: Path, kind: str) -> None:
    add(container, kind, hook(f"touch {notes}/{kind}", timeout=60))
    live(container)
    assert (notes / kind).exists()


@with_kinds({"poststart": "1.1.5 only warns, as the specification had it then"}, LATE)
def test_a_late_hook_that_takes_too_long_has_failed(container: Container, kind: str) -> None:
    add(container, kind, hook("exec sleep 1000", timeout=1))
    container.create(args=["sleep", "1000"]).ok()
    started = container.start()
    if kind == "poststop":
        assert started.status == 0
        container.delete("--force")
        container.leaves_nothing()
    elif kind == "poststart":
        started.refused("poststart")
        assert container.wait() == 137
    else:
        assert container.wait() != 0


@with_kinds(
    dict.fromkeys(BEFORE_START, "1.1.5 gives the number alone")
    | {"startContainer": "1.1.5 tells of a start", "poststart": "1.1.5 runs poststart hooks in create"},
    KINDS[:5],
)
def test_all_of_a_failure_is_told(container: Container, kind: str) -> None:
    """Its kind, its number, how it ended, and what it said on either stream."""
    add(container, kind, hook("true"), hook("echo to the output; echo to the error >&2; exit 7"))
    result = container.create(args=["sleep", "1000"])
    if kind in LATE:
        result.ok()
        result = container.start()
    assert result.status == 1, f"{result}"
    for word in (kind, "#1", "exit status 7", "to the output", "to the error"):
        assert word in result.err, f"{result}"
