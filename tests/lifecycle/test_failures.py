# SPDX-License-Identifier: Apache-2.0
"""What fails leaves nothing behind, what is killed stays deletable, and no config makes the runtime crash."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from ..conftest import missing
from .configs import Config, bind, mount
from .harness import Container, children, command_line, eventually
from .strange import BODIES, mutate, starting_point, unsafe

differs = pytest.mark.differs

MUTATIONS = int(os.environ.get("PYOCI_TEST_MUTATIONS", "300"))
"""Mutated configs to put through create. `hack/torture --mutations 10000 mutated_configs` does as many as are wanted."""

SEED = int(os.environ.get("PYOCI_TEST_SEED", "1"))


# Failures


def hook(script: str) -> list[Config]:
    return [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]


FAILURES: dict[str, Callable[[Config], Any]] = {
    "program not found": lambda c: c["process"].update(args=["no-such-program"]),
    "program not executable": lambda c: c["process"].update(args=["/etc/passwd"]),
    "program is a directory": lambda c: c["process"].update(args=["/etc"]),
    "no arguments": lambda c: c["process"].update(args=[]),
    "no root": lambda c: c.pop("root"),
    "root is missing": lambda c: c["root"].update(path="missing"),
    "relative directory": lambda c: c["process"].update(cwd="relative"),
    "directory is a file": lambda c: c["process"].update(cwd="/etc/passwd"),
    "bind source is missing": lambda c: c["mounts"].append(bind("/no/such/source", "/x")),
    "unknown file system": lambda c: c["mounts"].append(mount("/x", "nosuchfs", "none")),
    "bad mount option": lambda c: c["mounts"].append(mount("/x", "tmpfs", "tmpfs", "nonsense=1")),
    "mount over proc": lambda c: c["mounts"].append(mount("/proc/sys", "tmpfs", "tmpfs")),
    "mount on a file": lambda c: c["mounts"].append(mount("/etc/passwd", "tmpfs", "tmpfs")),
    "namespace path is missing": lambda c: c["linux"]["namespaces"][1].update(path="/no/such/path"),
    "namespace of another kind": lambda c: c["linux"]["namespaces"][1].update(path="/proc/self/ns/uts"),
    "namespace twice": lambda c: c["linux"]["namespaces"].append({"type": "uts"}),
    "user namespace without mappings": lambda c: c["linux"]["namespaces"].append({"type": "user"}),
    "unknown rlimit": lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_X", "soft": 1, "hard": 1}]),
    "soft limit above hard": lambda c: c["process"].update(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 1}]),
    "sysctl of the host": lambda c: c["linux"].update(sysctl={"kernel.panic": "1"}),
    "sysctl that does not exist": lambda c: c["linux"].update(sysctl={"net.nonsense": "1"}),
    "prestart hook fails": lambda c: c.update(hooks={"prestart": hook("exit 1")}),
    "createRuntime hook fails": lambda c: c.update(hooks={"createRuntime": hook("exit 1")}),
    "createContainer hook fails": lambda c: c.update(hooks={"createContainer": hook("exit 1")}),
    "hook is missing": lambda c: c.update(hooks={"createRuntime": [{"path": "/no/such/hook"}]}),
    "hook kills itself": lambda c: c.update(hooks={"createContainer": hook("kill -9 $$")}),
    "cpus that are missing": lambda c: c["linux"]["resources"].update(cpu={"cpus": "4000"}),
    "memory below init": lambda c: c["linux"]["resources"].update(memory={"limit": 4096}),
    "swap below memory": lambda c: c["linux"]["resources"].update(memory={"limit": 1 << 26, "swap": 1 << 25}),
    "unknown seccomp action": lambda c: c["linux"].update(seccomp={"defaultAction": "SCMP_ACT_X"}),
    "terminal without a socket": lambda c: c["process"].update(terminal=True),
    "hostname without a namespace": lambda c: c["linux"].update(
        namespaces=[entry for entry in c["linux"]["namespaces"] if entry["type"] != "uts"]
    ),
    "unknown device type": lambda c: c["linux"].update(
        devices=[{"path": "/dev/x", "type": "x", "major": 1, "minor": 1}]
    ),
    "proc is a file": lambda c: c["mounts"].insert(0, mount("/etc/passwd", "proc", "proc")),
    "a huge uid": lambda c: c["process"].update(user={"uid": 1 << 40, "gid": 0}),
}


def with_known(names: Iterable[str], known: dict[str, str]) -> list[Any]:
    """The names, with a mark at those runc is known to fail."""
    return [pytest.param(name, marks=differs(runc=known[name]) if name in known else ()) for name in names]


@pytest.mark.parametrize("name", with_known(FAILURES, {"mount over proc": "1.1.5 refuses binds alone"}))
def test_a_failed_create_leaves_nothing_and_the_id_is_free(container: Container, name: str) -> None:
    if name == "memory below init" and not missing("needs_cgroup_v2"):
        pytest.skip("needs cgroup v1: version 2 does not count what init had when it came")
    good = copy.deepcopy(container.config)
    FAILURES[name](container.config)
    container.write_config()
    files = sorted(container.rootfs.iterdir())
    result = container.call(
        "create", "--bundle", str(container.bundle), "--pid-file", str(container.pid_file), container.id
    )
    assert result.status == 1, f"{result}"
    assert result.err.strip(), f"{result}"
    assert not container.pid_file.exists()
    container.leaves_nothing()
    assert sorted(container.rootfs.iterdir()) == files or container.runtime.name == "runc" or "mount" in name
    container.config = good
    container.run(args=["true"]).ok()


@pytest.mark.parametrize("name", with_known(BODIES, {"null": "1.1.5 panics"}))
def test_a_body_that_is_no_config_is_refused(container: Container, name: str) -> None:
    body = BODIES[name]
    (container.bundle / "config.json").write_bytes(body if isinstance(body, bytes) else body.encode())
    result = container.call("create", "--bundle", str(container.bundle), container.id)
    assert result.status == 1, f"{result}"
    assert result.err.strip()
    container.leaves_nothing()


def test_a_missing_config_is_named(container: Container) -> None:
    container.call("create", "--bundle", str(container.bundle), container.id).refused("config.json")


def test_a_missing_bundle_is_named(container: Container) -> None:
    container.call("create", "--bundle", "/no/such/bundle", container.id).refused(
        "/no/such/bundle", "no such file or directory"
    )


def test_a_config_that_is_a_directory(container: Container) -> None:
    (container.bundle / "config.json").mkdir()
    container.call("create", "--bundle", str(container.bundle), container.id).refused("config.json")


@pytest.mark.parametrize(
    "where",
    with_known(
        ["args", "env", "hostname", "cwd", "destination"],
        {"args": "1.1.5 notices only when it starts the program", "hostname": "1.1.5 hands it to the kernel"},
    ),
)
def test_a_null_character_is_refused(container: Container, where: str) -> None:
    text = "a\0b"
    if where in ("args", "env"):
        container.process[where].append(f"{text}=1")
    elif where == "cwd":
        container.process["cwd"] = f"/{text}"
    elif where == "destination":
        container.mounts.append(mount(f"/{text}", "tmpfs", "tmpfs"))
    else:
        container.config["hostname"] = text
    result = container.create()
    assert result.status == 1, f"{result}"
    container.leaves_nothing()


def test_unknown_properties_are_ignored(container: Container) -> None:
    container.config["fromTheFuture"] = {"x": [1, 2]}
    container.process["fromTheFuture"] = True
    container.linux["fromTheFuture"] = None
    container.run().ok()


def test_a_minor_version_of_the_future_is_taken(container: Container) -> None:
    container.config["ociVersion"] = "1.99.0"
    container.run().ok()


def test_a_version_of_before_the_first_is_taken(container: Container) -> None:
    container.config["ociVersion"] = "0.5.0-dev"
    container.run().ok()


def test_a_large_config(container: Container) -> None:
    container.config["annotations"] = {f"org.example.{number}": "x" * 1000 for number in range(3000)}
    container.run().ok()


def test_many_mounts(container: Container) -> None:
    container.mounts.extend(mount(f"/mounts/{number}", "tmpfs", "tmpfs", "size=4k") for number in range(300))
    assert container.sh("grep -c ' /mounts/' /proc/self/mountinfo") == "300\n"


# Killed in the middle


@pytest.mark.parametrize("round", range(3))
@differs(runc="1.1.5 forgets its cgroups when it is killed before it wrote its state", always=False)
def test_what_was_killed_can_be_deleted(container: Container, round: int) -> None:
    """SIGKILL anywhere in create, start, exec or delete; then `delete --force` removes all there is."""
    chance = random.Random(SEED * 1000 + round)
    container.root.mkdir()
    for _ in range(12):
        container.process["args"] = ["sleep", "1000"]
        container.write_config()
        steps = [["create", "--bundle", str(container.bundle), container.id], ["start", container.id],
                 ["exec", container.id, "true"], ["delete", "--force", container.id]]  # fmt: skip
        victim = chance.randrange(len(steps))
        for step, arguments in enumerate(steps[: victim + 1]):
            process = container.background(*arguments)
            if step == victim:
                time.sleep(chance.uniform(0, 0.05))
                process.kill()
            process.wait(30)
            container.live.remove(process)
        container.call("list").ok()
        container.call("state", container.id)
        eventually(
            "the end of delete", lambda: container.reap() is not None and container.delete("--force").status == 0
        )
        container.leaves_nothing()


@differs(runc="1.1.5 forgets its cgroups when it is killed before it wrote its state")
def test_a_create_killed_from_outside_frees_the_id(container: Container) -> None:
    """Stopped in a hook, so that the moment is always the same."""
    hooked = container.bundle / "hooked"
    container.config["hooks"] = {"createRuntime": hook(f"echo $$ > {hooked}; exec sleep 1000")}
    container.write_config()
    process = container.background("create", "--bundle", str(container.bundle), container.id)
    eventually("the hook's pid", lambda: hooked.exists() and hooked.read_text().endswith("\n"))
    eventually("the hook's sleep", lambda: command_line(int(hooked.read_text())) == "sleep 1000")
    process.kill()
    process.wait()
    container.live.remove(process)
    kill_hook(container)
    container.delete("--force").ok()
    container.leaves_nothing()
    del container.config["hooks"]
    container.run(args=["true"]).ok()


def kill_hook(container: Container) -> None:
    """The hook outlives a runtime that was killed; it belongs to whoever killed it."""
    for pid in children():
        if command_line(pid) == "sleep 1000":
            os.kill(pid, signal.SIGKILL)


# Shortage


@pytest.mark.parametrize(
    ("limit", "number"),
    [("-n", 8), ("-n", 16), ("-f", 0), ("-v", 60_000), ("-s", 64)],
    ids=["8 descriptors", "16 descriptors", "no file size", "little address space", "small stack"],
)
def test_a_caller_short_of_everything(container: Container, limit: str, number: int) -> None:
    container.write_config()
    wrapper = ["sh", "-c", f'ulimit {limit} {number}; exec "$0" "$@"']
    del container.process["rlimits"]
    container.write_config()
    try:
        result = container.call("create", "--bundle", str(container.bundle), container.id, wrapper=wrapper)
    except AssertionError:
        if container.runtime.name == "runc":
            pytest.xfail("Go's runtime shows its stack when it has no memory")
        raise
    if result.status == 0:
        assert container.status == "created"
        container.pid = container.state()["pid"]
    container.delete("--force").ok()
    eventually("nothing left", lambda: not container.traces())


@pytest.mark.parametrize("options", with_known(["size=4k", "nr_inodes=2", "ro"], {"size=4k": "1.1.5 says <nil>"}))
def test_a_state_directory_that_is_full(container: Container, options: str) -> None:
    container.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(container.root)], check=True)
    try:
        result = container.create()
        if result.status == 0:
            container.delete("--force").ok()
        else:
            assert any(word in result.err for word in ("no space left on device", "read-only file system")), f"{result}"
            assert not list(container.root.iterdir())
        eventually("the end of init", lambda: not container.reap())
        container.leaves_nothing()
    finally:
        subprocess.run(["umount", "--lazy", str(container.root)], check=True)


# Mutations


@pytest.mark.parametrize("part", range(10))
def test_mutated_configs_never_crash_the_runtime(container: Container, part: int) -> None:
    """Each is refused with a word, or makes a container that can be deleted; nothing is left either way."""
    chance = random.Random(SEED * 100 + part)
    if container.runtime.name == "runc" and part:
        pytest.skip("one part is enough to prove the test")
    for _ in range(MUTATIONS // 10):
        container.config = starting_point(container.bundle, f"/{container.id}", chance)
        done = [mutate(container.config, chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
        if unsafe(container.config, container.id):
            continue
        container.write_config()
        result = container.call("create", "--bundle", str(container.bundle), container.id)
        if result.status == 0:
            container.call("state", container.id).ok()
        else:
            assert result.err.strip(), f"{done}: {result}"
        deleted = container.delete("--force")
        assert deleted.status == 0, f"{done}: {deleted}"
        left = container.traces()
        assert not left, f"{done}: {left}\n{result}"


# A long life


def test_nothing_accumulates(container: Container) -> None:
    """Fifty lives of one container, some of them short: no mounts, files and processes after but those of before."""

    def world() -> set[str]:
        return {*Path("/proc/self/mountinfo").read_text().splitlines(), *os.listdir("/run")}

    container.run(args=["true"]).ok()
    before = world()
    for number in range(30):
        container.run(args=["true"] if number % 2 else ["no-such-program"])
    assert world() <= before, "others may take away what is theirs, meanwhile"
    container.leaves_nothing()
