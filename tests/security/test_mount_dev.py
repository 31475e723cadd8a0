# SPDX-License-Identifier: Apache-2.0
"""An image's /dev, in which nothing needs to be what its name says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ..lifecycle.configs import bind
from ..lifecycle.harness import Container, console_socket, read_until
from .conftest import Canary

UP = "../" * 40


@pytest.fixture
def images_dev(container: Container) -> Path:
    """The image's own /dev: nothing is mounted there."""
    container.mounts[:] = [one for one in container.mounts if not one["destination"].startswith("/dev")]
    return container.rootfs / "dev"


@pytest.mark.parametrize("form", ["absolute", "relative", "two links"])
def test_dev_symlink(container: Container, canary: Canary, images_dev: Path, form: str) -> None:
    """Nodes and links would be made on the host, and its ptmx removed."""
    (canary.path / "ptmx").write_text("")
    canary.before = canary._look()
    images_dev.rmdir()
    if form == "two links":
        images_dev.symlink_to("other")
        images_dev = container.rootfs / "other"
    images_dev.symlink_to(f"{UP}{canary.path}" if form == "relative" else canary.path)
    container.run()
    canary.is_untouched()


@pytest.mark.parametrize("name", ["null", "zero", "fd", "stdin", "ptmx", "core", "console", "pts", "shm"])
def test_an_entry_of_dev_is_a_link_to_the_host(
    container: Container, canary: Canary, images_dev: Path, name: str
) -> None:
    (images_dev / name).symlink_to(canary.path / "new")
    container.run()
    canary.is_untouched()


@pytest.mark.parametrize("target", ["secret", "new"])
@pytest.mark.parametrize("terminal", [False, True], ids=["no terminal", "terminal"])
def test_dev_console_symlink(
    container: Container, canary: Canary, images_dev: Path, terminal: bool, target: str
) -> None:
    """CVE-2025-52565: the terminal would be mounted over a file that the link leads to, or that file be made."""
    (images_dev / "console").symlink_to(canary.path / target)
    if not terminal:
        container.run()
        canary.is_untouched()
        return
    container.mounts.append(
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}
    )
    container.process["terminal"] = True
    container.process["args"] = ["sh", "-c", "echo started; sleep 1000"]
    with console_socket(container.bundle) as (path, receive):
        result = container.create("--console-socket", path)
        if result.status == 0:
            master = receive()
            container.start()
            read_until(master, b"started")
    canary.is_untouched()


def test_dev_console_symlink_inside(container: Container, images_dev: Path) -> None:
    """A link to a file of /proc: it would be covered, and others be led astray by that."""
    (images_dev / "console").symlink_to("/proc/sys/kernel/hostname")
    container.mounts.append(
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}
    )
    container.process["terminal"] = True
    container.process["args"] = ["sh", "-c", "cat /proc/sys/kernel/hostname; echo end; sleep 1000"]
    with console_socket(container.bundle) as (path, receive):
        if container.create("--console-socket", path).status == 0:
            master = receive()
            container.start()
            assert container.config["hostname"].encode() in read_until(master, b"end")


# /dev/null


def null_is(path: str) -> str:
    """A script that tells whether a path is the null device, or else what it is."""
    return f"if [ -e {path} ]; then stat -L -c '%F %t:%T' {path}; fi"


@pytest.mark.parametrize("target", ["/etc/passwd", "/proc/sys/kernel/hostname", "/proc/self/environ"])
def test_masked_proc_redirect(container: Container, images_dev: Path, target: str) -> None:
    """CVE-2025-31133: masks would be made of what the image's /dev/null leads to."""
    (images_dev / "null").symlink_to(target)
    container.linux["maskedPaths"] = ["/proc/keys", "/proc/timer_list", "/etc/group"]
    result = container.run(args=["sh", "-c", "; ".join(map(null_is, container.linux["maskedPaths"]))])
    if result.status == 0:
        assert set(result.out.splitlines()) == {"character special file 1:3"}


def test_masked_proc_redirect_by_a_volume(container: Container, volume: Path) -> None:
    """The whole of /dev comes from a volume that is not the image's, and not the host's."""
    (volume / "null").symlink_to("/etc/passwd")
    container.mounts[:] = [one for one in container.mounts if not one["destination"].startswith("/dev")]
    container.mounts.append(bind(volume, "/dev", "bind"))
    container.linux["maskedPaths"] = ["/proc/keys"]
    result = container.run(args=["sh", "-c", null_is("/proc/keys")])
    if result.status == 0:
        assert result.out == "character special file 1:3\n"


@pytest.mark.parametrize("kind", ["file", "link to a file", "link to proc", "fifo"])
def test_dev_null_symlink(container: Container, volume: Path, kind: str) -> None:
    """CVE-2026-88265: standard streams that are the host's null would become a file of the image's choice."""
    shared = volume / "marker"
    os.chown(shared, 5, 6)
    container.mounts[:] = [one for one in container.mounts if not one["destination"].startswith("/dev")]
    container.mounts.append(bind(volume, "/dev", "bind"))
    match kind:
        case "file":
            shared.rename(volume / "null")
            shared = volume / "null"
        case "link to a file":
            (volume / "null").symlink_to("marker")
        case "link to proc":
            (volume / "null").symlink_to("/proc/self/stat")
        case "fifo":
            os.mkfifo(volume / "null")
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["args"] = [
        "sh",
        "-c",
        "echo to the error stream >&2; stat -L -c '%t:%T' /proc/self/fd/2 > /tmp/seen",
    ]
    (container.rootfs / "tmp" / "seen").write_text("")
    (container.rootfs / "tmp" / "seen").chmod(0o666)
    with open("/dev/null", "r+") as null:
        container.run(stderr=null)
    assert shared.read_text() == "volume\n"
    assert (shared.stat().st_uid, shared.stat().st_gid) == (5, 6)
    assert (container.rootfs / "tmp" / "seen").read_text() in ("", "1:3\n")


def test_exec_into_a_container_that_has_replaced_its_null(containers: Callable[[], Container]) -> None:
    container = containers()
    container.process["capabilities"] = {kind: ["CAP_DAC_OVERRIDE"] for kind in ("bounding", "effective", "permitted")}
    container.launch(
        "sh", "-c", "rm /dev/null; ln -s /tmp/target /dev/null; echo x > /tmp/target; echo ready; sleep 1000"
    )
    container.prints("ready")
    target = container.rootfs / "tmp" / "target"
    owner = target.stat().st_uid
    with open("/dev/null", "r+") as null:
        container.exec("sh", "-c", "echo to the error stream >&2", options=("--user", "1000"), stderr=null)
    assert (target.read_text(), target.stat().st_uid) == ("x\n", owner)
