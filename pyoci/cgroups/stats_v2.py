# SPDX-License-Identifier: Apache-2.0
"""What the controllers of cgroup v2 count, in the shape of pyoci.cgroups.stats, which is worded for cgroup v1.

Source: Documentation/admin-guide/cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

from pyoci.cgroups.readings import UNLIMITED, Readings, entry, kept, members
from pyoci.cgroups.stats_v1 import FLAGS
from pyoci.kernel.basic import listdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def cpu(readings: Readings) -> dict[str, Any]:
    """There is a cpu.stat even where the controller is not enabled."""
    counts = {key: value * 1000 for key, value in readings.table("cpu.stat").items()}  # they are in microseconds
    usage = {
        **kept(total=counts.get("usage_usec")),
        "kernel": counts.get("system_usec", 0),
        "user": counts.get("user_usec", 0),
    }
    throttling = kept(
        periods=counts.get("nr_periods", 0) // 1000,
        throttledPeriods=counts.get("nr_throttled", 0) // 1000,
        throttledTime=counts.get("throttled_usec"),
    )
    return kept(usage=usage if any(usage.values()) else None, throttling=throttling)


def cpuset(readings: Readings | None) -> dict[str, Any]:
    """What the container may use in effect; there are none of the flags of cgroup v1."""
    files = {"cpus": "cpuset.cpus.effective", "mems": "cpuset.mems.effective"}
    lists = {key: members(readings.text(file) or "") for key, file in files.items()} if readings else {}
    return {**kept(**lists), **dict.fromkeys(FLAGS, 0)}


def memory(readings: Readings) -> dict[str, Any]:
    """Swap is told together with memory, as cgroup v1 counts it; its peak is not known then."""
    raw = readings.table("memory.stat")
    usage, limit = readings.number("memory.current"), readings.number("memory.max")
    with_swap = min(limit + readings.number("memory.swap.max"), UNLIMITED)
    swapped = usage + readings.number("memory.swap.current")
    return kept(
        cache=raw.get("file"),
        usage=_memory_entry(limit, usage, readings.number("memory.peak")),
        swap=_memory_entry(with_swap, swapped, 0),
        raw=raw,
    )


def _memory_entry(limit: int, usage: int, peak: int) -> dict[str, int]:
    return {"limit": limit, **kept(usage=usage, max=peak), "failcnt": 0} if limit or usage else {}


_BLOCK_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def block_io(readings: Readings) -> dict[str, Any]:
    """io.stat, a line for each device: `8:0 rbytes=90112 wbytes=0 rios=12 ...`."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in (readings.text("io.stat") or "").splitlines():
        device, *words = line.split()
        for key, _, value in (word.partition("=") for word in words):
            if key in _BLOCK_IO:
                name, op = _BLOCK_IO[key]
                found.setdefault(name, []).append(entry(device, value, op))
    return found


def hugetlb(readings: Readings) -> dict[str, Any]:
    """By page size, the reserved pages, or on kernels before 5.7 those in use."""
    names = listdir(readings.directory)
    found = {}
    for name in sorted(name for name in names if name.startswith("hugetlb.") and name.endswith(".events")):
        size = name.removeprefix("hugetlb.").removesuffix(".events")
        reserved = f"hugetlb.{size}.rsvd.current"
        usage = readings.number(reserved if reserved in names else f"hugetlb.{size}.current")
        found[size] = {**kept(usage=usage), "failcnt": readings.table(name).get("max", 0)}
    return found
