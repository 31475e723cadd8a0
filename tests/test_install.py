# SPDX-License-Identifier: Apache-2.0
"""hack/install and pip: what lands where, and that it runs whatever the caller's world looks like."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pyoci

from .conftest import skip_or_fail

REPOSITORY = Path(__file__).resolve().parent.parent
INSTALL = REPOSITORY / "hack" / "install"
PYTHON = "/usr/bin/python3"
LIBRARY = Path("lib/pyoci/current")
KINDS = {"embedded": [], "compiled": ["--no-embed"], "scripted": ["--no-compiler"]}
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


@pytest.fixture(scope="module", params=KINDS)
def prefix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp(request.param)
    if request.param != "scripted" and shutil.which("cc") is None:
        skip_or_fail("needs a C compiler called cc")
    install(path, *KINDS[request.param], "--python", PYTHON)
    if request.param == "embedded" and not (path / LIBRARY / "embed" / "pyoci").exists():
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
    package = prefix / LIBRARY / "pyoci"
    sources = sorted(package.rglob("*.py"))
    assert len(sources) == len(list((REPOSITORY / "pyoci").rglob("*.py")))
    tag = run(PYTHON, "-c", "import sys; print(sys.implementation.cache_tag)").stdout.strip()
    compiled = [source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc" for source in sources]
    assert [str(path) for path in compiled if not path.exists()] == []
    # PEP 552: bit 0 says that a hash stands for the time stamp, bit 1 that it would be checked.
    assert {path.read_bytes()[4] for path in compiled} == {1}


def test_it_runs_without_an_archive_of_its_modules(prefix: Path) -> None:
    """As after an upgrade of the interpreter, for which none has been written."""
    if (prefix / LIBRARY / "embed" / "pyoci").exists():
        return  # that is linked into it, and can be upgraded only together with its archive
    (archive,) = (prefix / LIBRARY).glob("modules.*")
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
    installed = prefix / LIBRARY / "pyoci" / "specs"
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
    library = prefix / LIBRARY
    code = f"import sys; sys.path.insert(0, {str(library)!r}); from pyoci import thirdparty; import json"
    result = run(PYTHON, "-ISBc", f"{code}; print(json.dumps(thirdparty.directories()))")
    site = run(PYTHON, "-Ic", "import json, site; print(json.dumps(site.getsitepackages()))")
    assert json.loads(result.stdout) == json.loads(site.stdout)


def test_what_the_readme_says_removes_all_of_it(prefix: Path, tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    command = re.search(r"^    cd /usr/local && (rm -r .*\\\n.*)$", readme, re.MULTILINE)
    assert command
    shutil.copytree(prefix, tmp_path / "copy", symlinks=True)
    result = run("sh", "-c", command[1], cwd=tmp_path / "copy")
    assert (result.returncode, result.stderr) == (0, "")
    assert [path for path in (tmp_path / "copy").rglob("*") if not path.is_dir()] == []


# --- one installation after another -----------------------------------------------------------------------------------

# The command line of a checkout that is quick to install. What it says lies in a module that is loaded late.
SAYS = """
import posix
import sys


def main():
    if "wait" in sys.argv:
        posix.write(1, b"waiting\\n")
        posix.read(0, 1)
    from pyoci import word
    posix.write(1, word.WORD + b"\\n")
    posix._exit(0)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    path = tmp_path / "checkout"
    for name in ("docs", "hack", "specs", "pyoci/embed"):
        shutil.copytree(REPOSITORY / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "archive.py", "seal/launcher.c"):
        (path / "pyoci" / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "pyoci" / name, path / "pyoci" / name)
    (path / "pyoci" / "cli").mkdir()
    (path / "pyoci" / "cli" / "__init__.py").write_text(SAYS)
    return path


