# SPDX-License-Identifier: Apache-2.0
"""Id maps: by our own hand where we may, by newuidmap(1) and newgidmap(1) where we may not."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.plan.model import IdMap
from pyoci.process import idmap
from pyoci.process.idmap import write_id_maps
from tests.forked import in_child
from tests.rootfs.roots import refusal

pytestmark = pytest.mark.needs_user_namespaces

MANY = (IdMap(container=0, host=1000, size=1), IdMap(container=1, host=100000, size=65536))


def one(host: int) -> tuple[IdMap, ...]:
    return (IdMap(container=0, host=host, size=1),)


@pytest.fixture
def asleep() -> Iterator[Callable[[], int]]:
    """Processes in new user namespaces, killed at the end by whoever made them."""
    made: list[int] = []

    def make() -> int:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            k.unshare(k.CLONE_NEWUSER)
            theirs.send(b"x")
            signal.pause()
        ours.recv(1)
        ours.close()
        theirs.close()
        made.append(pid)
        return pid

    yield make
    for pid in made:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def maps(pid: int) -> list[list[str]]:
    return [Path(f"/proc/{pid}/{name}").read_text().split() for name in ("uid_map", "gid_map")]


@pytest.mark.needs_root
def test_root_maps_what_it_likes(asleep: Callable[[], int]) -> None:
    pid = asleep()
    write_id_maps(pid, MANY, one(7))
    assert maps(pid) == [["0", "1000", "1", "1", "100000", "65536"], ["0", "7", "1"]]
    assert Path(f"/proc/{pid}/setgroups").read_text() == "allow\n"


@pytest.mark.needs_root
def test_a_map_that_the_kernel_refuses(asleep: Callable[[], int]) -> None:
    pid = asleep()
    overlapping = (IdMap(container=0, host=0, size=10), IdMap(container=5, host=100, size=10))
    assert refusal(write_id_maps, pid, overlapping, one(0)) == (
        f'write "0 0 10" and 1 more to /proc/{pid}/uid_map: invalid argument'
    )


def as_ordinary_user(function: Callable[[], Any]) -> Any:
    def inside() -> Any:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(1000, 1000, 1000)
            os.setresuid(1000, 1000, 1000)
            k.prctl(k.PR_SET_DUMPABLE, 1)
        return function()

    return in_child(inside)


def fork_asleep() -> int:
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        k.prctl(k.PR_SET_PDEATHSIG, k.SIGKILL)
        k.unshare(k.CLONE_NEWUSER)
        theirs.send(b"x")
        signal.pause()
    ours.recv(1)
    return pid


def test_an_ordinary_user_maps_himself() -> None:
    def inside() -> list[Any]:
        pid = fork_asleep()
        write_id_maps(pid, one(os.geteuid()), one(os.getegid()))
        return [maps(pid), Path(f"/proc/{pid}/setgroups").read_text(), os.geteuid(), os.getegid()]

    found, setgroups, uid, gid = as_ordinary_user(inside)
    assert found == [["0", str(uid), "1"], ["0", str(gid), "1"]]
    assert setgroups == "deny\n"


HELPER = """#!/bin/sh
printf '%s\\n' "$0" "$@" >> "$(dirname "$0")/calls"
env >> "$(dirname "$0")/calls"
exit {status}
"""


@pytest.fixture
def helpers(tmp_path: Path) -> Callable[..., str]:
    """Stand-ins for newuidmap and newgidmap, in a directory that is given for PATH."""
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        if parent.stat().st_uid == os.geteuid() and str(parent) != "/tmp":
            parent.chmod(parent.stat().st_mode | 0o055)

    def make(status: int = 0, names: tuple[str, ...] = ("newuidmap", "newgidmap")) -> str:
        for name in names:
            (tmp_path / name).write_text(HELPER.format(status=status))
            (tmp_path / name).chmod(0o755)
        return str(tmp_path)

    return make


def mapped_by_helpers(directory: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The message of the failure, if it is one, when an ordinary user maps many."""
    monkeypatch.setattr(
        k, "environ", {b"PATH": k.encode(f"relative:/no/such:{directory}:/bin:/usr/bin"), b"SECRET": b"x"}
    )

    def inside() -> str:
        try:
            write_id_maps(os.getpid(), MANY, MANY)
        except PyociError as error:
            return error.message.replace(str(os.getpid()), "PID")
        return ""

    return str(as_ordinary_user(inside))


def test_helpers_are_given_the_numbers_and_no_environment(
    helpers: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = helpers()
    assert mapped_by_helpers(directory, monkeypatch) == ""
    calls = Path(f"{directory}/calls").read_text()
    for name in ("newuidmap", "newgidmap"):
        assert f"{directory}/{name}\n" in calls
    assert calls.count("\n0\n1000\n1\n1\n100000\n65536\n") == 2
    assert "SECRET" not in calls


@pytest.mark.parametrize("below", [False, True])
def test_a_path_that_is_no_utf8(
    helpers: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: bool
) -> None:
    """That of a directory, which may be the one with the helpers in it."""
    odd = os.fsdecode(os.fsencode(helpers()) + b"/caf\xe9")
    os.symlink(".", odd)
    assert mapped_by_helpers(odd if below else f"{odd}/none:{tmp_path}", monkeypatch) == ""
    assert ("/caf" in (tmp_path / "calls").read_text(errors="surrogateescape")) == below


def test_a_helper_that_refuses(helpers: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert mapped_by_helpers(helpers(status=3), monkeypatch) == (
        "newuidmap PID 0 1000 1 1 100000 65536: exit status 3: see /etc/subuid and /etc/subgid"
    )


def test_no_helper(helpers: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = helpers(names=("newuidmap",))
    monkeypatch.setattr(idmap, "_is_executable", lambda path: path == f"{directory}/newuidmap")
    assert mapped_by_helpers(directory, monkeypatch) == (
        "newgidmap is not in $PATH, and an ordinary user needs it to map more than himself"
    )


@pytest.mark.parametrize(("id_map", "alone"), [(one(7), True), (one(8), False), (MANY, False), ((), False)])
def test_who_maps_himself_alone(id_map: tuple[IdMap, ...], alone: bool) -> None:
    assert idmap._maps_only(id_map, 7) == alone
    assert not idmap._maps_only((IdMap(container=0, host=7, size=2),), 7)
