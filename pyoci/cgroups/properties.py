# SPDX-License-Identifier: Apache-2.0
"""Limits, device rules and annotations as properties of a systemd unit. Pure.

Limits are taken from what is going to be written to the cgroup's files, which says the same for linux.resources and for
its `unified`. What has no property, or none that this version of systemd knows, is left to the files alone.

Sources: org.freedesktop.systemd1(5), systemd.resource-control(5), and systemd's NEWS for the versions.
"""

from __future__ import annotations

from pyoci.cgroups.devices import (
    ANY,
    BLOCK,
    CHAR,
    DEFAULTS,
    MKNOD,
    READ,
    WRITE,
    Rule,
    allow_everything,
    exceptions,
    letters,
)
from pyoci.cgroups.gvariant import parse
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_INFINITY = (1 << 64) - 1
_DEFAULT_PERIOD = 100_000
_DEFAULT_WEIGHT, _MOST_WEIGHT = 100, 10_000  # the default one is also that of a group that is idle no more
_SECOND = 1_000_000
_PERCENT = _SECOND // 100
_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}
_MOST_CPUS = 8192  # CONFIG_NR_CPUS goes no higher
_MOST_MICROSECONDS = (1 << 44) - 1  # the kernel's own bound; systemd counts in a millionth of one, in 64 bits

# The first version of systemd to know of
_DEVICE_NUMBERS, _QUOTA_PERIOD, _ALLOWED_CPUS, _IDLE, _OOM_POLICY, _ZSWAP = 240, 242, 244, 252, 253, 253

_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "memory.zswap.max": "MemoryZSwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}
# How the names of the files begin that systemd writes of its own accord
_WRITTEN_BY_SYSTEMD = (
    "cpu.",
    "cpuset.",
    "memory.",
    "pids.",
    "io.weight",
    "io.bfq.weight",
    "blkio.weight",
    "blkio.bfq.weight",
)
_DEEDS = ("memory.reclaim",)
"""What is no limit, but done when it is written."""
_MASKS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_EVERYTHING = {(kind, ANY, ANY): MKNOD | READ | WRITE for kind in (BLOCK, CHAR)}
_TERMINALS = (CHAR, 136)  # which /proc/devices calls pts
_ANNOTATION = "org.systemd.property."


