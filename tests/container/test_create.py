# SPDX-License-Identifier: Apache-2.0
"""create: what it writes, what it claims first, and what it leaves when it fails."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import state as states
from pyoci.cgroups import manage
from pyoci.cgroups.join import join
from pyoci.cgroups.processes import oom_kills
from pyoci.container import create as creation
from pyoci.container.options import CreateOptions
from pyoci.errors import PyociError
from pyoci.jsontext import dumps
from pyoci.plan.model import Plan
from pyoci.state import StateDir
from tests.cgroups import worlds
from tests.container.boxes import Box, Failed

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def test_a_container_that_waits(box: Box) -> None:
    box.create()
    assert box.status() == "created"
    box.start()
    assert box.status() == "running"


def test_a_cgroup_in_use_stays_in_use(boxes: Callable[[], Box]) -> None:
    first, second = boxes(), boxes()
    second.config["linux"]["cgroupsPath"] = f"/{first.id}"
    first.run("sleep", "1000")
    with pytest.raises(Failed, match="cgroup is not empty"):
        second.create()
    assert first.status() == "running"
    assert second.left() == []


@pytest.mark.needs_cgroup_v1
def test_who_has_been_killed_in_its_cgroup_before_is_not_to_blame(box: Box) -> None:
    plan = worlds.planned(f"/{box.id}", memory={"limit": 1 << 25, "swap": 1 << 25})
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        worlds.answer_inside(lambda pid: join(paths, pid), lambda: len(bytearray(1 << 28)))
        assert oom_kills(paths) == 1
        box.config["process"]["args"] = ["none"]
        with pytest.raises(Failed) as caught:
            box.create()
        assert caught.value.message == r'exec: "none": executable file not found in $PATH'


def test_hooks_in_the_container_need_not_read_their_state(box: Box) -> None:
    """Who writes it to them must live on, though its signals are back at their defaults, and it is no init to be spared."""
    box.config["linux"]["namespaces"] = [{"type": "mount"}]
    box.config["annotations"] = {"long": "x" * 200_000}
    box.config["hooks"] = {"createContainer": [{"path": "/bin/true"}], "startContainer": [{"path": "/bin/true"}]}
    box.create()
    box.start()
    assert box.status() == "running"


def test_what_is_carried_out_is_what_was_decided(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """create and plan decide alike, and the launcher gets that very plan."""
    box.write_config()
    options = CreateOptions(bundle=str(box.bundle))
    decided = box.apart(lambda: dumps(creation.plan(box.settings(), box.id, options).asdict()))

    def look() -> bool:
        seen: list[Any] = []

        def launch(plan: Plan, *_: object) -> None:
            seen.append(plan)
            raise PyociError("enough")

        monkeypatch.setattr(creation, "Launcher", launch)
        with pytest.raises(PyociError, match="enough"):
            creation.create(box.settings(), box.id, options)
        return dumps(seen[0].asdict()) == decided

    assert box.apart(look)
    assert not Path(box.root).exists(), "what fails before anything is made leaves nothing"


def test_what_is_written_down(box: Box) -> None:
    box.config["annotations"] = {"a": "b"}
    box.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    box.create(pid_file=f"{box.bundle}/pid")
    state = box.directory.load()
    assert (state.id, state.oci_version, state.annotations) == (box.id, "1.2.0", {"a": "b"})
    assert (state.bundle, state.rootfs) == (str(box.bundle), str(box.rootfs))
    assert (state.rootless, state.shares_pids) == (False, False)
    assert int((box.bundle / "pid").read_text()) == state.init_process_pid
    assert states.is_alive(state)
    assert all(path.endswith(f"/{box.id}") and Path(path).is_dir() for path in state.cgroup_paths.values())
    assert box.directory.config() == box.config
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", state.created)
    names = sorted(os.listdir(box.directory.path))
    assert [name for name in names if name.endswith(".new")] == []
    assert {"config.json", "exec.fifo", "seccomp.bpf", "state.json"} <= set(names)


def test_shared_pids_are_written_down(box: Box) -> None:
    box.config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid", "path": f"/proc/{os.getpid()}/ns/pid"}]
    box.config["mounts"] = []
    box.create()
    assert box.directory.load().shares_pids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"process": {"args": ["none"], "cwd": "/", "env": ["PATH=/bin"]}}, "executable file not found"),
        ({"mounts": [{"destination": "/x", "type": "bind", "source": "/none", "options": ["bind"]}]}, "/none"),
        ({"mounts": [{"destination": "/x", "type": "nosuchfs"}]}, "no such device"),
        ({"hooks": {"createRuntime": [{"path": "/bin/false"}]}}, "createRuntime hook #0"),
        ({"hooks": {"createContainer": [{"path": "/no/such/hook"}]}}, "createContainer hook #0"),
        ({"root": {"path": "none"}}, "none"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc", "path": "/proc/self/ns/uts"}]}}, "join the ipc"),
    ],
)
def test_what_fails_leaves_nothing(box: Box, changes: dict[str, Any], message: str) -> None:
    box.config.update(changes)
    with pytest.raises(Failed, match=message):
        box.create()
    assert box.left() == []
    box.config.update({"hooks": {}, "mounts": [], "root": {"path": "rootfs"}})
    box.config["linux"]["namespaces"] = [{"type": "mount"}]
    box.config["process"]["args"] = ["sleep", "1000"]
    box.create()  # and the id is free again


@pytest.mark.parametrize("where", ["save", "write", "pid file", "pidfd socket"])
def test_whatever_step_fails(box: Box, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PyociError("refused")

    options: dict[str, Any] = {}
    if where == "pid file":
        options["pid_file"] = "/no/such/directory/pid"
    elif where == "pidfd socket":
        options["pidfd_socket"] = "/no/such/socket"
    else:
        monkeypatch.setattr(StateDir, where, refuse)
    with pytest.raises(Failed, match=r"refused|no such file"):
        box.create(**options)
    assert box.left() == []


def test_an_id_that_is_taken_stays_what_it_is(boxes: Callable[[], Box]) -> None:
    first = boxes()
    first.run("sleep", "1000")
    record = first.directory.load()
    with pytest.raises(Failed, match="already exists") as caught:
        first.create()
    assert caught.value.kind == "ContainerExists"
    assert (first.directory.load(), first.status()) == (record, "running")


@pytest.mark.parametrize("step", ["create_cgroups", "Launcher.serve"])
@pytest.mark.parametrize("taken", [False, True])
def test_an_id_that_is_lost_on_the_way_is_not_taken_back(
    box: Box, step: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `delete --force` removes what a create is about to make, and another create may take the id: theirs is theirs."""
    place, name = (creation.Launcher, "serve") if "." in step else (creation, step)
    real = getattr(place, name)

    def lose(*arguments: Any) -> Any:
        state = box.directory.load()
        box.directory.remove()
        if taken:
            box.directory.make(str(box.root))
            box.directory.save(state.replace(creator_pid=1))
        return real(*arguments)

    monkeypatch.setattr(place, name, lose)
    with pytest.raises(Failed, match=r"does not exist|no such file"):
        box.create()
    if taken:
        assert box.directory.load().creator_pid == 1
        assert not box.directory.has(states.FIFO)
    else:
        assert box.left() == []


