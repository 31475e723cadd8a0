# SPDX-License-Identifier: Apache-2.0
"""What a call of `pyoci update` asks for, in the shape of linux.resources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyoci.cli.options import Call, parse
from pyoci.cli.update import COMMAND, _read, changes
from pyoci.errors import PyociError, SpecError, UsageError

MIB = 1 << 20


def asked(*words: str) -> dict[str, Any]:
    return changes(parse(Call(COMMAND), [*words, "web"]))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--memory 64m", {"memory": {"limit": 64 * MIB}}),
        ("--memory=-1 --memory-swap -1", {"memory": {"limit": -1, "swap": -1}}),
        ("--memory-reservation 5 --kernel-memory 6 --kernel-memory-tcp 7",
         {"memory": {"reservation": 5, "kernel": 6, "kernelTCP": 7}}),
        ("--cpu-period 1 --cpu-quota -1 --cpu-burst 0 --cpu-share 2 --cpu-idle 1",
         {"cpu": {"period": 1, "quota": -1, "burst": 0, "shares": 2, "idle": 1}}),
        ("--cpu-rt-period 5 --cpu-rt-runtime -1", {"cpu": {"realtimePeriod": 5, "realtimeRuntime": -1}}),
        ("--cpuset-cpus 0-2 --cpuset-mems 1", {"cpu": {"cpus": "0-2", "mems": "1"}}),
        ("--blkio-weight 10 --pids-limit 0", {"blockIO": {"weight": 10}, "pids": {"limit": 0}}),
        ("--pids-limit -1 --cpu-share=", {"pids": {"limit": -1}}),
    ],
)  # fmt: skip
def test_options(words: str, expected: dict[str, Any]) -> None:
    assert asked(*words.split()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("1234567890123456789", 1234567890123456789), ("5b", 5), ("5K", 5 << 10), ("5kb", 5 << 10),
        ("5KiB", 5 << 10), ("64m", 64 << 20), ("64 M", 64 << 20), ("2g", 2 << 30), ("1.5G", 3 << 29), ("1t", 1 << 40),
        ("1PiB", 1 << 50), (".5k", 512), ("1.9", 1), ("-1", -1),
    ],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert asked("--memory", text) == {"memory": {"limit": expected}}


@pytest.mark.parametrize(
    "text",
    ["x", "-2", "1x", "1e3", "64mm", "64bb", "64ib", "m", " ", ".", "1.2.3", "1,5m", "\u0661", "1" * 20, "64 m "],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="update: --memory is "):
        asked("--memory", text)


def test_what_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "resources"
    file.write_bytes(b'{"pids": \xff}')
    with pytest.raises(PyociError, match="resources is not UTF-8 text: byte 9 is 0xff"):
        _read(str(file))


@pytest.mark.parametrize(
    ("option", "text"),
    [("--memory", "9999999999999999999p"), ("--memory-swap", "8192p"), ("--memory-reservation", "9223372036854775808"),
     ("--memory", "8191.99999999999999p"), ("--cpu-quota", "-9999999999999999999"), ("--pids-limit", "9223372036854775808")],
)  # fmt: skip
def test_what_is_beyond_all_bounds(option: str, text: str) -> None:
    message = f"update: {option} is '{text}', and can be no number beyond 9223372036854775807, on either side of 0"
    with pytest.raises(UsageError, match=re.escape(message)):
        asked(option, text)


@pytest.mark.parametrize(
    ("option", "text"),
    [("--memory", "9223372036854775807"), ("--memory-swap", "8191p"), ("--cpu-quota", "-9223372036854775807"),
     ("--cpu-share", "9999999999999999999")],
)  # fmt: skip
def test_what_is_just_within_them(option: str, text: str) -> None:
    asked(option, text)


@pytest.mark.parametrize(
    ("option", "text"),
    [("--cpu-period", "-1"), ("--cpu-share", "5m"), ("--cpu-quota", "--5"), ("--pids-limit", "1.5"),
     ("--blkio-weight", "x"), ("--cpu-idle", "true"), ("--cpu-burst", "9" * 20)],
)  # fmt: skip
def test_what_is_no_number(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"update: {option} is '{text}', and not a number"):
        asked(option, text)


def test_a_file_is_all_there_is(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"pids": {"limit": 5}, "cpu": null}\n')
    assert asked("--memory", "64m", "-r", str(file)) == {"pids": {"limit": 5}}


def test_a_pipe_will_do(tmp_path: Path) -> None:
    told, tell = os.pipe()
    os.write(tell, b'{"pids": {"limit": 5}}')
    os.close(tell)
    assert asked("--resources", f"/proc/self/fd/{told}") == {"pids": {"limit": 5}}
    os.close(told)


FROM_STANDARD_INPUT = """
from pyoci.cli.options import Call, parse; from pyoci.cli.update import COMMAND, changes
print(changes(parse(Call(COMMAND), ['--resources=-', 'web'])))
"""
REPOSITORY = Path(__file__).resolve().parents[2]


def test_standard_input() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FROM_STANDARD_INPUT],
        input='{"pids": {"limit": 5}}', capture_output=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("{'pids': {'limit': 5}}\n", "")


def test_standard_input_that_comes_late() -> None:
    """Some callers leave us a pipe that is non-blocking."""
    told, tell = os.pipe()
    os.set_blocking(told, False)
    process = subprocess.Popen(
        [sys.executable, "-c", FROM_STANDARD_INPUT],
        stdin=told, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    os.close(told)
    with pytest.raises(subprocess.TimeoutExpired):  # it has time to fail
        process.wait(1)
    os.write(tell, b'{"pids": {"limit": 5}}')
    os.close(tell)
    assert process.communicate(timeout=60) == ("{'pids': {'limit': 5}}\n", "")


def test_a_file_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text('{"pids": {"limit": "many"}}')
    with pytest.raises(SpecError, match=r"r\.json"):
        asked("-r", str(file))
    with pytest.raises(PyociError, match="read /nonexistent: no such file or directory"):
        asked("-r", "/nonexistent")
    with pytest.raises(PyociError, match="/dev/zero is larger than 16 MiB"):
        asked("-r", "/dev/zero")
