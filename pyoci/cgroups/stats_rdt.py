# SPDX-License-Identifier: Apache-2.0
"""What resctrl tells about a container's class of service (Intel RDT), in the shape of pyoci.cgroups.stats.

Source: Documentation/filesystems/resctrl.rst of the kernel.
"""

from __future__ import annotations

from pyoci.cgroups.readings import Readings, kept
from pyoci.kernel.basic import listdir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BANDWIDTH, _OCCUPANCY = ("mbm_total_bytes", "mbm_local_bytes"), ("llc_occupancy",)


def collect(group: str, monitoring: str) -> dict[str, Any]:
    """`group` is the directory of the class, `monitoring` that of the container's monitoring group, or "". Raises OSError."""
    own = Readings(group)
    top = own if own.text("info/last_cmd_status") is not None else Readings(group.rpartition("/")[0])
    found: dict[str, Any] = {}
    lines, top_lines = _lines(own.text("schemata")), _lines(top.text("schemata"))
    if (mask := top.text("info/L3/cbm_mask")) is not None:
        found["l3_cache_info"] = kept(
            cbm_mask=mask.strip(), **_numbers(top, "info/L3", ("min_cbm_bits", "num_closids"))
        )
        found["l3_cache_schema_root"], found["l3_cache_schema"] = (_about("L3", of) for of in (top_lines, lines))
    if top.text("info/MB/num_closids") is not None:
        keys = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
        found["mem_bw_info"] = kept(**_numbers(top, "info/MB", keys))
        found["mem_bw_schema_root"], found["mem_bw_schema"] = (_about("MB", of) for of in (top_lines, lines))
    features = (top.text("info/L3_MON/mon_features") or "").split()
    return {**kept(**found, schemata=lines), **_monitored(Readings(monitoring or group), features)}


def _monitored(readings: Readings, features: list[str]) -> dict[str, list[dict[str, int]]]:
    """The counters of each domain, of those that the processor has."""
    found = {}
    for name, counters in (("mbm_stats", _BANDWIDTH), ("cmt_stats", _OCCUPANCY)):
        if any(counter in features for counter in counters):
            found[name] = [
                {counter: readings.number(f"mon_data/{domain}/{counter}") for counter in counters}
                for domain in sorted(listdir(f"{readings.directory}/mon_data"))
            ]
    return found


def _numbers(readings: Readings, directory: str, keys: tuple[str, ...]) -> dict[str, int]:
    return {key: readings.number(f"{directory}/{key}") for key in keys}


def _lines(text: str | None) -> list[str]:
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def _about(resource: str, lines: list[str]) -> str:
    return next((line for line in lines if line.startswith(resource)), "")
