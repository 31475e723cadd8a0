# SPDX-License-Identifier: Apache-2.0
"""Kernel parameters (config-linux.md, Sysctl; sysctl.d(5)).

Only what a namespace of the container's own holds may be set: anything else would be set for the whole host.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.host import Host
    from pyoci.plan.model import Namespaces

_IPC = frozenset(
    f"kernel/{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "msg_next_id",
                 "sem_next_id", "shm_next_id")
)  # fmt: skip


def plan_sysctl(values: dict[str, str], namespaces: Namespaces, host: Host) -> tuple[tuple[str, str], ...]:
    """(path below /proc/sys, value) of each parameter, in the config's order. Raises SpecError for one that is not ours."""
    return tuple((_checked(key, namespaces, host), value) for key, value in values.items())


def path_of(key: str) -> str:
    """The path below /proc/sys: `net.ipv4.ip_forward`, or with slashes, where a dot is part of a name (sysctl.d(5))."""
    for char in key:
        if char == "/":
            return key
        if char == ".":
            return key.translate({ord("."): "/", ord("/"): "."})
    return key


def _checked(key: str, namespaces: Namespaces, host: Host) -> str:
    path = path_of(key)
    top = path.partition("/")[0]
    if ".." in path.split("/") or path.startswith("/") or "//" in path:
        raise SpecError(f"sysctl {key}: not a kernel parameter's name")
    if path in _IPC or path.startswith("fs/mqueue/"):
        needed, flag = "ipc", k.CLONE_NEWIPC
    elif top == "net":
        needed, flag = "network", k.CLONE_NEWNET
        if any(join.flag == flag and host.is_own_namespace("net", join.path) for join in namespaces.join):
            raise SpecError(f"sysctl {key}: the network namespace to be joined is the host's own, which is not changed")
    elif path == "kernel/domainname":
        needed, flag = "uts", k.CLONE_NEWUTS
    elif path == "kernel/hostname":
        raise SpecError(f'sysctl {key}: use "hostname" in config.json instead')
    elif top == "user":
        needed, flag = "user", k.CLONE_NEWUSER
    else:
        raise SpecError(f"sysctl {key}: not in any namespace, it would be set for the whole host")
    if not namespaces.has(flag):
        raise SpecError(f"sysctl {key}: needs a {needed} namespace of the container's own")
    return path
