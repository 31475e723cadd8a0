# SPDX-License-Identifier: Apache-2.0
"""The cache of compiled filters: what is found again, and what is never taken for one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci import seccomp_cache, seccomp_compiler
from pyoci.seccomp import ALLOW, ERRNO, NOTIFY, Comparison, Rule, SeccompPlan
from pyoci.seccomp_cache import DIRECTORY, compiled, digest

pytest.importorskip("seccomp", reason="needs libseccomp's Python binding")

PLAN = SeccompPlan(
    default_action=ALLOW,
    architectures=("SCMP_ARCH_X86_64",),
    rules=(Rule(names=("mkdir", "mkdirat"), action=ERRNO | 1),),
)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[SeccompPlan]:
    """The plans that were compiled, while the real thing goes on."""
    seen: list[SeccompPlan] = []
    really = seccomp_compiler.compile_filter

    def noted(plan: SeccompPlan) -> seccomp_compiler.Program:
        seen.append(plan)
        return really(plan)

    monkeypatch.setattr(seccomp_compiler, "compile_filter", noted)
    return seen


def entries(root: Path) -> list[Path]:
    return sorted((root / DIRECTORY).iterdir())


def test_the_second_time_nothing_is_compiled(tmp_path: Path, compilations: list[SeccompPlan]) -> None:
    first = compiled(PLAN, str(tmp_path))
    assert first == seccomp_compiler.compile_filter(PLAN).instructions
    del compilations[:]
    assert compiled(PLAN, str(tmp_path)) == first
    assert compilations == []
    assert (tmp_path / DIRECTORY).stat().st_mode & 0o777 == 0o700
    assert [entry.stat().st_mode & 0o777 for entry in entries(tmp_path)] == [0o600]


@pytest.mark.parametrize(
    "other",
    [
        PLAN.replace(default_action=ERRNO | 2),
        PLAN.replace(architectures=()),
        PLAN.replace(rules=(Rule(names=("mkdir",), action=ERRNO | 1),)),
        PLAN.replace(rules=(Rule(names=("mkdir", "mkdirat"), action=ERRNO | 2),)),
        PLAN.replace(rules=(*PLAN.rules, Rule(names=("rmdir",), action=NOTIFY))),
        PLAN.replace(
            rules=(
                Rule(
                    names=("mkdir", "mkdirat"),
                    action=ERRNO | 1,
                    conditions=(Comparison(index=1, operator="SCMP_CMP_EQ", value=1),),
                ),
            )
        ),
    ],
)
def test_another_filter_is_another_entry(other: SeccompPlan) -> None:
    assert digest(other) != digest(PLAN)


def test_who_listens_does_not_matter() -> None:
    assert digest(PLAN.replace(flags=8, listener_path="/x", listener_metadata="y")) == digest(PLAN)


def truncate(entry: Path) -> None:
    entry.write_bytes(entry.read_bytes()[:-8])


def change_one_bit(entry: Path) -> None:
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)


def empty(entry: Path) -> None:
    entry.write_bytes(b"")


def open_to_all(entry: Path) -> None:
    entry.chmod(0o666)


def lead_elsewhere(entry: Path) -> None:
    entry.rename(entry.parent.parent / "elsewhere")
    entry.symlink_to("../elsewhere")


def name_another_library(entry: Path) -> None:
    head, _, program = entry.read_bytes().partition(b"\n")
    entry.write_bytes(head.replace(b'"libraries":[["', b'"libraries":[["/no/such') + b"\n" + program)


def make_a_directory(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [truncate, change_one_bit, empty, open_to_all, lead_elsewhere, name_another_library, make_a_directory],
)
def test_a_spoilt_entry_is_not_used(
    tmp_path: Path, compilations: list[SeccompPlan], spoil: Callable[[Path], None]
) -> None:
    first = compiled(PLAN, str(tmp_path))
    (entry,) = entries(tmp_path)
    spoil(entry)
    assert compiled(PLAN, str(tmp_path)) == first
    assert len(compilations) == 2
    assert [entry.name for entry in entries(tmp_path)] == [digest(PLAN)], "nothing half done"


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o710])
def test_a_directory_that_is_open_to_others_is_not_used(
    tmp_path: Path, compilations: list[SeccompPlan], mode: int
) -> None:
    (tmp_path / DIRECTORY).mkdir()
    (tmp_path / DIRECTORY).chmod(mode)
    for _ in range(2):
        compiled(PLAN, str(tmp_path))
    assert len(compilations) == 2
    assert entries(tmp_path) == []


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path, compilations: list[SeccompPlan]) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / DIRECTORY).symlink_to("elsewhere")
    compiled(PLAN, str(tmp_path))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.needs_root
def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path, compilations: list[SeccompPlan]) -> None:
    (tmp_path / DIRECTORY).mkdir(mode=0o700)
    os.chown(tmp_path / DIRECTORY, 1000, 1000)
    compiled(PLAN, str(tmp_path))
    assert entries(tmp_path) == []


def test_no_place_for_a_cache_is_no_error(tmp_path: Path, compilations: list[SeccompPlan]) -> None:
    assert compiled(PLAN, str(tmp_path / "nowhere")) == seccomp_compiler.compile_filter(PLAN).instructions


def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp_cache, "_ENTRIES", 3)
    plans = [PLAN.replace(default_action=ERRNO | number) for number in range(2, 7)]
    for age, plan in enumerate(plans):
        compiled(plan, str(tmp_path))
        os.utime(tmp_path / DIRECTORY / digest(plan), (age, age))
    assert {entry.name for entry in entries(tmp_path)} == {digest(plan) for plan in plans[-3:]}


def test_the_libraries_are_those_that_were_loaded(tmp_path: Path) -> None:
    compiled(PLAN, str(tmp_path))
    paths = seccomp_cache._loaded_libraries()
    assert any("seccomp" in os.path.basename(path) for path in paths)
    assert all(os.path.isabs(path) for path in paths)
