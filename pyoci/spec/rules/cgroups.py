# SPDX-License-Identifier: Apache-2.0
"""Rules on the limits that cgroups put on the container."""

from __future__ import annotations

from pyoci.jsontext import quote
from pyoci.spec.pointer import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.spec.rules import Finding, Rule

NO_SWAPPINESS = (1 << 64) - 1
"""How old versions of docker say that swappiness is not to be set: -1 as an unsigned number."""


def device_access_missing(rule: Any, _: Any) -> Iterator[Finding]:
    # Nothing tells whether all of r, w and m would be meant, or none: neither can be guessed safely.
    if not rule.get("access"):
        yield "", "a device rule without access", '"access" with letters out of "r", "w" and "m"'


def swap_without_limit(memory: Any, _: Any) -> Iterator[Finding]:
    """Swap counts memory and swap together, so it is nothing without a limit on memory."""
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if swap > 0 and limit <= 0:
        yield "/swap", "a limit on swap without one on memory", '"limit", and no less for "swap"'
    elif swap > 0 and swap < limit:
        wrong = f"the limit {swap} on memory and swap together is below that on memory"
        yield "/swap", wrong, f"at least {limit}"


def swappiness(value: Any, _: Any) -> Iterator[Finding]:
    if value > 100 and value != NO_SWAPPINESS:
        yield "", f"swappiness {value} is out of range", "a number between 0 and 100"


def burst_above_quota(cpu: Any, _: Any) -> Iterator[Finding]:
    quota, burst = cpu.get("quota", 0), cpu.get("burst", 0)
    if 0 < quota < burst:
        yield "/burst", f"the burst {burst} is above the quota", f"at most {quota}"


def cpu_idle(cpu: Any, _: Any) -> Iterator[Finding]:
    if cpu.get("idle", 0) not in (0, 1):
        yield "/idle", f"{cpu['idle']} says neither yes nor no", "0 or 1"


def weight_missing(device: Any, _: Any) -> Iterator[Finding]:
    if "weight" not in device and "leafWeight" not in device:
        yield "", "a device without a weight", '"weight" or "leafWeight"'


def rdma_limit_missing(device: Any, _: Any) -> Iterator[Finding]:
    if "hcaHandles" not in device and "hcaObjects" not in device:
        yield "", "an RDMA device without a limit", '"hcaHandles" or "hcaObjects"'


def unified_file(values: Any, _: Any) -> Iterator[Finding]:
    for name in values:
        if "/" in name or "." not in name.strip("."):
            yield f"/{escape(name)}", f"{quote(name)} is no file of a cgroup controller", "a name such as memory.high"


_MEMORY, _CPU, _DEVICES = "config-linux.md, Memory", "config-linux.md, CPU", "config-linux.md, Allowed Device list"
_BLOCK, _RDMA, _UNIFIED = "config-linux.md, Block IO", "config-linux.md, RDMA", "config-linux.md, Unified"
# An update changes single limits and leaves the others: what it does not name is not missing. A rule that needs
# something, be it its own part, is one for whole configurations.
_WHOLE = ("/linux/resources/memory",)

RULES: tuple[Rule, ...] = (
    ("device-access-missing", "/linux/resources/devices/*", (), _DEVICES, device_access_missing),
    ("swap-without-limit", "/linux/resources/memory", _WHOLE, _MEMORY, swap_without_limit),
    ("swappiness", "/linux/resources/memory/swappiness", (), _MEMORY, swappiness),
    ("burst-above-quota", "/linux/resources/cpu", (), _CPU, burst_above_quota),
    ("cpu-idle", "/linux/resources/cpu", (), _CPU, cpu_idle),
    ("weight-missing", "/linux/resources/blockIO/weightDevice/*", (), _BLOCK, weight_missing),
    ("rdma-limit-missing", "/linux/resources/rdma/*", (), _RDMA, rdma_limit_missing),
    ("unified-file", "/linux/resources/unified", (), _UNIFIED, unified_file),
)
