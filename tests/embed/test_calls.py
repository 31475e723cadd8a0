# SPDX-License-Identifier: Apache-2.0
"""Both ways into libc do the same: calls.c, here as a module of its own, and _ctypes."""

from __future__ import annotations

import errno
import importlib.util
import os
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pyoci import foreign

from ..conftest import skip_or_fail

SOURCE = Path(__file__).resolve().parent.parent.parent / "pyoci" / "embed" / "calls.c"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    headers = sysconfig.get_config_var("INCLUDEPY")
    if not Path(headers, "Python.h").exists():
        skip_or_fail(f"needs Python.h in {headers}")
    path = tmp_path_factory.mktemp("calls") / "_pyoci_calls.so"
    flags = ["-std=gnu17", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Werror"]
    subprocess.run(["cc", *flags, "-shared", "-fPIC", f"-I{headers}", SOURCE, "-o", path], check=True)
    spec = importlib.util.spec_from_file_location("_pyoci_calls", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.buffer = bytearray  # type: ignore[attr-defined]  # as pyoci.libc has it
    return module


@pytest.fixture(params=["calls", "foreign"])
def libc(request: pytest.FixtureRequest) -> Any:
    return foreign if request.param == "foreign" else request.getfixturevalue("calls")


pytestmark = pytest.mark.needs_compiler


def test_integers_go_in_and_out(libc: Any) -> None:
    assert libc.function("abs", "l")(-5) == 5
    assert libc.function("abs", "l")(5) == 5
    assert libc.function("getpid", "")() == os.getpid()


def test_only_the_result_of_syscall_is_a_long(libc: Any) -> None:
    """An int read as a long would make 4294967295 of a failure."""
    assert libc.function("close", "l")(-1) == -1
    assert libc.function("syscall", "l")(-1) == -1  # the long way round: test_seven_arguments


def test_a_number_may_use_all_bits(libc: Any) -> None:
    labs = libc.function("abs", "l")
    assert labs(0xFFFFFFFF) == 1  # as an int it is -1
    assert labs((1 << 64) - 1) == 1


def test_errno_is_kept_until_the_next_call(libc: Any) -> None:
    assert libc.function("close", "l")(-1) == -1
    assert libc.get_errno() == errno.EBADF
    os.path.exists("/nowhere")
    assert libc.get_errno() == errno.EBADF
    assert libc.function("rmdir", "s")(b"/nowhere") == -1
    assert libc.get_errno() == errno.ENOENT


def test_strings_and_null(libc: Any) -> None:
    strnlen = libc.function("strnlen", "sl")
    assert strnlen(b"four", 10) == 4
    assert strnlen(None, 0) == 0
    assert libc.function("strnlen", "pl")(None, 0) == 0
    with pytest.raises(Exception, match=r"bytes|wrong type|c_char_p"):
        strnlen("text", 10)


def test_buffers_are_written_to_in_place(libc: Any) -> None:
    array = libc.buffer(b"....")
    libc.function("memset", "pll")(libc.address(array, 1), ord("x"), 2)
    assert bytes(array) == b".xx."
    assert bytes(libc.buffer(3)) == b"\0\0\0"


def test_seven_arguments(libc: Any) -> None:
    """syscall(2) with the number and six more."""
    numbers = {"x86_64": 9, "aarch64": 222}
    if os.uname().machine not in numbers:
        pytest.skip("needs the number of mmap(2) on this machine")
    mmap = libc.function("syscall", "lllllll")
    where = mmap(numbers[os.uname().machine], 0, 4096, 3, 0x22, -1, 0)
    assert where > 1 << 32
    assert libc.function("munmap", "pl")(where, 4096) == 0


def test_too_few_arguments_are_refused(libc: Any) -> None:
    with pytest.raises(TypeError):
        libc.function("close", "l")()


def test_what_libc_does_not_have(libc: Any) -> None:
    with pytest.raises((AttributeError, OSError)):
        libc.function("no_such_function", "l")
