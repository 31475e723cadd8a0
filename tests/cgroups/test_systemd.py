# SPDX-License-Identifier: Apache-2.0
"""The conversation with systemd, held with a stand-in that answers as a test wants it to."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls
from pyoci.cgroups import bus, manage, systemd
from pyoci.cgroups.plan import CgroupPlan
from pyoci.cgroups.properties import Property
from pyoci.cgroups.unit import Manager, Unit
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError

jeepney = pytest.importorskip("jeepney", reason="needs python3-jeepney")

JOB = "/org/freedesktop/systemd1/job/7"
INTERFACE = "org.freedesktop.systemd1.Manager"
UNIT = Unit(
    name="p-n.scope",
    slice="system.slice",
    user=False,
    cgroup="/system.slice/p-n.scope",
    properties=(Property(name="Slice", signature="s", value="system.slice"),),
    limits=(
        Property(name="AllowedCPUs", signature="ay", value=b"\x01"),
        Property(name="DeviceAllow", signature="a(ss)", value=[("char-*", "m")]),
    ),
)


class Refused(Exception):
    """What makes the stand-in answer with a D-Bus error of this name."""


class HungUp(Exception):
    """What makes the stand-in end the conversation."""


class StandIn:
    """A bus with systemd at its other end. `answers` has, by method, the body of the reply, or what makes it."""

    def __init__(self, path: Path | str) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.result = "done"
        self.authentication = b"DATA\r\nOK 0123456789abcdef\r\n"
        self.answers: dict[str, Any] = {
            "Hello": ("s", (":1.1",)),
            "AddMatch": None,
            "Subscribe": None,
            "StartTransientUnit": ("o", (JOB,)),
            "StopUnit": ("o", (JOB,)),
            "ResetFailedUnit": None,
            "KillUnit": None,
            "SetUnitProperties": None,
            "AttachProcessesToUnit": None,
        }
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(HungUp, BrokenPipeError):
                self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        said = b""
        while b"BEGIN\r\n" not in said:
            if said.endswith(b"DATA\r\n"):
                connection.sendall(self.authentication)
            got = connection.recv(4096)
            if not got:
                return
            said += got
        said, _, got = said.partition(b"BEGIN\r\n")
        assert said == b"\0AUTH EXTERNAL\r\nDATA\r\n"
        parser = jeepney.Parser()
        while got or (got := connection.recv(4096)):
            parser.add_data(got)
            got = b""
            while (message := parser.get_next_message()) is not None:
                for reply in self.replies(message):
                    connection.sendall(reply.serialise(len(self.calls)))

    def replies(self, message: Any) -> Iterator[Any]:
        method = message.header.fields[jeepney.HeaderFields.member]
        self.calls.append((method, message.body))
        answer = self.answers[method]
        try:
            answer = answer(message.body) if callable(answer) else answer
        except Refused as error:
            yield jeepney.new_error(message, f"org.freedesktop.systemd1.{error}", "s", ("as the test wants it",))
            return
        if method in ("StartTransientUnit", "StopUnit"):
            emitter = jeepney.DBusAddress("/org/freedesktop/systemd1", "org.freedesktop.systemd1", INTERFACE)
            yield jeepney.new_signal(emitter, "JobRemoved", "uoss", (1, JOB + "9", "other.service", "failed"))
            # systemd may be faster than its own reply.
            yield jeepney.new_signal(emitter, "JobRemoved", "uoss", (2, JOB, "p-n.scope", self.result))
        yield jeepney.new_method_return(message, *(answer or (None, ())))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the sockets are."""
    monkeypatch.setattr(bus, "_SYSTEM_BUS", str(tmp_path / "bus"))
    monkeypatch.setattr(bus, "_SYSTEM_PRIVATE", str(tmp_path / "private"))
    monkeypatch.setattr(systemd, "_RUNNING", str(tmp_path))
    return tmp_path


@pytest.fixture
def stand_in(world: Path) -> Iterator[StandIn]:
    made = StandIn(world / "bus")
    yield made
    made.listener.close()


