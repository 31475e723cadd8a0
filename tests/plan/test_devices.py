# SPDX-License-Identifier: Apache-2.0
"""What /dev will hold."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.plan.devices import DEFAULT_DEVICES, LINKS, bound_nodes, plan_devices, plan_links, sets_up_dev
from pyoci.plan.model import Device, Mount

NAMES = ["null", "zero", "full", "random", "urandom", "tty"]


def test_the_devices_that_every_container_has() -> None:
    """config-linux.md, Default Devices; /dev/console and /dev/ptmx are made elsewhere."""
    assert [device.path for device in DEFAULT_DEVICES] == [f"/dev/{name}" for name in NAMES]
    assert plan_devices(()) == DEFAULT_DEVICES
    numbers = [(device.major, device.minor) for device in DEFAULT_DEVICES]
    assert numbers == [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)]
    assert {(device.type, device.mode, device.uid, device.gid) for device in DEFAULT_DEVICES} == {("c", 0o666, 0, 0)}


@pytest.mark.parametrize(
    ("entry", "device"),
    [
        ({"type": "c", "major": 10, "minor": 200}, Device(path="/dev/x", type="c", major=10, minor=200)),
        ({"type": "u", "major": 10, "minor": 200}, Device(path="/dev/x", type="c", major=10, minor=200)),
        (
            {"type": "b", "major": 7, "minor": 0, "fileMode": 0o660},
            Device(path="/dev/x", type="b", major=7, mode=0o660),
        ),
        ({"type": "p"}, Device(path="/dev/x", type="p")),
        (
            {"type": "c", "major": 1, "minor": 1, "fileMode": 0},
            Device(path="/dev/x", type="c", major=1, minor=1, mode=0),
        ),
        ({"type": "c", "major": 1, "fileMode": 0o20620}, Device(path="/dev/x", type="c", major=1, mode=0o620)),
        ({"type": "c", "uid": 5, "gid": 6}, Device(path="/dev/x", type="c", uid=5, gid=6)),
        ({"type": "c", "major": None, "minor": None, "uid": None, "gid": None}, Device(path="/dev/x", type="c")),
    ],
)
def test_devices_of_the_config(entry: dict[str, Any], device: Device) -> None:
    assert plan_devices([{"path": "/dev/x", **entry}])[len(NAMES) :] == (device,)


def test_the_configs_own_word_on_a_default_device() -> None:
    planned = plan_devices([{"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 7}])
    assert len(planned) == len(NAMES)
    assert planned[1] == Device(path="/dev/zero", type="c", major=1, minor=5, mode=0o600, uid=7)


def test_a_dev_that_is_not_ours() -> None:
    """config-linux.md, Devices: they MUST be available, and may lie anywhere."""
    paths = ("/dev/x", "/dev/../dev//y", "/devices/x", "/x/dev/x", "/dev/../x")
    planned = plan_devices([{"path": path, "type": "p"} for path in paths], False)
    assert [device.path for device in planned] == ["/devices/x", "/x/dev/x", "/x"]


@pytest.mark.parametrize("path", ["/dev//zero", "/dev/./zero/", "//dev/../dev/zero", "/x/../dev/zero"])
def test_a_path_by_another_spelling(path: str) -> None:
    planned = plan_devices([{"path": path, "type": "c", "major": 1, "minor": 5, "fileMode": 0o600}])
    assert planned == (
        DEFAULT_DEVICES[0],
        Device(path="/dev/zero", type="c", major=1, minor=5, mode=0o600),
        *DEFAULT_DEVICES[2:],
    )


@pytest.mark.parametrize("path", ["/dev//ptmx", "/dev/pts/../ptmx"])
def test_ptmx_by_another_spelling(path: str) -> None:
    assert plan_devices([{"path": path, "type": "c", "major": 5, "minor": 2}]) == DEFAULT_DEVICES


def test_nodes_of_the_host() -> None:
    devices = (Device(path="/dev/b", type="b"), Device(path="/dev/p", type="p"), Device(path="/x/c", type="c"))
    assert bound_nodes(devices) == ["/dev/b", "/x/c"]


def test_ptmx_is_always_a_link() -> None:
    assert plan_devices([{"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}]) == DEFAULT_DEVICES
    assert {link.path: link.target for link in LINKS} == {
        "/dev/fd": "/proc/self/fd",
        "/dev/stdin": "/proc/self/fd/0",
        "/dev/stdout": "/proc/self/fd/1",
        "/dev/stderr": "/proc/self/fd/2",
        "/dev/ptmx": "pts/ptmx",
    }


def test_core_where_the_kernel_has_one() -> None:
    assert plan_links(False) == LINKS
    assert [(link.path, link.target) for link in plan_links(True)[len(LINKS) :]] == [("/dev/core", "/proc/kcore")]


@pytest.mark.parametrize(
    ("mount", "ours"),
    [
        (Mount(destination="/dev", kind="new", type="tmpfs"), True),
        (Mount(destination="/dev", kind="bind", source="/dev"), False),
        (Mount(destination="/dev/", kind="bind", source="/dev"), False),
        (Mount(destination="/dev/shm", kind="bind", source="/dev/shm"), True),
        (Mount(destination="/data", kind="bind", source="/dev"), True),
    ],
)
def test_whose_dev_it_is(mount: Mount, ours: bool) -> None:
    other = Mount(destination="/proc", kind="new", type="proc")
    assert sets_up_dev((other, mount, other)) == ours
