# SPDX-License-Identifier: Apache-2.0
"""From a SeccompPlan to a BPF program: libseccomp's, behind a few instructions of ours.

Those few answer ENOSYS to system calls that are newer than everything the profile names. Its author cannot
have meant to forbid what did not exist; and C libraries try the new call first and fall back on ENOSYS, but
not on the EPERM that a profile usually has for the rest. runc has done so since 1.0.0-rc93.
"""

from __future__ import annotations

from _struct import Struct
from errno import ENOSYS

from pyoci.errors import PyociError
from pyoci.kernel.basic import close, lseek, memfd_create, read
from pyoci.record import Record
from pyoci.seccomp import ALLOW, ERRNO, LOG, TRACE, Filter, Rule, SeccompPlan
from pyoci.thirdparty import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TREE_THRESHOLD = 32  # names from which a search tree over the numbers is better than a list
_OPTIMIZE_TREE = 2
_MAX_INSTRUCTIONS = 4096
_UNKNOWN = -1  # what libseccomp resolves an unknown name to; other negative numbers: not on this architecture

_instruction = Struct("@HBBI")
_LOAD, _JUMP, _IF_EQUAL, _IF_GREATER, _IF_SET, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4  # offsets in struct seccomp_data
_AUDIT_X86_64, _TOKEN_X32, _X32_BIT = 0xC000003E, 0x4000003E, 1 << 30
_AUDIT_S390 = (0x16, 0x80000016)
_NEVER = 0xFFFFFFFF

_Instructions = list[tuple[int, int, int, int]]


class Program(Record):
    """A compiled filter: the instructions as the kernel takes them, flags, and names that libseccomp does not
    know.
    """

    instructions: bytes
    flags: int
    skipped: tuple[str, ...] = ()

    def filter(self) -> Filter:
        """The program laid out for loading."""
        return Filter(self.instructions, self.flags)


def compile_filter(plan: SeccompPlan) -> Program:
    """Compile a plan, on the host: this loads libseccomp. Raises PyociError."""
    library = load("seccomp")
    native = library.system_arch() & 0xFFFFFFFF
    architectures = {native: native} | {_token(library, name): 0 for name in plan.architectures}
    numbers = {name: _number(library, library.Arch.NATIVE, name) for rule in plan.rules for name in rule.names}
    filter_ = _new_filter(library, plan, len(numbers))
    for rule in plan.rules:
        for conditions in _alternatives(library, rule):
            for name in rule.names:
                if numbers[name] != _UNKNOWN:
                    _add(filter_, rule.action, name, numbers[name], conditions)
    stub = b""
    if plan.default_action & 0xFFFF0000 not in (ALLOW, LOG, TRACE) and plan.default_action != ERRNO | ENOSYS:
        known = (*numbers, *plan.named)
        stub = assemble_stub({token: newest(library, token, known) for token in architectures})
    instructions = stub + _export(filter_)
    if len(instructions) > _MAX_INSTRUCTIONS * _instruction.size:
        raise PyociError(
            f"linux.seccomp: the filter has {len(instructions) // _instruction.size} instructions, "
            f"and the kernel takes at most {_MAX_INSTRUCTIONS}"
        )
    skipped = tuple(name for name, number in numbers.items() if number == _UNKNOWN)
    return Program(instructions=instructions, flags=plan.flags, skipped=skipped)


def _number(library: Any, architecture: int, name: str) -> int:
    """A system call's number, or _UNKNOWN. What is no ASCII is no name of one, and an error to some versions."""
    return int(library.resolve_syscall(architecture, name)) if name.isascii() else _UNKNOWN


def _token(library: Any, name: str) -> int:
    """libseccomp's number for an architecture like SCMP_ARCH_X86: the kernel's AUDIT_ARCH_*, but for x32."""
    token = getattr(library.Arch, name.removeprefix("SCMP_ARCH_"), None)
    if token is None or not name.startswith("SCMP_ARCH_"):
        raise PyociError(f"linux.seccomp.architectures: {name!r} is not known to the libseccomp installed here")
    return int(token) & 0xFFFFFFFF


def _signed(token: int) -> int:
    return token - (1 << 32) if token >> 31 else token


