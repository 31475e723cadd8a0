# SPDX-License-Identifier: Apache-2.0
"""Updates of a container whose cgroup systemd has made, with a stand-in that writes what systemd would."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyoci import jsontext
from pyoci.cgroups import freezer, limits, systemd
from pyoci.cgroups.properties import Property
from pyoci.cgroups.unit import Manager
from pyoci.container.update import _carry_out
from pyoci.errors import CgroupError
from pyoci.state import PAUSED, RUNNING


class Box:
    """A container with these limits in force. `files` holds its cgroup, of version 2 or, by controller, of version 1.

    What is written takes the place of as much as it has characters, so values are of the same length here.
    """

    def __init__(self, files: Path, resources: dict[str, Any], controllers: tuple[str, ...] = ()) -> None:
        self.files = files
        self.saved = resources
        self.paths = {name: str(files / name) for name in controllers} or {"": str(files)}
        self.config = b"{}"
        for path in self.paths.values():
            Path(path).mkdir(exist_ok=True)
        state = SimpleNamespace(systemd_unit="p-n.scope", rootless=False, cgroup_paths=self.paths)
        directory = SimpleNamespace(read=lambda _: self.config, write=self.keep)
        self.container: Any = SimpleNamespace(state=state, directory=directory, status=lambda: RUNNING)

    def keep(self, _: str, text: bytes) -> None:
        self.config = text

    def put(self, **values: str) -> None:
        for name, value in values.items():
            (self.files / name.replace("__", ".")).write_text(value)

    def read(self, *names: str) -> list[str]:
        return [(self.files / name).read_text().strip() for name in names]

    def update(self, **changes: Any) -> None:
        writes = limits.update(self.saved, changes, self.paths)
        self.saved = limits.merge(self.saved, changes)
        _carry_out(self.container, writes, {}, {"linux": {"resources": self.saved}})


class Told(list[Callable[[], None]]):
    """What systemd does when it is told of limits; `properties` are those that it was told of, call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.properties: list[dict[str, object]] = []

    def update(self, _name: str, _user: bool, properties: tuple[Property, ...]) -> None:
        self.properties.append({each.name: each.value for each in properties})
        for deed in self:
            deed()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    stand_in = Told()
    monkeypatch.setattr(systemd, "find", lambda user: Manager(user=user, version=252, cgroup=""))
    monkeypatch.setattr(systemd, "update", stand_in.update)
    return stand_in


def test_what_systemd_undoes_is_done_again(tmp_path: Path, told: Told) -> None:
    unified = {"memory.oom.group": "1", "memory.max": "99999999"}
    box = Box(tmp_path, {"blockIO": {"weight": 500}, "cpu": {"period": 50_000}, "unified": unified})
    box.put(io__bfq__weight="500", memory__oom__group="1", memory__max="99999999", cpu__max="max 50000")
    told.append(
        lambda: box.put(io__bfq__weight="100", memory__oom__group="0", cpu__max="max 99999", memory__max=str(64 << 20))
    )
    box.update(memory={"limit": 64 << 20})
    names = ("io.bfq.weight", "memory.oom.group", "cpu.max", "memory.max")
    assert box.read(*names) == ["500", "1", "max 50000", str(64 << 20)]
    box.put(pids__max="9")
    box.update(pids={"limit": 5})
    assert box.read(*names, "pids.max") == ["500", "1", "max 50000", str(64 << 20), "5"]
    assert jsontext.loads(box.config.decode())["linux"]["resources"]["unified"] == {"memory.oom.group": "1"}


def test_all_is_as_it_was_when_systemd_fails(tmp_path: Path, told: Told) -> None:
    """It may have written already."""
    box = Box(tmp_path, {"blockIO": {"weight": 500}})
    box.put(io__bfq__weight="500", memory__max="99999999")
    told.append(lambda: box.put(io__bfq__weight="100"))

    def fail() -> None:
        raise CgroupError("as the test wants it")

    told.append(fail)
    with pytest.raises(CgroupError, match="as the test wants it") as caught:
        box.update(memory={"limit": 64 << 20})
    assert box.read("io.bfq.weight", "memory.max") == ["500", "99999999"]
    assert box.config == b"{}"
    assert caught.value.__notes__ == ["undoing failed: as the test wants it"]


def test_systemd_is_told_of_what_was_when_something_fails_after_it_was_told(tmp_path: Path, told: Told) -> None:
    """Or else it would write the limits that were refused with the next daemon-reload."""
    box = Box(tmp_path, {"blockIO": {"weight": 500}})
    box.put(io__bfq__weight="500", memory__max="99999999", pids__max="max", cpu__idle="0", cpu__weight="59")
    weight, aside = tmp_path / "io.bfq.weight", tmp_path / "aside"

    def is_told() -> None:
        if len(told.properties) == 1:
            weight.rename(aside)
        else:
            aside.rename(weight)
            weight.write_text("100")

    told.append(is_told)
    with pytest.raises(CgroupError, match=r"io\.weight") as caught:
        box.update(memory={"limit": 64 << 20}, pids={"limit": 5}, cpu={"idle": 1})
    assert told.properties == [
        {"MemoryMax": 64 << 20, "TasksMax": 5, "CPUWeight": 0},
        {"MemoryMax": 99999999, "TasksMax": (1 << 64) - 1, "CPUWeight": 59},
    ]
    assert not hasattr(caught.value, "__notes__")
    assert box.read("io.bfq.weight", "memory.max", "cpu.idle", "cpu.weight") == ["500", "99999999", "0", "59"]


