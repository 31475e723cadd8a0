# SPDX-License-Identifier: Apache-2.0
"""Driving validation programs: which outcome is whose fault, with programs made up for it."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance import validation
from conformance.validation import Expected, Outcome, built_programs, judge, main, read_expectations
from conformance.world import Ending
from tests.forked import in_child

GOOD = "TAP version 13\\nok 1 - fine\\n1..1\\n"
BAD = "TAP version 13\\nnot ok 1 - fine\\n1..1\\n"


class Suite:
    """A directory that looks like a built one, with shell scripts for programs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        (path / "runtimetest").write_text("what runs inside")
        (path / "rootfs-amd64.tar.gz").write_text("an archive")

    def add(self, name: str, script: str) -> None:
        program = self.path / "validation" / name / f"{name}.t"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path / "suite")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A runtime that says how it was called."""
    path = tmp_path / "a runtime"
    path.write_text('#!/bin/sh\n[ "$1" = --version ] && echo pretended version 1.2 || echo "$@"\n')
    path.chmod(0o755)
    return path


def expecting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    file = tmp_path / "expected.toml"
    file.write_text(text)
    monkeypatch.setattr(validation, "EXPECTATIONS", file)


# --- judging -----------------------------------------------------------------------------------------------------


def test_a_program_that_passes() -> None:
    assert judge("default", Ending(0, "TAP version 13\nok 1 - fine\n1..1\n", ""), None) == Outcome("default", True)


def test_why_a_program_does_not_pass() -> None:
    outcome = judge("default", Ending(1, "TAP version 13\nnot ok 1 - a\nnot ok 2 - a\n1..2\n", "oh\n\nno\noh\n"), None)
    assert outcome.detail == "not ok: a; it exited with status 1; oh; no"
    assert judge("default", Ending(None, "TAP version 13\n1..0\n", ""), None).detail == "it did not end in time"


@pytest.mark.parametrize(
    ("passed", "expected", "surprising", "word"),
    [
        (True, None, False, "pass"),
        (False, None, True, "fail"),
        (False, Expected("it cannot"), False, "known"),
        (True, Expected("it cannot"), True, "fail"),
        (True, Expected("it needs luck", always=False), False, "pass"),
        (False, Expected("it needs luck", always=False), False, "known"),
    ],
)
def test_what_is_expected(passed: bool, expected: Expected | None, surprising: bool, word: str) -> None:
    outcome = Outcome("hooks", passed, "" if passed else "not ok", expected)
    assert outcome.surprising is surprising
    assert outcome.line().split()[:2] in ([word, "hooks"], [word, "hooks:"])
    assert outcome.result()["result"] == ("pass" if passed else "fail")


def test_expectations_count_where_the_host_is_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "PROBES", {"without a": lambda _: True, "without b": lambda cgroup2: cgroup2})
    text = "".join(f'[{name}]\nwhere = "without {name}"\nreason = "it needs it"\n' for name in "ab")
    found = read_expectations(text + '[c]\nalways = false\nreason = "it is a race"\n')
    assert found == {"a": Expected("it needs it"), "c": Expected("it is a race", always=False)}
    assert set(read_expectations(text, cgroup2=True)) == {"a", "b"}
    with pytest.raises(KeyError):
        read_expectations('[d]\nwhere = "without d"\nreason = ""\n')


def test_the_expectations_of_the_project_can_be_read() -> None:
    found = read_expectations(validation.EXPECTATIONS.read_text())
    assert all(one.reason.endswith(".") for one in found.values())
    assert not found["poststart"].always


def test_a_suite_that_is_not_built(suite: Suite) -> None:
    assert built_programs(suite.path) == []
    suite.add("default", "true")
    suite.add("create", "true")
    assert built_programs(suite.path) == ["create", "default"]
    (suite.path / "runtimetest").unlink()
    assert built_programs(suite.path) == []


# --- driving -----------------------------------------------------------------------------------------------------


def driven(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that runs programs."""
    return pytest.mark.needs_root(pytest.mark.needs_unshare(pytest.mark.needs_cgroups(test)))


def drive(*arguments: str) -> tuple[int, str]:
    """Call the driver in a process of its own, whose children all are its own; its exit status and what it printed."""

    def call() -> tuple[int, str]:
        told = io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            try:
                status = main(list(arguments))
            except SystemExit as wrong:
                status = int(wrong.code or 0)
        return status, told.getvalue()

    status, out = in_child(call)
    return status, out


@pytest.fixture
def call(suite: Suite, runtime: Path) -> list[str]:
    return ["--suite", str(suite.path), "--runtime", str(runtime)]


@driven
def test_the_surroundings_of_a_program(suite: Suite, call: list[str]) -> None:
    script = 'echo; pwd; ls; cat rootfs-amd64.tar.gz runtimetest; echo; "$RUNTIME" state x; echo "$TMPDIR"'
    suite.add("default", script)
    lines = drive(*call, "--verbose")[1].splitlines()
    scratch = lines[2]
    assert lines[3:12] == [
        "rootfs-amd64.tar.gz", "runtime", "runtimetest", "stderr", "stdout", "tmp",
        "an archivewhat runs inside", f"--root {scratch}/state state x", f"{scratch}/tmp",
    ]  # fmt: skip
    assert not Path(scratch).exists()


@driven
def test_a_whole_run(suite: Suite, call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expecting(monkeypatch, tmp_path, '[wrong]\nreason = "It is wrong."\n')
    for name, text in (("create", GOOD), ("default", BAD), ("wrong", BAD)):
        suite.add(name, f"printf '{text}'")
    answer = tmp_path / "answer.json"
    status, out = drive(*call, "--json", str(answer))
    assert out.splitlines() == [
        "pass  create",
        "fail  default: not ok: fine",
        "known wrong: It is wrong.",
        "1 cannot pass, as expected",
        "1 passed, 1 failed",
    ]
    assert status == 1
    told: dict[str, Any] = json.loads(answer.read_text())
    assert (told["suite"], told["runtime"], told["version"]) == ("runtime-tools", "pretended", "1.2")
    assert [(one["id"], one["result"], one.get("expected")) for one in told["results"]] == [
        ("create", "pass", None),
        ("default", "fail", None),
        ("wrong", "fail", "It is wrong."),
    ]
    assert drive(*call, "create", "wrong")[0] == 0


@driven
def test_an_expected_failure_that_does_not_come(
    suite: Suite, call: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expecting(monkeypatch, tmp_path, '[wrong]\nreason = "It is wrong."\n')
    suite.add("wrong", f"printf '{GOOD}'")
    status, out = drive(*call)
    assert status == 1
    assert "fail  wrong: it passes, though expected.toml says: It is wrong." in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--runtime", "/nowhere/runtime"], "there is no program /nowhere/runtime"),
        (["--suite", "/nowhere"], "/nowhere has no programs"),
        (["nothing"], "has no program nothing"),
    ],
)
def test_a_wrong_call(suite: Suite, call: list[str], arguments: list[str], complaint: str) -> None:
    suite.add("default", "true")
    status, out = drive(*call, *arguments)
    assert status == 2
    assert complaint in out
