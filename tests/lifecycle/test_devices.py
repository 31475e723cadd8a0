# SPDX-License-Identifier: Apache-2.0
"""/dev: the nodes and links every container gets, those of the config, and which may be opened."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from .configs import ENGINE_CAPABILITIES, bind, device_rule
from .harness import Container

differs = pytest.mark.differs


def listing(container: Container, *paths: str) -> list[str]:
    """Type and mode, owner and device number of each path, as octal and hexadecimal as stat(1) gives them."""
    return container.output("stat", "-c", "%F %a %u:%g %t:%T", *paths).splitlines()


def device(path: str, kind: str, major: int, minor: int, **more: Any) -> dict[str, Any]:
    return {"path": path, "type": kind, "major": major, "minor": minor, **more}


@pytest.mark.parametrize(
    ("name", "number"),
    [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"), ("urandom", "1:9"), ("tty", "5:0")],
)
def test_a_default_device(container: Container, name: str, number: str) -> None:
    assert listing(container, f"/dev/{name}") == [f"character special file 666 0:0 {number}"]


def test_default_devices_work(container: Container) -> None:
    script = (
        "head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; echo x > /dev/null; ! echo x 2>&- > /dev/full"
    )
    assert container.sh(script).split() == ["3", "5"]


@pytest.mark.parametrize(
    ("name", "target"),
    [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
     ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx")],
)  # fmt: skip
def test_a_default_link(container: Container, name: str, target: str) -> None:
    assert container.output("readlink", f"/dev/{name}") == f"{target}\n"


def test_nothing_else_is_in_dev(container: Container) -> None:
    names = set(container.output("ls", "/dev").split())
    expected = {"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
                "urandom", "zero"}  # fmt: skip
    assert expected <= names <= expected | {"core"}


def test_a_device_of_the_config(container: Container) -> None:
    container.linux["devices"] = [device("/dev/fuse", "c", 10, 229, fileMode=0o640, uid=7, gid=8)]
    assert listing(container, "/dev/fuse") == ["character special file 640 7:8 a:e5"]


def test_a_device_in_a_directory_that_is_missing(container: Container) -> None:
    container.linux["devices"] = [device("/dev/net/tun", "c", 10, 200, fileMode=0o600)]
    assert listing(container, "/dev/net/tun") == ["character special file 600 0:0 a:c8"]


def test_a_device_of_the_config_is_open_to_all_by_default(container: Container) -> None:
    container.linux["devices"] = [device("/dev/fuse", "c", 10, 229)]
    assert listing(container, "/dev/fuse") == ["character special file 666 0:0 a:e5"]


def test_a_block_device(container: Container) -> None:
    container.linux["devices"] = [device("/dev/block", "b", 7, 0, fileMode=0o660)]
    assert listing(container, "/dev/block") == ["block special file 660 0:0 7:0"]


def test_a_fifo(container: Container) -> None:
    container.linux["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o644}]
    assert listing(container, "/dev/pipe")[0].startswith("fifo 644 0:0")


def test_the_mode_of_a_device_is_free_of_the_umask(container: Container) -> None:
    container.linux["devices"] = [device("/dev/fuse", "c", 10, 229, fileMode=0o666)]
    assert container.run(args=["stat", "-c", "%a", "/dev/fuse"], umask=0o77).ok().out == "666\n"


def test_a_device_of_the_config_replaces_the_default(container: Container) -> None:
    container.linux["devices"] = [device("/dev/zero", "c", 1, 5, fileMode=0o600)]
    assert listing(container, "/dev/zero") == ["character special file 600 0:0 1:5"]


@pytest.mark.parametrize("path", ["/dev//fuse", "/dev/../dev/fuse", "/etc/.././dev/fuse"])
def test_a_device_by_another_spelling(container: Container, path: str) -> None:
    container.linux["devices"] = [device(path, "c", 10, 229, fileMode=0o600), device("/dev//null", "c", 1, 3)]
    assert listing(container, "/dev/fuse", "/dev/null") == [
        "character special file 600 0:0 a:e5",
        "character special file 666 0:0 1:3",
    ]


def test_a_device_outside_dev(container: Container) -> None:
    container.linux["devices"] = [device("/etc/null", "c", 1, 3)]
    assert listing(container, "/etc/null")[0].startswith("character special file")


def test_a_device_of_an_unknown_type(container: Container) -> None:
    container.linux["devices"] = [device("/dev/x", "x", 1, 3)]
    assert container.create().status == 1
    container.leaves_nothing()


def test_a_device_through_a_symlink_stays_inside(container: Container) -> None:
    canary = container.scratch / "canary"
    canary.mkdir()
    (container.rootfs / "etc" / "link").symlink_to(canary)
    container.linux["devices"] = [device("/etc/link/null", "c", 1, 3)]
    container.run()
    assert list(canary.iterdir()) == []


def with_a_dev_of_the_hosts(container: Container) -> Path:
    """A directory of the host's that has a null, bound as /dev."""
    host = container.scratch / "dev"
    host.mkdir()
    os.mknod(host / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    container.mounts[:] = [entry for entry in container.mounts if not entry["destination"].startswith("/dev")]
    container.mounts.append(bind(host, "/dev", "rbind"))
    return host


def test_the_hosts_dev_as_a_whole(container: Container) -> None:
    """Who binds /dev gets it as it is: no node and no link is made in it."""
    host = with_a_dev_of_the_hosts(container)
    container.run().ok()
    assert [path.name for path in host.iterdir()] == ["null"]


@differs(runc="1.1.5 makes no devices at all then")
def test_the_hosts_dev_as_a_whole_and_a_device_elsewhere(container: Container) -> None:
    host = with_a_dev_of_the_hosts(container)
    container.linux["devices"] = [device("/srv/fuse", "c", 10, 229, fileMode=0o600), device("/dev/fuse", "c", 10, 229)]
    assert listing(container, "/srv/fuse") == ["character special file 600 0:0 a:e5"]
    assert [path.name for path in host.iterdir()] == ["null"]


@differs(runc="1.1.5 makes no devices at all then")
def test_a_symlink_into_the_hosts_dev(container: Container) -> None:
    host = with_a_dev_of_the_hosts(container)
    (container.rootfs / "data").symlink_to("/dev")
    container.linux["devices"] = [device("/data/full", "c", 1, 7)]
    container.create().refused("/data/full", "not ours to fill")
    assert [path.name for path in host.iterdir()] == ["null"]
    container.leaves_nothing()


def test_a_null_that_is_a_symlink_in_the_image(container: Container) -> None:
    """Standard streams on the host's /dev/null are reopened inside: a link there must not redirect them."""
    canary = container.scratch / "canary"
    canary.write_text("host\n")
    container.mounts[:] = [entry for entry in container.mounts if not entry["destination"].startswith("/dev")]
    (container.rootfs / "dev" / "null").symlink_to(canary)
    with open("/dev/null", "wb") as null:
        container.run(args=["echo", "written"], stdout=null)
    assert canary.read_text() == "host\n"


# Which may be used: the device cgroup


@pytest.fixture
def privileged(container: Container) -> Container:
    """A container that may make any node; the device cgroup is then all that keeps it from using one."""
    container.process["capabilities"] = {
        kind: [*ENGINE_CAPABILITIES, "CAP_MKNOD", "CAP_SYSLOG"] for kind in ("bounding", "effective", "permitted")
    }
    return container


def may_open(container: Container, kind: str, major: int, minor: int, how: str = "<") -> bool:
    script = f"rm -f /tmp/node; mknod /tmp/node {kind} {major} {minor} && (: {how} /tmp/node)"
    result = container.run(args=["sh", "-c", script])
    if result.status != 0:
        assert "Operation not permitted" in result.err or "not permitted" in result.err, f"{result}"
    return result.status == 0


KMSG = ("c", 1, 11)
"""A device every kernel has and none of the default rules allows; reading it takes CAP_SYSLOG besides."""


def test_a_device_is_denied_by_default(privileged: Container) -> None:
    assert not may_open(privileged, *KMSG)


def test_devices_are_denied_without_any_rule(privileged: Container) -> None:
    del privileged.resources["devices"]
    assert not may_open(privileged, *KMSG)


def test_devices_are_denied_without_resources(privileged: Container) -> None:
    del privileged.linux["resources"]
    assert not may_open(privileged, *KMSG)


def test_default_devices_may_be_used(privileged: Container) -> None:
    assert may_open(privileged, "c", 1, 3)


def test_any_node_may_be_made(privileged: Container) -> None:
    privileged.output("mknod", "/tmp/kmsg", *map(str, KMSG))


def test_a_device_that_is_allowed(privileged: Container) -> None:
    privileged.resources["devices"].append(device_rule(True, "rw", "c", 1, 11))
    assert may_open(privileged, *KMSG)


def test_a_device_that_is_allowed_for_reading_alone(privileged: Container) -> None:
    privileged.resources["devices"].append(device_rule(True, "r", "c", 1, 11))
    assert may_open(privileged, *KMSG, "<")
    assert not may_open(privileged, *KMSG, ">")


def test_a_whole_major_number_that_is_allowed(privileged: Container) -> None:
    privileged.resources["devices"].append(device_rule(True, "rwm", "c", 1))
    assert may_open(privileged, *KMSG)


def test_everything_allowed(privileged: Container) -> None:
    privileged.resources["devices"] = [device_rule(True, "rwm")]
    assert may_open(privileged, *KMSG)


def test_later_rules_win(privileged: Container) -> None:
    privileged.resources["devices"] += [device_rule(True, "rwm", "c", 1, 11), device_rule(False, "rwm", "c", 1, 11)]
    assert not may_open(privileged, *KMSG)


def test_exec_is_held_to_the_same_devices(privileged: Container) -> None:
    privileged.launch()
    assert privileged.exec("sh", "-c", "mknod /tmp/node c 1 11; : < /tmp/node").status != 0


def test_the_rules_are_in_the_cgroup(container: Container) -> None:
    container.create().ok()
    shown = Path(f"/sys/fs/cgroup/devices/{container.id}/devices.list")
    if not shown.exists():
        pytest.skip("cgroup v2 shows no device rules")
    rules = shown.read_text().splitlines()
    assert "c *:* m" in rules
    assert "c 1:3 rwm" in rules
    assert not any(rule.startswith("a") for rule in rules)
