# SPDX-License-Identifier: Apache-2.0
"""Of a long log, the line that says why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyoci.criu.failure import last_error, reason

LOG = """\
(00.000024) Version: 4.1 (gitid 0)
(03.842888) Error (criu/files-reg.c:1790): Can't lookup mount=27 for fd=2 path=/root/err
(03.843492) Error (criu/cr-dump.c:1681): Dump files (pid: 431) failed, error -1
(04.587037) \tUnseizing 431 into 1
(04.588081) Error (criu/cr-dump.c:2111): Dumping FAILED.
"""
LIMITS = "Error (criu/rlimit.c:23): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted"
WHY = "Can't lookup mount=27 for fd=2 path=/root/err"


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (LOG, WHY),
        ("(00.1) Error (criu/cr-dump.c:2111): Dumping FAILED.\n", "Dumping FAILED."),
        (
            "(00.1)      1: Error (criu/a.c:1): first\n(00.2) Error (criu/b.c:2): second: No such file\n",
            "second: No such file",
        ),
        (LOG.replace("(00.000024)", f"(00.000023) {LIMITS}\n(00.000024)"), WHY),
        (f"(00.1) {LIMITS}\n", ""),
        ("(00.1) all is well\n", ""),
        ("", ""),
    ],
)
def test_the_last_error_that_tells_something(tmp_path: Path, log: str, found: str) -> None:
    (tmp_path / "dump.log").write_text(log)
    assert last_error(str(tmp_path / "dump.log")) == found


def test_a_long_log(tmp_path: Path) -> None:
    (tmp_path / "dump.log").write_text("(00.0) nothing\n" * 100_000 + LOG)
    assert last_error(str(tmp_path / "dump.log")) == WHY


def test_no_log(tmp_path: Path) -> None:
    assert last_error(str(tmp_path / "dump.log")) == ""
    (tmp_path / "link").symlink_to("/proc/self/environ")
    assert last_error(str(tmp_path / "link")) == ""


def test_what_criu_has_told_comes_first(tmp_path: Path) -> None:
    (tmp_path / "dump.log").write_text(LOG)
    log = str(tmp_path / "dump.log")
    assert reason("Error (criu/util.c:1151): Unable to mount tmpfs\nmore", log) == "Unable to mount tmpfs"
    assert reason("just words\n", log) == "just words"
    assert reason("", log) == WHY
    assert reason(LIMITS, log) == WHY
    assert reason(LIMITS, f"{log}.none") == LIMITS.partition("): ")[2]
    assert reason("", f"{log}.none") == "it does not say why"
