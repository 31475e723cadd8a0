# SPDX-License-Identifier: Apache-2.0
"""`pyoci update`: other limits for a container."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, STRING, Call, Command, Option
from pyoci.cli.settings import settings
from pyoci.container import update as updating
from pyoci.errors import PyociError, UsageError, failed
from pyoci.kernel.basic import O_CLOEXEC, O_RDONLY, POLLIN, close, open, poll, read
from pyoci.spec import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.log import Log

_SIZE = "a number of bytes, or one with a unit as in 64m or 1.5g; -1 lifts the limit"


def _option(name: str, metavar: str, help: str, hidden: bool = False) -> Option:
    return Option(name=name, kind=STRING, metavar=metavar, help=help, hidden=hidden)


COMMAND = Command(
    name="update",
    summary="Change the limits of a container",
    description="""\
Changes the resource limits of a container that is created, running or paused. What is not named stays as it is, and if
one of the new limits cannot be set, so do all others. Device rules cannot be changed. Where systemd keeps the cgroup and
it is of version 1, the container is stopped for a moment, since systemd writes the device rules anew.

The limits are described by a file (--resources) that holds an object as config.json has it in "linux.resources":

    {"memory": {"limit": 67108864}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 20}}

or else by the other options, which are ignored if there is a file, except those for Intel RDT. A number of 0 mostly
stands for no change; but a pids limit, a burst or an idle of 0 is one.""",
    arguments=(CONTAINER_ID,),
    options=(
        Option(
            name="resources",
            short="r",
            kind=STRING,
            metavar="FILE",
            completes="file",
            help="Take all changes from FILE, or from standard input if it is -.",
        ),
        _option("memory", "SIZE", f"The limit of memory: {_SIZE}."),
        _option("memory-reservation", "SIZE", "What the container can count on when memory is short."),
        _option("memory-swap", "SIZE", "The limit of memory and swap together; -1 lifts it."),
        _option("cpu-quota", "USECS", "CPU time in each period; -1 lifts the limit."),
        _option("cpu-period", "USECS", "The length of a period."),
        _option("cpu-burst", "USECS", "CPU time that may be saved up for later periods."),
        _option("cpu-share", "N", "The share of CPU time in relation to other containers (2 to 262144)."),
        _option("cpu-idle", "0|1", "With 1, get CPU time only if nobody else wants it."),
        _option("cpu-rt-period", "USECS", "The length of a period of real-time scheduling (cgroup v1)."),
        _option("cpu-rt-runtime", "USECS", "Real-time CPU time in each such period (cgroup v1)."),
        _option("cpuset-cpus", "LIST", "The CPUs to run on, as in 0-2,7."),
        _option("cpuset-mems", "LIST", "The memory nodes to use, as in 0-1."),
        _option("blkio-weight", "N", "The share of block I/O in relation to other containers (10 to 1000)."),
        _option("pids-limit", "N", "How many processes there may be; -1 lifts the limit."),
        _option("l3-cache-schema", "SCHEMA", "The line for the L3 cache (Intel RDT), as in L3:0=ff;1=c0."),
        _option("mem-bw-schema", "SCHEMA", "The line for memory bandwidth (Intel RDT), as in MB:0=20;1=70."),
        _option("kernel-memory", "SIZE", "Ignored.", hidden=True),
        _option("kernel-memory-tcp", "SIZE", "Ignored.", hidden=True),
    ),
    examples=(
        ("pyoci update --memory 64m --pids-limit 20 web", "change two limits of the container web"),
        ("pyoci update --resources limits.json web", "change those that a file names"),
        ("""echo '{"cpu": {"shares": 512}}' | pyoci update -r - web""", "the same from standard input"),
    ),
)
_SCHEMATA = (("l3-cache-schema", "l3CacheSchema"), ("mem-bw-schema", "memBwSchema"))
_UNITS = "bkmgtp"
_MAX_SIZE = 16 << 20
_MAX_INT64 = (1 << 63) - 1
"""Properties of linux.resources have 64 bits, and most of them a sign; 19 digits are no more than that without one."""


def run(call: Call, log: Log) -> int:
    schemata = {key: schema for name, key in _SCHEMATA if (schema := call.text(name))}
    updating.update(settings(call, log), call.argument(0), changes(call), schemata)
    return 0


def changes(call: Call) -> dict[str, Any]:
    """What the call asks for, in the shape of linux.resources. Raises UsageError, SpecError."""
    if file := call.text("resources"):
        return validate.load_resources(_read(file), "standard input" if file == "-" else file)
    asked: dict[str, Any] = {}
    for name, section, key, convert in _LIMITS:
        if text := call.text(name):
            asked.setdefault(section, {})[key] = convert(name, text)
    return asked


def _read(file: str) -> str:
    """All of a file, which may be a pipe, or of standard input."""
    try:
        fd = 0 if file == "-" else open(file, O_RDONLY | O_CLOEXEC)
        content = b""
        while (part := _read_on(fd)) and len(content) <= _MAX_SIZE:
            content += part
        if fd:
            close(fd)
    except OSError as error:
        raise failed(f"read {file}", error) from error
    if len(content) > _MAX_SIZE:
        raise PyociError(f"{file} is larger than {_MAX_SIZE >> 20} MiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PyociError(f"{file} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}") from None


def _read_on(fd: int) -> bytes:
    """What comes next, empty at the end. Standard input may be non-blocking: some callers leave us theirs so."""
    while True:
        try:
            return read(fd, 1 << 16)
        except BlockingIOError:
            ready = poll()
            ready.register(fd, POLLIN)
            ready.poll()


def _number(name: str, text: str) -> int:
    return _in_bounds(name, text, _whole(name, text))


def _natural(name: str, text: str) -> int:
    number = _whole(name, text)
    if number < 0:
        raise UsageError(f"update: --{name} is {text!r}, and not a number from 0 on")
    return number


def _whole(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise UsageError(f"update: --{name} is {text!r}, and not a number")
    return int(text)


def _in_bounds(name: str, text: str, number: int) -> int:
    if not -_MAX_INT64 <= number <= _MAX_INT64:
        raise UsageError(f"update: --{name} is {text!r}, and can be no number beyond {_MAX_INT64}, on either side of 0")
    return number


def _size(name: str, text: str) -> int:
    """Bytes, as docker's go-units reads them: `64m`, `1.5G`, `10 MiB`; all units are powers of 1024."""
    if text == "-1":
        return -1
    digits = text.rstrip("".join((_UNITS, _UNITS.upper(), "iI")))
    unit = text[len(digits) :].lower()
    digits = digits.removesuffix(" ")
    whole, _, fraction = digits.partition(".")
    known = unit in ("", *_UNITS) or (unit[0] in _UNITS[1:] and unit[1:] in ("b", "ib"))
    if not (known and (whole + fraction).isascii() and (whole + fraction).isdigit() and len(digits) <= 19):
        raise UsageError(f"update: --{name} is {text!r}, and not {_SIZE}")
    scale: int = 1024 ** _UNITS.index((unit or "b")[0])
    return _in_bounds(name, text, int(float(digits) * scale) if fraction else int(whole) * scale)


def _text(name: str, text: str) -> str:
    return text


_LIMITS: tuple[tuple[str, str, str, Callable[[str, str], int | str]], ...] = (
    ("memory", "memory", "limit", _size),
    ("memory-reservation", "memory", "reservation", _size),
    ("memory-swap", "memory", "swap", _size),
    ("kernel-memory", "memory", "kernel", _size),
    ("kernel-memory-tcp", "memory", "kernelTCP", _size),
    ("cpu-quota", "cpu", "quota", _number),
    ("cpu-period", "cpu", "period", _natural),
    ("cpu-burst", "cpu", "burst", _natural),
    ("cpu-share", "cpu", "shares", _natural),
    ("cpu-idle", "cpu", "idle", _number),
    ("cpu-rt-period", "cpu", "realtimePeriod", _natural),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", _number),
    ("cpuset-cpus", "cpu", "cpus", _text),
    ("cpuset-mems", "cpu", "mems", _text),
    ("blkio-weight", "blockIO", "weight", _natural),
    ("pids-limit", "pids", "limit", _number),
)
"""The option, and the section and key of linux.resources that it stands for."""
