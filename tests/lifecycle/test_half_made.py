# SPDX-License-Identifier: Apache-2.0
"""Containers that are being made, and those whose making or removal was cut short: `state`, `start`, `delete`, `gc`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .harness import Container, cgroups_named, children, command_line, eventually

ONLY_PYOCI = pytest.mark.differs(runc="1.1.5 has no gc")


@pytest.fixture
def half_made(container: Container) -> Iterator[Container]:
    """A container whose create is in a hook, and stays there."""
    hooked = container.bundle / "hooked"
    script = f"echo $$ > {hooked}; exec sleep 1000"
    container.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    container.write_config()
    create = container.background("create", "--bundle", str(container.bundle), container.id)
    eventually("the hook's pid", lambda: hooked.exists() and hooked.read_text().endswith("\n"))
    eventually("the hook's sleep", lambda: command_line(int(hooked.read_text())) == "sleep 1000")
    yield container
    create.kill()
    create.wait()
    end_hook(container)


def end_hook(container: Container) -> None:
    """The hook outlives a create that was killed, and is none of the container's."""
    for pid in children():
        if command_line(pid) == "sleep 1000" and pid != container.pid:
            os.kill(pid, 9)
            os.waitpid(pid, 0)


def killed(container: Container) -> None:
    create = container.live.pop()
    create.kill()
    create.wait()
    end_hook(container)
    eventually("the end of init", lambda: not container.reap())


@pytest.mark.differs(runc="1.1.5 says created")
def test_a_container_in_the_making_is_creating(half_made: Container) -> None:
    assert half_made.status == "creating"
    half_made.start().refused("creating")
    half_made.delete().refused("creating")
    half_made.call("exec", half_made.id, "true").refused("being created", status=255)
    half_made.call("update", "--pids-limit", "9", half_made.id).refused("being created")
    listed = json.loads(half_made.call("list", "--format", "json").ok().out)
    assert [entry["status"] for entry in listed] == ["creating"]


@pytest.mark.differs(runc="1.1.5 has no record yet", always=False)
def test_a_create_can_be_broken_off(half_made: Container) -> None:
    """Its create fails, and leaves nothing."""
    create = half_made.live[-1]
    half_made.delete("--force").ok()
    tasks = Path(f"/proc/{create.pid}/task").glob("*/children")
    for pid in [int(word) for task in tasks for word in task.read_text().split()]:
        if command_line(pid) == "sleep 1000":
            os.kill(pid, 9)  # a hook without a timeout may take all the time that it wants
    assert create.wait(30) == 1
    half_made.live.remove(create)
    half_made.leaves_nothing()


@pytest.mark.differs(runc="1.1.5 has no record yet")
def test_a_create_that_was_killed_has_stopped(half_made: Container) -> None:
    killed(half_made)
    assert half_made.status == "stopped"
    half_made.start().refused("stopped")
    half_made.delete().ok()
    half_made.leaves_nothing()


@ONLY_PYOCI
def test_gc_clears_what_a_killed_create_left(half_made: Container) -> None:
    killed(half_made)
    assert half_made.id in half_made.call("gc", "--dry-run").ok().out
    assert cgroups_named(half_made.id)
    told = half_made.call("gc").ok().out
    assert half_made.id in told and "cleared" in told
    half_made.leaves_nothing()
    assert half_made.call("gc").ok().out == ""


@ONLY_PYOCI
def test_gc_leaves_alone_what_is_being_made(half_made: Container) -> None:
    assert half_made.call("gc").ok().out == ""
    assert half_made.status == "creating"


@ONLY_PYOCI
@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_gc_leaves_alone_what_was_made(container: Container, status: str) -> None:
    container.create(args=["sleep", "1000"]).ok()
    if status == "running":
        container.start().ok()
    elif status == "stopped":
        container.kill("KILL").ok()
        container.wait()
    assert container.call("gc").ok().out == ""
    assert container.status == status


@ONLY_PYOCI
def test_gc_finishes_a_delete_that_was_killed(container: Container) -> None:
    container.create(args=["sleep", "1000"]).ok()
    container.kill("KILL").ok()
    container.wait()
    (container.root / container.id / "config.json").unlink()  # the first that a delete removes
    assert container.id in container.call("gc").ok().out
    container.leaves_nothing()