def _new_filter(library: Any, plan: SeccompPlan, names: int) -> Any:
    try:
        filter_ = library.SyscallFilter(_signed(plan.default_action))
        for name in plan.architectures:
            architecture = _signed(_token(library, name))
            if not filter_.exist_arch(architecture):
                filter_.add_arch(architecture)
        if names > _TREE_THRESHOLD:
            filter_.set_attr(library.Attr.CTL_OPTIMIZE, _OPTIMIZE_TREE)
    except (RuntimeError, ValueError, OSError) as error:
        raise PyociError(f"linux.seccomp: start a filter for {', '.join(plan.architectures)}: {error}") from error
    return filter_


def _alternatives(library: Any, rule: Rule) -> list[tuple[Any, ...]]:
    """The conditions as libseccomp takes them. All must hold, unless one argument is compared twice: then, as
    with runc, any of them will do.
    """
    conditions = [
        library.Arg(item.index, getattr(library, item.operator.removeprefix("SCMP_CMP_")), item.value, item.second)
        for item in rule.conditions
    ]
    if len({item.index for item in rule.conditions}) < len(conditions):
        return [(condition,) for condition in conditions]
    return [tuple(conditions)]


def _add(filter_: Any, action: int, name: str, number: int, conditions: tuple[Any, ...]) -> None:
    try:
        filter_.add_rule(_signed(action), number, *conditions)
    except (RuntimeError, ValueError, OSError) as error:
        raise PyociError(f"linux.seccomp: add the rule for {name}: {error}") from error


def _export(filter_: Any) -> bytes:
    fd = memfd_create("seccomp")
    try:
        filter_.export_bpf(_File(fd))
        size = lseek(fd, 0, 1)
        lseek(fd, 0, 0)
        return read(fd, size)
    except (RuntimeError, OSError) as error:
        raise PyociError(f"linux.seccomp: export the filter from libseccomp: {error}") from error
    finally:
        close(fd)


class _File:
    """As much of a file object as libseccomp asks for."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd


def newest(library: Any, token: int, names: tuple[str, ...]) -> int:
    """The highest number that any of these names has on an architecture, 0 if none has one there."""
    architecture = _signed(token)
    return int(max((0, *(_number(library, architecture, name) for name in names))))


def assemble_stub(limits: dict[int, int]) -> bytes:
    """Instructions that return ENOSYS for what is above the limit of its architecture and else run into what
    follows.

    limits: the newest system call by libseccomp's architecture. x86-64 and x32 are one architecture to the
    kernel; bit 30 of the number tells them apart.
    """
    blocks = []
    for token, limit in limits.items():
        if token == _AUDIT_X86_64 or (token == _TOKEN_X32 and _AUDIT_X86_64 not in limits):
            blocks.append((_AUDIT_X86_64, _x86_64_block(limits)))
        elif token != _TOKEN_X32 and limit > 0:
            blocks.append((token, _block(token, limit)))
    code: _Instructions = []
    for architecture, block in reversed(blocks):
        # The last instruction of a block jumps over all the blocks that follow, into the filter.
        block.append((_JUMP, 0, 0, len(code)))
        code = [(_IF_EQUAL, 0, len(block), architecture), *block, *code]
    code.insert(0, (_LOAD, 0, 0, _AT_ARCHITECTURE))
    return b"".join(_instruction.pack(*instruction) for instruction in code)


def _block(token: int, limit: int) -> _Instructions:
    refuse = (_RETURN, 0, 0, ERRNO | ENOSYS)
    block: _Instructions = [(_LOAD, 0, 0, _AT_NUMBER)]
    if token in _AUDIT_S390:
        # A number too large for the instruction is in a register there, and 0 if the kernel does not know it.
        block += [(_IF_EQUAL, 0, 1, 0), refuse]
    return [*block, (_IF_GREATER, 0, 1, limit), refuse]


def _x86_64_block(limits: dict[int, int]) -> _Instructions:
    return [
        (_LOAD, 0, 0, _AT_NUMBER),
        (_IF_SET, 1, 0, _X32_BIT),
        (_IF_GREATER, 1, 2, limits.get(_AUDIT_X86_64, 0) or _NEVER),
        (_IF_GREATER, 0, 1, limits.get(_TOKEN_X32, 0) or _NEVER),
        (_RETURN, 0, 0, ERRNO | ENOSYS),
    ]