class Property(Record):
    """A property of a unit; `value` is of the D-Bus type `signature`: arrays are lists, structures tuples, bytes bytes."""

    name: str
    signature: str
    value: object

    def text(self) -> str:
        """`MemoryMax = 67108864`, for people."""
        value = self.value
        if isinstance(value, bytes):
            shown = ",".join(str(bit) for bit in range(8 * len(value)) if value[bit // 8] >> bit % 8 & 1)
        elif isinstance(value, list):
            shown = ", ".join(" ".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value)
        else:
            shown = "infinity" if value == _INFINITY else str(value)
        return f"{self.name} = {shown}"


def limits(writes: Iterable[Write], version: int, in_force: Iterable[Write] = ()) -> tuple[Property, ...]:
    """The properties that say what these writes do, to a group that has what is `in_force` when they are done."""
    writes = tuple(writes)
    values = {write.file: write.value.strip() for write in writes}
    found = []
    for file, name in _NUMBERS.items():
        number = _number(values.get(file, ""))
        if number is not None and (name != "MemoryZSwapMax" or version >= _ZSWAP):
            found.append(Property(name=name, signature="t", value=max(number, 1) if name == "TasksMax" else number))
    # To systemd being idle is a weight, which version 1 of cgroups lacks.
    idle = {write.file: write.value.strip() for write in writes if not write.controller}.get("cpu.idle")
    if idle == "1" and version >= _IDLE:
        found = [each for each in found if each.name != "CPUWeight"]
        found.append(Property(name="CPUWeight", signature="t", value=0))
    elif idle == "0" and version >= _IDLE and "cpu.weight" not in values:
        weight = _number({write.file: write.value.strip() for write in in_force}.get("cpu.weight", ""))
        found.append(Property(name="CPUWeight", signature="t", value=weight or _DEFAULT_WEIGHT))
    found += _io_weight(writes)
    found += _quota(values, version)
    for file, name in _MASKS.items():
        mask = _mask(values.get(file, ""))
        if mask and version >= _ALLOWED_CPUS:
            found.append(Property(name=name, signature="ay", value=mask))
    return tuple(found)


def _number(text: str) -> int | None:
    """As the kernel reads it, with a suffix for powers of 1024; None for what it would not take, or what is not there.

    A property has 64 bits. What has more is for the kernel to refuse, or to take for something else.
    """
    if text in ("max", "-1"):
        return _INFINITY
    shift = _SUFFIXES.get(text[-1:].lower(), 0)
    number = _digits(text[:-1] if shift else text)
    return None if number is None or number << shift > _INFINITY else number << shift


def _digits(text: str) -> int | None:
    """Digits alone, and no more of them than 64 bits have: Python refuses to read thousands."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(_INFINITY)) else None


def _io_weight(writes: Iterable[Write]) -> list[Property]:
    """The weight of all devices that have none of their own, on systemd's scale of 1 to 10000.

    Of it systemd makes the weights of BFQ, which have their default at 100 as well, but end at 1000: with two straight
    lines, so these are the way back. On a host with io.weight alone, which v2.block_io scales by one line, a weight of 500
    is 4950 until daemon-reload, and 4500 from then on.

    Weights of single devices are left to the files: systemd would look for the disk behind a device, and give it the weight.
    """
    found: list[Property] = []
    for write in writes:
        number = _number(write.value.strip().removeprefix("default").strip())
        if write.file not in ("io.weight", "io.bfq.weight") or not number:
            continue
        if write.file == "io.bfq.weight" and number > _DEFAULT_WEIGHT:
            number = _DEFAULT_WEIGHT + (number - _DEFAULT_WEIGHT) * 11
        if number <= _MOST_WEIGHT:
            found = [Property(name="IOWeight", signature="t", value=number)]
    return found


def _quota(values: dict[str, str], version: int) -> list[Property]:
    present = _quota_and_period(values)
    if present is None:
        return []
    quota, period = present
    found = [
        Property(name="CPUQuotaPerSecUSec", signature="t", value=_per_second(quota, period) if quota > 0 else _INFINITY)
    ]
    if version >= _QUOTA_PERIOD:
        found.append(Property(name="CPUQuotaPeriodUSec", signature="t", value=period))
    return found


def _quota_and_period(values: dict[str, str]) -> tuple[int, int] | None:
    """In microseconds; no quota is -1. None if the writes are about neither, or are nothing that the kernel would take.

    No more than it takes can be told: the file says so in words, and with the number that was asked for.
    """
    if "cpu.max" in values:
        words = values["cpu.max"].split()
    elif "cpu.cfs_quota_us" in values or "cpu.cfs_period_us" in values:
        words = [values.get("cpu.cfs_quota_us", "-1"), values.get("cpu.cfs_period_us", str(_DEFAULT_PERIOD))]
    else:
        return None
    try:
        quota = -1 if words[0] == "max" else int(words[0])
        period = int(words[1]) if len(words) > 1 else _DEFAULT_PERIOD
    except (ValueError, IndexError):
        return None
    return (quota, period) if 0 < period <= _MOST_MICROSECONDS and quota <= _MOST_MICROSECONDS else None


def _per_second(quota: int, period: int) -> int:
    """systemd keeps whole percents of a CPU: rounded up, so that what is below may have all that was asked for."""
    return -(-(quota * _SECOND // period) // _PERCENT) * _PERCENT


def rounded(writes: Sequence[Write]) -> tuple[Write, ...]:
    """The writes, each quota as systemd rounds it: what it writes and what we write must not differ."""
    apart = _quota_and_period({write.file: write.value for write in writes if write.file.startswith("cpu.cfs_")})
    done = []
    for write in writes:
        present = {"cpu.max": _quota_and_period({write.file: write.value}), "cpu.cfs_quota_us": apart}.get(write.file)
        if present is not None and present[0] > 0:
            quota, period = present
            value = str(_per_second(quota, period) * period // _SECOND)
            write = write.replace(value=f"{value} {period}" if write.file == "cpu.max" else value)
        done.append(write)
    return tuple(done)


def unkept(writes: Iterable[Write]) -> tuple[Write, ...]:
    """Those of the writes that systemd may undo when it is told of a limit; of several that say the same thing, the last.

    Whatever it is told of, it writes all that its controllers have, as it knows it or as it is by default. And it does not
    know all: there are files without a property, properties that it takes only when a unit starts, or by its version, and
    it keeps no period where there is no quota.
    """
    kept = {}
    for write in writes:
        if write.file.startswith(_WRITTEN_BY_SYSTEMD) and write.file not in _DEEDS:
            # What came before it may be less than is in use by now.
            kept[write.controller, write.file, write.subject()] = write.replace(above="")
    return tuple(kept.values())


def _mask(ranges: str) -> bytes:
    """A list such as `0-2,5` as bits, the lowest first; empty if it is none.

    In `0-7:2/4` it is two out of four. What else the kernel may take ("all", "0-N") depends on the host.
    """
    bits = 0
    for part in ranges.split(","):
        span, _, groups = part.strip().partition(":")
        first, dash, last = span.partition("-")
        if not first:
            continue
        used, _, group = (groups or "1/1").partition("/")
        lowest, highest, some, size = (_digits(text) for text in (first, last if dash else first, used, group))
        if lowest is None or highest is None or not lowest <= highest < _MOST_CPUS:
            return b""
        if not some or not size or some > size:
            return b""
        for start in range(lowest, highest + 1, size):
            bits |= (1 << min(start + some, highest + 1)) - (1 << start)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def oom_policy(writes: Iterable[Write], version: int) -> tuple[Property, ...]:
    """What memory.oom.group says, which systemd takes only when the unit starts."""
    values = {write.file: write.value.strip() for write in writes}
    policy = {"0": "continue", "1": "kill"}.get(values.get("memory.oom.group", ""))
    return (Property(name="OOMPolicy", signature="s", value=policy),) if policy and version >= _OOM_POLICY else ()


def device_rules(rules: Sequence[Rule], version: int, overwritten: bool) -> tuple[Property, ...]:
    """The devices that are allowed. systemd knows neither exceptions nor `*:minor`.

    `overwritten`: it writes to the files that hold the rules, as with version 1 of cgroups, and does so whenever it sees fit.
    Then what it cannot be told is refused until the rules are written again, save for the devices of every container.
    Otherwise it is told to allow everything where it cannot be told all: the rules that count are in the cgroup in any case.
    """
    if version < _DEVICE_NUMBERS and not overwritten:
        return ()
    entries: list[tuple[str, str]] = []
    policy = "strict"
    try:
        allowed, listed = exceptions(rules)
    except CgroupError:
        allowed, listed = True, dict.fromkeys(_EVERYTHING, 0)
    told = not allowed and not any(major == ANY != minor for _, major, minor in listed)
    if allow_everything(rules) or not (told or overwritten):
        policy, listed = "auto", {}
    elif allowed:
        whole = {key: access for key, access in _EVERYTHING.items() if all(key[0] != kind for kind, _, _ in listed)}
        listed = {**exceptions(DEFAULTS)[1], **whole}
    for (kind, major, minor), access in listed.items():
        if major == ANY != minor:
            continue
        word = "char" if kind == CHAR else "block"
        group = "*" if major == ANY else str(major)
        if (kind, major) == _TERMINALS and version < _DEVICE_NUMBERS:
            group = "pts"
        entries.append((f"{word}-{group}" if minor == ANY else f"/dev/{word}/{major}:{minor}", letters(access)))
    return (
        Property(name="DevicePolicy", signature="s", value=policy),
        Property(name="DeviceAllow", signature="a(ss)", value=[]),  # which empties the list
        *((Property(name="DeviceAllow", signature="a(ss)", value=entries),) if entries else ()),
    )


def annotated(annotations: dict[str, str]) -> tuple[Property, ...]:
    """The annotations org.systemd.property.NAME, their values in GVariant's text format. Raises CgroupError."""
    found = []
    for key, text in annotations.items():
        name = key.removeprefix(_ANNOTATION)
        if name == key:
            continue
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise CgroupError(f"annotation {key} name incorrect: {name!r} cannot be a property of systemd")
        try:
            signature, value = parse(text)
            # As unit files have it: systemd itself counts in microseconds.
            if name.endswith("Sec") and name[-4:-3].islower():
                name, signature, value = f"{name[:-3]}USec", "t", _microseconds(value)
        except ValueError as error:
            raise CgroupError(f"annotation {key}={text} value parse error: {error}") from None
        found.append(Property(name=name, signature=signature, value=value))
    return tuple(found)


def _microseconds(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value * _SECOND <= _INFINITY:
        raise ValueError(f"{value!r} is no number of seconds")
    return int(value * _SECOND)
