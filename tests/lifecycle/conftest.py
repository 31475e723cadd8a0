# SPDX-License-Identifier: Apache-2.0
"""Runtimes, root filesystems and containers for the lifecycle tests.

Every test runs once for each runtime.  Where another runtime is known to fail a test, the test says so with
``@differs(runc="1.1.5 ...")``: it is then expected to fail there, and a surprise if it does not, unless ``always=False`` says that it may be lucky.
What is known of a runtime that differs in too many tests for that stands in differences.toml, beside who is right.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..conftest import missing, skip_or_fail
from ..security.blocking import blocked
from .harness import Container, Runtime, cgroups_named, mounts_below
from .hindrances import hindrance

REPOSITORY = Path(__file__).parent.parent.parent
OWN = f"pyoci-test-{os.getpid()}"
"""How the containers of this session begin their names."""


def runtimes_asked_for(config: pytest.Config) -> list[str]:
    asked = config.getoption("--runtime") or list(filter(None, os.environ.get("PYOCI_TEST_RUNTIMES", "").split(":")))
    if asked:
        return list(asked)
    return ["pyoci", *filter(None, [shutil.which("runc")])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames:
        paths = runtimes_asked_for(metafunc.config)
        metafunc.parametrize("runtime", paths, ids=[os.path.basename(path) for path in paths], indirect=True)


@functools.cache
def differences(runtime: str) -> dict[str, str]:
    """What differences.toml has on a runtime: the reason by test, as `file::function`."""
    listed = tomllib.loads((Path(__file__).parent / "differences.toml").read_text()).get(runtime, ())
    return {test: entry["does"] for entry in listed for test in entry.get("tests", ())}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = os.path.dirname(__file__)
    systemd = bool(config.getoption("--systemd-cgroup"))
    if systemd:  # to no other test does it make a difference
        config.hook.pytest_deselected(items=[item for item in items if not str(item.path).startswith(here)])
        items[:] = [item for item in items if str(item.path).startswith(here)]
    for item in items:
        if not str(item.path).startswith(here):
            continue
        for name in ("needs_busybox", "needs_cgroups"):
            item.add_marker(getattr(pytest.mark, name))
        if (reason := hindrance(item.nodeid, systemd)) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
        callspec = getattr(item, "callspec", None)
        runtime = os.path.basename(callspec.params.get("runtime", "")) if callspec else ""
        listed = differences(runtime).get(f"{item.path.name}::{getattr(item, 'originalname', '')}")
        if listed:
            item.add_marker(pytest.mark.xfail(strict=False, reason=f"{runtime} {listed}"))
        for mark in item.iter_markers("differs"):
            if runtime in mark.kwargs:
                reason = f"{runtime} {mark.kwargs[runtime]}"
                item.add_marker(pytest.mark.xfail(strict=mark.kwargs.get("always", True), reason=reason))


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory of the session that mapped root users may enter too. By its end no test has left a cgroup or a mount."""
    path = Path(tempfile.mkdtemp(prefix="pyoci-tests-"))
    path.chmod(0o755)
    yield path
    left = [*map(str, cgroups_named(f"{OWN}-")), *mounts_below(path)]
    shutil.rmtree(path, ignore_errors=True)
    assert not left, f"left behind by some test: {left}"


@pytest.fixture(scope="session")
def pyoci_program(place: Path, request: pytest.FixtureRequest) -> Path:
    """pyoci, installed from this checkout into a prefix of the session; with --block inside of a filter."""
    program = _installed(place)
    block = request.config.getoption("--block")
    return blocked(place, *block.split(":"), program) if block else program


def _installed(place: Path) -> Path:
    prefix = place / "prefix"
    installer = REPOSITORY / "hack" / "install"
    if installer.exists():
        subprocess.run([str(installer), "--prefix", str(prefix)], check=True, stdout=subprocess.DEVNULL)
        return prefix / "bin" / "pyoci"
    program = prefix / "bin" / "pyoci"
    program.parent.mkdir(parents=True)
    start = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from pyoci.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} -I -S -B -c "{start}" "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Runtime:
    path: str = request.param
    if path == "pyoci":
        return Runtime("pyoci", str(request.getfixturevalue("pyoci_program")))
    return Runtime(os.path.basename(path), path)


