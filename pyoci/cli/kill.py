# SPDX-License-Identifier: Apache-2.0
"""`pyoci kill`: send a signal to a container."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed does not know it; `signal` would bring `enum`

from pyoci.cli.options import CONTAINER_ID, Argument, Call, Command, Option, suggestion
from pyoci.cli.settings import settings
from pyoci.container import control
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="kill",
    summary="Send a signal to a container",
    description="""\
Sends a signal to the container's init process. If the container shares a pid namespace with others, KILL ends all
processes in its cgroup, for no init takes them along then.""",
    arguments=(
        CONTAINER_ID,
        Argument(
            metavar="signal",
            help="A number, or a name with or without SIG, in capitals or not: 9, KILL, SIGKILL, RTMIN+3. The default"
            " is TERM.",
            required=False,
            completes="signal",
        ),
    ),
    options=(
        Option(
            name="all",
            short="a",
            help="Send the signal to every process in the container's cgroup. That init is gone is no error then.",
        ),
        Option(
            name="regex",
            short="r",
            help="The name is a regular expression: send the signal to every container with an id that it is found in."
            " One that does not run is a warning.",
        ),
    ),
    examples=(
        ("pyoci kill web", "ask the container web to end"),
        ("pyoci kill web KILL", "end it"),
        ("pyoci kill web 0", "find out whether it can be sent signals"),
        ("pyoci kill --regex '^test-'", "ask all containers whose ids begin so to end"),
    ),
)

# The C library keeps the first two realtime signals of the kernel, 32 and 33, to itself (signal(7)).
_RTMIN, _RTMAX = 34, 64
_NUMBERS = {
    name.removeprefix("SIG"): number
    for name, number in vars(_signal).items()
    if name.startswith("SIG") and name[3:].isalnum() and isinstance(number, int)
}
_NUMBERS.update(RTMIN=_RTMIN, RTMAX=_RTMAX)


def run(call: Call, log: Log) -> int:
    signal = signal_number(call.argument(1) or "TERM")
    chosen = settings(call, log)
    if call.flag("regex"):
        from pyoci.cli.matching import for_each  # for this option alone

        for_each(chosen, call.argument(0), lambda name: control.kill(chosen, name, signal, call.flag("all")))
    else:
        control.kill(chosen, call.argument(0), signal, call.flag("all"))
    return 0


def signal_number(text: str) -> int:
    """The number of a signal given as `9`, `KILL`, `sigkill` or `RTMIN+3`. Raises UsageError."""
    if text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
    else:
        number = _named(text)
    if not 0 <= number <= _RTMAX:
        raise UsageError(f"kill: no signal has the number {text}: they go up to {_RTMAX}")
    return number


def _named(text: str) -> int:
    name = text.upper().removeprefix("SIG")
    base, sign, distance = name.partition("+") if "+" in name else name.partition("-")
    if sign and (base, sign) in (("RTMIN", "+"), ("RTMAX", "-")) and distance.isascii() and distance.isdigit():
        number = _NUMBERS[base] + (int(distance[:4]) if sign == "+" else -int(distance[:4]))
        if _RTMIN <= number <= _RTMAX:
            return number
    elif not sign and name in _NUMBERS:
        return _NUMBERS[name]
    raise UsageError(f"kill: unknown signal {text!r}{suggestion(name, list(_NUMBERS))}")
