# SPDX-License-Identifier: Apache-2.0
"""Facts of a host, and a config, for plans to be made from. Nothing here looks at this machine."""

from __future__ import annotations

import copy
from typing import Any

from pyoci.capabilities import ALL
from pyoci.cgroups import layout
from pyoci.host import Host, HostMount
from pyoci.plan import Request, plan
from pyoci.plan.model import Plan
from tests.cgroups import hosts

CONFIG: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")]},
}


def host(**facts: Any) -> Host:
    values: dict[str, Any] = {
        "cgroups": layout.parse(hosts.V2, hosts.V2_SELF),
        "rootless": False,
        "last_capability": 40,
        "grantable_capabilities": ALL,
        "seccomp_flags": (),
        "has_kcore": True,
        "mounts": (
            HostMount(point="/", root="/", fstype="ext4"),
            HostMount(point="/proc", root="/", fstype="proc"),
            HostMount(point="/srv", root="/", fstype="ext4"),
        ),
    }
    return Host(**{**values, **facts})


def config(**changes: Any) -> dict[str, Any]:
    """CONFIG with some of its top-level properties changed; `linux` is added to."""
    changed = copy.deepcopy(CONFIG)
    changed["linux"].update(changes.pop("linux", {}))
    changed.update(changes)
    return changed


def planned(changed: dict[str, Any] | None = None, on: Host | None = None, **request: Any) -> Plan:
    """The plan for a config on a host."""
    asked: dict[str, Any] = {"id": "box", "bundle": "/srv/box", **request}
    return plan(changed or config(), on or host(), Request(**asked))