APPLETS = """
    [ basename cat chmod chown chroot cut dd df dirname echo env false find free grep groups head hostname id ionice ip kill
    ln ls mkdir mkfifo mknod mktemp mount mv nc nproc nsenter pivot_root printf ps pwd readlink realpath rm rmdir sed seq
    setpriv setsid sh sleep stat stty swapon sync sysctl tail tar test timeout top touch tr true tty umount uname unlink
    unshare uptime wc whoami
""".split()
"""What containers have of busybox: links for each of its 270 programs took a third of the processor time that is the tests'
own."""


@pytest.fixture(scope="session")
def busybox(place: Path) -> Callable[[Path], None]:
    """A function that fills a directory with a small root filesystem made of one static program."""
    program = shutil.which("busybox")
    assert program is not None
    original = place / "busybox"
    shutil.copyfile(program, original)
    original.chmod(0o755)

    def fill(rootfs: Path) -> None:
        for directory in ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var"):
            (rootfs / directory).mkdir(parents=True)
        (rootfs / "tmp").chmod(0o1777)
        os.link(original, rootfs / "bin" / "busybox")
        for applet in APPLETS:
            os.symlink("busybox", rootfs / "bin" / applet)
        (rootfs / "etc" / "passwd").write_text(
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:a user:/home/user:/bin/sh\n"
        )
        (rootfs / "etc" / "group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")

    return fill


@pytest.fixture(scope="session")
def debian() -> Path:
    """A Debian root filesystem, made once from the machine's own package sources and kept between sessions."""
    if missing("needs_mmdebstrap"):
        skip_or_fail(str(missing("needs_mmdebstrap")))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyoci-tests"
    rootfs = cache / "debian"
    if not rootfs.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=cache, prefix="debian."))
        sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
        names = [str(source) for source in sources if source.exists() and source.suffix in (".list", ".sources")]
        release = subprocess.run(
            ["sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME"], capture_output=True, text=True
        )
        made = subprocess.run(
            ["mmdebstrap", "--variant=essential", "--mode=root", "--format=directory", release.stdout.strip(),
             str(unfinished), *names],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        if made.returncode != 0:
            shutil.rmtree(unfinished, ignore_errors=True)
            skip_or_fail(f"needs package sources mmdebstrap can use: {made.stderr[-400:]}")
        unfinished.chmod(0o755)
        unfinished.rename(rootfs)
    assert stat.S_ISDIR(rootfs.stat().st_mode)
    return rootfs


_numbers = itertools.count(1)


@pytest.fixture
def containers(
    request: pytest.FixtureRequest,
    runtime: Runtime,
    place: Path,
    busybox: Callable[[Path], None],
    subreaper: None,
) -> Iterator[Callable[[], Container]]:
    """A function that makes containers; all are deleted after the test, which fails if anything of them is left."""
    scratch = Path(tempfile.mkdtemp(dir=place, prefix="test-"))
    scratch.chmod(0o755)
    made: list[Container] = []
    systemd = bool(request.config.getoption("--systemd-cgroup"))

    def make() -> Container:
        name = f"{OWN}-{next(_numbers)}"
        made.append(Container(runtime, scratch, name, busybox, siblings=made, systemd=systemd))
        return made[-1]

    yield make
    complaints: list[str] = []
    stuck: list[str] = []
    # Last made, first deleted: those that joined a pid namespace must be reaped before its init can end.
    for container in reversed(made):
        try:
            complaints += container.clean_up()
        except AssertionError as error:
            stuck.append(f"{container.id}: {error}")
    shutil.rmtree(scratch, ignore_errors=True)
    if stuck:
        pytest.fail("cannot be removed:\n" + "\n".join(stuck), pytrace=False)
    # Where the test itself is known to fail, what it leaves behind is part of that failure.
    if complaints and not any(request.node.iter_markers("xfail")):
        pytest.fail("left behind:\n" + "\n".join(complaints), pytrace=False)


@pytest.fixture
def container(containers: Callable[[], Container]) -> Container:
    """One container with the base config, not created yet."""
    return containers()