def refuse_once(name: str, then: Any) -> Callable[[Any], Any]:
    left = [name]

    def answer(_: Any) -> Any:
        if left:
            raise Refused(left.pop())
        return then

    return answer


def refuse(name: str) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        raise Refused(name)

    return answer


def test_a_unit_starts_with_the_process_in_it(stand_in: StandIn) -> None:
    systemd.start(UNIT, 4711)
    assert stand_in.methods() == ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"]
    name, mode, properties, more = stand_in.calls[-1][1]
    assert (name, mode, more) == ("p-n.scope", "replace", [])
    assert properties == [("Slice", ("s", "system.slice")), ("PIDs", ("au", [4711]))]


def test_one_that_has_failed_before_is_reset_once(stand_in: StandIn) -> None:
    stand_in.answers["StartTransientUnit"] = refuse_once("UnitExists", ("o", (JOB,)))
    systemd.start(UNIT, 1)
    assert stand_in.methods()[-3:] == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"]


@pytest.mark.parametrize(("name", "tries"), [("UnitExists", 2), ("BadUnitSetting", 1)])
def test_a_unit_that_is_refused(stand_in: StandIn, name: str, tries: int) -> None:
    stand_in.answers["StartTransientUnit"] = refuse(name)
    with pytest.raises(
        CgroupError, match=r"^unable to start unit p-n\.scope: StartTransientUnit: as the test wants it$"
    ):
        systemd.start(UNIT, 1)
    assert stand_in.methods().count("StartTransientUnit") == tries
    assert "StopUnit" not in stand_in.methods()  # it may be another container's


def test_a_job_that_fails(stand_in: StandIn) -> None:
    stand_in.result = "canceled"
    with pytest.raises(CgroupError, match="systemd tells of its job: canceled"):
        systemd.start(UNIT, 1)
    assert stand_in.methods()[-1] == "ResetFailedUnit"


def test_limits(stand_in: StandIn) -> None:
    systemd.limit(UNIT)
    name, runtime, properties = stand_in.calls[-1][1]
    assert (name, runtime) == ("p-n.scope", True)
    assert properties == [("AllowedCPUs", ("ay", b"\x01")), ("DeviceAllow", ("a(ss)", [("char-*", "m")]))]
    systemd.limit(UNIT.replace(limits=()))
    assert stand_in.methods().count("SetUnitProperties") == 1


