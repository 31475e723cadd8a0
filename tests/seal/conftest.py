# SPDX-License-Identifier: Apache-2.0
"""A program that is started as pyoci is, and then reports on itself.

It is the checkout with another command line in it: one that hardens itself, writes down what it has become, and waits
until it may end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PYTHON = "/usr/bin/python3"
KINDS = ("embedded", "launcher", "script", "module")
PROBE = """
import sys

from pyoci import seal
from pyoci.kernel.basic import _exit


def main():
    if sys.argv[1:] in (["--help"], ["--version"]):  # as hack/install tries it
        _exit(0)
    import fcntl, json, os  # it is a test
    inherited = [fd for fd in range(100) if os.access(f"/proc/self/fd/{fd}", os.F_OK)]
    seal.harden()
    report = {
        "sealed": seal.is_sealed(),
        "executable": os.readlink("/proc/self/exe"),
        "pid": os.getpid(),
        "name": open("/proc/self/comm").read().strip(),
        "arguments": sys.argv[3:],
        "environment": {name.decode(): value.decode() for name, value in os.environb.items()},
        "flags": [sys.flags.isolated, sys.flags.no_site, sys.flags.dont_write_bytecode, sys.flags.utf8_mode],
        "path": sys.path,
        "prefix": sys.prefix,
        "interpreter": sys.executable,
        "package": seal.__file__,
        "mapped": sorted({line.split()[-1] for line in open("/proc/self/maps") if "/" in line}),
        "inherited": inherited,
        "stay open on exec": [fd for fd in inherited if not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC],
        "standard streams": [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)],
    }
    with open(sys.argv[1], "w") as file:
        json.dump(report, file)
    if sys.argv[2] == "wait":
        os.read(0, 1)
    _exit(0)
"""
# A module of the standard library that every start of the probe looks for, if anybody's directory comes first.
TRAP = "import os; os.write(2, b'trapped'); os._exit(66)\n"


@dataclass
class Program:
    """One way to start the probe."""

    kind: str
    argv: list[str]
    environment: dict[str, str]
    place: Path

    def start(
        self, *arguments: str, environment: Mapping[str, str] | None = None, wrapper: Sequence[str] = (), **options: Any
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """A running probe, and the file that it reports to."""
        descriptor, report = tempfile.mkstemp(dir=self.place)
        os.close(descriptor)
        os.chmod(report, 0o666)
        argv = [*wrapper, *self.argv, report, *arguments]
        options.setdefault("env", {**self.environment, **(environment or {})})
        return subprocess.Popen(argv, **options), Path(report)

    def report(self, *arguments: str, **options: Any) -> dict[str, Any]:
        """What the probe says of itself, having run to its end."""
        process, report = self.start("go", *arguments, **options)
        assert process.wait(30) == 0
        result: dict[str, Any] = json.loads(report.read_text())
        result["started as"] = process.pid
        return result


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix="pyoci-seal-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def checkout(place: Path) -> Path:
    """A checkout with the probe for its command line."""
    path = place / "checkout"
    (path / "pyoci" / "cli").mkdir(parents=True)
    for name in ("__init__.py", "archive.py", "errors.py", "foreign.py", "libc.py", "syscalls.py"):
        shutil.copy(REPOSITORY / "pyoci" / name, path / "pyoci" / name)
    for name in ("pyoci/embed", "pyoci/kernel", "pyoci/seal", "docs", "hack", "specs"):
        shutil.copytree(REPOSITORY / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (path / "pyoci" / "cli" / "__init__.py").write_text(PROBE)
    return path


@pytest.fixture(scope="session")
def programs(checkout: Path, place: Path) -> dict[str, Program]:
    """The probe, by the way it is started: in pyoci's own interpreter; by launcher.c or a script in the machine's; and as a
    module of that."""
    install = [str(checkout / "hack" / "install"), "--python", PYTHON, "--prefix"]
    quiet = {"stdout": subprocess.DEVNULL, "check": True}
    subprocess.run([*install, str(place / "embedded")], **quiet)  # type: ignore[call-overload]
    subprocess.run([*install, str(place / "compiled"), "--no-embed"], **quiet)  # type: ignore[call-overload]
    subprocess.run([*install, str(place / "scripted"), "--no-compiler"], **quiet)  # type: ignore[call-overload]
    module = [PYTHON, "-P", "-c", "from pyoci.cli import main; main()"]
    assert (place / "embedded" / "lib" / "pyoci" / "current" / "embed" / "pyoci").exists(), "needs python3-dev"
    return {
        "embedded": Program("embedded", [str(place / "embedded" / "bin" / "pyoci")], {}, place),
        "launcher": Program("launcher", [str(place / "compiled" / "bin" / "pyoci")], {}, place),
        "script": Program("script", [str(place / "scripted" / "bin" / "pyoci")], {}, place),
        "module": Program("module", module, {"PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}, place),
    }


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest, programs: dict[str, Program]) -> Program:
    return programs[request.param]


@pytest.fixture
def launcher(programs: dict[str, Program]) -> Program:
    return programs["launcher"]


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """A directory with modules that nobody wants to load."""
    for name in ("encodings", "posix", "json", "errno", "_struct", "fcntl", "os", "site", "pyoci", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    return tmp_path
