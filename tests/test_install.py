# SPDX-License-Identifier: Apache-2.0
"""hack/install and pip: what lands where, and that it runs whatever the caller's world looks like."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pyoci

from .conftest import skip_or_fail

REPOSITORY = Path(__file__).resolve().parent.parent
INSTALL = REPOSITORY / "hack" / "install"
PYTHON = "/usr/bin/python3"
VERSION_LINE = f"pyoci version {pyoci.__version__}"


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    words = list(map(str, command))
    return subprocess.run(
        words,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        timeout=120,
        **options,
    )


def install(prefix: Path, *options: str, **kwargs: Any) -> Path:
    result = run(INSTALL, "--prefix", prefix, *options, **kwargs)
    assert result.returncode == 0, result.stderr
    return prefix / "bin" / "pyoci"


def says_its_version(*command: str | Path, **options: Any) -> bool:
    result = run(*command, "--version", **options)
    assert (result.returncode, result.stderr) == (0, ""), result
    return result.stdout.startswith(VERSION_LINE + "\n")


@pytest.fixture(scope="module", params=["embedded", "compiled", "scripted"])
def prefix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp(request.param)
    if request.param != "scripted" and shutil.which("cc") is None:
        skip_or_fail("needs a C compiler called cc")
    options = {"embedded": [], "compiled": ["--no-embed"], "scripted": ["--no-compiler"]}
    install(path, *options[request.param], "--python", PYTHON)
    if request.param == "embedded" and not (path / "lib" / "pyoci" / "embed" / "pyoci").exists():
        skip_or_fail("needs Python's headers and its static library (python3-dev)")
    yield path
    shutil.rmtree(path)


def test_it_runs(prefix: Path) -> None:
    assert says_its_version(prefix / "bin" / "pyoci")


@pytest.mark.skipif(not (REPOSITORY / ".git").exists() or not shutil.which("git"), reason="needs a checkout, and git")
def test_it_knows_its_commit(prefix: Path) -> None:
    if run("git", "-C", REPOSITORY, "describe", "--always").returncode != 0:
        pytest.skip("git does not look into a repository of another user")
    line = run(prefix / "bin" / "pyoci", "--version").stdout.splitlines()[1]
    assert re.fullmatch(r"commit: \S+", line)


def test_it_runs_without_any_environment_from_anywhere(prefix: Path, tmp_path: Path) -> None:
    for name in ("json", "posix", "pyoci", "encodings"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(66)\n")
    assert says_its_version(prefix / "bin" / "pyoci", env={}, cwd=tmp_path)


def test_it_runs_whatever_python_is_told_to_do(prefix: Path, tmp_path: Path) -> None:
    hostile = {"PYTHONHOME": "/nonexistent", "PYTHONPATH": str(tmp_path), "PYTHONVERBOSE": "1", "PATH": ""}
    assert says_its_version(prefix / "bin" / "pyoci", env=hostile)


def test_it_runs_by_way_of_a_link(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "runc").symlink_to(prefix / "bin" / "pyoci")
    assert says_its_version(tmp_path / "runc")


def test_everything_is_compiled_ahead(prefix: Path) -> None:
    package = prefix / "lib" / "pyoci" / "pyoci"
    sources = sorted(package.rglob("*.py"))
    assert len(sources) == len(list((REPOSITORY / "pyoci").rglob("*.py")))
    tag = run(PYTHON, "-c", "import sys; print(sys.implementation.cache_tag)").stdout.strip()
    compiled = [source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc" for source in sources]
    assert [str(path) for path in compiled if not path.exists()] == []
    # PEP 552: bit 0 says that a hash stands for the time stamp, bit 1 that it would be checked.
    assert {path.read_bytes()[4] for path in compiled} == {1}


def test_it_runs_without_an_archive_of_its_modules(prefix: Path) -> None:
    """As after an upgrade of the interpreter, for which none has been written."""
    if (prefix / "lib" / "pyoci" / "embed" / "pyoci").exists():
        return  # that is linked into it, and can be upgraded only together with its archive
    (archive,) = (prefix / "lib" / "pyoci").glob("modules.*")
    hidden = archive.rename(archive.with_name("hidden"))
    try:
        assert says_its_version(prefix / "bin" / "pyoci")
    finally:
        hidden.rename(archive)


def test_running_writes_nothing(prefix: Path) -> None:
    def inventory() -> list[tuple[str, int]]:
        return sorted((str(path), path.lstat().st_mtime_ns) for path in prefix.rglob("*"))

    before = inventory()
    assert says_its_version(prefix / "bin" / "pyoci")
    assert inventory() == before


def test_schemas_come_along(prefix: Path) -> None:
    installed = prefix / "lib" / "pyoci" / "pyoci" / "specs"
    schemas = sorted(path.name for path in (REPOSITORY / "specs").glob("*.json"))
    assert sorted(path.name for path in installed.iterdir()) == schemas


def test_the_manual_and_the_completions_come_along(prefix: Path) -> None:
    share = prefix / "share"
    assert sorted(str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()) == [
        "bash-completion/completions/pyoci",
        "fish/vendor_completions.d/pyoci.fish",
        "man/man8/pyoci.8",
        "zsh/site-functions/_pyoci",
    ]
    assert (share / "man" / "man8" / "pyoci.8").read_text() == (REPOSITORY / "docs" / "pyoci.8").read_text()


def test_the_interpreters_libraries_are_found(prefix: Path) -> None:
    library = prefix / "lib" / "pyoci"
    code = f"import sys; sys.path.insert(0, {str(library)!r}); from pyoci import thirdparty; import json"
    result = run(PYTHON, "-ISBc", f"{code}; print(json.dumps(thirdparty.directories()))")
    site = run(PYTHON, "-Ic", "import json, site; print(json.dumps(site.getsitepackages()))")
    assert json.loads(result.stdout) == json.loads(site.stdout)


def test_a_second_installation_replaces_the_first(tmp_path: Path) -> None:
    install(tmp_path, "--no-compiler")
    stale = tmp_path / "lib" / "pyoci" / "pyoci" / "stale.py"
    stale.touch()
    assert says_its_version(install(tmp_path, "--no-compiler"))
    assert not stale.exists()
    assert [path.name for path in (tmp_path / "lib").iterdir()] == ["pyoci"]


@pytest.mark.needs_root
def test_other_users_can_run_it_whatever_the_umask(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = Path("/tmp") / f"pyoci-install-{os.getpid()}"
    try:
        program = install(place, umask=0o077)
        assert says_its_version(program, user=65534, group=65534, extra_groups=[])
    finally:
        shutil.rmtree(place)


def test_a_virtual_environment_will_do(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    assert run(PYTHON, "-m", "venv", "--without-pip", environment).returncode == 0
    (library,) = (environment / "lib").glob("python3*/site-packages")
    (library / "jsonschema.py").write_text("mark = 'from the environment'\n")
    program = install(tmp_path / "prefix", "--no-compiler", "--python", str(environment / "bin" / "python"))
    assert says_its_version(program)
    base = tmp_path / "prefix" / "lib" / "pyoci"
    code = f"import sys; sys.path.insert(0, {str(base)!r}); from pyoci import thirdparty"
    result = run(environment / "bin" / "python", "-ISBc", f"{code}; print(thirdparty.load('jsonschema').mark)")
    assert result.stdout == "from the environment\n", result.stderr
    result = run(environment / "bin" / "python", "-ISBc", f"{code}; thirdparty.load('pyroute2')")
    assert "install python3-pyroute2 (Debian) or pyroute2 (pip)" in result.stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--prefix"], "--prefix needs a value"),
        (["--frobnicate"], "unknown argument: --frobnicate"),
        (["--python", "/nonexistent/python"], "there is no /nonexistent/python"),
        (["--python", "/bin/false"], "/bin/false is not Python 3.11 or later"),
    ],
)
def test_what_cannot_be_done_is_refused(options: list[str], complaint: str, tmp_path: Path) -> None:
    result = run(INSTALL, *(["--prefix", str(tmp_path)] if options != ["--prefix"] else []), *options)
    assert result.returncode == 1
    assert complaint in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_would_need_quotes_is_refused(tmp_path: Path) -> None:
    result = run(INSTALL, "--prefix", tmp_path / "it's")
    assert result.returncode == 1
    assert "would have to be quoted" in result.stderr


def test_pip_packs_all_of_it(tmp_path: Path) -> None:
    if run(sys.executable, "-c", "import setuptools, wheel, pip").returncode != 0:
        skip_or_fail("needs pip, setuptools and wheel, as hack/test installs them")
    checkout = tmp_path / "checkout"
    leave = shutil.ignore_patterns(".*", "__pycache__", "tests")
    shutil.copytree(REPOSITORY, checkout, symlinks=True, ignore=leave)
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
    result = run(sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", tmp_path, checkout)
    assert result.returncode == 0, result.stderr
    (wheel,) = tmp_path.glob("pyoci_runtime-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "pyoci").rglob("*.py")}
    wanted |= {f"pyoci/specs/{path.name}" for path in (REPOSITORY / "specs").glob("*.json")}
    assert wanted - names == set()
