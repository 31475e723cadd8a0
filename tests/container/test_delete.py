# SPDX-License-Identifier: Apache-2.0
"""delete, of whatever is left of a container, and again."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci import state as states
from pyoci.cgroups import join, manage
from pyoci.container import delete as deletion
from pyoci.container import run
from pyoci.container.control import kill, pause
from pyoci.container.record import Container, Settings
from pyoci.errors import InvalidOperation, PyociError
from pyoci.log import Log
from pyoci.process import intel_rdt
from pyoci.rootfs import attach
from pyoci.state import StateDir
from tests.cgroups import worlds
from tests.container.boxes import Box, Failed
from tests.test_state import STATE

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def test_what_was_never_started(box: Box) -> None:
    box.create()
    box.delete()
    assert box.left() == []


def test_what_has_ended(box: Box) -> None:
    box.run("true")
    box.end()
    box.delete()
    assert box.left() == []


@pytest.mark.parametrize("paused", [False, True])
def test_what_runs_only_by_force(box: Box, paused: bool) -> None:
    box.run("sleep", "1000")
    pid = box.pid
    if paused:
        box.apart(lambda: pause(box.settings(), box.id))
    with pytest.raises(Failed, match="that is not stopped: " + ("paused" if paused else "running")) as caught:
        box.delete()
    assert caught.value.kind == "InvalidOperation"
    assert box.pid == pid
    box.delete(force=True)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert box.left() == []


def test_what_is_not_there(box: Box) -> None:
    with pytest.raises(Failed) as caught:
        box.delete()
    assert caught.value.kind == "ContainerNotFound"
    box.delete(force=True)


def test_the_remains_of_a_create_that_was_killed_early(box: Box) -> None:
    """A directory without a record."""
    for force in (False, True):
        box.directory.make(str(box.root))
        if force:
            box.delete(force=True)
        else:
            with pytest.raises(Failed, match="does not exist"):
                box.delete()
        assert box.left() == []


@pytest.mark.parametrize("content", ["", "{", "{}", '{"id": 7}'])
def test_a_record_that_is_damaged_goes_by_force(box: Box, content: str) -> None:
    """Its processes and cgroups, too: they are where its config says."""
    box.run("sleep", "1000")
    pid = box.pid
    Path(f"{box.directory.path}/state.json").write_text(content)
    with pytest.raises(Failed, match="is damaged"):
        box.delete()
    box.delete(force=True)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert box.left() == []


@pytest.mark.parametrize("config", ["{", '{"linux": {"cgroupsPath": "/pyoci-not-there"}}'])
@pytest.mark.parametrize("paused", [False, True])
def test_a_damaged_record_whose_config_does_not_lead_to_its_cgroups(box: Box, config: str, paused: bool) -> None:
    """Be it damaged too, or say a path from where the create was, and the delete is elsewhere: they bear marks."""
    box.run("sleep", "1000")
    pid = box.pid
    if paused:
        box.apart(lambda: pause(box.settings(), box.id))
    Path(f"{box.directory.path}/state.json").write_text("{")
    Path(f"{box.directory.path}/config.json").write_text(config)
    box.delete(force=True)
    assert box.left() == []
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_container_whose_create_was_killed_right_at_its_end(box: Box) -> None:
    """Its init is ready, and does not end with it any more. Nobody can start it, and so it may go like one that is created."""
    box.create()
    pid, record = box.pid, box.directory.load()
    os.rename(f"{box.directory.path}/exec.fifo", f"{box.directory.path}/exec.fifo.new")
    assert box.status() == "creating"
    box.directory.save(record.replace(creator_pid=os.getpid(), creator_start=states.start_time(os.getpid())[1]))
    with pytest.raises(Failed, match="that is not stopped: creating"):
        box.delete()  # its create may be at it yet
    box.directory.save(record)
    box.delete()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert box.left() == []


def test_without_a_config_it_goes_too(box: Box) -> None:
    box.run("true")
    box.end()
    Path(f"{box.directory.path}/config.json").unlink()
    box.delete()
    assert box.left() == []


def test_a_busy_container_is_not_taken_for_a_damaged_one(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.run("sleep", "1000")
    lock = box.directory.lock()
    monkeypatch.setattr(states, "_LOCK_PATIENCE", 0.05)
    with pytest.raises(Failed, match="is busy"):
        box.delete(force=True)
    assert box.status() == "running"
    os.close(lock)


def test_it_waits_for_another_command(box: Box) -> None:
    box.run("true")
    box.end()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        box.directory.lock()
        os.write(writing, b"x")
        time.sleep(0.1)
        os._exit(0)
    os.read(reading, 1)
    box.delete()
    os.waitpid(pid, 0)
    for fd in (reading, writing):
        os.close(fd)
    assert box.left() == []


def test_poststop_hooks_come_last_and_fail_without_harm(box: Box) -> None:
    script = f"cat > {box.bundle}/told; ls {box.root} >> {box.bundle}/seen; exit 5"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    box.config["hooks"] = {"poststop": [hook, {"path": "/bin/sh", "args": ["sh", "-c", f"touch {box.bundle}/second"]}]}
    box.run("true")
    box.end()
    box.delete()
    told = json.loads((box.bundle / "told").read_text())
    assert (told["status"], told["pid"], told["id"]) == ("stopped", 0, box.id)
    assert box.id not in (box.bundle / "seen").read_text().split()
    assert (box.bundle / "second").exists()
    assert "poststop hook #0" in box.log.read_text()
    assert box.left() == []


def test_cgroups_that_cannot_be_removed_keep_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it can be tried again."""

    def refuse(*_: object) -> None:
        raise PyociError("busy")

    monkeypatch.setattr(deletion, "remove_cgroups", refuse)
    directory = StateDir(str(tmp_path), "box")
    directory.make(str(tmp_path))
    directory.save(STATE)
    hooks = [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {tmp_path}/proof"]}]
    with pytest.raises(PyociError, match="busy"):
        deletion.destroy(directory, STATE, hooks, Log())
    assert directory.load() == STATE
    assert not (tmp_path / "proof").exists(), "the hooks run when it is gone"
    with pytest.raises(PyociError, match="busy"):
        deletion.destroy(None, STATE, hooks, Log())
    assert (tmp_path / "proof").exists(), "now or never, if there is nothing to try again with"
    (tmp_path / "proof").unlink()
    monkeypatch.setattr(deletion, "remove_cgroups", lambda *_: None)
    deletion.destroy(directory, STATE, hooks, Log())
    assert (tmp_path / "proof").exists()


def test_each_step_is_taken_whatever_the_others_come_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def refusing(step: str) -> Callable[..., None]:
        def refuse(*_: object, **__: object) -> None:
            done.append(step)
            raise PyociError(step)

        return refuse

    monkeypatch.setattr(attach, "detach", refusing("mount"))
    monkeypatch.setattr(intel_rdt, "remove", refusing("rdt"))
    monkeypatch.setattr(deletion, "_stop_unit", lambda *_: done.append("unit"))
    monkeypatch.setattr(deletion, "remove_cgroups", refusing("cgroups"))
    state = STATE.replace(root_mount=7, intel_rdt_path="/rdt", systemd_unit="x.scope")
    with pytest.raises(PyociError, match="mount"):
        deletion.destroy(None, state, [], Log())
    assert done == ["mount", "rdt", "unit", "cgroups"]


def ended() -> int:
    """The number of a process that is gone."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def deleted(settings: Settings) -> None:
    deletion.delete(settings, "box")


def removed(settings: Settings) -> None:
    """As at the end of a foreground run."""
    run.remove(Container(settings, "box"))


@pytest.mark.parametrize("removal", [deleted, removed])
@pytest.mark.parametrize("restored", [False, True])
def test_who_got_the_cgroup_of_a_container_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restored: bool, removal: Callable[[Settings], None]
) -> None:
    """With its pid namespace all of it has ended, so whoever is there is another container. A restore that was killed may
    have left processes of which its record does not know yet."""
    monkeypatch.setattr(deletion, "_MOMENT", 0.1)
    stopped: list[str] = []
    monkeypatch.setattr(deletion, "_stop_unit", lambda state, _: stopped.append(state.systemd_unit))
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        directory = StateDir(str(tmp_path), "box")
        directory.make(str(tmp_path))
        record = STATE.replace(
            cgroup_paths=paths,
            init_process_pid=ended(),
            shares_pids=False,
            systemd_unit="x.scope",
        )
        directory.save(record)
        directory.write("config.json", b"{}")
        if restored:
            Path(f"{directory.path}/criu-root").mkdir()
        settings = Settings(root=str(tmp_path), log=Log())
        kill(settings, "box", signal.SIGKILL, all=True)
        with pytest.raises(InvalidOperation, match="container not running"):
            kill(settings, "box", signal.SIGKILL)
        assert worlds.state_of(pid) != "Z"
        removal(settings)
        assert (worlds.state_of(pid) == "Z") == restored
        assert all(os.path.exists(path) != restored for path in paths.values())
        assert bool(stopped) == restored
        assert not directory.exists()


def test_an_exec_that_came_too_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "_MOMENT", 60)  # as far as it has to be
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        waiting = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
        waiting.start()
        state = STATE.replace(cgroup_paths=paths, init_process_pid=ended(), shares_pids=False)
        assert deletion.end(state).cgroup_paths == paths
        waiting.join()


@pytest.mark.parametrize("pid", [0, 2**22 + 1])
def test_a_unit_is_the_containers_once_it_has_an_init(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    """Its name is written down before; and a unit is made with init in it."""
    stopped: list[str] = []
    monkeypatch.setattr(deletion, "_stop_unit", lambda state, _: stopped.append(state.systemd_unit))
    unused = {"": "/sys/fs/cgroup/nothing/here"}
    state = STATE.replace(cgroup_paths=unused, systemd_unit="x.scope", init_process_pid=pid, init_process_start=pid)
    deletion.destroy(None, state, [], Log())
    assert stopped == (["x.scope"] if pid else [])


@pytest.mark.parametrize("full", [False, True])
def test_a_mount_is_taken_away_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """Its id may be another mount's when the delete is repeated."""

    def refuse(*_: object) -> None:
        raise PyociError("refused")

    taken: list[int] = []
    monkeypatch.setattr(attach, "detach", lambda path, number: taken.append(number))
    monkeypatch.setattr(deletion, "remove_cgroups", refuse)
    directory = StateDir(str(tmp_path), "box")
    directory.make(str(tmp_path))
    directory.save(STATE.replace(root_mount=7))
    if full:
        monkeypatch.setattr(StateDir, "save", refuse)
    with pytest.raises(PyociError, match="refused"):
        deletion.destroy(directory, directory.load(), [], Log())
    assert taken == [7]
    assert directory.load() == STATE.replace(root_mount=7 if full else 0)
    monkeypatch.setattr(deletion, "remove_cgroups", lambda *_, **__: None)
    deletion.destroy(directory, directory.load(), [], Log())
    assert taken == ([7, 7] if full else [7])
    assert not directory.exists()


def test_a_cgroup_of_a_container_that_never_had_an_init_is_left_alone(tmp_path: Path) -> None:
    """Its record names the cgroup before it is made; whoever is in one of that name is somebody else's."""
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        for path in set(paths.values()):
            os.mkdir(f"{path}/below")
        directory = StateDir(str(tmp_path), "box")
        directory.make(str(tmp_path))
        directory.save(STATE.replace(cgroup_paths=paths, init_process_pid=0, init_process_start=0))
        deletion.delete(Settings(root=str(tmp_path), log=Log()), "box", force=True)
        assert worlds.state_of(pid) != "Z"
        assert all(os.path.exists(f"{path}/below") for path in paths.values())
        assert not directory.exists()
