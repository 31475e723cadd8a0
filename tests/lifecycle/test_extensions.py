# SPDX-License-Identifier: Apache-2.0
"""Younger and rarer parts of the specification, and of runc's command line: done as asked for, or refused."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .configs import bind, mount, with_user_namespace
from .harness import PATIENCE, Container, eventually

differs = pytest.mark.differs
IGNORES = differs(runc="1.1.5 is older than this and ignores it")


def done_or_refused(container: Container, *args: str) -> str | None:
    """What the container prints; None if the runtime says that it cannot do what was asked."""
    result = container.run(args=list(args))
    if result.status == 0:
        return result.out
    assert result.status == 1
    assert result.err.strip()
    container.leaves_nothing()
    return None


# Scheduling and the like: never silently left out


@IGNORES
def test_a_scheduler(container: Container) -> None:
    container.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    seen = done_or_refused(container, "cat", "/proc/self/stat")
    if seen is not None:
        fields = seen.rpartition(")")[2].split()
        assert (fields[16], fields[38]) == ("5", "3")


@IGNORES
def test_an_io_priority(container: Container) -> None:
    container.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    assert done_or_refused(container, "ionice") in (None, "best-effort: prio 6\n")


@IGNORES
def test_a_personality(container: Container) -> None:
    container.linux["personality"] = {"domain": "LINUX32"}
    assert done_or_refused(container, "uname", "-m") in (None, "i686\n")


@IGNORES
def test_a_memory_policy(container: Container) -> None:
    container.linux["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    seen = done_or_refused(container, "cat", "/proc/self/numa_maps")
    assert seen is None or "bind:0" in seen


@IGNORES
def test_a_network_device(container: Container) -> None:
    container.linux["netDevices"] = {"no-such-device": {}}
    container.create().refused("no-such-device")
    container.leaves_nothing()


def test_a_cache_of_ones_own(container: Container) -> None:
    if "rdt" in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has it")
    container.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f"}
    container.create().refused()
    container.leaves_nothing()


def test_a_label_without_its_security_module(container: Container) -> None:
    if Path("/sys/kernel/security/apparmor").exists():
        pytest.skip("AppArmor is on")
    container.process["apparmorProfile"] = "some-profile"
    result = container.create().refused()
    assert "some-profile" in result.err or "apparmor" in result.err.lower(), f"{result}"
    container.leaves_nothing()


# Mounts with ids of their own


@pytest.fixture
def owned(container: Container) -> Path:
    """A directory of the host with a file of user 1000."""
    path = container.scratch / "owned"
    path.mkdir()
    (path / "file").write_text("")
    os.chown(path / "file", 1000, 1000)
    return path


@IGNORES
def test_a_mount_with_mappings(container: Container, owned: Path) -> None:
    mappings = [{"containerID": 1000, "hostID": 2000, "size": 1}]
    container.mounts.append(bind(owned, "/owned", "bind") | {"uidMappings": mappings, "gidMappings": mappings})
    assert container.output("stat", "-c", "%u:%g", "/owned/file") == "2000:2000\n"
    assert (owned / "file").stat().st_uid == 1000


@IGNORES
def test_a_mount_with_the_mappings_of_the_container(container: Container, owned: Path) -> None:
    with_user_namespace(container.config)
    (container.rootfs / "owned").mkdir()
    container.mounts.append(bind(owned, "/owned", "rbind", "idmap"))
    assert container.output("stat", "-c", "%u:%g", "/owned/file") == "1000:1000\n"


def test_a_mount_with_half_a_mapping_is_refused(container: Container, owned: Path) -> None:
    if container.runtime.name == "runc":
        pytest.xfail("runc 1.1.5 ignores mappings")
    mappings = [{"containerID": 0, "hostID": 1000, "size": 1}]
    container.mounts.append(bind(owned, "/owned", "bind") | {"uidMappings": mappings})
    container.create().refused()
    container.leaves_nothing()


# Sockets


@pytest.fixture
def listener(container: Container) -> Iterator[tuple[str, Callable[[], tuple[bytes, list[int]]]]]:
    """A socket's path, and a function that gives the first message to come and its descriptors."""
    path = container.scratch / "listener.sock"
    received: list[int] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        server.settimeout(PATIENCE)

        def receive() -> tuple[bytes, list[int]]:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(PATIENCE)
                text, descriptors, _, _ = socket.recv_fds(connection, 65536, 8)
            received.extend(descriptors)
            return text, descriptors

        yield str(path), receive
    for descriptor in received:
        os.close(descriptor)


