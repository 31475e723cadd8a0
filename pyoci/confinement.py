# SPDX-License-Identifier: Apache-2.0
"""What this host can do to confine a program: all that `exec` has to know of it, and a part of what `create` has."""

from __future__ import annotations

from pyoci.capabilities import grantable_capabilities
from pyoci.cgroups.files import get
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Confinement(Record):
    """The kernel's last capability, the mask of those that are ours to give, and whether AppArmor and SELinux are there to
    heed a label, if the process asks for one.
    """

    last_capability: int
    grantable_capabilities: int
    apparmor: bool = False
    selinux: bool = False


def gather_confinement(process: dict[str, Any]) -> Confinement:
    """Look at this host, for this `process` of a config."""
    last = int(get("/proc/sys/kernel/cap_last_cap"))
    return Confinement(
        last_capability=last,
        grantable_capabilities=grantable_capabilities(last),
        apparmor=bool(process.get("apparmorProfile")) and _has_apparmor(),
        selinux=bool(process.get("selinuxLabel")) and " - selinuxfs " in get("/proc/self/mountinfo"),
    )


def _has_apparmor() -> bool:
    try:
        return get("/sys/module/apparmor/parameters/enabled").startswith("Y")
    except OSError:
        return False
