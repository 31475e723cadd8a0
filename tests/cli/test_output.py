# SPDX-License-Identifier: Apache-2.0
"""What list, state, ps and spec write to standard output and into the bundle."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pyoci.cli import ps, spec
from pyoci.cli.list import table
from pyoci.container.options import CreateOptions
from pyoci.container.record import Settings
from pyoci.errors import PyociError
from pyoci.record import Record

from .test_verbs import invoke

WEB = {
    "ociVersion": "1.3.0",
    "id": "web",
    "pid": 4711,
    "status": "running",
    "bundle": "/srv/web",
    "rootfs": "/srv/web/rootfs",
    "created": "2026-11-20T18:00:00.123456789Z",
    "owner": 0,
}
OLD = {**WEB, "id": "a-container-with-a-long-name", "pid": 0, "status": "stopped", "owner": 987654}


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    states: list[dict[str, Any]] = []
    monkeypatch.setattr("pyoci.container.query.list_containers", lambda settings: states)
    monkeypatch.setattr("pyoci.container.query.state", lambda settings, name: states[0])
    monkeypatch.setattr("pyoci.container.query.pids", lambda settings, name: [os.getpid(), 1 << 30])
    return states


def listed(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    assert invoke("--root", "/usr", *words) == 0
    return capfd.readouterr().out


def test_list_as_a_table(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    """The columns are those of runc: as wide as their widest cell and three blanks, twelve at least."""
    containers.extend([WEB, OLD])
    assert listed(capfd, "list") == (
        "ID                             PID         STATUS      BUNDLE      CREATED                          OWNER\n"
        "web                            4711        running     /srv/web    2026-11-20T18:00:00.123456789Z   root\n"
        "a-container-with-a-long-name   0           stopped     /srv/web    2026-11-20T18:00:00.123456789Z   #987654\n"
    )


def test_the_table_of_nothing(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    assert listed(capfd, "list") == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"


def test_list_as_json(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    assert listed(capfd, "list", "-f", "json") == "null\n"
    containers.extend([WEB, OLD])
    output = listed(capfd, "list", "--format=json")
    assert output.count("\n") == 1
    assert output.startswith('[{"ociVersion":"1.3.0","id":"web","pid":4711,"status":"running","bundle":"/srv/web",')
    assert json.loads(output) == [{**WEB, "owner": "root"}, {**OLD, "owner": "#987654"}]


def test_list_of_ids(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    assert listed(capfd, "list", "-q") == ""
    containers.extend([WEB, OLD])
    assert listed(capfd, "list", "--quiet", "--format", "json") == "web\na-container-with-a-long-name\n"


def test_a_root_that_is_missing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(PyociError, match="missing: no such file or directory"):
        invoke("--root", missing, "list")
    monkeypatch.setattr("pyoci.cli.settings.SYSTEM_ROOT", missing)
    monkeypatch.setattr("pyoci.cli.settings.environ", {})
    assert invoke("list", "-q") == 0
    assert capfd.readouterr().out == ""


def test_table_cells_that_are_no_ascii() -> None:
    lines = table([["A", "B"], ["\u00e4\u00f6\u00fc", "x"]]).splitlines()
    assert lines == ["A           B", "\u00e4\u00f6\u00fc         x"]


def test_state(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    containers.append(WEB)
    output = listed(capfd, "state", "web")
    assert output.startswith('{\n  "ociVersion": "1.3.0",\n  "id": "web",\n')
    assert output.endswith("\n}\n")
    assert json.loads(output) == WEB


# ps


def test_ps_as_json(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str]) -> None:
    assert listed(capfd, "ps", "-f", "json", "web") == f"[{os.getpid()},{1 << 30}]\n"


LINES = "UID    PID  PPID CMD\nroot     1     0 init [3]\nroot    12     1 cat 1\n\nroot   x12     1 dog\n"


@pytest.mark.parametrize(
    ("pids", "kept"), [({1}, "root     1     0 init [3]\n"), ({12}, "root    12     1 cat 1\n"), ({3}, ""), (set(), "")]
)
def test_the_lines_of_some_processes(pids: set[int], kept: str) -> None:
    assert ps.lines_of(pids, LINES) == "UID    PID  PPID CMD\n" + kept


def test_a_command_line_makes_no_lines() -> None:
    assert ps.lines_of({1}, "PID CMD\n2 a\x0b1 b\u20281 c\n1 d\re\n") == "PID CMD\n1 d\re\n"


@pytest.mark.parametrize("output", ["", "\n", "PPID CMD\n1 init\n"])
def test_lines_without_pids(output: str) -> None:
    with pytest.raises(PyociError, match="no PID column"):
        ps.lines_of({1}, output)


@pytest.fixture
def fake_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ps in a PATH of its own; tests write the script."""
    monkeypatch.setattr(ps, "environ", {b"PATH": f"relative:{tmp_path}/missing:{tmp_path}".encode()})
    return tmp_path / "ps"