def test_a_limit_below_what_is_in_use_is_not_told_to_systemd(stand_in: StandIn, tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.max").touch()
    write = Write(controller="", file="memory.max", value="4096", why="memory.limit", above="memory.current")
    plan = CgroupPlan(unit=UNIT, mode="v2", paths={}, directories=(), mount_points={}, after=(write,))
    with pytest.raises(CgroupError, match=r"rejecting memory\.limit 4096 <= usage 4096"):
        manage.apply(plan, {"": str(tmp_path)})
    assert stand_in.calls == []
    manage.apply(plan.replace(after=(write.replace(value="8192"),)), {"": str(tmp_path)})
    assert stand_in.methods() == ["Hello", "SetUnitProperties"]
    assert (tmp_path / "memory.max").read_text() == "8192"


def test_limits_that_are_refused(stand_in: StandIn) -> None:
    stand_in.answers["SetUnitProperties"] = refuse("UnitMasked")
    with pytest.raises(CgroupError, match=r"^set the limits of unit p-n\.scope: SetUnitProperties: as the test"):
        systemd.limit(UNIT)


def test_an_update(stand_in: StandIn) -> None:
    systemd.update("p-n.scope", False, (Property(name="MemoryMax", signature="t", value=10),))
    assert stand_in.calls[-1][1] == ("p-n.scope", True, [("MemoryMax", ("t", 10))])
    systemd.update("p-n.scope", False, ())
    assert stand_in.methods().count("SetUnitProperties") == 1


def test_stopping(stand_in: StandIn) -> None:
    systemd.stop("p-n.scope", user=False)
    assert stand_in.methods()[-2:] == ["StopUnit", "ResetFailedUnit"]
    assert stand_in.calls[-2][1] == ("p-n.scope", "replace")


def test_stopping_what_is_gone(stand_in: StandIn) -> None:
    stand_in.answers["StopUnit"] = stand_in.answers["ResetFailedUnit"] = refuse("NoSuchUnit")
    systemd.stop("p-n.scope", user=False)


def test_stopping_what_may_not_be_stopped(stand_in: StandIn) -> None:
    stand_in.answers["StopUnit"] = refuse("AccessDenied")
    with pytest.raises(CgroupError, match=r"stop unit p-n\.scope: StopUnit: as the test wants it"):
        systemd.stop("p-n.scope", user=False)
    systemd.end_quietly("p-n.scope", user=False)


def test_ending_kills_first(stand_in: StandIn) -> None:
    systemd.end_quietly("p-n.scope", user=False)
    assert [call for call in stand_in.methods() if call.endswith("Unit")] == ["KillUnit", "StopUnit", "ResetFailedUnit"]
    assert ("KillUnit", ("p-n.scope", "all", 9)) in stand_in.calls


def test_attaching(stand_in: StandIn) -> None:
    systemd.attach("p-n.scope", False, "init/x", 12)
    assert stand_in.calls[-1] == ("AttachProcessesToUnit", ("p-n.scope", "/init/x", [12]))


def test_what_there_is(stand_in: StandIn) -> None:
    values = {"Version": "252.39-1~deb12u2", "ControlGroup": "/docker/x/"}
    stand_in.answers["Get"] = lambda body: ("v", (("s", values[body[1]]),))
    assert systemd.find(user=False) == Manager(user=False, version=252, cgroup="/docker/x")


@pytest.mark.parametrize(("text", "number"), [("252", 252), ("v245.4-1.fc32", 245), ("257~rc1", 257)])
def test_versions(text: str, number: int) -> None:
    assert systemd.version(text) == number


def test_a_version_that_is_none() -> None:
    with pytest.raises(CgroupError, match="a version that is none: 'devel'"):
        systemd.version("devel")


def test_without_a_bus_root_speaks_to_systemd_itself(world: Path) -> None:
    direct = StandIn(world / "private")
    try:
        systemd.start(UNIT, 1)
        assert direct.methods() == ["StartTransientUnit"]
    finally:
        direct.listener.close()


def test_without_systemd(world: Path) -> None:
    with pytest.raises(
        CgroupError, match=r"connect to systemd: .*/bus: no such file or directory; .*/private: no such"
    ):
        systemd.stop("p-n.scope", user=False)


def test_a_host_that_another_init_has_booted(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "_RUNNING", str(world / "missing"))
    with pytest.raises(CgroupError, match="systemd is not running on this host: use cgroupfs"):
        systemd.find(user=False)


def test_who_is_not_let_in(stand_in: StandIn) -> None:
    stand_in.authentication = b"DATA\r\nREJECTED EXTERNAL\r\n"
    with pytest.raises(CgroupError, match="REJECTED EXTERNAL"):
        systemd.stop("p-n.scope", user=False)


def test_who_hangs_up(stand_in: StandIn) -> None:
    def hang_up(_: Any) -> Any:
        raise HungUp

    stand_in.answers["StopUnit"] = hang_up
    with pytest.raises(CgroupError, match=r"StopUnit: .* has closed the connection"):
        systemd.stop("p-n.scope", user=False)


def hang_up_once(then: Any) -> Callable[[Any], Any]:
    left = [HungUp]

    def answer(_: Any) -> Any:
        if left:
            raise left.pop()
        return then

    return answer


def test_what_may_be_said_twice_is_said_again_to_who_hangs_up_once(stand_in: StandIn) -> None:
    stand_in.answers["StopUnit"] = hang_up_once(("o", (JOB,)))
    systemd.stop("p-n.scope", user=False)
    assert stand_in.methods() == ["Hello", "AddMatch", "Subscribe", "StopUnit"] * 2 + ["ResetFailedUnit"]
    stand_in.answers["SetUnitProperties"] = hang_up_once(None)
    systemd.limit(UNIT)
    assert stand_in.methods()[-4:] == ["Hello", "SetUnitProperties"] * 2


def test_a_bus_that_takes_no_more_connections_for_a_moment(stand_in: StandIn) -> None:
    stand_in.answers["Hello"] = hang_up_once(("s", (":1.1",)))
    systemd.start(UNIT, 1)
    assert stand_in.methods() == ["Hello", "Hello", "AddMatch", "Subscribe", "StartTransientUnit"]


def test_a_unit_is_not_started_twice(stand_in: StandIn) -> None:
    """The first one may be there, with the process in it: systemd would say UnitExists, or have two jobs for it."""
    stand_in.answers["StartTransientUnit"] = hang_up_once(("o", (JOB,)))
    with pytest.raises(CgroupError, match=r"^unable to start unit p-n\.scope: StartTransientUnit: .* has closed the"):
        systemd.start(UNIT, 1)
    assert stand_in.methods().count("StartTransientUnit") == 1


def test_who_does_not_answer(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    stand_in.answers["Subscribe"] = lambda _: monkeypatch.setattr(bus, "_PATIENCE", 0.05)  # from then on
    stand_in.answers["StopUnit"] = lambda _: (end.wait(10), ("o", (JOB,)))[1]
    try:
        with pytest.raises(CgroupError, match=r"StopUnit: no answer from systemd .* within 0\.05 s"):
            systemd.stop("p-n.scope", user=False)
    finally:
        end.set()


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:path=/run/user/1000/bus", "/run/user/1000/bus"),
        ("unix:guid=12,path=/a%20b%2cc", "/a b,c"),
        ("unix:abstract=/tmp/dbus-x,guid=12", "\0/tmp/dbus-x"),
        ("unix:path=/a%C3%A9", "/a\u00e9"),  # one character of two bytes
        ("unix:path=/\u00e9%FFb", "/\u00e9\udcffb"),  # not every path is UTF-8
        ("unix:path=/a%zz", ""),
        ("unix:path=/a%00b", ""),
        ("unix:path=/a%+1", ""),
        ("unix:path=/a%4", ""),
        ("unix:abstract=%", ""),
        ("tcp:host=localhost", ""),
        ("", ""),
    ],
)
def test_addresses(address: str, path: str) -> None:
    assert bus.socket_of(address) == path


