# SPDX-License-Identifier: Apache-2.0
"""linux.resources as writes to the controllers of cgroup v1. Pure.

Each function takes one section of linux.resources (runtime-spec config-linux.md, "Control groups") and says what to write
in which order. As in runc, a 0 means "not set", save where 0 is a limit.

Source: Documentation/admin-guide/cgroup-v1 of the kernel.
"""

from __future__ import annotations

from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MIN_SHARES, _MAX_SHARES = 2, 1 << 18
_UNLIMITED = -1
UNSET = (-1, (1 << 64) - 1)
"""What stands for a number that is not given: old versions of docker write -1 as an unsigned one."""


def memory(values: dict[str, Any]) -> list[Write]:
    """Raises CgroupError if swap and limit do not go together, or for a swappiness that is none.

    limit_in_bytes must never exceed memsw.limit_in_bytes: whichever comes first may be refused and is then written again
    once the other has changed, so that growing and shrinking both work without knowing the present values.
    """
    limit, swap = values.get("limit"), values.get("swap")
    check_swap(limit, swap)
    if limit == _UNLIMITED and not swap:
        swap = _UNLIMITED
    writes = []
    if limit:
        writes.append(_memory("limit_in_bytes", limit, "limit", later=("EINVAL",) if swap else ()))
    if swap:
        # Without swap accounting the file is missing. Nothing is limited then, which is all that -1 asks for.
        tolerate = ("ENOENT",) if swap == _UNLIMITED else ()
        writes.append(_memory("memsw.limit_in_bytes", swap, "swap", tolerate=tolerate))
    if reservation := values.get("reservation"):
        writes.append(_memory("soft_limit_in_bytes", reservation, "reservation"))
    if kernel_tcp := values.get("kernelTCP"):
        writes.append(_memory("kmem.tcp.limit_in_bytes", kernel_tcp, "kernelTCP"))
    if values.get("disableOOMKiller"):
        writes.append(_memory("oom_control", 1, "disableOOMKiller"))
    if "useHierarchy" in values:  # there is no other way any more; what else is asked for, the kernel refuses
        writes.append(_memory("use_hierarchy", int(values["useHierarchy"]), "useHierarchy"))
    swappiness = values.get("swappiness", -1)
    if swappiness not in UNSET:
        if not 0 <= swappiness <= 100:
            raise CgroupError(f"invalid memory swappiness value: {swappiness} (valid range is 0-100)")
        writes.append(_memory("swappiness", swappiness, "swappiness"))
    return writes


def oom_killer_again() -> Write:
    """What an update writes that takes disableOOMKiller back; a new group has it off anyway."""
    return _memory("oom_control", 0, "disableOOMKiller")


def check_swap(limit: int | None, swap: int | None) -> None:
    """`swap` is the limit of memory and swap together. Raises CgroupError if `limit` leaves no sense to it."""
    if not swap or swap == _UNLIMITED:
        return
    if not limit or limit == _UNLIMITED:
        raise CgroupError("unable to set swap limit without memory limit")
    if limit < 0:
        raise CgroupError(f"invalid memory value: {limit}")
    if swap < limit:
        raise CgroupError(f"memory+swap limit should be >= memory limit ({swap} < {limit})")


def _memory(file: str, value: int, key: str, **more: Any) -> Write:
    return Write(controller="memory", file=f"memory.{file}", value=str(value), why=f"memory.{key}", **more)


def cpu(values: dict[str, Any]) -> list[Write]:
    """Raises CgroupError for shares that the kernel would silently replace by its own bounds."""
    shares, idle, quota = values.get("shares"), values.get("idle"), values.get("quota")
    writes = []
    if idle is not None:
        writes.append(_cpu("idle", idle, "idle"))
    if shares and idle != 1:  # an idle group has no weight to be set: EINVAL
        if shares < _MIN_SHARES:
            raise CgroupError(f"the minimum allowed cpu-shares is {_MIN_SHARES}")
        if shares > _MAX_SHARES:
            raise CgroupError(f"the maximum allowed cpu-shares is {_MAX_SHARES}")
        writes.append(_cpu("shares", shares, "shares"))
    later = ("EINVAL",) if quota else ()
    if period := values.get("period"):
        writes.append(_cpu("cfs_period_us", period, "period", later=later))
    if (burst := values.get("burst")) is not None:
        writes.append(_cpu("cfs_burst_us", burst, "burst", tolerate=("ENOENT",), later=later))
    if quota:
        writes.append(_cpu("cfs_quota_us", quota, "quota"))
    return writes


def realtime(values: dict[str, Any]) -> list[Write]:
    """The real-time part of the cpu section. A process with a real-time policy cannot join before this is set."""
    period, runtime = values.get("realtimePeriod"), values.get("realtimeRuntime")
    writes = []
    if period:
        writes.append(_cpu("rt_period_us", period, "realtimePeriod", later=("EINVAL",) if runtime else ()))
    if runtime:
        writes.append(_cpu("rt_runtime_us", runtime, "realtimeRuntime"))
    return writes


