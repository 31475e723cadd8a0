# SPDX-License-Identifier: Apache-2.0
"""The states of a container, and what may be asked of it in each."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from .harness import PATIENCE, SHORT_PATIENCE, Container, eventually, is_gone_or_zombie

differs = pytest.mark.differs
Containers = Callable[[], Container]


def stopped(container: Container) -> None:
    container.launch("true")
    container.init_becomes_zombie()


def paused(container: Container) -> None:
    container.launch()
    container.call("pause", container.id).ok()


def test_a_created_container_has_not_run_its_program(container: Container) -> None:
    container.create(args=["touch", "/ran"]).ok()
    assert container.status == "created"
    assert not (container.rootfs / "ran").exists()


def test_start_runs_the_program(container: Container) -> None:
    container.launch("sh", "-c", "touch /ran; sleep 1000")
    assert container.status == "running"
    eventually("/ran", (container.rootfs / "ran").exists)


def test_a_container_whose_program_ended_is_stopped(container: Container) -> None:
    container.launch("true")
    assert container.wait() == 0
    assert container.status == "stopped"


def test_a_container_whose_init_is_a_zombie_is_stopped(container: Container) -> None:
    """buildah reaps init only after `state` has said that it stopped."""
    container.launch("true")
    container.init_becomes_zombie()
    assert container.status == "stopped"


def test_pause_and_resume(container: Container) -> None:
    paused(container)
    assert container.status == "paused"
    container.call("resume", container.id).ok()
    assert container.status == "running"


def test_a_created_container_can_be_paused(container: Container) -> None:
    container.create().ok()
    container.call("pause", container.id).ok()
    assert container.status == "paused"
    container.call("resume", container.id).ok()
    assert container.status == "created"


def test_delete_after_the_end(container: Container) -> None:
    stopped(container)
    container.delete().ok()
    container.call("state", container.id).refused("does not exist")


def test_a_created_container_can_be_deleted(container: Container) -> None:
    container.create(args=["touch", "/ran"]).ok()
    container.delete().ok()
    eventually("end of init", lambda: is_gone_or_zombie(container.pid))
    container.leaves_nothing()
    assert not (container.rootfs / "ran").exists()


@differs(runc="wants a process at create")
def test_a_container_without_a_process_is_all_but_started(container: Container) -> None:
    """config.md wants the process when start is called, and create is to make a container without looking at it."""
    del container.config["process"]
    container.create().ok()
    container.start().refused("without a process")
    assert container.status == "created"
    assert container.exec("/bin/echo", "hello").ok().out == "hello\n"
    container.kill("KILL").ok()
    container.wait()
    container.start().refused("cannot start a container that has stopped")
    container.delete().ok()
    container.leaves_nothing()


@pytest.mark.parametrize("options", [(), ("--detach",)])
def test_nothing_is_made_to_run_without_a_process(container: Container, options: tuple[str, ...]) -> None:
    del container.config["process"]
    container.run(*options).refused("process")
    container.leaves_nothing()


def test_an_id_is_free_again_after_delete(container: Container) -> None:
    for _ in range(2):
        stopped(container)
        container.wait()
        container.delete().ok()


# What each state refuses.


def test_an_id_that_is_taken_cannot_be_created(container: Container) -> None:
    container.create().ok()
    before = container.state()
    container.create().refused("already exists")
    assert container.state() == before


def test_a_taken_id_keeps_its_pid_file(container: Container) -> None:
    """The pid file of the second call is another one; that of the first is not touched by its failure."""
    container.create().ok()
    pid = container.pid_file.read_text()
    other = container.bundle / "other-pid"
    container.call("create", "--bundle", str(container.bundle), "--pid-file", str(other), container.id).refused(
        "already exists"
    )
    assert container.pid_file.read_text() == pid
    assert not other.exists()


def test_a_running_container_cannot_be_started(container: Container) -> None:
    container.launch()
    container.start().refused("cannot start an already running container")


def test_a_stopped_container_cannot_be_started(container: Container) -> None:
    stopped(container)
    container.start().refused("cannot start a container that has stopped")


def test_a_container_paused_before_start_cannot_be_started(container: Container) -> None:
    container.create().ok()
    container.call("pause", container.id).ok()
    container.start().refused("cannot start a container in the paused state")


def test_a_running_container_cannot_be_deleted(container: Container) -> None:
    container.launch()
    container.delete().refused(f"cannot delete container {container.id} that is not stopped: running")
    assert container.status == "running"


def test_a_paused_container_cannot_be_deleted(container: Container) -> None:
    paused(container)
    container.delete().refused(f"cannot delete container {container.id} that is not stopped: paused")
    assert container.status == "paused"


def test_a_stopped_container_cannot_be_killed(container: Container) -> None:
    stopped(container)
    container.kill("TERM").refused("container not running")


def test_a_stopped_container_cannot_be_killed_even_with_KILL(container: Container) -> None:
    stopped(container)
    container.wait()
    container.kill("KILL").refused("container not running")


def test_nothing_runs_in_a_stopped_container(container: Container) -> None:
    stopped(container)
    container.exec("true").refused("cannot exec in a stopped container", status=255)


def test_nothing_runs_in_a_paused_container(container: Container) -> None:
    paused(container)
    container.exec("true").refused("cannot exec in a paused container", status=255)


def test_a_stopped_container_cannot_be_paused(container: Container) -> None:
    stopped(container)
    container.call("pause", container.id).refused("not running")


def test_a_paused_container_cannot_be_paused_again(container: Container) -> None:
    paused(container)
    container.call("pause", container.id).refused("not running")


def test_a_running_container_cannot_be_resumed(container: Container) -> None:
    container.launch()
    container.call("resume", container.id).refused("container not paused")


def test_a_stopped_container_cannot_be_resumed(container: Container) -> None:
    stopped(container)
    container.call("resume", container.id).refused("container not paused")


@pytest.mark.parametrize("command", ["state", "start", "kill", "delete", "pause", "resume", "ps", "exec", "events"])
def test_an_unknown_container_does_not_exist(container: Container, command: str) -> None:
    more = {"exec": ["true"]}.get(command, [])
    container.call(command, container.id, *more).refused("does not exist", status=255 if command == "exec" else 1)


def test_an_update_of_an_unknown_container(container: Container) -> None:
    container.call("update", "--resources", "-", container.id, stdin="{}").refused("does not exist")


def test_delete_force_of_an_unknown_container_succeeds(container: Container) -> None:
    result = container.delete("--force").ok()
    assert result.out == result.err == ""


def test_a_second_delete_fails(container: Container) -> None:
    stopped(container)
    container.delete().ok()
    container.delete().refused("does not exist")


# Init dies where nobody expects it.


def test_start_fails_when_the_waiting_init_was_killed(container: Container) -> None:
    container.create().ok()
    os.kill(container.pid, signal.SIGKILL)
    container.wait()
    assert container.status == "stopped"
    container.start().refused("cannot start a container that has stopped")
    container.delete().ok()


def test_start_fails_when_the_waiting_init_is_a_zombie(container: Container) -> None:
    container.create().ok()
    os.kill(container.pid, signal.SIGKILL)
    container.init_becomes_zombie()
    container.start().refused("cannot start a container that has stopped")


def test_a_created_container_can_be_killed(container: Container) -> None:
    container.create().ok()
    container.kill("KILL").ok()
    assert container.wait() == 137
    container.delete().ok()


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_start_and_delete_need_no_bundle(container: Container, options: tuple[str, ...]) -> None:
    """Once created, a container lives on its own copy of the config."""
    container.create(args=["sh", "-c", "echo alive"]).ok()
    os.rename(container.bundle / "config.json", container.bundle / "gone.json")
    container.start().ok()
    container.prints("alive")
    container.wait()
    container.delete(*options).ok()


def test_a_stopped_container_outlives_its_bundle(container: Container) -> None:
    stopped(container)
    bundle = container.bundle.rename(container.scratch / "elsewhere")
    try:
        assert container.runtime.call("--root", str(container.root), "state", container.id).ok()
        container.runtime.call("--root", str(container.root), "delete", container.id).ok()
    finally:
        bundle.rename(container.bundle)


def test_twenty_containers_at_once(containers: Containers) -> None:
    crowd = [containers() for _ in range(20)]
    for one in crowd:
        one.launch()
    listed = crowd[0].call("list", "--quiet").ok().out.split()
    assert sorted(listed) == sorted(one.id for one in crowd)
    for number, one in enumerate(crowd):
        assert one.exec("echo", str(number)).ok().out == f"{number}\n"
    for one in crowd:
        one.delete("--force").ok()
    for one in crowd:
        one.leaves_nothing()


@differs(runc="1.1.5 lets two creates of one id succeed, once in many times", always=False)
def test_creates_of_one_id_at_once_have_one_winner(containers: Containers) -> None:
    container = containers()
    container.write_config()
    racers = [
        container.background(
            "create", "--bundle", str(container.bundle), "--pid-file", f"{container.bundle}/pid.{number}", container.id
        )
        for number in range(6)
    ]
    codes = [racer.wait(PATIENCE) for racer in racers]
    assert sorted(codes) == [0, 1, 1, 1, 1, 1]
    winner = codes.index(0)
    assert container.state()["pid"] == int((container.bundle / f"pid.{winner}").read_text())
    assert container.status == "created"


@differs(runc="1.1.5 leaves the losers hanging at the fifo", always=False)
def test_starts_of_one_container_at_once_have_one_winner(container: Container) -> None:
    container.create(args=["sh", "-c", "echo once; sleep 1000"]).ok()
    racers = [container.background("start", container.id) for _ in range(6)]
    eventually("one winner", lambda: 0 in [racer.poll() for racer in racers])
    codes = [racer.wait(SHORT_PATIENCE) for racer in racers]
    assert sorted(codes) == [0, 1, 1, 1, 1, 1]
    container.prints("once\n")
    assert container.printed() == "once\n"
