# SPDX-License-Identifier: Apache-2.0
"""What the controllers of cgroup v1 count, in the shape of pyoci.cgroups.stats.

Source: Documentation/admin-guide/cgroup-v1 of the kernel.
"""

from __future__ import annotations

from pyoci.cgroups.readings import Readings, entry, kept, members
from pyoci.kernel.basic import listdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NANOSECONDS_A_TICK = 1_000_000_000 // 100  # USER_HZ, which is the same on all architectures that matter
FLAGS = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab"),
    *("memory_pressure", "sched_load_balance", "sched_relax_domain_level"),
)


def cpu(scheduler: Readings | None, accounting: Readings | None) -> dict[str, Any]:
    """The cpu controller counts throttling, cpuacct the time; often the two are mounted together."""
    found = {}
    if accounting:
        total = accounting.table("cpuacct.stat")
        by_cpu = [line.split() for line in (accounting.text("cpuacct.usage_all") or "").splitlines()[1:]]
        usage = kept(
            total=accounting.number("cpuacct.usage"),
            percpu=[int(word) for word in (accounting.text("cpuacct.usage_percpu") or "").split()],
            percpu_kernel=[int(words[2]) for words in by_cpu],
            percpu_user=[int(words[1]) for words in by_cpu],
        )
        found["usage"] = {
            **usage,
            "kernel": total.get("system", 0) * _NANOSECONDS_A_TICK,
            "user": total.get("user", 0) * _NANOSECONDS_A_TICK,
        }
    if scheduler:
        counts = scheduler.table("cpu.stat")
        found["throttling"] = kept(
            periods=counts.get("nr_periods"),
            throttledPeriods=counts.get("nr_throttled"),
            throttledTime=counts.get("throttled_time"),
        )
    return {name: values for name, values in found.items() if any(values.values())}


def cpuset(readings: Readings) -> dict[str, Any]:
    """Mounted with `noprefix` (Android) the files lack the controller's name."""
    prefix = "cpuset." if readings.text("cpuset.cpus") is not None else ""
    lists = {key: members(readings.text(prefix + key) or "") for key in ("cpus", "mems")}
    return {**kept(**lists), **{flag: _signed(readings.text(prefix + flag)) for flag in FLAGS}}


def _signed(text: str | None) -> int:
    return int(text or 0)


def memory(readings: Readings) -> dict[str, Any]:
    """The kernel's own memory is part of the usage, and told once more by itself."""
    raw = readings.table("memory.stat")
    names = {"usage": "", "swap": "memsw.", "kernel": "kmem.", "kernelTCP": "kmem.tcp."}
    used = {name: _memory_entry(readings, f"memory.{infix}") for name, infix in names.items()}
    return kept(cache=raw.get("cache"), **used, raw=raw)


def _memory_entry(readings: Readings, prefix: str) -> dict[str, int]:
    usage, peak = (readings.number(f"{prefix}{file}_in_bytes") for file in ("usage", "max_usage"))
    limit, failures = readings.number(f"{prefix}limit_in_bytes"), readings.number(f"{prefix}failcnt")
    if not any((limit, usage, peak, failures)):
        return {}
    return {"limit": limit, **kept(usage=usage, max=peak), "failcnt": failures}


_BLOCK_IO = {
    "ioServiceBytesRecursive": "io_service_bytes",
    "ioServicedRecursive": "io_serviced",
    "ioQueueRecursive": "io_queued",
    "ioServiceTimeRecursive": "io_service_time",
    "ioWaitTimeRecursive": "io_wait_time",
    "ioMergedRecursive": "io_merged",
    "ioTimeRecursive": "time",
    "sectorsRecursive": "sectors",
}
# Who schedules a device counts for it: BFQ, CFQ (gone since Linux 5.0), or else the throttling layer before them.
_COUNTED_BY = ("bfq.{}_recursive", "{}_recursive", "throttle.{}_recursive", "throttle.{}")


def block_io(readings: Readings) -> dict[str, Any]:
    """From the first who has counted anything."""
    return kept(**{name: _entries(readings, file) for name, file in _BLOCK_IO.items()})


def _entries(readings: Readings, name: str) -> list[dict[str, Any]]:
    for file in _COUNTED_BY:
        lines = (line.split() for line in (readings.text(f"blkio.{file.format(name)}") or "").splitlines())
        # `8:0 Read 124` or `8:0 124`; the last line is a `Total 124` of all devices
        found = [entry(words[0], words[-1], words[1] if len(words) > 2 else "") for words in lines if ":" in words[0]]
        if found:
            return found
    return []


def hugetlb(readings: Readings) -> dict[str, Any]:
    """By page size, the reserved pages, or on kernels before 5.7 those in use."""
    ending = ".limit_in_bytes"
    names = [name[: -len(ending)] for name in listdir(readings.directory) if name.endswith(ending)]
    found = {}
    for name in sorted(name for name in names if not name.endswith(".rsvd")):
        size = name.removeprefix("hugetlb.")
        counted = f"{name}.rsvd" if f"{name}.rsvd" in names else name
        usage, peak = (readings.number(f"{counted}.{file}_in_bytes") for file in ("usage", "max_usage"))
        found[size] = {**kept(usage=usage, max=peak), "failcnt": readings.number(f"{counted}.failcnt")}
    return found
