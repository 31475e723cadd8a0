# SPDX-License-Identifier: Apache-2.0
"""Compiled filters, judged by an interpreter of their instructions, and by the kernel."""

from __future__ import annotations

import ctypes
import errno
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci.errors import PyociError
from pyoci.seccomp import ALLOW, ERRNO, SeccompPlan, plan_seccomp, supported_flags
from pyoci.seccomp_compiler import Program, assemble_stub, compile_filter
from pyoci.syscalls import MACHINE, PR_SET_NO_NEW_PRIVS, prctl
from pyoci.thirdparty import load
from tests.conftest import skip_or_fail
from tests.forked import in_child

DOCKER = Path(__file__).parent / "fixtures" / "docker-seccomp.json"
X86_64, I386, X32, AARCH64, S390X = 0xC000003E, 0x40000003, 0x4000003E, 0xC00000B7, 0x80000016
X32_BIT = 1 << 30
NO_SUCH_CALL = ERRNO | errno.ENOSYS
ON_X86_64 = pytest.mark.skipif(MACHINE != "x86_64", reason="has the system call numbers of x86-64")


JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x15: lambda accumulator, k: accumulator == k,
    0x25: lambda accumulator, k: accumulator > k,
    0x35: lambda accumulator, k: accumulator >= k,
    0x45: lambda accumulator, k: accumulator & k != 0,
}


def verdict(program: bytes, arch: int, number: int, *arguments: int) -> int | None:
    """What a filter returns for a system call; None if it runs off its end. Covers what the compiler makes use of."""
    data = struct.pack(
        "@iIQ6Q", number - (1 << 32) if number >> 31 else number, arch, 0, *arguments, *[0] * (6 - len(arguments))
    )
    code = list(struct.iter_unpack("@HBBI", program))
    accumulator = position = 0
    while position < len(code):
        operation, when, otherwise, k = code[position]
        position += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("@I", data, k)[0]
        elif operation == 0x06:
            return int(k)
        elif operation == 0x05:
            position += k
        elif operation == 0x54:
            accumulator &= k
        else:
            position += when if JUMPS[operation](accumulator, k) else otherwise
    return None


@pytest.fixture(autouse=True)
def libseccomp() -> None:
    try:
        load("seccomp")
    except PyociError as error:
        skip_or_fail(f"needs libseccomp's Python binding: {error.message}")


def compiled(config: dict[str, Any]) -> Program:
    plan = plan_seccomp(config, supported_flags())
    assert plan is not None
    return compile_filter(plan)


def allow(*names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", **more}


def deny_all_but(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **more}


def test_stub_of_one_architecture() -> None:
    stub = assemble_stub({AARCH64: 400})
    assert [verdict(stub, AARCH64, number) for number in (0, 400, 401, 5000)] == [
        None,
        None,
        NO_SUCH_CALL,
        NO_SUCH_CALL,
    ]
    assert verdict(stub, X86_64, 401) is None  # the filter says what becomes of other architectures


def test_stub_of_s390_answers_the_multiplexer() -> None:
    stub = assemble_stub({S390X: 400})
    assert [verdict(stub, S390X, number) for number in (0, 1, 400, 401)] == [NO_SUCH_CALL, None, None, NO_SUCH_CALL]


@pytest.mark.parametrize("order", [(X86_64, I386, X32), (X32, I386, X86_64), (I386, X32, X86_64)])
def test_stub_of_x86_tells_its_three_abis_apart(order: tuple[int, ...]) -> None:
    limits = {X86_64: 450, I386: 440, X32: X32_BIT | 430}
    stub = assemble_stub({token: limits[token] for token in order})
    assert [verdict(stub, X86_64, number) for number in (0, 450, 451)] == [None, None, NO_SUCH_CALL]
    assert [verdict(stub, X86_64, X32_BIT | number) for number in (0, 430, 431)] == [None, None, NO_SUCH_CALL]
    assert [verdict(stub, I386, number) for number in (0, 440, 441)] == [None, None, NO_SUCH_CALL]


def test_stub_leaves_x32_to_the_filter_unless_asked() -> None:
    assert verdict(assemble_stub({X86_64: 450}), X86_64, X32_BIT | 5000) is None
    only = assemble_stub({X32: X32_BIT | 430})
    assert (verdict(only, X86_64, X32_BIT | 431), verdict(only, X86_64, 5000)) == (NO_SUCH_CALL, None)


def test_stub_of_a_profile_that_names_nothing_there() -> None:
    assert verdict(assemble_stub({AARCH64: 0}), AARCH64, 5000) is None


@ON_X86_64
def test_dockers_profile() -> None:
    program = compiled(json.loads(DOCKER.read_text())).instructions
    assert verdict(program, X86_64, 0) == ALLOW  # read
    assert verdict(program, X86_64, 165) == ERRNO | errno.EPERM  # mount
    assert verdict(program, X86_64, 5000) == NO_SUCH_CALL
    assert verdict(program, I386, 3) == ALLOW  # read
    assert verdict(program, I386, 5000) == NO_SUCH_CALL
    assert verdict(program, AARCH64, 63) == 0  # an architecture that is not named: killed


@ON_X86_64
def test_conditions_hold_together_unless_an_argument_is_compared_twice() -> None:
    def equals(index: int, value: int) -> dict[str, Any]:
        return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}

    both = compiled(deny_all_but(allow("socket", args=[equals(0, 1), equals(1, 2)]))).instructions
    assert [verdict(both, X86_64, 41, *pair) == ALLOW for pair in ((1, 2), (1, 3), (4, 2))] == [True, False, False]
    either = compiled(deny_all_but(allow("socket", args=[equals(0, 1), equals(0, 2)]))).instructions
    assert [verdict(either, X86_64, 41, first) == ALLOW for first in (1, 2, 3)] == [True, True, False]


