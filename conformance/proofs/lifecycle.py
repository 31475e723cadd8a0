# SPDX-License-Identifier: Apache-2.0
"""runtime.md: the state of a container, and the operations that lead from one state to the next."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

from tests.lifecycle.harness import cgroups_named, is_gone_or_zombie

from ..box import PAYLOAD, Box, namespaces
from ..suite import each, proves

SEMVER = re.compile(r"\d+\.\d+\.\d+(-[\w.-]+)?(\+[\w.-]+)?")


# State


def has_the_types_of_the_schema(state: dict[str, Any], *, pid: bool = True) -> None:
    """What state-schema.json demands; pid where the container has a process."""
    assert SEMVER.fullmatch(state["ociVersion"]), state
    assert isinstance(state["id"], str), state
    assert state["status"] in ("creating", "created", "running", "stopped"), state
    if pid or "pid" in state:
        assert isinstance(state["pid"], int), state
        assert state["pid"] >= (1 if pid else 0), state
    assert os.path.isabs(state["bundle"]), state
    annotations = state.get("annotations", {})
    assert all(isinstance(value, str) for value in annotations.values()), state


@proves("state-version", "state-id", "state-status", "state-pid", "state-bundle", "state-schema", "state-returns")
def state_of_a_created_container(box: Box) -> None:
    box.config["annotations"] = {"com.example.one": "1", "com.example.none": ""}
    box.create().ok()
    state = box.state()
    has_the_types_of_the_schema(state)
    told = (state["id"], state["status"], state["pid"], state["bundle"])
    assert told == (box.id, "created", box.pid, str(box.bundle)), state
    for name, value in box.config["annotations"].items():
        assert state["annotations"][name] == value, state


@proves("state-status", "state-pid", "state-schema", "state-returns")
def state_of_a_running_container(box: Box) -> None:
    box.hold()
    state = box.state()
    has_the_types_of_the_schema(state)
    assert (state["status"], state["pid"]) == ("running", box.pid), state


@proves("state-status", "state-schema", "state-returns", "state-status-other")
def state_of_a_stopped_container(box: Box) -> None:
    box.look(delete=False)
    state = box.state()
    has_the_types_of_the_schema(state, pid=False)
    assert state["status"] == "stopped", state


@proves("state-bundle")
def a_bundle_with_a_relative_path(box: Box) -> None:
    box.write_config()
    box.call("create", "--bundle", box.bundle.name, box.id, cwd=box.scratch).ok()
    assert box.state()["bundle"] == str(box.bundle)


@proves(
    "scope-operations", "operations-all", "create-creates", "lifecycle-program", "start-runs", "lifecycle-destroyed"
)
def a_whole_life(box: Box) -> None:
    box.create().ok()
    assert box.status == "created"
    box.start().ok()
    assert box.wait() == 0
    assert box.report()["argv"] == [PAYLOAD, "report"]
    assert box.status == "stopped"
    box.delete().ok()
    assert box.call("state", box.id).status != 0, "deleted, but still there"


# Create


@proves("lifecycle-not-run", "create-args")
def the_program_waits_for_start(box: Box) -> None:
    box.create().ok()
    assert box.printed() == ""
    name = os.readlink(f"/proc/{box.pid}/exe")
    assert not name.endswith(PAYLOAD), f"the process already executes {name}"
    box.start().ok()
    box.wait()
    assert box.report()["pid"] == 1


@proves("lifecycle-config-fixed")
def a_config_that_changes_later(box: Box) -> None:
    box.create().ok()
    box.config["hostname"] = "changed"
    box.process["args"] = [PAYLOAD, "report", "changed"]
    box.process["env"] = ["CHANGED=1"]
    box.write_config()
    box.start().ok()
    box.wait()
    report = box.report()
    assert (report["argv"], report["hostname"]) == ([PAYLOAD, "report"], "pyoci-test")
    assert "CHANGED=1" not in report["env"]


@proves("lifecycle-environment", "lifecycle-resources", "create-properties", "create-creates")
def everything_is_there_before_start(box: Box) -> None:
    box.create().ok()
    own, inside = namespaces(), box.namespaces()
    assert {kind for kind in own if own[kind] != inside[kind]} == {"ipc", "mnt", "net", "pid", "uts"}
    points = [line.split()[4] for line in Path(f"/proc/{box.pid}/mountinfo").read_text().splitlines()]
    for mount in box.mounts:
        assert any(point.endswith(mount["destination"]) for point in points), f"no {mount['destination']}"
    assert str(box.cgroup("pids")).endswith(box.id)


CANNOT: dict[str, Any] = {
    "root": lambda box: box.config["root"].update(path="nowhere"),
    "file system": lambda box: box.mounts.append({"destination": "/x", "type": "nosuchfs", "source": "x"}),
    "mount": lambda box: box.mounts.append(
        {"destination": "/x", "type": "bind", "source": "/no/such/file", "options": ["bind"]}
    ),
    "namespace": lambda box: box.linux["namespaces"][1].update(path="/no/such/namespace"),
    "parameter": lambda box: box.linux.update(sysctl={"net.no_such_parameter": "1"}),
    "device": lambda box: box.mounts.append({"destination": "/x", "type": "ext4", "source": "/dev/null"}),
}


@each(CANNOT, "lifecycle-unable", "create-cannot-apply", "error-leaves-nothing")
def what_cannot_be_made(box: Box, change: Any) -> None:
    change(box)
    before = cgroups_named(box.id)
    box.refuses()
    assert cgroups_named(box.id) == before
    assert list(box.root.glob(f"{box.id}*")) == []


@proves("state-id-unique", "create-id", "error-leaves-nothing")
def an_id_that_is_taken(box: Box) -> None:
    box.hold()
    before = box.state()
    other = box.another()
    other.config["linux"]["cgroupsPath"] = f"/{other.id}"
    other.write_config()
    assert other.call("create", "--bundle", str(other.bundle), box.id).status != 0
    assert box.state() == before
    assert not is_gone_or_zombie(box.pid)


@each({"empty": "", "path": "a/b", "upwards": ".."}, "create-id", "error-leaves-nothing")
def an_id_that_is_none(box: Box, name: str) -> None:
    box.works()
    result = box.call("create", "--bundle", str(box.bundle), name)
    assert result.status != 0, f"{result}"
    assert list(box.root.iterdir()) == []


@proves("create-arguments")
def create_without_an_id(box: Box) -> None:
    box.works()
    assert box.call("create", "--bundle", str(box.bundle)).status != 0


@proves("create-arguments")
def create_without_a_bundle(box: Box) -> None:
    box.works()
    empty = box.scratch / "empty"
    empty.mkdir()
    assert box.call("create", box.id, cwd=empty).status != 0
    assert box.call("create", "--bundle", str(box.scratch / "nowhere"), box.id).status != 0


# The other operations


@each({name: name for name in ("state", "start", "kill", "delete")}, "{}-no-id")
def an_operation_without_an_id(box: Box, operation: str) -> None:
    box.create().ok()
    assert box.call(operation).status != 0
    assert box.status == "created"


@each({name: name for name in ("state", "start", "kill", "delete")}, "state-unknown", "operations-all")
def an_operation_on_nothing(box: Box, operation: str) -> None:
    box.create().ok()
    assert box.call(operation, "no-such-container", *(["KILL"] if operation == "kill" else [])).status != 0


@proves("start-not-created", "error-leaves-nothing")
def start_of_a_running_container(box: Box) -> None:
    box.hold()
    before = box.state()
    assert box.start().status != 0
    assert box.state() == before
    assert not is_gone_or_zombie(box.pid)


@proves("start-not-created", "error-leaves-nothing")
def start_of_a_stopped_container(box: Box) -> None:
    box.look(delete=False)
    before = box.state()
    assert box.start().status != 0
    assert box.state() == before
    assert len(box.printed().splitlines()) == 1, "it ran a second time"


@proves("create-creates")
def create_without_a_process(box: Box) -> None:
    """A config needs one when start is called, and not before."""
    del box.config["process"]
    box.create().ok()
    assert box.status == "created"
    box.kill("KILL").ok()
    box.wait()
    box.delete().ok()


@proves("start-without-process", "process-required")
def start_without_a_process(box: Box) -> None:
    """Whether a runtime makes a container of such a config is the matter of the test above."""
    box.works()
    del box.config["process"]
    created = box.create().status == 0
    assert box.start().status != 0
    if created:
        assert box.status == "created", "start has done something"
        assert not is_gone_or_zombie(box.pid)


SIGNALS = {"TERM": signal.SIGTERM, "USR1": signal.SIGUSR1, "12": signal.SIGUSR2, "SIGHUP": signal.SIGHUP}


@each({name: (name, number) for name, number in SIGNALS.items()}, "kill-signal")
def a_signal(box: Box, case: tuple[str, int]) -> None:
    name, number = case
    box.hold()
    box.kill(name).ok()
    assert box.wait() == 0
    assert json.loads(box.printed().splitlines()[1]) == {"signal": number}


@proves("kill-signal", "state-status")
def kill_of_a_created_container(box: Box) -> None:
    box.create().ok()
    box.kill("KILL").ok()
    assert box.wait() == 128 + signal.SIGKILL
    assert box.status == "stopped"
    box.delete().ok()


@proves("kill-not-alive", "error-leaves-nothing")
def kill_of_a_stopped_container(box: Box) -> None:
    box.look(delete=False)
    before = box.state()
    assert box.kill("TERM").status != 0
    assert box.state() == before


@proves("delete-not-stopped")
def delete_of_a_created_container(box: Box) -> None:
    box.create().ok()
    before = box.state()
    assert box.delete().status != 0, "a created container was deleted"
    assert box.state() == before
    assert not is_gone_or_zombie(box.pid)


@proves("delete-not-stopped", "error-leaves-nothing")
def delete_of_a_running_container(box: Box) -> None:
    box.hold()
    before = box.state()
    assert box.delete().status != 0
    assert box.state() == before
    assert not is_gone_or_zombie(box.pid)


@proves("delete-resources", "lifecycle-destroyed", "operations-all")
def what_is_gone_after_delete(box: Box) -> None:
    box.hold()
    cgroup = box.cgroup("pids")
    assert cgroup.exists()
    box.end()
    assert not cgroup.exists()
    assert box.traces() == []
    assert box.call("state", box.id).status != 0


@proves("delete-others")
def what_stays_after_delete(box: Box) -> None:
    owner = box.another()
    owner.hold()
    with box.volume() as volume:
        box.mounts.append({"destination": "/data", "type": "bind", "source": str(volume), "options": ["bind"]})
        for entry in box.linux["namespaces"]:
            if entry["type"] in ("network", "ipc", "uts"):
                kind = {"network": "net"}.get(entry["type"], entry["type"])
                entry["path"] = f"/proc/{owner.pid}/ns/{kind}"
        del box.config["hostname"]
        box.hold()
        box.end()
        assert (volume / "file").read_text() == "outer"
        assert (box.rootfs / "payload").exists()
        assert (box.bundle / "config.json").exists()
    assert owner.status == "running"
    assert not is_gone_or_zombie(owner.pid)
