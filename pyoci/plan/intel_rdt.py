# SPDX-License-Identifier: Apache-2.0
"""Classes of service for caches and memory bandwidth (config-linux.md, IntelRdt; resctrl in the kernel's documentation)."""

from __future__ import annotations

from pyoci.errors import SpecError
from pyoci.plan.model import IntelRdt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def plan_intel_rdt(rdt: dict[str, Any], container_id: str, mount_point: str) -> IntelRdt:
    """The class of service of a container. Raises SpecError where no resctrl file system is mounted."""
    if not mount_point:
        raise SpecError(
            "linux.intelRdt: no resctrl file system is mounted: this host has no Intel RDT, or does not use it"
        )
    name = rdt.get("closID") or ""
    group = mount_point if name == "/" else f"{mount_point}/{name or container_id}"
    known = [rdt[key] for key in ("l3CacheSchema", "memBwSchema") if rdt.get(key)]
    schemata = tuple(line for text in (*known, *(rdt.get("schemata") or ())) for line in text.splitlines() if line)
    return IntelRdt(
        group=group,
        own=not name,
        made_if_missing=not name or bool(schemata),
        schemata=schemata,
        compared=tuple(line for text in known for line in text.splitlines()) if name else (),
        monitoring=f"{group}/mon_groups/{container_id}" if rdt.get("enableMonitoring") else "",
    )
