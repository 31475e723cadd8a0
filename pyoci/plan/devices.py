# SPDX-License-Identifier: Apache-2.0
"""Device nodes and links in /dev (config-linux.md, Devices and Default Devices)."""

from __future__ import annotations

from pyoci.host import clean_path
from pyoci.plan.model import Device, Link, Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DEFAULT_DEVICES = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)

LINKS = tuple(
    Link(path=path, target=target)
    for path, target in (
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    )
)
CORE_LINK = Link(path="/dev/core", target="/proc/kcore")


def sets_up_dev(mounts: Sequence[Mount]) -> bool:
    """Whether /dev is ours to fill: not when the config binds a whole /dev from elsewhere."""
    return not any(mount.kind == "bind" and mount.destination.rstrip("/") == "/dev" for mount in mounts)


def plan_devices(devices: Sequence[dict[str, Any]], dev_is_ours: bool = True) -> tuple[Device, ...]:
    """The default devices and those of the config, which win where they bear the same path. /dev/ptmx is always a link.

    Into a /dev that is not ours to fill nothing is put: its owner has there what he wants to have.
    """
    planned = {device.path: device for device in DEFAULT_DEVICES}
    for device in devices:
        path = clean_path(device["path"])
        if path == "/dev/ptmx":
            continue
        planned[path] = Device(
            path=path,
            type="c" if device["type"] == "u" else device["type"],
            major=device.get("major") or 0,
            minor=device.get("minor") or 0,
            mode=0o666 if device.get("fileMode") is None else device["fileMode"] & 0o7777,
            uid=device.get("uid") or 0,
            gid=device.get("gid") or 0,
        )
    return tuple(device for device in planned.values() if dev_is_ours or not device.path.startswith("/dev/"))


def bound_nodes(devices: Sequence[Device]) -> list[str]:
    """Where a container in a user namespace has the host's own nodes: it may make none, but for FIFOs."""
    return [device.path for device in devices if device.type != "p"]


def plan_links(host_has_kcore: bool) -> tuple[Link, ...]:
    """The links of /dev; `core` only where the kernel has one."""
    return (*LINKS, CORE_LINK) if host_has_kcore else LINKS
