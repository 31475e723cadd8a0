# SPDX-License-Identifier: Apache-2.0
"""Attacks on a runtime by an image, a volume or a process inside, as black-box tests.

They run against pyoci; with --runtime PATH against any other runtime. Those on mounts run on other runtimes anyway where
these are installed. Where one of those still has the hole, `holes.py` says so, and
the test is expected to fail there: that is the proof that it would find it here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ..conftest import missing, skip_or_fail
from ..lifecycle.conftest import (  # noqa: F401  fixtures
    busybox,
    container,
    containers,
    place,
    pyoci_program,
    runtimes_asked_for,
)
from ..lifecycle.harness import Container, Runtime
from .blocking import blocked, compiled
from .holes import HOLES

WITHOUT_CLONE3 = "pyoci-without-clone3"
"""pyoci again, inside of a filter that says of clone3 what old kernels say."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames:
        paths = metafunc.config.getoption("--runtime") or ["pyoci"]
        if metafunc.module.__name__.rpartition(".")[2].startswith("test_mount_") and paths == ["pyoci"]:
            paths = runtimes_asked_for(metafunc.config)
            if "pyoci" in paths and metafunc.module.__name__.endswith("_dev"):
                paths.append(WITHOUT_CLONE3)
            paths += filter(None, [shutil.which("crun")] if "pyoci" in paths else [])
        names = [os.path.basename(path) for path in paths]
        metafunc.parametrize("runtime", paths, ids=names, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if not str(item.path).startswith(here) or "runtime" not in getattr(item, "fixturenames", ()):
            continue
        for name in ("needs_root", "needs_busybox", "needs_cgroups"):
            item.add_marker(getattr(pytest.mark, name))
        callspec = getattr(item, "callspec", None)
        name = os.path.basename(callspec.params.get("runtime", "")) if callspec else ""
        rest = callspec.id.removeprefix(name).lstrip("-") if callspec else ""
        test = f"{item.originalname}[{rest}]" if rest else item.originalname  # type: ignore[attr-defined]
        for pattern, reason, always in HOLES.get(name, ()):
            if fnmatchcase(test, pattern):
                item.add_marker(pytest.mark.xfail(strict=always, reason=f"{name} {reason}"))


ON_V2 = """#!/bin/sh
exec unshare --mount sh -ec '
    mount -t tmpfs none /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    exec "$0" --cgroup-manager=disabled "$@"
' {} "$@"
"""


@pytest.fixture
def runtime(request: pytest.FixtureRequest, place: Path) -> Runtime:  # noqa: F811
    path: str = request.param
    if path == "pyoci":
        return Runtime("pyoci", str(request.getfixturevalue("pyoci_program")))
    if path == WITHOUT_CLONE3:
        if missing("needs_compiler"):
            skip_or_fail(str(missing("needs_compiler")))
        program = request.getfixturevalue("pyoci_program")
        return Runtime("pyoci", str(blocked(place, "ENOSYS", "clone3", program)))
    if os.path.basename(path) == "crun" and (missing("needs_cgroup_v2") or missing("needs_sys_resource")):
        program = (
            place / "crun"
        )  # it refuses hosts with cgroup v1 and v2 side by side, and rules for devices take a limit
        program.write_text(ON_V2.format(path))
        program.chmod(0o755)
        return Runtime("crun", str(program))
    return Runtime(os.path.basename(path), path)


class Canary:
    """A directory of the host with a secret in it, which nobody may read, change or add to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.secret = path / "secret"
        self.secret.write_text("the host's own\n")
        self.before = self._look()

    def _look(self) -> list[tuple[str, int, int, int, bytes]]:
        found = []
        for one in sorted([self.path, *self.path.rglob("*")]):
            status = one.lstat()
            content = one.read_bytes() if one.is_file() else b""
            found.append((str(one), status.st_mode, status.st_uid, status.st_gid, content))
        return found

    def is_untouched(self) -> None:
        assert self._look() == self.before


@pytest.fixture
def canary(container: Container) -> Canary:  # noqa: F811
    return Canary(container.scratch / "canary")


@pytest.fixture
def volume(container: Container) -> Path:  # noqa: F811
    """A volume with a file that shows where it is mounted."""
    path = container.scratch / "volume"
    path.mkdir()
    (path / "marker").write_text("volume\n")
    return path


@pytest.fixture(scope="session")
def race_seconds(request: pytest.FixtureRequest) -> float:
    """For how long a race is run."""
    return float(request.config.getoption("--race-seconds"))


@pytest.fixture
def swap(place: Path) -> Iterator[Callable[[Path, Path], None]]:  # noqa: F811
    """A function that has two names exchanged, on and on, until the end of the test."""
    started = []

    def begin(one: Path, other: Path) -> None:
        process = subprocess.Popen([str(compiled("swap", place)), str(one), str(other)], stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    yield begin
    for process in started:
        process.kill()
        process.communicate()