def test_an_abstract_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"{tmp_path}/dbus"
    there = StandIn(f"\0{name}")
    monkeypatch.setattr(syscalls, "environ", {b"DBUS_SESSION_BUS_ADDRESS": f"unix:abstract={name}".encode()})
    try:
        systemd.stop("p-n.scope", user=True)
        assert there.methods()[-1] == "ResetFailedUnit"
    finally:
        there.listener.close()
    address = f"unix:abstract={name}-none".encode()
    monkeypatch.setattr(syscalls, "environ", {b"DBUS_SESSION_BUS_ADDRESS": address})
    with pytest.raises(CgroupError, match=f"connect to systemd: @{name}-none: connection refused"):
        systemd.stop("p-n.scope", user=True)


def test_an_address_that_is_none_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "environ", {b"DBUS_SESSION_BUS_ADDRESS": b"unix:path=/%zz;unix:path=/%c3%a9"})
    assert bus._user_sockets() == [("/\u00e9", True)]
    monkeypatch.setattr(syscalls, "environ", {b"DBUS_SESSION_BUS_ADDRESS": b"unix:path=/%zz"})
    with pytest.raises(CgroupError, match="no D-Bus address is known"):
        systemd.stop("p-n.scope", user=True)


def test_the_ways_to_a_users_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "environ", {b"DBUS_SESSION_BUS_ADDRESS": b"unix:path=/x", b"XDG_RUNTIME_DIR": b"/r"})
    assert bus._user_sockets() == [("/x", True), ("/r/bus", True), ("/r/systemd/private", False)]
    monkeypatch.setattr(syscalls, "environ", {})
    with pytest.raises(CgroupError, match=r"no D-Bus address is known .*XDG_RUNTIME_DIR"):
        systemd.stop("p-n.scope", user=True)
