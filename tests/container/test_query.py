# SPDX-License-Identifier: Apache-2.0
"""Looking at containers, also at broken ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import state as states
from pyoci.cgroups import processes
from pyoci.container import query
from pyoci.container.record import Settings
from pyoci.errors import ContainerNotFound, PyociError
from pyoci.log import Log
from pyoci.state import RuntimeState, StateDir
from tests.test_state import STATE


class Heard(Log):
    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def warning(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path / "root"), log=Heard())


def recorded(settings: Settings, name: str, **changes: Any) -> RuntimeState:
    directory = StateDir(settings.root, name)
    directory.make(settings.root)
    state = STATE.replace(id=name, cgroup_paths={}, init_process_pid=0, **changes)
    directory.save(state)
    return state


def test_one(settings: Settings) -> None:
    recorded(settings, "box")
    assert query.state(settings, "box")["id"] == "box"
    with pytest.raises(ContainerNotFound):
        query.state(settings, "none")


def test_all_in_order_with_their_owners(settings: Settings) -> None:
    for name in ("b", "a"):
        recorded(settings, name)
    listed = query.list_containers(settings)
    assert [(one["id"], one["status"], one["owner"]) for one in listed] == [
        ("a", "stopped", os.geteuid()),
        ("b", "stopped", os.geteuid()),
    ]


def test_a_broken_one_does_not_hide_the_others(settings: Settings) -> None:
    for name in ("a", "b", "c", "d"):
        recorded(settings, name)
    root = Path(settings.root)
    (root / "b/state.json").write_text("{")
    (root / "c/state.json").unlink()
    listed = query.list_containers(settings)
    assert [one["id"] for one in listed] == ["a", "d"]
    assert isinstance(settings.log, Heard)
    assert len(settings.log.warnings) == 2
    assert any("container b is left out" in warning and "damaged" in warning for warning in settings.log.warnings)


def test_no_root_at_all(settings: Settings) -> None:
    with pytest.raises(FileNotFoundError):
        query.list_containers(settings)


def test_processes_without_a_cgroup(settings: Settings) -> None:
    pid, started = os.getpid(), states.start_time(os.getpid())[1]
    recorded(settings, "dead")
    assert query.pids(settings, "dead") == []
    directory = StateDir(settings.root, "alive")
    directory.make(settings.root)
    directory.save(STATE.replace(id="alive", cgroup_paths={}, init_process_pid=pid, init_process_start=started))
    assert query.pids(settings, "alive") == [pid]


def test_processes_by_cgroup(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = StateDir(settings.root, "box")
    directory.make(settings.root)
    directory.save(STATE)
    monkeypatch.setattr(processes, "pids", lambda paths: [7, 8] if paths == STATE.cgroup_paths else [])
    assert query.pids(settings, "box") == [7, 8]

    def broken(paths: dict[str, str]) -> list[int]:
        raise OSError(5, "")

    monkeypatch.setattr(processes, "pids", broken)
    with pytest.raises(PyociError, match="list the processes of container box: input/output error"):
        query.pids(settings, "box")
