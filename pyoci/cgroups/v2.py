# SPDX-License-Identifier: Apache-2.0
"""linux.resources, which is worded for cgroup v1, as writes to the unified hierarchy of cgroup v2. Pure.

Source: Documentation/admin-guide/cgroup-v2.rst of the kernel; the conversions are those that runc and crun agree on.
"""

from __future__ import annotations

from math import ceil, log2

from pyoci.cgroups.v1 import UNSET, check_swap, hugepage
from pyoci.cgroups.v1 import rdma as _rdma
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNLIMITED = -1
_DEFAULT_PERIOD = 100_000


def _write(file: str, value: int | str, why: str, **more: Any) -> Write:
    return Write(controller="", file=file, value=str(value), why=why, **more)


def _or_max(value: int) -> int | str:
    return "max" if value == _UNLIMITED else value


def memory(values: dict[str, Any]) -> list[Write]:
    """Raises CgroupError if swap and limit do not go together, and for what cgroup v2 cannot be told of memory."""
    for key in ("swappiness", "disableOOMKiller", "kernelTCP"):
        if values.get(key, 0) not in (0, *UNSET):
            raise CgroupError(f"cgroup v2 has no such property (linux.resources.memory.{key})")
    limit, swap = values.get("limit"), values.get("swap")
    writes = []
    swap_max = swap_limit(limit, swap)
    # A kernel without swap has no such file. Nothing is swapped then, whatever was asked for; only a number is a promise.
    tolerate = ("ENOENT",) if swap_max in ("max", 0) else ()
    if swap_max is not None:
        writes.append(_write("memory.swap.max", swap_max, "memory.swap" if swap else "memory.limit", tolerate=tolerate))
    if limit:
        writes.append(_write("memory.max", _or_max(limit), "memory.limit"))
    if reservation := values.get("reservation"):
        writes.append(_write("memory.low", _or_max(reservation), "memory.reservation"))
    if values.get("checkBeforeUpdate"):
        writes = [
            w.replace(above="memory.current") if w.file == "memory.max" and w.value != "max" else w for w in writes
        ]
    return writes


def swap_limit(limit: int | None, swap: int | None) -> int | str | None:
    """memory.swap.max for a limit of memory and of memory + swap together (which is how cgroup v1 counts); None: leave it.

    Raises CgroupError where no number comes out.
    """
    check_swap(limit, swap)
    if not swap:
        return "max" if limit == _UNLIMITED else None
    if swap == _UNLIMITED:
        return "max"
    return swap - (limit or 0)


def realtime(values: dict[str, Any]) -> list[Write]:
    if values.get("realtimePeriod") or values.get("realtimeRuntime"):
        raise CgroupError("cgroup v2 has no real-time CPU limits (linux.resources.cpu.realtimeRuntime, realtimePeriod)")
    return []


def cpu(values: dict[str, Any]) -> list[Write]:
    """Raises CgroupError for real-time limits, which cgroup v2 has none of."""
    realtime(values)
    shares, idle = values.get("shares"), values.get("idle")
    quota, period = values.get("quota"), values.get("period")
    writes = []
    if idle is not None:
        writes.append(_write("cpu.idle", idle, "cpu.idle"))
    if shares and idle != 1:  # an idle group has no weight to be set: EINVAL
        writes.append(_write("cpu.weight", weight(shares), "cpu.shares"))
    if (burst := values.get("burst")) is not None:
        # A burst larger than the present quota is refused, so it may have to wait for the new one.
        writes.append(_write("cpu.max.burst", burst, "cpu.burst", later=("EINVAL",) if quota else ()))
    if quota or period:
        allowed = quota if quota and quota > 0 else "max"
        writes.append(
            _write("cpu.max", f"{allowed} {period or _DEFAULT_PERIOD}", "cpu.quota" if quota else "cpu.period")
        )
    return writes