@ON_X86_64
def test_masked_comparison_and_wide_values() -> None:
    masked = {"index": 0, "value": 0xF0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}
    program = compiled(deny_all_but(allow("clone", args=[masked]))).instructions
    assert [verdict(program, X86_64, 56, flags) == ALLOW for flags in (0x10, 0x1F, 0x20)] == [True, True, False]
    wide = {"index": 0, "value": 2**64 - 1, "op": "SCMP_CMP_EQ"}
    program = compiled(deny_all_but(allow("personality", args=[wide]))).instructions
    assert [verdict(program, X86_64, 135, value) == ALLOW for value in (2**64 - 1, 2**32 - 1)] == [True, False]


@ON_X86_64
def test_what_a_profile_names_is_known_even_if_that_changes_nothing() -> None:
    newer = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO"}
    config = deny_all_but(allow("write"))
    assert verdict(compiled(config).instructions, X86_64, 435) == NO_SUCH_CALL
    config["syscalls"].append(newer)
    assert verdict(compiled(config).instructions, X86_64, 435) == ERRNO | errno.EPERM
    assert verdict(compiled(config).instructions, X86_64, 436) == NO_SUCH_CALL


@pytest.mark.parametrize("name", ["no_such_call", "\x80", "réad", "\udc80"])
def test_unknown_names_are_skipped_and_told(name: str) -> None:
    """Also those that libseccomp's binding cannot say: ASCII is what it takes, or UTF-8."""
    assert compiled(deny_all_but(allow("read", name))).skipped == (name,)


def test_a_profile_of_unknown_names_alone() -> None:
    program = compiled(deny_all_but(allow("no_such_call")))
    assert program.skipped == ("no_such_call",)
    assert verdict(program.instructions, X86_64, 0) == ERRNO | errno.EPERM


@ON_X86_64
@pytest.mark.parametrize(
    "config",
    [
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]},
        {"defaultAction": "SCMP_ACT_LOG", "syscalls": [allow("read")]},
        {"defaultAction": "SCMP_ACT_TRACE", "syscalls": [allow("read")]},
    ],
)
def test_no_stub_where_new_calls_are_let_through(config: dict[str, Any]) -> None:
    assert verdict(compiled(config).instructions, X86_64, 5000) != NO_SUCH_CALL


def test_architecture_that_nobody_knows() -> None:
    with pytest.raises(PyociError) as caught:
        compile_filter(SeccompPlan(default_action=ALLOW, architectures=("SCMP_ARCH_PDP11",)))
    assert "'SCMP_ARCH_PDP11' is not known to the libseccomp installed here" in caught.value.message


@pytest.mark.needs_seccomp
def test_the_kernel_follows_it() -> None:
    loaded = compiled(json.loads(DOCKER.read_text())).filter()
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int) -> int:
        return 0 if libc.syscall(number, 0, 0, 0, 0, 0, 0) >= 0 else ctypes.get_errno()

    def inside() -> list[int]:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        loaded.load()
        return [
            call(5000),
            0 if libc.unshare(0x10000000) == 0 else ctypes.get_errno(),
            len(Path("/proc/self/stat").read_text()),
        ]

    unknown, unshare, length = in_child(inside)
    assert (unknown, unshare) == (errno.ENOSYS, errno.EPERM)
    assert length > 0