def write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_ps_as_a_table(containers: list[dict[str, Any]], capfd: pytest.CaptureFixture[str], fake_ps: Path) -> None:
    write_script(fake_ps, f'echo "PID ARGS"; echo "{os.getpid()} $*"; echo "1 init"')
    assert listed(capfd, "ps", "web") == f"PID ARGS\n{os.getpid()} -ef\n"
    assert listed(capfd, "ps", "web", "-o", "pid", "--x") == f"PID ARGS\n{os.getpid()} -o pid --x\n"


def test_ps_that_fails(containers: list[dict[str, Any]], fake_ps: Path) -> None:
    write_script(fake_ps, "echo unsupported option >&2; exit 3")
    with pytest.raises(PyociError, match="ps --bad: exit code 3: unsupported option"):
        invoke("--root", "/usr", "ps", "web", "--bad")
    fake_ps.write_text("no script")
    with pytest.raises(PyociError, match="run ps: exec format error"):
        invoke("--root", "/usr", "ps", "web")


def test_ps_that_is_missing(containers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ps, "environ", {})
    monkeypatch.setattr(ps, "_USUAL_PATH", str(tmp_path))
    monkeypatch.chdir("/bin")
    with pytest.raises(PyociError, match="ps is not installed"):
        invoke("--root", "/usr", "ps", "web")


# plan


class Steps(Record):
    id: str
    mounts: tuple[str, ...] = ("/proc", "/dev")


def test_a_plan_as_json(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    asked: list[object] = []

    def plan(settings: Settings, name: str, options: CreateOptions) -> Steps:
        asked.append(options)
        return Steps(id=name)

    monkeypatch.setattr("pyoci.container.create.plan", plan)
    assert listed(capfd, "plan", "-b", "/srv", "--format", "json", "web") == (
        '{\n  "id": "web",\n  "mounts": [\n    "/proc",\n    "/dev"\n  ]\n}\n'
    )
    assert asked == [CreateOptions(bundle="/srv")]
    assert json.loads(listed(capfd, "plan", "--format=json"))["id"] == "plan"


# spec


def written(bundle: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((bundle / "config.json").read_text())
    return config


def test_spec_writes_a_config(tmp_path: Path) -> None:
    assert invoke("spec", "--bundle", str(tmp_path)) == 0
    unified = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    assert written(tmp_path) == spec.template(unified)
    mode = stat.S_IMODE((tmp_path / "config.json").stat().st_mode)
    umask = os.umask(0)
    os.umask(umask)
    assert mode == 0o666 & ~umask


def test_spec_writes_to_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("spec", "--rootless") == 0
    assert written(tmp_path)["linux"]["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]


def test_spec_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("elsewhere")
    with pytest.raises(PyociError, match=r"config.json exists already: remove it first"):
        invoke("spec", "--bundle", str(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("unified", [False, True])
def test_the_template(unified: bool) -> None:
    config = spec.template(unified)
    kinds = [namespace["type"] for namespace in config["linux"]["namespaces"]]
    assert kinds == ["pid", "network", "ipc", "uts", "mount"] + ["cgroup"] * unified
    assert config["process"]["noNewPrivileges"] is True
    assert set(config["process"]["capabilities"]) == {"bounding", "effective", "permitted"}
    assert {mount["destination"] for mount in config["mounts"]} >= {"/proc", "/dev", "/dev/pts", "/dev/shm", "/sys"}


def test_the_template_for_an_ordinary_user() -> None:
    full = spec.template(True)
    config = spec.rootless(full, 1000, 100)
    assert "network" in str(full), "the original is left alone"
    linux = config["linux"]
    assert [n["type"] for n in linux["namespaces"]] == ["pid", "ipc", "uts", "mount", "cgroup", "user"]
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": 100, "size": 1}]
    assert "resources" not in linux
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert mounts["/sys"]["options"][0] == "rbind"
    assert mounts["/dev/pts"]["options"] == ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    assert "options" not in mounts["/proc"]