def _cpu(file: str, value: int, key: str, **more: Any) -> Write:
    return Write(controller="cpu", file=f"cpu.{file}", value=str(value), why=f"cpu.{key}", **more)


def cpuset(values: dict[str, Any]) -> list[Write]:
    """The cpus and mems of the cpu section. Mounted with `noprefix` (Android) the files lack the controller's name."""
    writes = []
    for key in ("cpus", "mems"):
        if value := values.get(key):
            write = Write(controller="cpuset", file=f"cpuset.{key}", value=value, why=f"cpu.{key}")
            writes.append(write.replace(otherwise=write.replace(file=key)))
    return writes


def pids(values: dict[str, Any]) -> list[Write]:
    """-1 lifts the limit. 0 becomes 1, which lets nothing be forked either, but init itself be cloned into the cgroup."""
    limit = values.get("limit")
    if limit is None:
        return []
    value = "max" if limit < 0 else str(max(limit, 1))
    return [Write(controller="pids", file="pids.max", value=value, why="pids.limit")]


def block_io(values: dict[str, Any]) -> list[Write]:
    """Weights go to the files of the BFQ scheduler where those of CFQ (gone since Linux 5.0) are missing."""
    writes = []
    if weight := values.get("weight"):
        writes.append(_blkio("weight", str(weight), "weight", bfq=True))
    if leaf := values.get("leafWeight"):
        writes.append(_blkio("leaf_weight", str(leaf), "leafWeight"))
    for device in values.get("weightDevice") or ():
        number = f"{device['major']}:{device['minor']}"
        if weight := device.get("weight"):
            writes.append(_blkio("weight_device", f"{number} {weight}", "weightDevice", bfq=True))
        if leaf := device.get("leafWeight"):
            writes.append(_blkio("leaf_weight_device", f"{number} {leaf}", "weightDevice"))
    for key, file in _THROTTLES:
        for device in values.get(key) or ():
            writes.append(_blkio(file, f"{device['major']}:{device['minor']} {device['rate']}", key))
    return writes


_THROTTLES = (
    ("throttleReadBpsDevice", "throttle.read_bps_device"),
    ("throttleWriteBpsDevice", "throttle.write_bps_device"),
    ("throttleReadIOPSDevice", "throttle.read_iops_device"),
    ("throttleWriteIOPSDevice", "throttle.write_iops_device"),
)


def _blkio(file: str, value: str, key: str, bfq: bool = False) -> Write:
    write = Write(controller="blkio", file=f"blkio.{file}", value=value, why=f"blockIO.{key}")
    return write.replace(otherwise=write.replace(file=f"blkio.bfq.{file}")) if bfq else write


def hugepages(values: list[dict[str, Any]]) -> list[Write]:
    """Both the pages in use and, on kernels from 5.7 on, the reserved ones."""
    writes = []
    for entry in values:
        for file in ("limit_in_bytes", "rsvd.limit_in_bytes"):
            writes.append(hugepage("hugetlb", file, entry))
    return writes


def hugepage(controller: str, file: str, entry: dict[str, Any]) -> Write:
    """One of the files for a page size. Raises CgroupError for a size that would lead to another file."""
    size = entry["pageSize"]
    if "/" in size:
        raise CgroupError(f'invalid huge page size "{size}"')
    return Write(
        controller=controller,
        file=f"hugetlb.{size}.{file}",
        value=str(entry["limit"]),
        why="hugepageLimits",
        tolerate=("ENOENT",) if file.startswith("rsvd") else (),
    )


def rdma(values: dict[str, dict[str, int]], controller: str = "rdma") -> list[Write]:
    """The file is the same in both versions. What is not named keeps its value."""
    writes = []
    for device, limits in values.items():
        words = [device]
        for key, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if key in limits:
                words.append(f"{word}={limits[key]}")
        if len(words) > 1:
            writes.append(Write(controller=controller, file="rdma.max", value=" ".join(words), why="rdma"))
    return writes


def net_cls(values: dict[str, Any]) -> list[Write]:
    """The class id of outgoing packets."""
    classid = values.get("classID")
    if not classid:
        return []
    return [Write(controller="net_cls", file="net_cls.classid", value=str(classid), why="network.classID")]


def net_prio(values: dict[str, Any]) -> list[Write]:
    """The priority of outgoing packets by interface."""
    return [
        Write(
            controller="net_prio",
            file="net_prio.ifpriomap",
            value=f"{entry['name']} {entry['priority']}",
            why="network.priorities",
        )
        for entry in values.get("priorities") or ()
    ]