@pytest.mark.parametrize("step", ["_compile", "create_cgroups"])
def test_the_directory_of_a_create_that_comes_next(box: Box, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `delete --force` has removed ours, and the next has no record yet when we fail: it needs its directory."""

    def lose(*_: object) -> None:
        os.rename(box.directory.path, box.bundle / "removed")
        os.mkdir(box.directory.path)
        raise PyociError("refused")

    monkeypatch.setattr(creation, step, lose)
    with pytest.raises(Failed, match="refused"):
        box.create()
    assert os.listdir(box.directory.path) == []


def test_a_create_that_is_overtaken_leaves_the_id_to_the_winner(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found the directory theirs to make, as somebody has removed it in between."""
    real = StateDir.make

    def make(self: StateDir, root: str) -> None:
        real(self, root)
        if not self.has(states.STATE):
            self.write(states.STATE, b'{"of": "the winner"}')

    monkeypatch.setattr(StateDir, "make", make)
    with pytest.raises(Failed, match="already exists"):
        box.create()
    assert box.directory.read(states.STATE) == b'{"of": "the winner"}'


def test_a_config_that_is_wrong_makes_nothing(box: Box) -> None:
    box.config["linux"]["sysctl"] = {"vm.swappiness": "1"}
    with pytest.raises(Failed, match="whole host") as caught:
        box.create()
    assert caught.value.kind == "SpecError"
    assert not box.root.exists()


def test_console_options_that_do_not_fit(box: Box) -> None:
    with pytest.raises(Failed, match="cannot use console socket") as caught:
        box.create(console_socket="/no/such/socket")
    assert caught.value.kind == "UsageError"
    box.config["process"]["terminal"] = True
    with pytest.raises(Failed, match="without setting console socket"):
        box.create()
    with pytest.raises(Failed, match="connect to the console socket /no/such/socket"):
        box.create(console_socket="/no/such/socket")
    assert not box.root.exists()


def test_warnings_go_to_the_log(box: Box) -> None:
    box.config["process"]["capabilities"] = {"bounding": ["CAP_NO_SUCH"]}
    box.create()
    assert "CAP_NO_SUCH" in box.log.read_text()


def test_init_holds_nothing_of_its_callers(box: Box) -> None:
    """It may wait for days."""
    box.config["process"]["args"] = ["sleep", "1000"]
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        box.create()
    finally:
        os.close(secret)
    held = [os.readlink(f"/proc/{box.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{box.pid}/fd") if int(fd) > 2]
    assert not [path for path in held if "passwd" in path or path.endswith("/log") or "socket" in path]


def test_the_time_to_the_nanosecond() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", creation.now())
