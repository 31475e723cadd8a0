# SPDX-License-Identifier: Apache-2.0
"""Where a container stands, and how it is described."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import state as states
from pyoci.container import record
from pyoci.container.options import CreateOptions, ExecOptions
from pyoci.container.record import Container, Settings, hook_state
from pyoci.errors import ContainerNotFound, InvalidOperation, PyociError, StateError
from pyoci.log import Log
from pyoci.state import StateDir
from tests.test_state import STATE


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=str(tmp_path), log=Log())


@pytest.fixture
def sleeper() -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def recorded(settings: Settings, pid: int = 0, fifo: bool = False, **changes: Any) -> Container:
    directory = StateDir(settings.root, "box")
    directory.make(settings.root)
    started = states.start_time(pid)[1] if pid else 0
    values = {"cgroup_paths": {}, "init_process_pid": pid, "init_process_start": started, **changes}
    directory.save(STATE.replace(**values))
    if fifo:
        os.mkfifo(f"{directory.path}/exec.fifo")
    return Container(settings, "box")


@pytest.mark.parametrize(
    ("alive", "fifo", "frozen", "status"),
    [
        (True, True, False, "created"),
        (True, False, False, "running"),
        (True, False, True, "paused"),
        (True, True, True, "paused"),
        (False, False, False, "stopped"),
        (False, True, False, "stopped"),
        (False, False, True, "stopped"),
    ],
)
def test_where_it_stands(
    settings: Settings,
    sleeper: int,
    monkeypatch: pytest.MonkeyPatch,
    alive: bool,
    fifo: bool,
    frozen: bool,
    status: str,
) -> None:
    """It follows from its init, its fifo and its freezer, in this order."""
    monkeypatch.setattr(record, "is_frozen", lambda paths: frozen)
    container = recorded(settings, sleeper if alive else 0, fifo)
    assert container.status() == status
    described = container.describe()
    assert (described["status"], described["pid"]) == (status, sleeper if alive else 0)


def test_one_that_is_finished_while_we_look(settings: Settings, sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record said that there is no init yet, and who makes it has done so and gone."""
    container = recorded(settings)
    done = container.state.replace(init_process_pid=sleeper, init_process_start=states.start_time(sleeper)[1])

    def finish(state: states.RuntimeState) -> bool:
        container.directory.save(done)
        os.mkfifo(f"{container.directory.path}/exec.fifo")
        return False

    monkeypatch.setattr(states, "has_creator", finish)
    described = container.describe()
    assert (described["status"], described["pid"]) == ("created", sleeper)


@pytest.mark.parametrize("looked_for", ["exec.fifo.new", "exec.fifo"])
def test_one_that_gets_its_fifo_while_we_look(
    settings: Settings, sleeper: int, monkeypatch: pytest.MonkeyPatch, looked_for: str
) -> None:
    container = recorded(settings, sleeper)
    new, ready = (f"{container.directory.path}/{name}" for name in ("exec.fifo.new", "exec.fifo"))
    os.mkfifo(new)
    has = StateDir.has

    def has_and_changes(self: StateDir, name: str) -> bool:
        found = has(self, name)
        if name == looked_for and os.path.exists(new):
            os.rename(new, ready)
        return found

    monkeypatch.setattr(StateDir, "has", has_and_changes)
    assert container.status() in ("creating", "created")
    monkeypatch.undo()
    assert container.status() == "created"


def test_another_process_of_that_number_is_not_its_init(settings: Settings, sleeper: int) -> None:
    container = recorded(settings, sleeper, init_process_start=1)
    assert (container.status(), container.describe()["pid"]) == ("stopped", 0)
    with pytest.raises(InvalidOperation, match="container not running"):
        container.open_init()


def test_a_pidfd_of_init(settings: Settings, sleeper: int) -> None:
    pidfd = recorded(settings, sleeper).open_init()
    assert f"Pid:\t{sleeper}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    os.close(pidfd)


def test_what_cannot_be_found_out(settings: Settings, sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(paths: dict[str, str]) -> bool:
        raise OSError(5, "")

    monkeypatch.setattr(record, "is_frozen", broken)
    with pytest.raises(PyociError, match="find out the status of container box: input/output error"):
        recorded(settings, sleeper).status()


def test_the_description_is_that_of_the_specification(settings: Settings, sleeper: int) -> None:
    described = recorded(settings, sleeper).describe()
    assert described == {
        "ociVersion": "1.2.0",
        "id": "box",
        "pid": sleeper,
        "status": "running",
        "bundle": "/srv/box",
        "rootfs": "/srv/box/rootfs",
        "created": STATE.created,
        "annotations": {"a": "b"},
        "owner": "",
    }


def test_without_annotations_there_are_none(settings: Settings) -> None:
    assert "annotations" not in recorded(settings, annotations={}).describe()


def test_what_hooks_are_told() -> None:
    assert hook_state(STATE) == {"ociVersion": "1.2.0", "id": "box", "bundle": "/srv/box", "annotations": {"a": "b"}}
    assert hook_state(STATE.replace(annotations={})) == {"ociVersion": "1.2.0", "id": "box", "bundle": "/srv/box"}


def test_no_such_container(settings: Settings) -> None:
    with pytest.raises(ContainerNotFound):
        Container(settings, "none")
    directory = StateDir(settings.root, "box")
    directory.make(settings.root)
    directory.write("state.json", b"{}")
    with pytest.raises(StateError, match="is damaged"):
        Container(settings, "box")


def test_options_that_nobody_gives() -> None:
    create, execute = CreateOptions(), ExecOptions()
    assert (create.bundle, create.config, create.preserve_fds, create.detach) == (".", "config.json", 0, False)
    assert (execute.args, execute.no_new_privs, execute.detach) == ((), None, False)