Listener = tuple[str, Callable[[], tuple[bytes, list[int]]]]


@differs(runc="1.1.5 has no such option")
def test_a_pidfd_of_init_is_sent(container: Container, listener: Listener) -> None:
    path, receive = listener
    container.create("--pidfd-socket", path, args=["sleep", "1000"]).ok()
    text, (descriptor,) = receive()
    assert text == b"standard"
    assert f"Pid:\t{container.pid}\n" in Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    assert container.wait() == 137


@differs(runc="1.1.5 has no such option")
def test_a_pidfd_of_exec_is_sent(container: Container, listener: Listener) -> None:
    path, receive = listener
    container.launch()
    pid_file = container.bundle / "exec.pid"
    options = ("--detach", "--pidfd-socket", path, "--pid-file", str(pid_file))
    container.exec("sleep", "1000", options=options).ok()
    text, (descriptor,) = receive()
    assert text == b"setns"
    assert f"Pid:\t{pid_file.read_text()}\n" in Path(f"/proc/self/fdinfo/{descriptor}").read_text()


def notify(path: str) -> dict[str, Any]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "some metadata",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }


@pytest.mark.needs_seccomp
def test_a_seccomp_listener_is_sent(container: Container, listener: Listener) -> None:
    path, receive = listener
    container.linux["seccomp"] = notify(path)
    container.create(args=["sh", "-c", "mkdir /tmp/x; echo $?"]).ok()
    text, descriptors = receive()
    message = json.loads(text)
    assert message["fds"] == ["seccompFd"]
    assert len(descriptors) == 1
    assert message["pid"] == container.pid
    assert message["metadata"] == "some metadata"
    assert message["state"]["id"] == container.id
    assert message["state"]["status"] == "creating"
    assert message["state"]["bundle"] == str(container.bundle)
    assert "seccomp" in os.readlink(f"/proc/self/fd/{descriptors[0]}")


@pytest.mark.needs_seccomp
def test_exec_sends_a_seccomp_listener_too(container: Container, listener: Listener) -> None:
    path, receive = listener
    container.linux["seccomp"] = notify(path)
    container.launch()
    receive()
    container.exec("sleep", "1000", options=("--detach",)).ok()
    text, descriptors = receive()
    assert json.loads(text)["state"]["status"] == "running"
    assert len(descriptors) == 1


@pytest.mark.needs_seccomp
def test_a_seccomp_listener_nobody_is_at(container: Container) -> None:
    container.linux["seccomp"] = notify("/no/such/socket")
    container.create().refused("/no/such/socket" if container.runtime.name != "runc" else "")
    container.leaves_nothing()


@pytest.mark.needs_seccomp
def test_a_seccomp_listener_the_runtime_itself_would_wait_for(container: Container, listener: Listener) -> None:
    """Nobody would answer for the `write` with which init reports that it is ready."""
    container.linux["seccomp"] = notify(listener[0])
    container.linux["seccomp"]["syscalls"][0]["names"] = ["write"]
    container.create().refused("write")
    container.leaves_nothing()


def test_readiness_reaches_the_caller(container: Container, debian: Path) -> None:
    """systemd's protocol: what the program sends to NOTIFY_SOCKET comes out at the caller's."""
    container.config["root"] = {"path": str(debian), "readonly": True}
    container.mounts.append(mount("/run", "tmpfs", "tmpfs"))
    path = container.scratch / "notify.sock"
    send = "use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, 'READY=1', 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die $!"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(PATIENCE)
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(path)}
        container.process["args"] = ["perl", "-e", f"{send}; sleep 1000"]
        container.write_config()
        container.background("run", "--bundle", str(container.bundle), container.id, env=environment)
        assert b"READY=1" in server.recv(4096)