def test_a_weight_of_unified_is_told_with_the_end_of_idleness(tmp_path: Path, told: Told) -> None:
    box = Box(tmp_path, {"unified": {"cpu.weight": "500"}})
    box.put(cpu__idle="0", cpu__weight="500")
    box.update(cpu={"idle": 0})
    assert told.properties == [{"CPUWeight": 500}]


@pytest.mark.parametrize("saved", [{"cpu": {"shares": 512}}, {"unified": {"cpu.weight": "59"}}])
def test_an_idle_group_gets_no_weight(tmp_path: Path, told: Told, saved: dict[str, Any]) -> None:
    """The kernel would refuse it."""
    box = Box(tmp_path, saved)
    box.put(cpu__idle="0", cpu__weight="59", pids__max="9")
    told.append(lambda: box.put(cpu__weight="0"))
    box.update(unified={"cpu.idle": "1"})
    box.update(pids={"limit": 5})
    assert box.read("cpu.idle", "cpu.weight", "pids.max") == ["1", "0", "5"]


def of_version_1(files: Path, rules: list[dict[str, Any]], freezer: str = "freezer") -> Box:
    box = Box(files, {"devices": rules}, ("devices", freezer, "memory", "pids", "cpuset"))
    for name in ("devices/devices.allow", "devices/devices.deny", "pids/pids.max", "cpuset/cpuset.cpus"):
        (files / name).touch()
    (files / freezer / "freezer.state").write_text("THAWED")
    return box


ALLOWED = [{"allow": True, "access": "rwm"}]
BUT_FOR_ONE = [*ALLOWED, {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "rwm"}]


@pytest.mark.parametrize("fails", [False, True])
def test_device_rules_of_version_1_are_written_again_before_anybody_goes_on(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    box = of_version_1(tmp_path, BUT_FOR_ONE)
    seen = []

    def systemd_is_told() -> None:
        seen.extend(box.read("freezer/freezer.state", "devices/devices.deny"))
        if fails:
            raise CgroupError("as the test wants it")

    told.append(systemd_is_told)
    thaw = freezer.thaw

    def all_go_on(paths: dict[str, str]) -> None:
        seen.extend(box.read("devices/devices.allow", "devices/devices.deny"))
        thaw(paths)

    monkeypatch.setattr(freezer, "thaw", all_go_on)
    if fails:
        with pytest.raises(CgroupError, match="as the test wants it"):
            box.update(pids={"limit": 5})
    else:
        box.update(pids={"limit": 5})
    again = ["FROZEN", "c 1:11 rw", "a *:* rwm", "c 1:11 rw"]  # systemd is told of what was
    assert seen == ["FROZEN", "", "a *:* rwm", "c 1:11 rw", *(again if fails else ())]
    assert box.read("freezer/freezer.state") == ["THAWED"]


def test_who_is_paused_stays_so(tmp_path: Path, told: Told) -> None:
    box = of_version_1(tmp_path, [])
    box.container.status = lambda: PAUSED
    (tmp_path / "freezer/freezer.state").write_text("FROZEN")
    box.update(pids={"limit": 5})
    assert box.read("freezer/freezer.state", "devices/devices.deny") == ["FROZEN", "a *:* rwm"]


def test_nobody_is_stopped_where_there_are_no_rules(tmp_path: Path, told: Told) -> None:
    box = of_version_1(tmp_path, ALLOWED)
    seen: list[str] = []
    told.append(lambda: seen.extend(box.read("freezer/freezer.state")))
    box.update(pids={"limit": 5})
    assert seen == ["THAWED"]
    assert box.read("devices/devices.allow", "devices/devices.deny") == ["", ""]


def test_nobody_is_stopped_where_there_is_nothing_to_tell(tmp_path: Path, told: Told) -> None:
    box = of_version_1(tmp_path, [])
    box.update(cpu={"cpus": "0-N"})
    assert box.read("cpuset/cpuset.cpus", "devices/devices.deny") == ["0-N", ""]
    assert told.properties == []


def test_the_freezer_may_be_that_of_version_2(tmp_path: Path, told: Told) -> None:
    box = of_version_1(tmp_path, [], freezer="")
    box.put(cgroup__freeze="0", cgroup__events="frozen 1")
    seen: list[str] = []
    told.append(lambda: seen.extend(box.read("cgroup.freeze")))
    box.update(pids={"limit": 5})
    assert seen == ["1"]
    assert box.read("cgroup.freeze") == ["0"]


def test_no_signal_ends_us_while_all_are_stopped(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    box = of_version_1(tmp_path, [])
    thaw = freezer.thaw

    def check() -> None:
        assert {signal.SIGTERM, signal.SIGHUP, signal.SIGINT} <= signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def all_go_on(paths: dict[str, str]) -> None:
        thaw(paths)
        check()

    monkeypatch.setattr(freezer, "thaw", all_go_on)
    told.append(check)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    box.update(pids={"limit": 5})
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_rules_that_cannot_be_written_again_leave_all_as_it_is(tmp_path: Path, told: Told) -> None:
    box = of_version_1(tmp_path, [{"allow": True, "type": "c", "access": "rwm"}, *BUT_FOR_ONE[1:]])
    with pytest.raises(CgroupError, match="cgroup v1 cannot deny"):
        box.update(pids={"limit": 5})
    assert box.read("pids/pids.max") == [""]
    assert told.properties == []