def weight(shares: int) -> int:
    """cpu.weight (1 to 10000, default 100) for cpu.shares (2 to 262144, default 1024).

    The curve meets all three points; the straight line of older runtimes made 39 of the default.
    """
    if shares <= 2:
        return 1
    if shares >= 1 << 18:
        return 10_000
    power = log2(shares)
    return ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def cpuset(values: dict[str, Any]) -> list[Write]:
    """The cpus and mems of the cpu section."""
    return [_write(f"cpuset.{key}", values[key], f"cpu.{key}") for key in ("cpus", "mems") if values.get(key)]


def pids(values: dict[str, Any]) -> list[Write]:
    """-1 lifts the limit. 0 becomes 1, which lets nothing be forked either, but init itself be cloned into the cgroup."""
    limit = values.get("limit")
    if limit is None:
        return []
    return [_write("pids.max", "max" if limit < 0 else max(limit, 1), "pids.limit")]


def block_io(values: dict[str, Any]) -> list[Write]:
    """Raises CgroupError for leaf weights, which cgroup v2 has none of."""
    writes = []
    if values.get("leafWeight"):
        raise CgroupError("cgroup v2 has no leaf weights (linux.resources.blockIO.leafWeight)")
    if value := values.get("weight"):
        writes.append(_io_weight("", value, "blockIO.weight"))
    for device in values.get("weightDevice") or ():
        if device.get("leafWeight"):
            raise CgroupError("cgroup v2 has no leaf weights (linux.resources.blockIO.weightDevice)")
        if value := device.get("weight"):
            writes.append(_io_weight(f"{device['major']}:{device['minor']} ", value, "blockIO.weightDevice"))
    for key, word in _THROTTLES:
        for device in values.get(key) or ():
            rate = device["rate"] or "max"  # 0 means no limit in cgroup v1, here it is refused
            writes.append(_write("io.max", f"{device['major']}:{device['minor']} {word}={rate}", f"blockIO.{key}"))
    return writes


_THROTTLES = (
    ("throttleReadBpsDevice", "rbps"),
    ("throttleWriteBpsDevice", "wbps"),
    ("throttleReadIOPSDevice", "riops"),
    ("throttleWriteIOPSDevice", "wiops"),
)


def _io_weight(device: str, value: int, why: str) -> Write:
    """BFQ takes the weights of cgroup v1 (10 to 1000); the cost model behind io.weight has a scale of 1 to 10000.

    Where neither is at work on a device there is no weighing of it: told, but no error, as engines rely on that.
    """
    scaled = 1 + (value - 10) * 9999 // 990
    other = _write("io.weight", f"{device}{scaled}", why, tolerate=("ENOENT", "EOPNOTSUPP") if device else ())
    return _write("io.bfq.weight", f"{device}{value}", why, tolerate=other.tolerate, otherwise=other)


def hugepages(values: list[dict[str, Any]]) -> list[Write]:
    """Both the pages in use and, on kernels from 5.7 on, the reserved ones."""
    return [hugepage("", file, entry) for entry in values for file in ("max", "rsvd.max")]


def rdma(values: dict[str, dict[str, int]]) -> list[Write]:
    """As in cgroup v1."""
    return _rdma(values, "")


def unified(values: dict[str, str]) -> list[Write]:
    """linux.resources.unified, line by line: such files as io.max take but one line a write.

    Raises CgroupError for a key that is no name of a file of a controller.
    """
    writes = []
    for key, value in values.items():
        if "/" in key:
            raise CgroupError(f'unified resource "{key}" must be a file name (no slashes)')
        controller, dot, parameter = key.partition(".")
        if not (controller and dot and parameter):
            raise CgroupError(f'unified resource "{key}" must be in the form CONTROLLER.PARAMETER')
        # An empty write(2) reaches no file at all; an empty line is what resets cpuset.cpus.
        for line in value.splitlines() or [""]:
            writes.append(_write(key, line or "\n", f'unified["{key}"]'))
    return writes
