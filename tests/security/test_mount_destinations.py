# SPDX-License-Identifier: Apache-2.0
"""Links of an image, and races on a volume, that would lead a mount out of the root (CVE-2018-15664 and its many kin)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..lifecycle.configs import bind, mount
from ..lifecycle.harness import Container
from .conftest import Canary

UP = "../" * 40


def absolute(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(target)
    return "/link"


def relative(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(UP + str(target)[1:])
    return "/link"


def in_the_middle(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(target)
    return "/link/below/that"


def chain(rootfs: Path, target: Path) -> str:
    (rootfs / "one").symlink_to("two")
    (rootfs / "two").symlink_to("/three")
    (rootfs / "three").symlink_to(target)
    return "/one"


def dangling(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(target / "new")
    return "/link"


def dangling_in_the_middle(rootfs: Path, target: Path) -> str:
    return f"{dangling(rootfs, target)}/below/that"


def dangling_with_dots(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(f"{UP}none/../..{target}/new")
    return "/link/that"


def dangling_chain(rootfs: Path, target: Path) -> str:
    (rootfs / "one").symlink_to("two/new")
    (rootfs / "two").symlink_to("/three/new")
    (rootfs / "three").symlink_to(target)
    return "/one/that"


def growing(rootfs: Path, _: Path) -> str:
    (rootfs / "link").symlink_to("none/link/link")
    (rootfs / "none").symlink_to("link/none")
    return "/link/that"


def dots_after_a_link(rootfs: Path, target: Path) -> str:
    (rootfs / "deep").mkdir()
    (rootfs / "deep" / "link").symlink_to(target)
    return "/deep/link/../canary"


def magic(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(f"/proc/self/root{target}")
    return "/link"


def working_directory(rootfs: Path, target: Path) -> str:
    (rootfs / "link").symlink_to(f"/proc/self/cwd/{UP}{str(target)[1:]}")
    return "/link/new"


FORMS = [
    *(absolute, relative, in_the_middle, chain, dangling, dots_after_a_link, magic, working_directory),
    *(dangling_in_the_middle, dangling_with_dots, dangling_chain, growing),
]


@pytest.mark.parametrize("kind", ["directory", "file", "tmpfs"])
@pytest.mark.parametrize("form", FORMS)
def test_mount_dest_symlink_escape(
    container: Container, canary: Canary, volume: Path, form: Callable[[Path, Path], str], kind: str
) -> None:
    """CVE-2019-18837: wherever the link leads, it stays in the root or is refused."""
    destination = form(container.rootfs, canary.path)
    entry = {
        "directory": bind(volume, destination, "bind"),
        "file": bind(volume / "marker", destination, "bind"),
        "tmpfs": mount(destination, "tmpfs", "tmpfs"),
    }[kind]
    container.mounts.append(entry)
    result = container.run(args=["cat", destination if kind == "file" else f"{destination}/marker"])
    canary.is_untouched()
    assert "the host's own" not in result.out + result.err
    if result.status == 0:
        assert result.out == "volume\n"


@pytest.mark.parametrize("form", FORMS)
def test_the_host_stays_out_of_sight(container: Container, canary: Canary, form: Callable[[Path, Path], str]) -> None:
    """A container with all rights over its own mounts, that goes where the link would have led."""
    destination = form(container.rootfs, canary.path)
    container.mounts.append(mount(destination, "tmpfs", "tmpfs"))
    result = container.run(args=["sh", "-c", f"cat {canary.secret} {destination}/secret {destination}/../secret"])
    assert "the host's own" not in result.out
    canary.is_untouched()


# Races. Whoever has the volume too may rename in it at any moment.


@pytest.fixture
def mountpoints(container: Container) -> Iterator[list[str]]:
    """Names for what is to be made in the volume; should a runtime make them on the host's root, they are removed there."""
    names = [f"{container.id}-{number}" for number in range(6)]
    yield names
    for name in names:
        Path(f"/{name}-file").unlink(missing_ok=True)
        for directory in (Path(f"/{name}/sub"), Path(f"/{name}")):
            with contextlib.suppress(FileNotFoundError):
                directory.rmdir()


@pytest.mark.needs_compiler
@pytest.mark.parametrize("target", ["the canary", "the root"])
def test_mount_dest_race(
    container: Container,
    canary: Canary,
    volume: Path,
    swap: Callable[[Path, Path], None],
    mountpoints: list[str],
    race_seconds: float,
    target: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """CVE-2021-30465, CVE-2024-45310: a directory on the way to mount points is swapped for a link all the time."""
    (volume / "real").mkdir()
    (volume / "link").symlink_to(canary.path if target == "the canary" else UP)
    container.mounts.append(bind(volume, "/volume", "rbind"))
    for name in mountpoints:
        container.mounts.append(mount(f"/volume/real/{name}/sub", "tmpfs", "tmpfs"))
        container.mounts.append(bind(volume / "marker", f"/volume/real/{name}-file", "bind"))
    assert container.run(args=["true"]).status == 0, "without a race"
    swap(volume / "real", volume / "link")
    deadline = time.monotonic() + race_seconds
    results = []
    while time.monotonic() < deadline or len(results) < 6:
        results.append(container.run(args=["sh", "-c", "cat /volume/*/secret /volume/*/*/secret 2>/dev/null; true"]))
        canary.is_untouched()
        assert not [name for name in os.listdir("/") if name.startswith(container.id)]
        assert "the host's own" not in results[-1].out
        for directory in (volume / "real", volume / "link"):
            if not directory.is_symlink():
                subprocess.run(["rm", "-rf", *(str(one) for one in directory.glob(f"{container.id}-*"))], check=False)
    record_testsuite_property(f"rounds against {target} with {container.runtime.name}", len(results))


@pytest.mark.needs_compiler
@pytest.mark.parametrize("target", ["the canary", "the root"])
def test_race_for_a_link_that_leads_nowhere(
    container: Container,
    canary: Canary,
    volume: Path,
    swap: Callable[[Path, Path], None],
    mountpoints: list[str],
    race_seconds: float,
    target: str,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """What such a link leads to is made, and it is swapped all the time for one that leads out."""
    made = f"{container.id}-made"
    (volume / "nowhere").symlink_to(f"/{made}/here")
    (volume / "link").symlink_to(canary.path if target == "the canary" else UP)
    container.mounts.append(bind(volume, "/volume", "rbind"))
    for name in mountpoints:
        container.mounts.append(mount(f"/volume/nowhere/{name}/sub", "tmpfs", "tmpfs"))
        container.mounts.append(bind(volume / "marker", f"/volume/nowhere/{name}-file", "bind"))
    swap(volume / "nowhere", volume / "link")
    deadline = time.monotonic() + race_seconds
    rounds = 0
    while time.monotonic() < deadline or rounds < 6:
        result = container.run(args=["sh", "-c", f"cat /{made}/*/*/secret /{made}/*/*/*/secret 2>/dev/null; true"])
        canary.is_untouched()
        assert not [name for name in os.listdir("/") if name.startswith(container.id)]
        assert "the host's own" not in result.out
        subprocess.run(["rm", "-rf", str(container.rootfs / made)], check=True)
        rounds += 1
    record_testsuite_property(f"rounds for a link to nowhere against {target} with {container.runtime.name}", rounds)
