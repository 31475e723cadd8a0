# SPDX-License-Identifier: Apache-2.0
"""What a container uses at present, in the shape that `runc events` has made known.

Numbers that are 0 are mostly left out there, and so they are here. CPU times are in nanoseconds, memory in bytes; no limit
at all is UNLIMITED. stats_v1.py and stats_v2.py read one controller each; which of them does is a matter of the version
that the controller is mounted with.
"""

from __future__ import annotations

from pyoci.cgroups import stats_v1, stats_v2
from pyoci.cgroups.processes import pids
from pyoci.cgroups.readings import Readings, kept
from pyoci.kernel.basic import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def collect(paths: dict[str, str]) -> dict[str, Any]:
    """All sections of the statistics. Raises OSError, of which ENOENT and ENODEV say that a cgroup is gone."""
    of = {name: Readings(directory) for name, directory in paths.items()}
    unified = of.get("")
    collected = {
        "cpu": {**_cpu(of, unified), **_pressure(unified, "cpu")},
        "cpuset": stats_v1.cpuset(of["cpuset"]) if "cpuset" in of else stats_v2.cpuset(unified),
        "memory": {**_memory(of, unified), **_pressure(unified, "memory")},
        "pids": _pids(of.get("pids") or unified) or kept(current=len(pids(paths))),
        "blkio": {**_block_io(of, unified), **_pressure(unified, "io")},
        "hugetlb": _hugetlb(of, unified),
    }
    for directory in paths.values():
        stat(directory)  # files that are missing count as zero, but not if the cgroup is
    return collected


def _cpu(of: dict[str, Readings], unified: Readings | None) -> dict[str, Any]:
    if "cpu" in of or "cpuacct" in of:
        return stats_v1.cpu(of.get("cpu"), of.get("cpuacct"))
    return stats_v2.cpu(unified) if unified else {}


def _memory(of: dict[str, Readings], unified: Readings | None) -> dict[str, Any]:
    if "memory" in of:
        return stats_v1.memory(of["memory"])
    return stats_v2.memory(unified) if unified else {}


def _block_io(of: dict[str, Readings], unified: Readings | None) -> dict[str, Any]:
    if "blkio" in of:
        return stats_v1.block_io(of["blkio"])
    return stats_v2.block_io(unified) if unified else {}


def _hugetlb(of: dict[str, Readings], unified: Readings | None) -> dict[str, Any]:
    if "hugetlb" in of:
        return stats_v1.hugetlb(of["hugetlb"])
    return stats_v2.hugetlb(unified) if unified else {}


def _pids(readings: Readings | None) -> dict[str, int]:
    """The files are the same in both versions."""
    if readings is None or readings.text("pids.current") is None:
        return {}
    return kept(current=readings.number("pids.current"), limit=readings.limit("pids.max"))


def _pressure(unified: Readings | None, resource: str) -> dict[str, Any]:
    """Pressure stall information (Documentation/accounting/psi.rst), which only the unified hierarchy has."""
    text = unified.text(f"{resource}.pressure") if unified else None
    if text is None:
        return {}
    psi = {}
    for line in text.splitlines():
        name, *words = line.split()
        values = dict(word.partition("=")[::2] for word in words)
        figures = {key: float(values[key]) for key in ("avg10", "avg60", "avg300")}
        total = int(values["total"])
        if total or any(figures.values()):
            psi[name] = {**figures, "total": total}
    return {"psi": psi}
