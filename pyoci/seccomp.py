# SPDX-License-Identifier: Apache-2.0
"""System call filters: what `linux.seccomp` asks for, as plain data, and the loading of a finished filter.

Between the two lies `pyoci.seccomp_compiler`, which only a container with a profile needs. Names and actions
have the numbers of the kernel (linux/seccomp.h), which libseccomp uses as well.
"""

from __future__ import annotations

from _struct import Struct
from errno import EFAULT

from pyoci.errors import PyociError, SpecError, describe, failed
from pyoci.record import Record
from pyoci.syscalls import (
    SECCOMP_SET_MODE_FILTER,
    address,
    buffer,
    close,
    connect_unix,
    seccomp,
    send_fd,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KILL_THREAD, TRAP, ERRNO, NOTIFY, TRACE = 0x00000000, 0x00030000, 0x00050000, 0x7FC00000, 0x7FF00000
LOG, ALLOW, KILL_PROCESS = 0x7FFC0000, 0x7FFF0000, 0x80000000
ACTIONS = {
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": NOTIFY,
}
OPERATORS = {f"SCMP_CMP_{name}" for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")}
FLAG_NEW_LISTENER, FLAG_WAIT_KILLABLE_RECV = 1 << 3, 1 << 5
FLAGS = {
    # The filter is loaded by the only thread there is, so there is nothing to synchronise.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": FLAG_WAIT_KILLABLE_RECV,
}
DEFAULT_FLAG = "SECCOMP_FILTER_FLAG_SPEC_ALLOW"

MOST_DATA = {ERRNO: 4095, TRACE: 0xFFFF}
"""What an action can have along: of error numbers the kernel has none above (MAX_ERRNO), and the field has 16 bits."""

_EPERM = 1
_MAX_ARGUMENTS = 6
_sock_fprog = Struct("@HP")


class Comparison(Record):
    """One condition on an argument: its index, the operator by name, and the operands (for MASKED_EQ mask and
    value).
    """

    index: int
    operator: str
    value: int
    second: int = 0


class Rule(Record):
    """One action for some system calls, under conditions that must all hold."""

    names: tuple[str, ...]
    action: int
    conditions: tuple[Comparison, ...] = ()


class SeccompPlan(Record):
    """A filter yet to be compiled. Together with the machine and the libseccomp at hand it determines the
    program. `named` are the system calls of rules that do what happens anyway: they, too, are none that the profile's
    author had not heard of.
    """

    default_action: int
    architectures: tuple[str, ...] = ()
    flags: int = 0
    rules: tuple[Rule, ...] = ()
    named: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""


def plan_seccomp(config: dict[str, Any], supported: tuple[str, ...]) -> SeccompPlan | None:
    """The filter for this `linux.seccomp` object, None if it asks for none (no default action and no rules).

    supported: the flags that the kernel knows, from `supported_flags`.
    Raises SpecError. Rules that do what happens anyway are left out; equal ones come to one in the compiler.
    """
    entries = config.get("syscalls") or ()
    if not config.get("defaultAction") and not entries:
        return None
    default = _action(config.get("defaultAction", ""), config.get("defaultErrnoRet"), "linux.seccomp")
    rules = [_rule(entry, f"linux.seccomp.syscalls[{index}]") for index, entry in enumerate(entries)]
    notified = [name for rule in rules if rule.action == NOTIFY for name in rule.names]
    path = config.get("listenerPath") or ""
    _check_notifications(default, notified, path, config)
    return SeccompPlan(
        default_action=default,
        architectures=tuple(config.get("architectures") or ()),
        flags=_flags(config.get("flags"), supported, bool(notified)),
        rules=tuple(rule for rule in rules if rule.action != default),
        named=tuple(name for rule in rules if rule.action == default for name in rule.names),
        listener_path=path,
        listener_metadata=config.get("listenerMetadata") or "",
    )


def _action(name: str, errno_return: int | None, where: str) -> int:
    if name not in ACTIONS:
        raise SpecError(f"{where}: {name!r} is no seccomp action")
    action = ACTIONS[name]
    if action not in MOST_DATA:
        return action
    data = _EPERM if errno_return is None else errno_return
    if not 0 <= data <= MOST_DATA[action]:  # cut to its size, it would be another number, or none: a call that succeeds
        raise SpecError(f"{where}: {name} cannot give {data}: the highest is {MOST_DATA[action]}")
    return action | data


def _rule(entry: dict[str, Any], where: str) -> Rule:
    conditions = []
    for position, argument in enumerate(entry.get("args") or ()):
        operator, index = argument["op"], argument["index"]
        if operator not in OPERATORS or not 0 <= index < _MAX_ARGUMENTS:
            raise SpecError(f"{where}.args[{position}]: no comparison {operator!r} of argument {index}")
        conditions.append(
            Comparison(index=index, operator=operator, value=argument["value"], second=argument.get("valueTwo") or 0)
        )
    return Rule(
        names=tuple(entry["names"]),
        action=_action(entry["action"], entry.get("errnoRet"), where),
        conditions=tuple(conditions),
    )


def _flags(wanted: list[str] | None, supported: tuple[str, ...], notifying: bool) -> int:
    """The flags for seccomp(2). No list at all, unlike an empty one, stands for the default."""
    if wanted is None:
        wanted = [DEFAULT_FLAG] if DEFAULT_FLAG in supported else []
    bits = FLAG_NEW_LISTENER if notifying else 0
    for flag in wanted:
        if flag not in FLAGS:
            raise SpecError(f"linux.seccomp.flags: {flag!r} is not a known flag")
        if flag not in supported:
            raise SpecError(f"linux.seccomp.flags: {flag} is not supported by this kernel")
        bits |= FLAGS[flag]
    # The kernel refuses this one where there is nobody to receive anything.
    return bits if notifying else bits & ~FLAG_WAIT_KILLABLE_RECV


def _check_notifications(default: int, notified: list[str], path: str, config: dict[str, Any]) -> None:
    if default == NOTIFY:
        raise SpecError("linux.seccomp: SCMP_ACT_NOTIFY cannot be used as default action")
    if "write" in notified:
        # The process must still be able to tell the runtime of its listener.
        raise SpecError("linux.seccomp: SCMP_ACT_NOTIFY cannot be used for the write syscall")
    if notified and not path:
        raise SpecError("linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath")
    if config.get("listenerMetadata") and not path:
        raise SpecError("linux.seccomp: listenerMetadata needs a listenerPath")


def supported_flags() -> tuple[str, ...]:
    """Those of FLAGS that this kernel knows: it looks at the flags before it looks for the filter that is
    missing.
    """
    found = []
    for name, bits in FLAGS.items():
        if bits == FLAG_WAIT_KILLABLE_RECV:
            bits |= FLAG_NEW_LISTENER
        try:
            seccomp(SECCOMP_SET_MODE_FILTER, bits, None)
        except OSError as error:
            if error.errno == EFAULT:
                found.append(name)
    return tuple(found)


class Filter:
    """A compiled filter, laid out for the kernel in advance, so that loading it is a single system call."""

    def __init__(self, program: bytes, flags: int) -> None:
        self._program = buffer(program)
        self._fprog = buffer(_sock_fprog.pack(len(program) // 8, address(self._program)))
        self._flags = flags
        self.listens = bool(flags & FLAG_NEW_LISTENER)

    def load(self) -> int:
        """Put this process under the filter. Runs inside; needs no_new_privs or CAP_SYS_ADMIN.

        Returns the listener for notifications if the plan asks for one, else -1. Raises PyociError.
        """
        try:
            listener = seccomp(SECCOMP_SET_MODE_FILTER, self._flags, self._fprog)
        except OSError as error:
            raise failed("unable to init seccomp: load the filter", error) from error
        return listener if self.listens else -1


def send_listener(path: str, process_state: bytes, listener: int) -> None:
    """Hand a listener to the agent at `listenerPath`, with the container process state (parent side)."""
    try:
        connection = connect_unix(path)
    except OSError as error:
        raise PyociError(f"connect to the seccomp agent {describe(error)}") from error
    try:
        send_fd(connection, process_state, listener)
    except OSError as error:
        raise failed(f"send the seccomp listener to {path}", error) from error
    finally:
        close(connection)
