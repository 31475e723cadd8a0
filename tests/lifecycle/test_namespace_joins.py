# SPDX-License-Identifier: Apache-2.0
"""Namespaces that are there already, in every combination with new ones: order and ownership decide what can be joined."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .configs import bind, with_user_namespace, without_namespace
from .harness import Container, namespace_of
from .test_namespaces import KINDS, want

differs = pytest.mark.differs
pytestmark = [pytest.mark.needs_unshare, pytest.mark.needs_user_namespaces]

JOINABLE = ["network", "ipc", "uts"]


@contextlib.contextmanager
def unshared(*options: str) -> Iterator[int]:
    """A process of the host in new namespaces; the first one in there where that is another (--fork)."""
    words = ["unshare", *options, "sh", "-c", "echo; exec sleep 1000"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield int(children[0]) if children else process.pid
    finally:
        process.terminate() if "--fork" not in options else os.kill(int(children[0]), signal.SIGKILL)
        process.communicate()


@pytest.fixture
def owner(containers: Callable[[], Container]) -> int:
    """A container with a user namespace, and others that belong to it."""
    made = containers()
    with_user_namespace(made.config)
    made.launch()
    return made.pid


@pytest.fixture
def host_owned() -> Iterator[int]:
    """Namespaces that belong to the host's user namespace."""
    with unshared("--net", "--ipc", "--uts") as pid:
        yield pid


def path_of(pid: int, kind: str) -> str:
    return f"/proc/{pid}/ns/{KINDS[kind]}"


def prepare(container: Container) -> None:
    container.config.pop("hostname")
    container.mounts[:] = [one for one in container.mounts if one["type"] not in ("mqueue", "sysfs", "cgroup")]


COMBINATIONS = [kinds for size in range(len(JOINABLE) + 1) for kinds in itertools.combinations(JOINABLE, size)]


@pytest.mark.parametrize("joined", COMBINATIONS, ids="+".join)
def test_a_joined_user_namespace_with_others(container: Container, owner: int, joined: tuple[str, ...]) -> None:
    """Some of what belongs to it is joined as well, the rest made new, and belongs to it then."""
    prepare(container)
    want(container, "user", path_of(owner, "user"))
    for kind in joined:
        want(container, kind, path_of(owner, kind))
    if container.runtime.name == "runc":  # 1.1.5 wants them repeated
        for name in ("uidMappings", "gidMappings"):
            container.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    container.create(args=["sleep", "1000"]).ok()
    assert namespace_of(container.pid, "user") == namespace_of(owner, "user")
    for kind in JOINABLE:
        same = namespace_of(container.pid, KINDS[kind]) == namespace_of(owner, KINDS[kind])
        assert same == (kind in joined), kind
    container.start().ok()
    assert container.exec("id", "-u").ok().out == "0\n"