# Keyrings


def session_keyring(container: Container, *options: str) -> str:
    container.linux["maskedPaths"] = []
    return container.run(*options, args=["cat", "/proc/keys"]).ok().out


@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="a kernel without keyrings")
def test_a_container_has_a_session_keyring_of_its_own(container: Container) -> None:
    assert f"_ses.{container.id}" in session_keyring(container)


@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="a kernel without keyrings")
def test_a_container_keeps_the_callers_keyring_if_told_to(container: Container) -> None:
    assert f"_ses.{container.id}" not in session_keyring(container, "--no-new-keyring")


# What nobody does any more, or not yet


@pytest.mark.parametrize("command", ["checkpoint", "restore"])
def test_what_cannot_be_saved_or_restored_is_refused_with_a_word(container: Container, command: str) -> None:
    if container.runtime.name == "runc":
        pytest.skip("runc needs criu, or says so")
    container.launch()
    images, without_criu = container.bundle / "images", os.environ | {"PATH": "/nonexistent"}
    result = container.call(command, "--image-path", str(images), container.id, env=without_criu)
    assert result.status != 0
    assert result.err.strip()
    assert container.status == "running"


def test_the_cgroup_mount_is_readonly_if_asked(container: Container) -> None:
    """CVE-2023-25809: also what is mounted below it."""
    container.launch()
    script = "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/escape 2> /dev/null && echo $d; done; true"
    assert container.exec("sh", "-c", script).ok().out == ""


def test_a_tmpfs_of_a_readonly_container_can_be_written(container: Container) -> None:
    container.config["root"]["readonly"] = True
    (container.rootfs / "run").mkdir(exist_ok=True)
    container.mounts.append(mount("/run", "tmpfs", "tmpfs", "mode=755"))
    container.sh("mkdir /run/x; ! mkdir /x 2> /dev/null")


def test_systemds_cgroups_are_made_or_refused_with_a_word(container: Container) -> None:
    if Path("/run/systemd/system").exists():
        pytest.skip("systemd is running")
    container.linux["cgroupsPath"] = f"system.slice:pyoci:{container.id}"
    container.write_config()
    container.call("--systemd-cgroup", "create", "--bundle", str(container.bundle), container.id).refused("systemd")
    container.leaves_nothing()


def test_cgroups_can_be_done_without(container: Container) -> None:
    """crun's option, which podman gives for --cgroups=disabled."""
    if container.runtime.name == "runc":
        pytest.skip("runc has no such option")
    del container.linux["resources"]
    if container.runtime.name != "pyoci":
        container.mounts[:] = [entry for entry in container.mounts if entry["type"] != "cgroup"]
    for entry in container.mounts:
        if entry["type"] == "cgroup":
            entry["options"].remove("ro")
    container.process["args"] = ["sleep", "1000"]
    container.write_config()
    container.call("--cgroup-manager", "disabled", "create", "--bundle", str(container.bundle), container.id).ok()
    container.pid = container.state()["pid"]
    assert container.id not in Path(f"/proc/{container.pid}/cgroup").read_text()
    container.start().ok()
    if container.runtime.name == "pyoci":
        seen = container.exec("find", "/sys/fs/cgroup/", "-name", "cgroup.procs", "-exec", "cat", "{}", "+").out
        assert "1" in seen.split(), "the container is in one of the cgroups that it sees"
        attempts = (
            "for procs in $(find /sys/fs/cgroup/ -name cgroup.procs); do mkdir ${procs%/*}/made && echo made; done"
        )
        assert container.exec("sh", "-c", attempts).out == ""
    container.kill("KILL").ok()
    eventually("its end", lambda: container.status == "stopped")
