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
    code, index = marshal.loads(file.read(65536))
names = {{"__name__": "pyoci.archive"}}
exec(code, names)
names["attach"](library, library + "/{NAME}", index)
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library with nothing but an archive in it."""
    shutil.copytree(REPOSITORY / "pyoci", tmp_path / "pyoci", ignore=shutil.ignore_patterns("__pycache__", "specs"))
    subprocess.run([sys.executable, REPOSITORY / "hack" / "archive", tmp_path, "/place"], check=True)
    shutil.rmtree(tmp_path / "pyoci")
    return tmp_path


def run(code: str, library: Path) -> str:
    command = [sys.executable, "-ISB", "-c", ATTACH + code, library]
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
    assert run(code, library) == "/place/pyoci/state.py\n"


def test_the_future_is_not_loaded(library: Path) -> None:
    code = "import pyoci.state; print('__future__' in sys.modules, pyoci.state.check_id.__annotations__)"
    assert run(code, library) == "False {'container_id': 'str', 'return': 'None'}\n"


def test_a_module_that_is_not_there_is_left_to_others(library: Path) -> None:
    code = "import colorsys\ntry: import pyoci.nothing\nexcept ModuleNotFoundError as error: print(error.name)"
    assert run(code, library) == "pyoci.nothing\n"
