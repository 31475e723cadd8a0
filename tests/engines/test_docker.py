# SPDX-License-Identifier: Apache-2.0
"""What docker has and podman has not, or has differently: its network by a hook, its builder, its daemon's questions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ..conftest import missing
from ..lifecycle.harness import Runtime, eventually, status_field
from .engines import Docker
from .images import NAME

CAP_SYS_ADMIN = 21


def test_the_runtime_is_known(docker: Docker, runtime: Runtime) -> None:
    known = json.loads(docker.call("info", "--format", "{{json .Runtimes}}").ok().out)[f"test-{runtime.name}"]
    assert known["path"] == runtime.path
    version = docker.call("version", "--format", "{{.Server.Version}}").ok().out
    if int(version.partition(".")[0]) >= 25:  # by which it asks for features, through the shim
        told = json.loads(known["status"]["org.opencontainers.runtime-spec.features"])
        own = json.loads(runtime.call("features").ok().out)
        for key in ("ociVersionMin", "ociVersionMax", "hooks", "mountOptions"):
            assert told[key] == own[key]


def test_the_network_is_set_up_by_a_hook(docker: Docker, runtime: Runtime, fresh: Callable[[], str]) -> None:
    """A prestart hook of docker's, which needs the state's pid, and the host's /proc to be run at all."""
    name, client = fresh(), fresh()
    serve = "mkdir /www; echo served > /www/page; exec httpd -f -p 80 -h /www"
    docker.run(runtime, "--detach", "--init", "--name", name, "--publish", "8080:80", NAME, "sh", "-c", serve).ok()
    address = docker.call("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).ok().out.strip()
    assert address in docker.call("exec", name, "ip", "address").ok().out
    fetch = ("wget", "-q", "-O", "-", f"http://{address}/page")
    eventually("the page", lambda: docker.run(runtime, "--rm", NAME, *fetch).out == "served\n")
    assert docker.world.call("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/page").ok().out == "served\n"
    docker.call("network", "create", client).ok()
    docker.call("network", "connect", client, name).ok()
    assert docker.call("exec", name, "ls", "/sys/class/net").ok().out.split().count("eth1") == 1
    docker.call("rm", "--force", name).ok()
    docker.call("network", "rm", client).ok()


def test_privileged(docker: Docker, runtime: Runtime) -> None:
    if runtime.name == "runc" and missing("needs_sys_resource"):
        pytest.skip("runc cannot leave out a capability that it has not got itself, here CAP_SYS_RESOURCE")
    result = docker.run(runtime, "--rm", "--privileged", NAME, "cat", "/proc/self/status")
    assert (result.status, result.err) == (0, "")  # not even a warning: that would be output of the program
    own = int(status_field(Path("/proc/self/status").read_text(), "CapBnd"), 16)
    given = int(status_field(result.out, "CapEff"), 16)
    assert given == own & (1 << given.bit_length()) - 1  # this docker does not know the latest ones
    assert given >> CAP_SYS_ADMIN & 1
    assert status_field(result.out, "Seccomp") == "0"
    words = ("--rm", "--privileged", NAME, "sh", "-c", "mount -t tmpfs x /home && echo mounted")
    assert docker.run(runtime, *words).ok().out == "mounted\n"


def test_a_build(docker: Docker, runtime: Runtime, tmp_path: Path, fresh: Callable[[], str]) -> None:
    """The builder of old takes the default runtime, so this is about what comes of an image that was built elsewhere."""
    name = f"localhost/{fresh()}"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NAME}\nCOPY file /\nUSER 1000\nWORKDIR /home/user\nCMD cat /file; id -u; pwd\n"
    )
    (tmp_path / "file").write_text("copied\n")
    docker.call("build", "--tag", name, str(tmp_path), extra={"DOCKER_BUILDKIT": "0"}).ok()
    assert docker.run(runtime, "--rm", name).ok().out == "copied\n1000\n/home/user\n"
    docker.call("rmi", name).ok()


def test_import_and_commit(docker: Docker, runtime: Runtime, tmp_path: Path, fresh: Callable[[], str]) -> None:
    name = fresh()
    docker.run(runtime, "--name", name, NAME, "sh", "-c", "echo kept > /kept").ok()
    docker.call("commit", name, f"localhost/{name}").ok()
    assert docker.run(runtime, "--rm", f"localhost/{name}", "cat", "/kept").ok().out == "kept\n"
    docker.call("rm", name).ok()
    docker.call("rmi", f"localhost/{name}").ok()


def test_live_changes_of_cpus(docker: Docker, runtime: Runtime, fresh: Callable[[], str]) -> None:
    name = fresh()
    id = docker.run(runtime, "--detach", "--name", name, "--cpuset-cpus", "0", NAME, "pause").ok().out.strip()
    cpuset = docker.world.cgroup(id, "cpuset") / "cpuset.cpus"
    assert cpuset.read_text().strip() == "0"
    docker.call("update", "--cpu-shares", "512", "--cpuset-cpus", "0-1", name).ok()
    assert cpuset.read_text().strip() == "0-1"
    docker.call("rm", "--force", name).ok()


def test_create_then_start_twice(docker: Docker, runtime: Runtime, fresh: Callable[[], str]) -> None:
    """A container that was made, but not started, is made again by `start`."""
    name = fresh()
    docker.call(*docker.words(runtime, "create", "--name", name, NAME, "echo", "hello")).ok()
    assert docker.call("start", "--attach", name).ok().out == "hello\n"
    assert docker.call("start", "--attach", name).ok().out == "hello\n"
    docker.call("rm", name).ok()
