# SPDX-License-Identifier: Apache-2.0
"""Who gets to read what: engines the log file, people stderr."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest

from pyoci.log import Log, printable, timestamp

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def say_all(log: Log) -> None:
    log.debug("a detail")
    log.info("a step")
    log.warning("a doubt")
    log.error("an end")


def levels(text: str) -> list[str]:
    return [json.loads(line)["level"] for line in text.splitlines()]


ALL = ["debug", "info", "warning", "error"]


@pytest.mark.parametrize(("debug", "kept"), [(False, ["error"]), (True, ALL)])
def test_a_json_file(tmp_path: Path, capfd: pytest.CaptureFixture[str], debug: bool, kept: list[str]) -> None:
    log = Log()
    log.json, log.verbose = True, debug
    log.open(str(tmp_path / "log"))
    say_all(log)
    os.close(log.fd)
    assert levels((tmp_path / "log").read_text()) == kept
    assert capfd.readouterr().err == "pyoci: an end\n"


@pytest.mark.parametrize(("debug", "kept"), [(False, ["warning", "error"]), (True, ALL)])
def test_a_text_file(tmp_path: Path, capfd: pytest.CaptureFixture[str], debug: bool, kept: list[str]) -> None:
    log = Log()
    log.verbose = debug
    log.open(str(tmp_path / "log"))
    say_all(log)
    os.close(log.fd)
    pattern = r'time="([^"]+)" level=(\w+) msg="a[n]? \w+"'
    found = [re.fullmatch(pattern, line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [match and match[2] for match in found] == kept
    assert all(match and RFC3339.fullmatch(match[1]) for match in found)
    assert capfd.readouterr().err == "pyoci: an end\n"


def test_stderr_alone(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    say_all(log)
    assert capfd.readouterr().err == "pyoci: warning: a doubt\npyoci: an end\n"
    log.verbose = True
    say_all(log)
    details, steps = capfd.readouterr().err.splitlines()[:2]
    assert re.fullmatch(r'time="[^"]+" level=debug msg="a detail"', details)
    assert re.fullmatch(r'time="[^"]+" level=info msg="a step"', steps)


def test_stderr_alone_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.json = True
    say_all(log)
    assert levels(capfd.readouterr().err) == ["warning", "error"]


def test_details_become_keys(tmp_path: Path) -> None:
    log = Log()
    log.json = True
    log.open(str(tmp_path / "log"))
    log.error("no", kind="CgroupError", errno=13)
    os.close(log.fd)
    entry = json.loads((tmp_path / "log").read_text())
    assert RFC3339.fullmatch(entry.pop("time"))
    assert entry == {"level": "error", "msg": "no", "kind": "CgroupError", "errno": 13}


def test_the_file_is_appended_to_and_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "log"
    before = os.umask(0)
    try:
        for _ in range(2):
            log = Log()
            log.open(str(path))
            assert not os.get_inheritable(log.fd)
            log.error("again")
            os.close(log.fd)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert path.read_text().count("again") == 2


def test_hostile_text_stays_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.json = True
    log.open(str(tmp_path / "log"))
    log.error("a\x1b[2Jb\nc\td\x7f\x9b\udcff\u20ac")
    os.close(log.fd)
    assert capfd.readouterr().err == "pyoci: a\\x1b[2Jb\nc\td\\x7f\\x9b\\udcff\u20ac\n"
    text = (tmp_path / "log").read_text("ascii")
    assert text.count("\n") == 1
    assert json.loads(text)["msg"] == "a\x1b[2Jb\nc\td\x7f\x9b\udcff\u20ac"


def test_a_text_file_has_one_line_for_an_entry(tmp_path: Path) -> None:
    log = Log()
    log.open(str(tmp_path / "log"))
    log.error('one\ntwo "three"')
    os.close(log.fd)
    assert (tmp_path / "log").read_text().endswith('level=error msg="one\\ntwo \\"three\\""\n')


def test_a_full_disk_hides_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.open("/dev/full")
    log.error("the reason")
    os.close(log.fd)
    assert capfd.readouterr().err == "pyoci: the reason\n"


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Log().open(str(tmp_path / "no" / "log"))


def test_the_time_is_the_present_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    assert RFC3339.fullmatch(timestamp())
    monkeypatch.setattr("pyoci.log.time.gmtime", lambda: time.struct_time((2026, 1, 2, 3, 4, 5, 0, 2, 0)))
    assert timestamp() == "2026-01-02T03:04:05Z"


def test_printable_text_is_left_alone() -> None:
    assert printable("caf\u00e9 \u2013 x") == "caf\u00e9 \u2013 x"
