# SPDX-License-Identifier: Apache-2.0
"""linux.resources.devices: which devices may be read, written and made (mknod), for cgroup v1 and v2. Pure.

The rules are taken in order over "nothing is allowed": for a device and a way of access the last rule that speaks of it
counts. Then come the devices that every container may use. What cannot be said in version 1, a hole in a wildcard, is
refused rather than silently left open.

Source: runtime-spec config-linux.md, "Allowed Device list"; Documentation/admin-guide/cgroup-v1/devices.rst; bpf(2),
BPF_PROG_TYPE_CGROUP_DEVICE in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import sys
from _struct import Struct

from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

ANY = -1
BLOCK, CHAR = 1, 2  # BPF_DEVCG_DEV_*
MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*
_ALL = MKNOD | READ | WRITE
_BITS = {"m": MKNOD, "r": READ, "w": WRITE}
_KINDS = {"a": (BLOCK, CHAR), "b": (BLOCK,), "c": (CHAR,)}
_LETTERS = {BLOCK: "b", CHAR: "c"}


class Rule(Record):
    """`kinds` of BLOCK and CHAR; `major` and `minor` or ANY; `access` bits of MKNOD, READ and WRITE."""

    allow: bool
    kinds: tuple[int, ...] = (CHAR,)
    major: int = ANY
    minor: int = ANY
    access: int = _ALL


_NOTHING = Rule(allow=False, kinds=(BLOCK, CHAR))

DEFAULTS = (
    Rule(allow=True, kinds=(BLOCK, CHAR), access=MKNOD),
    Rule(allow=True, major=1, minor=3),  # null
    Rule(allow=True, major=1, minor=5),  # zero
    Rule(allow=True, major=1, minor=7),  # full
    Rule(allow=True, major=1, minor=8),  # random
    Rule(allow=True, major=1, minor=9),  # urandom
    Rule(allow=True, major=5, minor=0),  # tty
    Rule(allow=True, major=5, minor=2),  # ptmx
    Rule(allow=True, major=136),  # the pseudo-terminals of devpts
    Rule(allow=True, major=10, minor=200),  # net/tun: not in the specification, but users count on it
)


def rules(configured: list[dict[str, Any]]) -> tuple[Rule, ...]:
    """All rules for a container, in order. Raises CgroupError for one that cannot be understood."""
    return (_NOTHING, *(_rule(index, entry) for index, entry in enumerate(configured)), *DEFAULTS)


def _rule(index: int, entry: dict[str, Any]) -> Rule:
    where = f"linux.resources.devices[{index}]"
    kinds = _KINDS.get(entry.get("type") or "a")
    if kinds is None:
        raise CgroupError(f'{where}: invalid cgroup device type "{entry["type"]}"')
    letters = entry.get("access", "")
    if not letters:
        raise CgroupError(f"{where}: device access at {index} field cannot be empty")
    access = 0
    for letter in letters:
        if letter not in _BITS:
            raise CgroupError(f'{where}: invalid device access "{letters}": only r, w and m')
        access |= _BITS[letter]
    numbers = []
    for key in ("major", "minor"):
        number = entry.get(key, ANY)
        number = ANY if number is None else number
        if not ANY <= number < 1 << 32:
            raise CgroupError(f"{where}: invalid {key} number {number}")
        numbers.append(number)
    return Rule(allow=bool(entry["allow"]), kinds=kinds, major=numbers[0], minor=numbers[1], access=access)


def _is_everything(rule: Rule) -> bool:
    return len(rule.kinds) == 2 and rule.major == rule.minor == ANY and rule.access == _ALL


def allow_everything(ordered: Sequence[Rule]) -> bool:
    """Whether nothing is refused: no rule that does so follows the last one that allows everything."""
    for rule in reversed(ordered):
        if not rule.allow:
            return False
        if _is_everything(rule):
            return True
    return False


# ------------------------------------------------------------------------------------------------------------- cgroup v1


def lines(ordered: Sequence[Rule], tolerate: tuple[str, ...] = ()) -> tuple[Write, ...]:
    """The rules as writes to devices.allow and devices.deny. Raises CgroupError for a hole in a wildcard."""
    allowed, listed = exceptions(ordered)
    verb, counter = ("allow", "deny") if allowed else ("deny", "allow")
    writes = [_line(verb, "a *:* rwm", tolerate)]
    for (kind, major, minor), access in listed.items():
        numbers = ":".join("*" if number == ANY else str(number) for number in (major, minor))
        writes.append(_line(counter, f"{_LETTERS[kind]} {numbers} {letters(access)}", tolerate))
    return tuple(writes)


def exceptions(ordered: Sequence[Rule]) -> tuple[bool, dict[tuple[int, int, int], int]]:
    """Whether all devices are allowed, and the exceptions to that: (kind, major, minor) -> ways of access.

    That is how a cgroup of version 1 holds them; an exception has no exceptions. Raises CgroupError for a hole in a
    wildcard.
    """
    allowed, listed = False, dict[tuple[int, int, int], int]()
    for rule in ordered:
        if _is_everything(rule):
            allowed, listed = rule.allow, {}
            continue
        for kind in rule.kinds:
            key = (kind, rule.major, rule.minor)
            if rule.allow != allowed:
                listed[key] = listed.get(key, 0) | rule.access
            else:
                _take_back(listed, key, rule)
    if allowed:
        return allowed, listed
    # A request is held against one exception at a time: it must find all of its ways of access in one. Whoever opens a
    # device may ask for two; to make one is a request of its own, so what allows that need not be said again.
    whole = {}
    for key, access in listed.items():
        for other, more in listed.items():
            access |= more & ~MKNOD if _within(key, other) else 0
        whole[key] = access
    return allowed, whole


def letters(access: int) -> str:
    """Ways of access as in `rwm`."""
    return "".join(letter for letter in "rwm" if access & _BITS[letter])


def _line(verb: str, value: str, tolerate: tuple[str, ...]) -> Write:
    # An ordinary user never has the right, nor devices to lose: that is not worth a warning each time.
    return Write(
        controller="devices",
        file=f"devices.{verb}",
        value=value,
        why="devices",
        tolerate=tolerate,
        silent=bool(tolerate),
    )


def _take_back(exceptions: dict[tuple[int, int, int], int], key: tuple[int, int, int], rule: Rule) -> None:
    for other, access in list(exceptions.items()):
        if _within(other, key):
            exceptions[other] = access & ~rule.access
            if not exceptions[other]:
                del exceptions[other]
        elif access & rule.access and _overlap(other, key):
            verb, past = ("allow", "denied") if rule.allow else ("deny", "allowed")
            raise CgroupError(
                f"linux.resources.devices: cgroup v1 cannot {verb} {_name(key)} once {_name(other)} has been {past}"
            )


def _name(key: tuple[int, int, int]) -> str:
    return f"{_LETTERS[key[0]]} " + ":".join("*" if number == ANY else str(number) for number in key[1:])


def _within(inner: tuple[int, int, int], outer: tuple[int, int, int]) -> bool:
    return inner[0] == outer[0] and all(b in (ANY, a) for a, b in zip(inner[1:], outer[1:], strict=True))


def _overlap(one: tuple[int, int, int], other: tuple[int, int, int]) -> bool:
    return one[0] == other[0] and all(ANY in (a, b) or a == b for a, b in zip(one[1:], other[1:], strict=True))


# ------------------------------------------------------------------------------------------------------------- cgroup v2

_instruction = Struct("=BBhi")
_LOAD_WORD, _MOV64, _AND32, _RSH32 = 0x61, 0xB7, 0x54, 0x74  # LDX|W|MEM, ALU64|MOV|K, ALU|AND|K, ALU|RSH|K
_JUMP, _JUMP_NE, _JUMP_SET, _EXIT = 0x05, 0x55, 0x45, 0x95  # JMP|JA, JMP|JNE|K, JMP|JSET|K, JMP|EXIT
_R0, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR = 0, 1, 2, 3, 4, 5
_ANSWER = 2  # instructions in an answer


def _code(opcode: int, register: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    registers = register | source << 4 if sys.byteorder == "little" else register << 4 | source
    return _instruction.pack(opcode, registers, offset, value - (1 << 32) if value >> 31 else value)


def _answer(allow: bool) -> bytes:
    return _code(_MOV64, _R0, value=int(allow)) + _code(_EXIT)


def program(ordered: Sequence[Rule]) -> bytes:
    """The rules as a program of type BPF_PROG_TYPE_CGROUP_DEVICE, which answers 1 (allowed) or 0 (EPERM).

    The rules are asked from the last to the first. One register holds the ways of access still undecided: a rule that
    denies one of them ends with 0; a rule that allows some takes them out, and ends with 1 when none is left.
    """
    code = [
        _code(_LOAD_WORD, _KIND, _CONTEXT, 0),  # struct bpf_cgroup_dev_ctx: access << 16 | kind, major, minor
        _code(_AND32, _KIND, value=0xFFFF),
        _code(_LOAD_WORD, _WANTED, _CONTEXT, 0),
        _code(_RSH32, _WANTED, value=16),
        _code(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _code(_LOAD_WORD, _MINOR, _CONTEXT, 8),
    ]
    for rule in reversed(ordered):
        if _is_everything(rule):
            return b"".join([*code, _answer(rule.allow)])
        code.append(_block(rule))
    return b"".join([*code, _answer(False)])


def _block(rule: Rule) -> bytes:
    if rule.allow:
        body = [_code(_AND32, _WANTED, value=0xFFFF & ~rule.access), _code(_JUMP_NE, _WANTED, offset=_ANSWER)]
    else:
        body = [_code(_JUMP_SET, _WANTED, offset=1, value=rule.access), _code(_JUMP, offset=_ANSWER)]
    body.append(_answer(rule.allow))
    tests = [(_MAJOR, rule.major), (_MINOR, rule.minor)]
    if len(rule.kinds) == 1:
        tests.insert(0, (_KIND, rule.kinds[0]))
    block = b"".join(body)
    for register, number in reversed(tests):
        # Jumps compare 64 bits with a sign-extended constant: a number of 32 bits that looks negative is never met, and
        # as device numbers have 12 and 20 bits, it need not be.
        if number != ANY:
            block = _code(_JUMP_NE, register, offset=len(block) // 8, value=number) + block
    return block
