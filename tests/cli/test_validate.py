# SPDX-License-Identifier: Apache-2.0
"""The validate command: what it shows, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyoci.cli import spec
from pyoci.errors import PyociError

from .test_main import call
from .test_verbs import invoke


def write(bundle: Path, **changes: Any) -> None:
    (bundle / "config.json").write_text(json.dumps({**spec.template(True), **changes}, indent=4))


def test_a_right_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert invoke("validate") == 0
    assert capfd.readouterr().out == "config.json: no errors\n"
    assert invoke("validate", "-f", "config.json", "--format", "json") == 0
    assert json.loads(capfd.readouterr().out) == []


def test_all_errors_are_shown(tmp_path: Path) -> None:
    write(tmp_path, hostname=5, mounts=[{"destination": 7}])
    log = tmp_path / "log"
    done = call("--log", str(log), "--log-format", "json", "validate", "--bundle", f"{tmp_path}/")
    assert done.returncode == 1
    for pointer in ("/hostname", "/mounts/0/destination"):
        assert f": error: {pointer}: " in done.stdout
    assert done.stdout.count(f"{tmp_path}/config.json:") == 2
    assert "\x1b" not in done.stdout
    assert done.stderr == f"pyoci: {tmp_path}/config.json: 2 errors\n"
    assert json.loads(log.read_text())["kind"] == "SpecError"


def test_errors_as_json(tmp_path: Path) -> None:
    write(tmp_path, hostname=5)
    done = call("validate", "-b", str(tmp_path), "--format=json")
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)
    assert (problem["pointer"], problem["level"], problem["file"]) == ("/hostname", "error", f"{tmp_path}/config.json")


def test_warnings_are_no_failure(tmp_path: Path) -> None:
    write(tmp_path, hostnam="x")
    done = call("validate", "-b", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert ": warning: /hostnam" in done.stdout


def test_a_config_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PyociError, match=r"config\.json: no such file or directory"):
        invoke("validate", "--bundle", str(tmp_path))