@ONLY_PYOCI
def test_gc_looks_below_the_roots_that_it_is_shown(containers: Callable[[], Container]) -> None:
    """And removes a directory without a record only when it has been so for a while."""
    container = containers()
    roots = [container.scratch / name for name in ("one", "other")]
    for root in roots:
        (root / "nobody").mkdir(parents=True)
    arguments = [str(root) for root in roots]
    assert container.call("gc", *arguments).ok().out == ""
    for root in roots:
        os.utime(root / "nobody", (time.time() - 100,) * 2)
    assert container.call("gc", *arguments).ok().out.count("nobody") == 2
    assert [list(root.iterdir()) for root in roots] == [[], []]
    container.call("gc", "/no/such/root").refused("/no/such/root")


@ONLY_PYOCI
@pytest.mark.needs_cgroup_v1
def test_gc_removes_cgroups_whose_state_is_gone(containers: Callable[[], Container]) -> None:
    """If nobody is in them, and only those below the roots that it is shown; a delete of the id finds nothing any more."""
    container, other = containers(), containers()
    container.launch()
    other.root = other.scratch / "other"
    other.launch()
    mine, others = (len(cgroups_named(box.id)) for box in (container, other))
    shutil.rmtree(container.root / container.id)
    refused = container.call("gc")
    assert refused.status == 1
    said = refused.out
    assert f"{container.id}: the state is gone" in said and f"the first is {container.pid}" in said
    assert len(cgroups_named(container.id)) == mine
    os.kill(container.pid, 9)
    container.wait()
    for group in cgroups_named(container.id):
        (group / "below").mkdir()  # as its program may have done
    assert "to be cleared" in container.call("gc", "--dry-run").ok().out
    assert other.call("gc").ok().out == ""
    assert len(cgroups_named(container.id)) == mine
    assert container.call("gc").ok().out.count("\n") == 1
    container.leaves_nothing()
    assert not (container.root / container.id).exists()
    assert len(cgroups_named(other.id)) == others and other.status == "running"
    assert container.call("gc").ok().out == ""


@ONLY_PYOCI
def test_gc_keeps_its_hands_off_cgroups_that_others_made(container: Container) -> None:
    """Also if they have a container's name, and its mark with the wrong root."""
    container.launch()
    for number, group in enumerate(cgroups_named(container.id)):
        (group / f"{container.id}-not-ours").mkdir()
        if number:
            mark = os.getxattr(group, "trusted.pyoci").replace(b":", b":1", 1)
            os.setxattr(group / f"{container.id}-not-ours", "trusted.pyoci", mark + b"-not-ours")
    before = cgroups_named(container.id)
    assert container.call("gc").ok().out == ""
    assert cgroups_named(container.id) == before


@pytest.mark.differs(runc="1.1.5 kills whoever is in the way", always=False)
def test_a_create_killed_early_takes_nobody_along(containers: Callable[[], Container]) -> None:
    """With the cgroup of a container that runs: it was recorded, and never its own."""
    other, container = containers(), containers()
    other.launch()
    container.linux["cgroupsPath"] = f"/{other.id}"
    container.create()
    if not (container.root / container.id).exists() and container.runtime.name == "pyoci":
        record = json.loads((other.root / other.id / "state.json").read_text())
        (container.root / container.id).mkdir()
        record |= {"id": container.id, "init_process_pid": 0, "init_process_start": 0, "creator_pid": 0}
        (container.root / container.id / "state.json").write_text(json.dumps(record))
    container.delete("--force").ok()
    assert other.status == "running"


@pytest.mark.differs(runc="1.1.5 shares the id's cgroup", always=False)
def test_the_end_of_a_run_does_not_touch_the_next_of_its_name(container: Container) -> None:
    """A foreground run whose container is deleted and made anew: what it removes at its end must be its own."""
    container.process["args"] = ["sleep", "1000"]
    container.write_config()
    first: subprocess.Popen[bytes] = container.background("run", "--bundle", str(container.bundle), container.id)
    eventually("the first", lambda: container.call("state", container.id).status == 0 and container.status == "running")
    os.kill(first.pid, 19)  # SIGSTOP
    container.delete("--force").ok()
    container.launch()
    os.kill(first.pid, 18)
    first.wait(30)
    container.live.remove(first)
    assert container.status == "running"