class Installed:
    """A prefix, and what is installed there of a checkout."""

    def __init__(self, checkout: Path, prefix: Path) -> None:
        self.checkout, self.prefix, self.program = checkout, prefix, prefix / "bin" / "pyoci"

    def install(self, word: str, kind: str = "scripted", **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Install a program that says this word."""
        (self.checkout / "pyoci" / "word.py").write_text(f"WORD = {word.encode()!r}\n")
        command = [self.checkout / "hack" / "install", "--prefix", self.prefix, "--python", PYTHON]
        return run(*command, *KINDS[kind], **kwargs)

    def says(self) -> str:
        result = run(self.program)
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.strip()

    @contextmanager
    def waiting(self) -> Iterator[subprocess.Popen[str]]:
        """A command that is at work, and loads a module when it is told to go on."""
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen([self.program, "wait"], text=True, **pipes) as process:
            try:
                assert process.stdout and process.stdout.readline() == "waiting\n"
                yield process
            finally:
                process.kill()

    def libraries(self) -> list[str]:
        """What lies below lib/pyoci, by the word that it says."""
        places = [path for path in (self.prefix / "lib" / "pyoci").iterdir() if path.name not in ("current", ".lock")]
        texts = [path / "pyoci" / "word.py" for path in places]
        return sorted(path.read_text().split("'")[1] if path.exists() else str(path) for path in texts)

    def with_tools(self, place: Path, names: tuple[str, ...], after: str) -> dict[str, str]:
        """An environment in which the tools of these names do what they always do, and a line of shell."""
        place.mkdir()
        for name in names:
            (place / name).write_text(f'#!/bin/sh\n{shutil.which(name)} "$@" || exit\n{after}\n')
            (place / name).chmod(0o755)
        return {**os.environ, "PATH": f"{place}:{os.environ['PATH']}"}


@pytest.fixture
def installed(checkout: Path, tmp_path: Path) -> Installed:
    one = Installed(checkout, tmp_path / "prefix")
    result = one.install("first")
    assert result.returncode == 0, result.stderr
    return one


def test_a_second_installation_replaces_the_first(installed: Installed) -> None:
    """The first one stays, for commands of it that may still be running; a third replaces it."""
    assert (installed.says(), installed.libraries()) == ("first", ["first"])
    for word, left in (("second", ["first", "second"]), ("third", ["second", "third"])):
        assert installed.install(word).returncode == 0
        assert (installed.says(), installed.libraries()) == (word, left)
        assert word in (installed.prefix / LIBRARY / "pyoci" / "word.py").read_text()
    assert [path.name for path in (installed.prefix / "bin").iterdir()] == ["pyoci"]
    assert [path.name for path in (installed.prefix / "lib").iterdir()] == ["pyoci"]


def test_an_installation_that_does_not_run_takes_nobodys_place(installed: Installed) -> None:
    def inventory() -> dict[str, Any]:
        paths = [path for path in installed.prefix.rglob("*") if not path.is_dir()]
        return {str(path): (path.lstat().st_mtime_ns, path.read_bytes()) for path in paths if path.name != ".lock"}

    before = inventory()
    (installed.checkout / "docs" / "pyoci.8").write_text("of the second\n")
    (installed.checkout / "pyoci" / "cli" / "__init__.py").write_text("raise SystemExit(66)\n")
    result = installed.install("second")
    assert result.returncode == 1
    assert "does not run" in result.stderr
    assert installed.says() == "first"
    assert inventory() == before
    assert installed.libraries() == ["first"]


def test_the_program_runs_after_each_step_of_an_installation(installed: Installed, tmp_path: Path) -> None:
    said = tmp_path / "said"
    after = f"{installed.program} >>{said} 2>&1 </dev/null || echo failed >>{said}"
    tools = installed.with_tools(tmp_path / "tools", ("mv", "ln", "rm", "cp", "install"), after)
    assert installed.install("second", env=tools).returncode == 0
    words = said.read_text().splitlines()
    assert words == sorted(words)
    assert set(words) == {"first", "second"}


@pytest.mark.parametrize(("tool", "step"), [("install", 1), ("mv", 1), ("mv", 2)])
def test_an_installation_may_end_at_any_time(installed: Installed, tmp_path: Path, tool: str, step: int) -> None:
    """What it leaves is gone with the next ones."""
    after = f"echo >>{tmp_path}/count; [ $(wc -l <{tmp_path}/count) -ne {step} ] || kill -KILL $PPID"
    tools = installed.with_tools(tmp_path / "tools", (tool,), after)
    assert installed.install("second", env=tools).returncode < 0
    assert installed.says() in ("first", "second")
    for word in ("third", "fourth"):
        assert installed.install(word).returncode == 0
        assert installed.says() == word
    assert installed.libraries() == ["fourth", "third"]
    assert [path.name for path in (installed.prefix / "bin").iterdir()] == ["pyoci"]


def test_an_installation_that_is_told_to_end_removes_what_it_made(installed: Installed, tmp_path: Path) -> None:
    tools = installed.with_tools(tmp_path / "tools", ("install",), "kill -TERM $PPID")
    assert installed.install("second", env=tools).returncode != 0
    assert (installed.says(), installed.libraries()) == ("first", ["first"])
    assert [path.name for path in (installed.prefix / "bin").iterdir()] == ["pyoci"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_ends_as_what_it_began(checkout: Path, tmp_path: Path, kind: str) -> None:
    """Whatever is installed meanwhile, it loads no module of that."""
    if kind != "scripted" and shutil.which("cc") is None:
        skip_or_fail("needs a C compiler called cc")
    installed = Installed(checkout, tmp_path / "prefix")
    assert installed.install("first", kind).returncode == 0
    if kind == "embedded" and not (installed.prefix / LIBRARY / "embed" / "pyoci").exists():
        skip_or_fail("needs Python's headers and its static library (python3-dev)")
    with installed.waiting() as process:
        for word in ("second, and longer", "third", "fourth"):
            assert installed.install(word).returncode == 0
            assert installed.says() == word
        assert installed.libraries() == ["first", "fourth", "third"]
        said, _ = process.communicate("go", timeout=60)
    assert (process.returncode, said) == (0, "first\n")
    assert installed.install("fifth").returncode == 0
    assert installed.libraries() == ["fifth", "fourth"]


@pytest.mark.needs_root
def test_a_user_without_privileges_sees_commands_of_others(checkout: Path) -> None:
    """What he installs below his home may be run by root, into whose processes he may not look but for the command line."""
    place = Path("/tmp") / f"pyoci-install-{os.getpid()}"
    place.mkdir()
    user: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        installed = Installed(Path(shutil.copytree(checkout, place / "checkout")), place / "prefix")
        run("chown", "-R", "65534:65534", place)
        assert installed.install("first", **user).returncode == 0
        with installed.waiting() as process:
            for word in ("second", "third"):
                assert (result := installed.install(word, **user)).returncode == 0, result.stderr
            assert process.communicate("go", timeout=60)[0] == "first\n"
        assert installed.says() == "third"
    finally:
        shutil.rmtree(place)


def test_an_installation_that_ends_before_the_link_is_set_is_the_one_before(
    installed: Installed, tmp_path: Path
) -> None:
    """The program names it, and commands may just have been called that do not name it yet."""
    tools = installed.with_tools(tmp_path / "tools", ("mv",), "kill -KILL $PPID")
    assert installed.install("second", env=tools).returncode < 0
    assert installed.says() == "second"
    assert installed.install("third").returncode == 0
    assert (installed.says(), installed.libraries()) == ("third", ["second", "third"])
    assert "third" in (installed.prefix / LIBRARY / "pyoci" / "word.py").read_text()


def test_without_room_for_a_link_the_program_keeps_its_place(installed: Installed, tmp_path: Path) -> None:
    tools = installed.with_tools(tmp_path / "tools", ("ln",), "exit 1")
    assert installed.install("second", env=tools).returncode == 1
    assert (installed.says(), installed.libraries()) == ("first", ["first"])
    assert [path.name for path in (installed.prefix / "bin").iterdir()] == ["pyoci"]


def test_two_installations_at_once_come_one_by_one(installed: Installed) -> None:
    command = [installed.checkout / "hack" / "install", "--prefix", installed.prefix, "--no-compiler"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **quiet) for _ in range(3)]  # type: ignore[call-overload]
    said = sorted(process.communicate(timeout=120)[1] for process in processes)
    assert said == ["", *["hack/install: waiting for another installation\n"] * 2]
    assert [process.returncode for process in processes] == [0] * 3
    assert (installed.says(), installed.libraries()) == ("first", ["first"] * 2)


def test_nobody_else_can_hold_the_lock(installed: Installed) -> None:
    """To read a file is enough for that."""
    lock = installed.prefix / "lib" / "pyoci" / ".lock"
    assert lock.stat().st_mode & 0o777 == 0o600
    lock.chmod(0o644)  # as it was made once
    assert installed.install("second").returncode == 0
    assert lock.stat().st_mode & 0o777 == 0o600


@pytest.mark.needs_compiler
def test_what_a_compiler_leaves_behind_does_not_hold_the_lock(checkout: Path, tmp_path: Path) -> None:
    compiler, left = tmp_path / "compiler", tmp_path / "left"
    compiler.write_text(f'#!/bin/sh\nsleep 1000 >/dev/null 2>&1 &\necho $! >>{left}\nexec cc "$@"\n')
    compiler.chmod(0o755)
    installed = Installed(checkout, tmp_path / "prefix")
    try:
        assert installed.install("first", "compiled", env={**os.environ, "CC": str(compiler)}).returncode == 0
        with (installed.prefix / "lib" / "pyoci" / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        for pid in left.read_text().split():
            os.kill(int(pid), signal.SIGKILL)


def test_one_that_is_told_to_end_as_it_makes_its_directory_leaves_none(installed: Installed, tmp_path: Path) -> None:
    tools = installed.with_tools(tmp_path / "tools", ("mktemp",), "kill -TERM $PPID")
    assert installed.install("second", env=tools).returncode != 0
    assert (installed.says(), installed.libraries()) == ("first", ["first"])


def test_what_cannot_be_removed_is_left(installed: Installed, tmp_path: Path) -> None:
    assert installed.install("second").returncode == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "rm").write_text(
        f'#!/bin/sh\ncase "$*" in "-rf "*lib/pyoci/*) exit 1 ;; esac\nexec {shutil.which("rm")} "$@"\n'
    )
    (tools / "rm").chmod(0o755)
    result = installed.install("third", env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"})
    assert result.returncode == 0
    assert re.fullmatch(r"hack/install: \S+ is left\n", result.stderr)
    assert result.stdout == f"{installed.program}, run by {PYTHON}\n"
    assert (installed.says(), installed.libraries()) == ("third", ["first", "second", "third"])


def test_one_that_had_no_directory_to_itself_is_replaced(installed: Installed) -> None:
    """The modules lay in lib/pyoci itself. Commands of it go on finding them there, until the next installation."""
    library = installed.prefix / "lib" / "pyoci"
    whole = (installed.prefix / LIBRARY).resolve()
    installed.program.write_text(installed.program.read_text().replace(str(whole), str(library)))
    (installed.prefix / LIBRARY).unlink()
    for path in whole.iterdir():
        path.rename(library / path.name)
    whole.rmdir()
    loose = sorted(path.name for path in library.iterdir())
    assert "pyoci" in loose and installed.says() == "first"

    assert installed.install("second").returncode == 0
    assert installed.says() == "second"
    assert set(loose) < {path.name for path in library.iterdir()}
    assert installed.install("third").returncode == 0
    assert (installed.says(), installed.libraries()) == ("third", ["second", "third"])


# --- who installs -----------------------------------------------------------------------------------------------------


def test_the_callers_cdpath_leads_nowhere_else(checkout: Path, tmp_path: Path) -> None:
    """With it, `cd` prints where it went, and what is relative may be somewhere else."""
    Installed(checkout, tmp_path / "prefix").install("first")
    shutil.rmtree(tmp_path / "prefix")
    (tmp_path / "elsewhere" / "prefix").mkdir(parents=True)
    (tmp_path / "elsewhere" / "checkout" / "hack").mkdir(parents=True)
    environment = {**os.environ, "CDPATH": f"{tmp_path}/elsewhere:{tmp_path}"}
    command = ["checkout/hack/install", "--prefix", "prefix", "--no-compiler"]
    result = run(*command, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert run(tmp_path / "prefix" / "bin" / "pyoci").stdout == "first\n"


@pytest.mark.needs_compiler
@pytest.mark.parametrize("blank", ["", " \t"])
def test_the_callers_compiler_may_have_arguments(checkout: Path, tmp_path: Path, blank: str) -> None:
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\necho "$1 $2" >>{tmp_path}/calls\nshift\nexec "$@"\n')
    wrapper.chmod(0o755)
    installed = Installed(checkout, tmp_path / "prefix")
    result = installed.install("first", "embedded", env={**os.environ, "CC": f"{blank}{wrapper} --with cc"})
    assert result.returncode == 0, result.stderr
    assert installed.says() == "first"
    assert installed.program.read_bytes().startswith(b"\x7fELF")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert set(calls) == {"--with cc"}
    assert len(calls) > 1, "the launcher, and what it starts"


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
    base = tmp_path / "prefix" / LIBRARY
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
