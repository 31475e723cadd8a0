# SPDX-License-Identifier: Apache-2.0
"""Whole containers as docker, podman, containerd and buildah ask for them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from .configs import docker_config, podman_config
from .harness import Container, status_field

differs = pytest.mark.differs


def test_a_container_like_dockers(container: Container) -> None:
    container.config = docker_config(container.bundle, f"/{container.id}")
    seen = container.sh(
        "hostname; cat /etc/hosts; echo $A; id -G; cat /proc/self/oom_score_adj; echo kept > /data/file;"
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep -c . /proc/self/mountinfo > /dev/null; ls /sys/firmware"
    ).splitlines()
    assert seen == ["3f4e1c2b5a69", "# hosts of this container", "b", "0 1 2 3 4 6 10 11 20 26 27", "100", "0"]
    assert (container.bundle / "volume" / "file").read_text() == "kept\n"


def test_a_container_like_dockers_is_filtered(container: Container) -> None:
    container.config = docker_config(container.bundle, f"/{container.id}")
    status = container.output("cat", "/proc/self/status")
    assert status_field(status, "Seccomp") == "2"
    assert status_field(status, "CapEff") == "00000000a80425fb"


def test_a_container_like_podmans(container: Container) -> None:
    container.config = podman_config(container.bundle, f"/{container.id}")
    script = (
        "id -u; id -G; pwd; cat /srv/plain/name; echo; ! touch /srv/readonly/x 2> /dev/null;"
        "cat /run/secrets/token; touch /tmp/x; umask; hostname"
    )
    os.chown(container.bundle / "userdata" / "volume-5", 1000, 1000)
    seen = container.sh(script).splitlines()
    assert seen == ["1000", "1000 100", "/home/user", "volume-0", "# run-secrets", "0022", "0c5f2f2c5a11"]


def test_a_container_like_podmans_has_its_ambient_capability(container: Container) -> None:
    container.config = podman_config(container.bundle, f"/{container.id}")
    status = container.output("cat", "/proc/self/status")
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert status_field(status, name) == "0000000000000400", name


def test_containerds_calls(container: Container) -> None:
    """The calls of its shim, word by word; the log file is there already from the second call on."""
    log = container.bundle / "log.json"
    prefix = ["--log", str(log), "--log-format", "json"]
    init = container.bundle / "init.pid"
    container.process["args"] = ["sleep", "1000"]
    container.write_config()
    bundle = str(container.bundle)
    container.call(
        *prefix, "create", "--bundle", bundle, "--pid-file", str(init), container.id, cwd=container.bundle
    ).ok()
    container.pid = int(init.read_text())
    container.call(*prefix, "start", container.id, cwd=container.bundle).ok()
    process = container.scratch / "runc-process1"
    process.write_text(json.dumps(container.process | {"args": ["sleep", "1000"]}))
    pid_file = container.bundle / "exec-1.pid"
    container.call(
        *prefix,
        "exec",
        "--process",
        str(process),
        "--detach",
        "--pid-file",
        str(pid_file),
        container.id,
        cwd=container.bundle,
    ).ok()
    listed = json.loads(container.call(*prefix, "ps", "--format", "json", container.id).ok().out)
    assert sorted(listed) == sorted([container.pid, int(pid_file.read_text())])
    container.call(*prefix, "pause", container.id).ok()
    container.call(*prefix, "resume", container.id).ok()
    docker = '{"memory":{"limit":33554432,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":0,"period":0},"blockIO":{"weight":0}}\n'
    container.call(*prefix, "update", "--resources", "-", container.id, stdin=docker).ok()
    container.call(*prefix, "kill", container.id, "9").ok()
    os.waitpid(int(pid_file.read_text()), 0)
    assert container.wait() == 137
    container.call(*prefix, "delete", container.id).ok()
    container.call(*prefix, "delete", "--force", container.id).ok()
    assert not log.exists() or all(json.loads(line)["level"] != "error" for line in log.read_text().splitlines())


def test_podmans_environment(container: Container) -> None:
    """kill, delete, pause and resume get XDG_RUNTIME_DIR and nothing else: no PATH, no HOME."""
    container.launch()
    bare = {"XDG_RUNTIME_DIR": "/run/user/0"}
    for arguments in (["pause", container.id], ["resume", container.id], ["kill", container.id, "9"]):
        container.call(*arguments, env=bare).ok()
    container.wait()
    container.call("delete", "--force", container.id, env=bare).ok()


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent", "PYTHONSTARTUP": "/nonexistent/x.py"},
        {"PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "PYTHONWARNINGS": "error"},
        {"LANG": "C", "LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        {"PYTHONMALLOC": "debug", "PYTHONDEVMODE": "1", "PYTHONTRACEMALLOC": "5"},
        {"TMPDIR": "/nonexistent", "HOME": "/nonexistent", "USER": "nobody"},
    ],
    ids=lambda given: ",".join(given),
)
def test_the_callers_variables_change_nothing(container: Container, environment: dict[str, str]) -> None:
    result = container.run(args=["env"], env={"PATH": os.environ["PATH"]} | environment).ok()
    assert result.err == ""
    assert not set(environment) & {line.partition("=")[0] for line in result.out.splitlines()} - {"HOME"}


def test_modules_in_the_current_directory_are_not_loaded(container: Container) -> None:
    for name in ("os", "json", "sitecustomize", "posix", "encodings", "pyoci"):
        (container.bundle / f"{name}.py").write_text("raise SystemExit('trapped')")
    container.write_config()
    container.call("run", container.id, cwd=container.bundle).ok()


def test_buildahs_calls(container: Container) -> None:
    """No cgroupsPath, a dozen stray descriptors, and `state` polled until it says stopped, before init is reaped."""
    del container.linux["cgroupsPath"]
    readers = [os.pipe() for _ in range(5)]
    stray = tuple(number for pair in readers for number in pair)
    container.create(args=["sh", "-c", "ls /proc/self/fd | wc -l"], pass_fds=stray).ok()
    container.start().ok()
    container.becomes("stopped")
    assert int(container.printed()) <= 4
    container.wait()
    container.delete().ok()
    for number in stray:
        os.close(number)


# A real distribution


@pytest.fixture
def distribution(container: Container, debian: Path) -> Container:
    container.config["root"] = {"path": str(debian), "readonly": True}
    return container


def test_debian_runs(distribution: Container) -> None:
    assert "ID=debian" in distribution.output("cat", "/etc/os-release")


def test_debian_runs_a_shell_pipeline_as_a_user(distribution: Container) -> None:
    distribution.process["user"] = {"uid": 1, "gid": 1}
    assert distribution.output("bash", "-c", "ls / | grep -c usr; whoami; echo $HOME").split() == [
        "1",
        "daemon",
        "/usr/sbin",
    ]


def test_debian_runs_under_dockers_config(distribution: Container) -> None:
    root = distribution.config["root"]
    distribution.config = docker_config(distribution.bundle, f"/{distribution.id}")
    distribution.config["root"] = root | {"readonly": True}
    distribution.config["mounts"] = [
        entry for entry in distribution.config["mounts"] if not entry["destination"].startswith(("/etc", "/data"))
    ]
    assert distribution.output("bash", "-c", "perl -e 'print 6*7'; dpkg --version | head -1 | cut -c1-6").split() == [
        "42Debian"
    ]
