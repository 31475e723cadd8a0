# SPDX-License-Identifier: Apache-2.0
"""Libraries are found where the interpreter keeps them, and loaded only when something needs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyoci import thirdparty
from pyoci.errors import PyociError

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def mocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of libraries, the only one there is, and names for what may be in it."""
    libraries = {"one": (("pyoci_first", "pyoci_second"), "python3-one", "one")}
    monkeypatch.setattr(thirdparty, "LIBRARIES", libraries)
    monkeypatch.setattr(thirdparty, "directories", lambda: [str(tmp_path)])
    monkeypatch.setattr(sys, "path", [])
    for name in libraries["one"][0]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.mark.parametrize("name", ["pyoci_first", "pyoci_second"])
def test_a_library_that_is_there(mocked: Path, name: str) -> None:
    (mocked / f"{name}.py").write_text("mark = 5\n")
    assert thirdparty.is_there("one")
    assert name not in sys.modules, "looked for, not loaded"
    assert thirdparty.load("one").mark == 5


def test_a_library_that_is_missing(mocked: Path) -> None:
    assert not thirdparty.is_there("one")
    with pytest.raises(PyociError, match=r"install python3-one \(Debian\) or one \(pip\)"):
        thirdparty.load("one")


def test_a_library_that_lacks_something_itself(mocked: Path) -> None:
    (mocked / "pyoci_first.py").write_text("import pyoci_nothing\n")
    with pytest.raises(PyociError, match="pyoci_first cannot be loaded: No module named 'pyoci_nothing'"):
        thirdparty.load("one")


def test_features_load_no_library() -> None:
    """They tell whether there is one; an engine asks at every start."""
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from pyoci.cli.features import features; features(); "
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-ISBc", code], capture_output=True, text=True, check=True)
    assert {"jeepney", "seccomp", "pyseccomp", "pyroute2", "jsonschema"} & set(done.stdout.split()) == set()


@pytest.mark.needs_seccomp
def test_the_version_of_libseccomp() -> None:
    assert re.fullmatch(r"2\.\d+\.\d+|API level \d", thirdparty.libseccomp_version())


@pytest.mark.needs_seccomp
def test_the_version_of_libseccomp_is_in_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r--p 0 fe:00 1    /usr/lib/libc.so.6\n7f02-7f03 r--p 0 fe:00 2    /lib/libseccomp.so.2.6.0\n"
    )
    monkeypatch.setattr("pyoci.thirdparty.open", lambda path, flags: os.open(maps, flags))
    assert thirdparty.libseccomp_version() == "2.6.0"