@pytest.mark.parametrize("joined", COMBINATIONS[1:], ids="+".join)
def test_a_new_user_namespace_with_the_hosts_others(
    container: Container, host_owned: int, joined: tuple[str, ...]
) -> None:
    """They do not belong to the new one, so they have to be joined before it is made."""
    prepare(container)
    container.linux["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        container.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for kind in joined:
        want(container, kind, path_of(host_owned, kind))
    result = container.create(args=["sleep", "1000"])
    if container.runtime.name == "runc" and result.status:
        pytest.xfail("runc 1.1.5 makes the user namespace first")
    result.ok()
    for kind in joined:
        assert namespace_of(container.pid, KINDS[kind]) == namespace_of(host_owned, KINDS[kind])
    container.start().ok()
    if container.runtime.name != "runc":  # 1.1.5 cannot enter it again
        assert container.exec("id", "-u").ok().out == "0\n"


@pytest.mark.parametrize("joined", COMBINATIONS[1:], ids="+".join)
def test_a_joined_user_namespace_with_what_is_not_its_own(
    container: Container, owner: int, host_owned: int, joined: tuple[str, ...]
) -> None:
    """Two owners: what belongs to the host has to be joined while we still are the host's root."""
    prepare(container)
    want(container, "user", path_of(owner, "user"))
    for kind in joined:
        want(container, kind, path_of(host_owned, kind))
    if container.runtime.name == "runc":
        for name in ("uidMappings", "gidMappings"):
            container.linux[name] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    result = container.create(args=["sleep", "1000"])
    if container.runtime.name == "runc" and result.status:
        pytest.xfail("runc 1.1.5 joins the user namespace first")
    result.ok()
    for kind in joined:
        assert namespace_of(container.pid, KINDS[kind]) == namespace_of(host_owned, KINDS[kind])
    container.start().ok()
    if container.runtime.name != "runc":  # 1.1.5 cannot enter it again
        assert container.exec("id", "-u").ok().out == "0\n"


# Everything at once

HOST, NEW, JOINED = WAYS = ("the host's", "new", "joined")


@pytest.fixture
def pausing(containers: Callable[[], Container]) -> int:
    """A container with namespaces to be joined, all of the host's user namespace."""
    made = containers()
    want(made, "cgroup")
    made.launch()
    return made.pid


@pytest.mark.parametrize("users", [HOST, NEW])
@pytest.mark.parametrize("pids", WAYS)
@pytest.mark.parametrize("cgroups", WAYS)
def test_every_combination(pausing: int, container: Container, users: str, pids: str, cgroups: str) -> None:
    """Each kind in each way that it can be had, with all ways of the others, in a new user namespace and without."""
    if container.runtime.name != "pyoci":
        pytest.skip("other runtimes have the combinations above")
    prepare(container)
    if users == NEW:
        with_user_namespace(container.config)
        if pids != NEW:  # procfs is for the owner of the pid namespace
            container.mounts[:] = [one for one in container.mounts if one["type"] != "proc"]
            container.mounts.insert(0, bind("/proc", "/proc", "rbind"))
    for network, ipc in itertools.product(WAYS, WAYS):
        ways = {"network": network, "ipc": ipc, "uts": ipc, "pid": pids, "cgroup": cgroups}
        for kind, way in ways.items():
            without_namespace(container.config, kind)
            if way != HOST:
                want(container, kind, path_of(pausing, kind) if way == JOINED else None)
        container.create(args=["sleep", "1000"]).ok()
        for kind, way in ways.items():
            seen = namespace_of(container.pid, KINDS[kind])
            assert (seen == namespace_of("self", KINDS[kind])) == (way == HOST), (kind, ways)
            assert (seen == namespace_of(pausing, KINDS[kind])) == (way == JOINED), (kind, ways)
        assert (namespace_of(container.pid, "user") == namespace_of("self", "user")) == (users == HOST), ways
        container.delete("--force").ok()
        container.wait()


# Time


@pytest.mark.needs_time_namespaces
@differs(runc="1.1.5 knows no time namespace")
def test_a_joined_time_namespace(container: Container) -> None:
    with unshared("--time", "--boottime", "1000000", "--fork") as pid:
        want(container, "time", f"/proc/{pid}/ns/time")
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        assert float(container.output("cat", "/proc/uptime").split()[0]) >= uptime + 1_000_000


@pytest.mark.needs_time_namespaces
@differs(runc="1.1.5 knows no time namespace")
def test_exec_has_the_containers_clocks(container: Container) -> None:
    want(container, "time")
    container.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    container.launch()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert float(container.exec("cat", "/proc/uptime").ok().out.split()[0]) >= uptime + 1_000_000
    assert namespace_of(container.pid, "time") != namespace_of("self", "time")


@pytest.mark.needs_time_namespaces
@differs(runc="1.1.5 knows no time namespace")
def test_a_time_namespace_in_a_user_namespace(container: Container) -> None:
    with_user_namespace(container.config)
    want(container, "time")
    container.linux["timeOffsets"] = {"monotonic": {"secs": -1, "nanosecs": 5}, "boottime": {"secs": 1000}}
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert float(container.output("cat", "/proc/uptime").split()[0]) >= uptime + 1000


@pytest.mark.needs_time_namespaces
@pytest.mark.parametrize("offset", [{"secs": -(10**12)}, {"nanosecs": 2 * 10**9}])
def test_offsets_that_the_kernel_refuses(container: Container, offset: dict[str, int]) -> None:
    want(container, "time")
    container.linux["timeOffsets"] = {"boottime": offset}
    container.create().refused("time")
    container.leaves_nothing()


# Mounts and processes


def test_a_joined_pid_namespace(container: Container) -> None:
    with unshared("--pid", "--fork") as pid:
        want(container, "pid", f"/proc/{pid}/ns/pid")
        container.create(args=["sh", "-c", "cat /proc/1/comm; echo $$; exec sleep 1000"]).ok()
        assert namespace_of(container.pid, "pid") == namespace_of(pid, "pid")
        container.start().ok()
        container.prints("sleep\n")
        container.kill("KILL").ok()
        container.wait()  # or the namespace, whose last process this is, would not end


def test_a_joined_mount_namespace(container: Container) -> None:
    """The container is made in there, and the host sees nothing of it."""
    before = Path("/proc/self/mountinfo").read_text()
    with unshared("--mount", "--propagation", "private") as pid:
        want(container, "mount", f"/proc/{pid}/ns/mnt")
        container.create(args=["sleep", "1000"]).ok()
        assert namespace_of(container.pid, "mnt") == namespace_of(pid, "mnt")
        container.start().ok()
        assert container.exec("id", "-u").ok().out == "0\n"
        container.delete("--force").ok()
    assert Path("/proc/self/mountinfo").read_text() == before
