# SPDX-License-Identifier: Apache-2.0
"""Which file a command stands for, and the texts that engines take their exit codes from."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from pyoci.executable import NotExecutable, find_executable, quote
from tests.forked import in_child


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("first", "second", "first/subdirectory"):
        (tmp_path / name).mkdir()
    for path, mode in (("first/plain", 0o644), ("second/plain", 0o755), ("second/run", 0o755), ("here", 0o755)):
        (tmp_path / path).write_text("#!/bin/sh\n")
        (tmp_path / path).chmod(mode)
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(name: str, search_path: str | None = None) -> str:
    with pytest.raises(NotExecutable) as caught:
        find_executable(name, search_path)
    return caught.value.message


def test_search(tree: Path) -> None:
    search_path = f"{tree}/none:{tree}/first/:{tree}/second"
    assert find_executable("run", search_path) == f"{tree}/second/run"
    assert find_executable("plain", search_path) == f"{tree}/second/plain"  # not the one that is not executable
    assert find_executable("sh", "/bin") == "/bin/sh"


@pytest.mark.parametrize("name", ["missing", "subdirectory", "", ".", "..", "plain"])
def test_not_found(tree: Path, name: str) -> None:
    assert refusal(name, f"{tree}/first") == f'exec: "{name}": executable file not found in $PATH'


def test_no_path_at_all(tree: Path) -> None:
    for search_path in (None, ""):
        assert refusal("sh", search_path) == 'exec: "sh": executable file not found in $PATH'


@pytest.mark.parametrize("search_path", [":/bin", "second", "./second", "none:/none:"])
def test_relative_directories_of_path_are_refused(tree: Path, search_path: str) -> None:
    name = "here" if search_path in (":/bin", "none:/none:") else "run"
    assert refusal(name, search_path) == f'exec: "{name}": cannot run executable found relative to current directory'


def test_a_name_with_a_slash_is_not_searched(tree: Path) -> None:
    assert find_executable("./here", None) == "./here"
    assert find_executable("second/run", "/bin") == "second/run"
    assert find_executable(f"{tree}/here", None) == f"{tree}/here"


def test_texts_for_a_name_with_a_slash(tree: Path) -> None:
    assert refusal("/no/such") == 'exec: "/no/such": stat /no/such: no such file or directory'
    assert refusal("./dangling") == 'exec: "./dangling": stat ./dangling: no such file or directory'
    assert refusal("first/plain") == 'exec: "first/plain": permission denied'
    assert refusal("/bin/") == 'exec: "/bin/": is a directory: permission denied'
    assert refusal("here/x") == 'exec: "here/x": stat here/x: not a directory'


@pytest.mark.needs_root
def test_access_is_that_of_the_effective_user() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        tree = Path(name)
        tree.chmod(0o755)
        (tree / "mine").touch(0o744)
        (tree / "closed").mkdir(0o700)

        def inside() -> list[str]:
            os.setresuid(0, 1000, 0)
            return [refusal(f"{tree}/mine"), refusal(f"{tree}/closed/x")]

        assert in_child(inside) == [
            f'exec: "{tree}/mine": permission denied',
            f'exec: "{tree}/closed/x": stat {tree}/closed/x: permission denied',
        ]


def test_quoting() -> None:
    assert quote('a"b\\c\n\x01é\udcff\u200b') == '"a\\"b\\\\c\\n\\x01é\\xff\\u200b"'


def test_needs_no_import_inside(tree: Path) -> None:
    assert in_child(lambda: [find_executable("sh", "/bin"), refusal("/\udcff")], sealed=True) == [
        "/bin/sh",
        'exec: "/\\xff": stat /\udcff: no such file or directory',
    ]
