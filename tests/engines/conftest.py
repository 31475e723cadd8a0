# SPDX-License-Identifier: Apache-2.0
"""Real engines, each in a world of its own, driving pyoci and, for comparison, runc.

These tests take minutes and need packages that nothing else here needs, so they only run when asked for: with the
option --engines, or with --engine and the name of one. `hack/test` takes both, too. An engine that is missing then is a
failure if PYOCI_CI=1.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..conftest import skip_or_fail
from ..lifecycle.conftest import (
    place,
    pyoci_program,
    pytest_generate_tests,
    runtime,
    runtimes_asked_for,
)
from ..lifecycle.harness import Runtime
from .engines import Buildah, BuildKit, Containerd, Cri, Docker, Podman, RootlessPodman
from .images import write_archive
from .world import World

__all__ = ["place", "pyoci_program", "pytest_generate_tests", "runtime"]

PROGRAMS = {
    "containerd": ("containerd", "containerd-shim-runc-v2", "ctr"),
    "docker": ("dockerd", "docker", "iptables"),
    "podman": ("podman", "conmon"),
    "rootless": ("podman", "conmon", "newuidmap"),
    "buildah": ("buildah", "podman"),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    for item in items:
        if not str(item.path).startswith(here):
            continue
        if not is_asked_for(config, engine_of(item)):
            item.add_marker(pytest.mark.skip(reason="drives real engines, which takes --engines"))
        for name in ("needs_root", "needs_busybox", "needs_cgroups", "needs_unshare", "needs_ip"):
            item.add_marker(getattr(pytest.mark, name))
        described(item)


def described(item: pytest.Item) -> None:
    """Say in a file of results what is tested, for hack/engines-table; also of what is skipped before it starts."""
    callspec = getattr(item, "callspec", None)
    if callspec and "runtime" in callspec.params:
        runtime = os.path.basename(callspec.params["runtime"])
        item.user_properties += [("engine", engine_of(item)), ("runtime", runtime)]


def engine_of(item: pytest.Item) -> str:
    """The engine that a test drives: one of its parameters, or what its module is named for."""
    callspec = getattr(item, "callspec", None)
    named = str(item.path.stem).removeprefix("test_").removesuffix("_podman")
    return str(callspec.params.get("engine", named)) if callspec else named


def is_asked_for(config: pytest.Config, engine: str) -> bool:
    return bool(config.getoption("--engines")) or engine in config.getoption("--engine")


PACKAGES = ("containerd", "docker.io", "podman", "conmon", "buildah", "runc")


@pytest.fixture(scope="session", autouse=True)
def versions(record_testsuite_property: Callable[[str, object], None]) -> None:
    """Which engines there are, for hack/engines-table."""
    query = ("dpkg-query", "-W", "-f", "${Package} ${source:Upstream-Version}\n", *PACKAGES)
    with contextlib.suppress(FileNotFoundError):
        found = subprocess.run(query, capture_output=True, text=True, check=False).stdout.splitlines()
        record_testsuite_property("packages", ", ".join(re.split(r"[~+]", line)[0] for line in found))


@pytest.fixture(scope="session")
def runtimes(request: pytest.FixtureRequest) -> list[Runtime]:
    """Every runtime of this session, for engines that want to be told of them at their start."""
    paths = runtimes_asked_for(request.config)
    return [
        Runtime(os.path.basename(path), str(request.getfixturevalue("pyoci_program")) if path == "pyoci" else path)
        for path in paths
    ]


@pytest.fixture(scope="session")
def archive(place: Path) -> Path:
    path = place / "image.tar"
    write_archive(path)
    return path


def world(name: str, label: str = "") -> Iterator[World]:
    """A world for the engine `name`, if that is installed. `label` tells several of them apart."""
    for program in PROGRAMS[name]:
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            skip_or_fail(f"needs the program {program!r}")
    made = World(name + label)
    try:
        yield made
    finally:
        made.close()


# One of each for a module: they are stopped before another module, of this directory or not, counts its processes.


@pytest.fixture(scope="module")
def containerd(archive: Path) -> Iterator[Containerd]:
    for found in world("containerd"):
        yield Containerd(found, archive)


@pytest.fixture(scope="module")
def cri(archive: Path, runtimes: list[Runtime]) -> Iterator[Cri]:
    if importlib.util.find_spec("grpc") is None:
        skip_or_fail("needs gRPC for Python (Debian: python3-grpcio)")
    for found in world("containerd"):
        engine = Cri(found, archive, runtimes)
        yield engine
        engine.client.close()


@pytest.fixture(scope="module")
def docker(archive: Path, runtimes: list[Runtime]) -> Iterator[Docker]:
    for found in world("docker"):
        yield Docker(found, archive, runtimes)


@pytest.fixture(scope="module")
def builders(archive: Path) -> Iterator[Callable[[Runtime], BuildKit]]:
    """A function that gives the builder of a runtime."""
    with contextlib.ExitStack() as worlds:

        @functools.cache
        def builder(name: str, path: str) -> BuildKit:
            found = worlds.enter_context(contextlib.contextmanager(world)("docker", f"-{name}"))
            return BuildKit(found, archive, Runtime(name, path))

        yield lambda runtime: builder(runtime.name, runtime.path)


@pytest.fixture
def buildkit(builders: Callable[[Runtime], BuildKit], runtime: Runtime) -> BuildKit:
    return builders(runtime)


@pytest.fixture(scope="module")
def podman(archive: Path) -> Iterator[Podman]:
    for found in world("podman"):
        yield Podman(found, archive)


@pytest.fixture(scope="module")
def rootless(archive: Path) -> Iterator[RootlessPodman]:
    for found in world("rootless"):
        yield RootlessPodman(found, archive)


@pytest.fixture(scope="module")
def buildah(archive: Path) -> Iterator[Buildah]:
    for found in world("buildah"):
        yield Buildah(found, archive)


_numbers = itertools.count(1)


@pytest.fixture
def fresh(runtime: Runtime) -> Callable[[], str]:
    """A function that gives names nobody has yet."""
    return lambda: f"{runtime.name}-{next(_numbers)}"
