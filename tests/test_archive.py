# SPDX-License-Identifier: Apache-2.0
"""The archive of modules: whole, faithful, and not missed where it is not there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = f"modules.{sys.implementation.cache_tag}"
ATTACH = f"""
import sys, marshal
library = sys.argv[1]
with open(library + "/{NAME}", "rb") as file:
    code, contents = marshal.loads(file.read(65536))
names = {{"__name__": "pyoci.archive"}}
exec(code, names)
names["attach"](library, names["loader"](library + "/{NAME}"), contents, sys.argv[2:])
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with nothing but an archive in it."""
    tmp_path = tmp_path_factory.mktemp("library")
    shutil.copytree(REPOSITORY / "pyoci", tmp_path / "pyoci", ignore=shutil.ignore_patterns("__pycache__", "specs"))
    subprocess.run([sys.executable, REPOSITORY / "hack" / "archive", tmp_path], check=True)
    shutil.rmtree(tmp_path / "pyoci")
    return tmp_path


def run(code: str, library: Path, *words: str) -> str:
    command = [sys.executable, "-ISB", "-c", ATTACH + code, library, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_every_module_comes_from_the_archive(library: Path) -> None:
    names = [
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
        for path in (REPOSITORY / "pyoci").rglob("*.py")
        if path.name not in ("__main__.py", "archive.py")
    ]
    listed = run(f"for name in {names!r}: __import__(name); print(sys.modules[name].__file__)", library).splitlines()
    assert len(listed) == len(names) > 60
    assert all(file.startswith(f"{library}/pyoci/") for file in listed)


def test_a_traceback_names_the_place_of_the_source(library: Path) -> None:
    code = "import pyoci.state; print(pyoci.state.check_id.__code__.co_filename)"
    assert run(code, library) == f"{library}/pyoci/state.py\n"


def test_the_future_is_not_loaded(library: Path) -> None:
    assert run("import pyoci.state; print('__future__' in sys.modules)", library) == "False\n"


def test_annotations_are_left_out_but_for_those_of_records(library: Path) -> None:
    code = (
        "from pyoci import state; print(state.check_id.__annotations__, state.RuntimeState.__annotations__['created'])"
    )
    assert run(code, library) == "{} str\n"


def test_a_module_that_is_not_there_is_left_to_others(library: Path) -> None:
    code = "import colorsys\ntry: import pyoci.nothing\nexcept ModuleNotFoundError as error: print(error.name)"
    assert run(code, library) == "pyoci.nothing\n"


COMMANDS = [path.stem for path in (REPOSITORY / "pyoci" / "cli").glob("*.py") if "\ndef run(" in path.read_text()]
LOADED = "; print(*sorted(name for name in sys.modules if name.startswith('pyoci')))"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_piece_of_a_command_is_what_it_would_load_itself(command: str, library: Path) -> None:
    one_by_one = run(f"import pyoci.cli, pyoci.seal, pyoci.cli.{command}" + LOADED, library)
    code = "sys.meta_path[0].index = {'none': None}; import pyoci.cli, pyoci.seal" + LOADED
    assert run(code, library, "--root", "/nowhere", command, "--help") == one_by_one


@pytest.mark.parametrize("command", COMMANDS)
def test_what_comes_in_one_piece_is_made_as_if_it_were_imported(command: str, library: Path) -> None:
    """Names, files, the way from a package to its modules; and that more can be imported beside it."""
    code = f"""
import pyoci.cli, pyoci.seal, pyoci.cli.{command}
for name, module in sorted(sys.modules.items()):
    if name.startswith("pyoci"):
        package, _, last = name.rpartition(".")
        same = not package or getattr(sys.modules[package], last) is module
        print(name, module.__name__, module.__file__, list(getattr(module, "__path__", [])), same)
import pyoci.spec.typos
"""
    assert run(code, library, command) == run(code, library)


def test_the_collector_of_garbage_works_afterwards(library: Path) -> None:
    assert run("import gc; print(gc.isenabled(), gc.get_freeze_count() > 1000)", library, "state") == "True True\n"
