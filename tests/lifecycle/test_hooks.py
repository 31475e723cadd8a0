# SPDX-License-Identifier: Apache-2.0
"""Hooks: all six kinds, where they run, what they are told, and what their failure means."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .configs import without_namespace
from .harness import PATIENCE, Container, eventually, is_gone_or_zombie, namespace_of

differs = pytest.mark.differs

IN_RUNTIME = ["prestart", "createRuntime", "poststart", "poststop"]
IN_CONTAINER = ["createContainer", "startContainer"]
KINDS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
BEFORE_START = ["prestart", "createRuntime", "createContainer"]
TELLS_OF_CREATING = differs(runc="tells hooks that the container is still creating")


def hook(script: str, *args: str, path: str = "/bin/sh", **more: Any) -> dict[str, Any]:
    """A hook that runs a shell script; its directory on the host is $1 in the script."""
    return {
        "path": path,
        "args": ["sh", "-c", script, "sh", *args],
        "env": ["PATH=/bin:/usr/bin:/usr/sbin:/sbin"],
        **more,
    }


@pytest.fixture
def notes(container: Container) -> Path:
    """A directory where hooks leave their notes, at the same path on the host and in the container."""
    path = container.scratch / "notes"
    path.mkdir()
    path.chmod(0o777)
    inside = container.rootfs / path.relative_to("/")
    inside.mkdir(parents=True)
    container.mounts.append({"destination": str(path), "source": str(path), "type": "bind", "options": ["bind"]})
    return path


def add(container: Container, kind: str, *hooks: dict[str, Any]) -> None:
    container.config.setdefault("hooks", {}).setdefault(kind, []).extend(hooks)


def live(container: Container) -> None:
    """A whole life, from create to delete."""
    container.create(args=["true"]).ok()
    container.start().ok()
    container.wait()
    container.delete().ok()


@differs(runc="1.1.5 runs poststart hooks in create")
def test_all_hooks_run_in_order(container: Container, notes: Path) -> None:
    for kind in reversed(KINDS):
        add(container, kind, hook(f"echo {kind} 1 >> {notes}/log"), hook(f"echo {kind} 2 >> {notes}/log"))
    live(container)
    assert (notes / "log").read_text().splitlines() == [f"{kind} {number}" for kind in KINDS for number in (1, 2)]


@differs(runc="1.1.5 runs poststart hooks in create")
def test_hooks_run_at_their_commands(container: Container, notes: Path) -> None:
    for kind in KINDS:
        add(container, kind, hook(f"echo {kind} >> {notes}/log"))
    log = notes / "log"
    container.create(args=["sleep", "1000"]).ok()
    assert log.read_text().split() == KINDS[:3]
    container.start().ok()
    assert log.read_text().split() == KINDS[:5]
    container.delete("--force").ok()
    assert log.read_text().split() == KINDS


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param("prestart", "created", marks=TELLS_OF_CREATING),
        pytest.param("createRuntime", "created", marks=TELLS_OF_CREATING),
        pytest.param("createContainer", "created", marks=TELLS_OF_CREATING),
        ("startContainer", "created"),
        pytest.param("poststart", "running", marks=differs(runc="1.1.5 runs poststart hooks in create")),
        ("poststop", "stopped"),
    ],
)
def test_a_hook_reads_the_state(container: Container, notes: Path, kind: str, status: str) -> None:
    container.config["annotations"] = {"org.example": "value"}
    add(container, kind, hook(f"cat > {notes}/state"))
    container.create(args=["sleep", "1000"]).ok()
    container.start().ok()
    container.delete("--force").ok()
    state = json.loads((notes / "state").read_text())
    pid = {"createContainer": 1, "startContainer": 1, "poststop": 0}.get(kind, container.pid)
    if kind == "poststop" and "pid" not in state:
        state["pid"] = 0
    assert state["ociVersion"]
    assert {key: state[key] for key in ("id", "status", "bundle", "annotations", "pid")} == {
        "id": container.id,
        "status": status,
        "bundle": str(container.bundle),
        "annotations": {"org.example": "value"},
        "pid": pid,
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_runs_in_its_namespaces(container: Container, notes: Path, kind: str) -> None:
    add(container, kind, hook(f"for n in mnt net ipc uts; do readlink /proc/self/ns/$n; done > {notes}/ns"))
    container.create(args=["sleep", "1000"]).ok()
    inside = [namespace_of(container.pid, name) for name in ("mnt", "net", "ipc", "uts")]
    container.start().ok()
    container.delete("--force").ok()
    outside = [namespace_of("self", name) for name in ("mnt", "net", "ipc", "uts")]
    assert (notes / "ns").read_text().split() == (inside if kind in IN_CONTAINER else outside)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "startContainer"])
def test_a_hook_sees_the_hosts_files(container: Container, notes: Path, kind: str) -> None:
    """All but startContainer come before pivot_root or stay outside."""
    add(container, kind, hook(f"readlink -f {container.bundle}/config.json > {notes}/seen"))
    live(container)
    assert (notes / "seen").read_text().strip() == str(container.bundle / "config.json")


def test_start_container_sees_the_containers_files(container: Container, notes: Path) -> None:
    (container.rootfs / "only-inside").write_text("")
    add(container, "startContainer", hook(f"ls /only-inside > {notes}/seen"))
    live(container)
    assert (notes / "seen").read_text() == "/only-inside\n"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_a_runtime_hook_finds_the_containers_namespaces(container: Container, notes: Path, kind: str) -> None:
    """Network plugins enter the network namespace of the pid they read."""
    script = f"""pid=$(sed 's/.*"pid": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > {notes}/ns"""
    add(container, kind, hook(script))
    container.create().ok()
    assert (notes / "ns").read_text().strip() == namespace_of(container.pid, "net")


def test_the_environment_of_a_hook_is_its_own(container: Container, notes: Path) -> None:
    add(container, "createRuntime", {
        "path": "/usr/bin/env" if os.path.exists("/usr/bin/env") else "/bin/env",
        "args": ["env", "-u", "NOTHING", "sh", "-c", f"env > {notes}/env"],
        "env": ["A=1", "PATH=/usr/bin:/bin"],
    })  # fmt: skip
    container.create(env={"PATH": os.environ["PATH"], "SECRET": "x"}).ok()
    env = (notes / "env").read_text().split()
    assert "A=1" in env
    assert not any(entry.startswith("SECRET") for entry in env)


@differs(runc="1.1.5 hands its own environment on")
def test_a_hook_without_env_has_none(container: Container, notes: Path) -> None:
    entry = hook(f"/bin/cat /proc/self/environ > {notes}/environ")
    del entry["env"]
    add(container, "createRuntime", entry)
    container.create(env={"PATH": os.environ["PATH"], "SECRET": "x"}).ok()
    assert b"SECRET" not in (notes / "environ").read_bytes()


def test_the_arguments_of_a_hook_start_with_its_name(container: Container, notes: Path) -> None:
    add(container, "createRuntime", {
        "path": "/bin/sh", "args": ["another-name", "-c", f"tr '\\0' ' ' < /proc/$$/cmdline > {notes}/cmdline; :", "x"],
        "env": ["PATH=/usr/bin:/bin"],
    })  # fmt: skip
    container.create().ok()
    assert (notes / "cmdline").read_text().startswith("another-name -c ")


def test_a_hook_without_args_gets_its_path(container: Container, notes: Path) -> None:
    script = notes / "hook"
    script.write_text(f"#!/bin/sh\necho $0 $# > {notes}/args\n")
    script.chmod(0o755)
    add(container, "createRuntime", {"path": str(script)})
    container.create().ok()
    assert (notes / "args").read_text() == f"{script} 0\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_umask_of_a_hook_is_its_callers(container: Container, notes: Path, kind: str) -> None:
    """But for startContainer hooks, which run when the process has what is its own."""
    add(container, kind, hook(f"umask > {notes}/umask; : > {notes}/file"))
    container.create(args=["true"], umask=0o27).ok()
    container.call("start", container.id, umask=0o27).ok()
    container.wait()
    container.call("delete", container.id, umask=0o27).ok()
    wanted = 0o22 if kind == "startContainer" else 0o27
    assert int((notes / "umask").read_text(), 8) == wanted
    assert (notes / "file").stat().st_mode & 0o777 == 0o666 & ~wanted


IN_THE_ROOT = differs(runc="runs createContainer hooks in the root")
WHERE_ITS_CALLER_IS = differs(runc="runs poststop hooks where its caller is")


@pytest.mark.parametrize(
    "kind",
    [
        "prestart",
        "createRuntime",
        pytest.param("createContainer", marks=IN_THE_ROOT),
        "poststart",
        pytest.param("poststop", marks=WHERE_ITS_CALLER_IS),
    ],
)
def test_a_hook_runs_in_the_bundle(container: Container, notes: Path, kind: str) -> None:
    add(container, kind, hook(f"readlink /proc/self/cwd > {notes}/cwd"))
    live(container)
    assert (notes / "cwd").read_text().strip() == str(container.bundle)


def test_a_poststop_hook_runs_though_the_bundle_is_gone(container: Container, notes: Path) -> None:
    add(container, "poststop", hook(f"touch {notes}/ran"))
    container.launch("true")
    container.wait()
    moved = container.bundle.rename(container.bundle.with_suffix(".moved"))
    result = container.runtime.call("--root", str(container.root), "delete", container.id)
    moved.rename(container.bundle)
    result.ok()
    assert (notes / "ran").exists()


def test_hooks_may_ignore_their_input(container: Container) -> None:
    add(container, "createRuntime", hook("exec <&-; exit 0"))
    container.config["annotations"] = {"big": "x" * 200_000}
    container.create().ok()


def test_create_container_may_still_write_to_a_readonly_root(container: Container) -> None:
    container.config["root"]["readonly"] = True
    add(container, "createContainer", hook(f"echo x > {container.rootfs}/written"))
    container.create().ok()
    assert (container.rootfs / "written").exists()


# Failure


@pytest.mark.parametrize("kind", BEFORE_START)
def test_a_failing_hook_fails_the_create(container: Container, kind: str) -> None:
    add(container, kind, hook("echo reason >&2; exit 3"))
    container.create().refused("exit status 3", "reason")
    container.leaves_nothing()


@differs(runc="1.1.5 gives the number alone")
@pytest.mark.parametrize("kind", BEFORE_START)
def test_the_kind_of_the_failing_hook_is_named(container: Container, kind: str) -> None:
    add(container, kind, hook("exit 3"))
    container.create().refused(kind)


@pytest.mark.parametrize("kind", BEFORE_START)
def test_a_hook_that_does_not_exist_fails_the_create(container: Container, kind: str) -> None:
    add(container, kind, {"path": "/no/such/hook"})
    container.create().refused("/no/such/hook", "no such file or directory")
    container.leaves_nothing()


@pytest.mark.parametrize("kind", BEFORE_START)
def test_hooks_after_a_failed_one_do_not_run(container: Container, notes: Path, kind: str) -> None:
    add(container, kind, hook("exit 1"), hook(f"touch {notes}/ran"))
    container.create().refused()
    assert not (notes / "ran").exists()


@pytest.mark.parametrize("kind", BEFORE_START)
def test_poststop_hooks_run_after_a_failed_create(container: Container, notes: Path, kind: str) -> None:
    add(container, kind, hook("exit 1"))
    add(container, "poststop", hook(f"touch {notes}/ran"))
    container.create().refused()
    assert (notes / "ran").exists()


def test_a_failing_start_container_hook_is_the_end_of_the_container(container: Container, notes: Path) -> None:
    add(container, "startContainer", hook("exit 1"))
    add(container, "poststop", hook(f"touch {notes}/stopped"))
    container.create(args=["touch", f"{notes}/ran"]).ok()
    result = container.start()
    assert container.wait() != 0
    assert not (notes / "ran").exists()
    if container.runtime.name == "pyoci":  # runc's start is over before the hook is
        result.refused("startContainer")
        container.leaves_nothing()
        assert (notes / "stopped").exists()


@differs(runc="1.1.5 only warns, as the specification had it then")
def test_a_failing_poststart_hook_is_the_end_of_the_container(container: Container, notes: Path) -> None:
    add(container, "poststart", hook("echo reason >&2; exit 1"))
    add(container, "poststop", hook(f"touch {notes}/stopped"))
    container.create(args=["sleep", "1000"]).ok()
    container.start().refused("poststart", "reason")
    assert container.wait() == 137
    container.leaves_nothing()
    assert (notes / "stopped").exists()


def test_a_failing_poststop_hook_is_only_a_warning(container: Container, notes: Path) -> None:
    add(container, "poststop", hook("exit 1"), hook(f"touch {notes}/ran"))
    container.launch("true")
    container.wait()
    result = container.delete()
    container.leaves_nothing()
    if container.runtime.name != "runc":  # 1.1.5 goes on too, in its own way
        result.ok()
        assert (notes / "ran").exists()


def test_the_number_of_the_failing_hook_is_named(container: Container) -> None:
    add(container, "createRuntime", hook("true"), hook("exit 7"))
    container.create().refused("#1", "exit status 7")


# Time


@pytest.mark.parametrize("kind", BEFORE_START)
def test_a_hook_that_takes_too_long_fails_the_create(container: Container, kind: str) -> None:
    add(container, kind, hook("exec sleep 1000", timeout=1))
    container.create().refused()
    container.leaves_nothing()


@differs(runc="1.1.5 waits for the grandchild, which holds the hook's output")
def test_a_hook_that_takes_too_long_is_killed_with_its_children(container: Container, notes: Path) -> None:
    add(container, "createRuntime", hook(f"sleep 12 & echo $! > {notes}/child; wait", timeout=2))
    before = time.monotonic()
    container.create().refused()
    assert time.monotonic() - before < 10
    child = int((notes / "child").read_text())
    eventually("end of the hook's child", lambda: is_gone_or_zombie(child))


def test_a_hook_within_its_time(container: Container, notes: Path) -> None:
    add(container, "createRuntime", hook(f"touch {notes}/ran", timeout=60))
    container.create().ok()
    assert (notes / "ran").exists()


@pytest.mark.parametrize("kind", ["createRuntime", "startContainer", "poststart"])
def test_the_longest_time_that_there_is(container: Container, kind: str) -> None:
    """In milliseconds it is more than poll(2) can wait."""
    add(container, kind, hook("true", timeout=2147483647))
    live(container)


def test_an_interrupted_create_takes_its_hook_along(container: Container, notes: Path) -> None:
    """In its own session, it would not hear of it."""
    if container.runtime.name != "pyoci":
        pytest.skip("an interrupt ends it where it is, and nothing is undone")
    add(container, "createRuntime", hook(f"echo $$ > {notes}/hook; exec sleep 1000"))
    container.write_config()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs in the background ignore it
    try:
        create = container.background("create", "--bundle", str(container.bundle), container.id)
    finally:
        signal.signal(signal.SIGINT, before)
    eventually("the hook", lambda: (notes / "hook").exists() and (notes / "hook").read_text())
    create.send_signal(signal.SIGINT)
    assert create.wait(PATIENCE) != 0
    pid = int((notes / "hook").read_text())
    eventually("the end of the hook", lambda: is_gone_or_zombie(pid))
    container.leaves_nothing()


@pytest.mark.parametrize("timeout", [0, -1])
def test_a_timeout_that_is_no_time_is_refused(container: Container, timeout: int) -> None:
    add(container, "createRuntime", hook("true", timeout=timeout))
    if container.runtime.name == "runc":
        pytest.xfail("runc 1.1.5 takes any number")
    assert container.create().status == 1


@differs(runc="1.1.5 runs it")
def test_a_relative_hook_path_is_refused(container: Container) -> None:
    """Also where there would be such a file, in the directory that hooks are run in."""
    hook = container.bundle / "hook"
    hook.write_text("#!/bin/sh\n: > hooked\n")
    hook.chmod(0o755)
    add(container, "createRuntime", {"path": "hook"})
    assert container.create().status == 1
    assert not (container.bundle / "hooked").exists()
    container.leaves_nothing()


@pytest.mark.parametrize("kind", IN_CONTAINER)
def test_a_hook_that_reads_nothing(container: Container, kind: str) -> None:
    """Also where init is no pid 1, which would live through the signal, and its launcher stays in the foreground."""
    without_namespace(container.config, "pid")
    container.config["annotations"] = {f"a{number}": "x" * 1000 for number in range(200)}  # more than a pipe holds
    add(container, kind, hook("exec 0<&-; exit 0"))
    assert container.sh("echo lives") == "lives\n"


def test_hooks_of_the_runtime_have_the_callers_umask(container: Container, notes: Path) -> None:
    kinds = [kind for kind in IN_RUNTIME if kind != "poststop"]
    for kind in kinds:
        add(container, kind, hook(f"umask > $1/{kind}", str(notes)))
    container.run(args=["true"], umask=0o027).ok()
    assert {kind: (notes / kind).read_text() for kind in kinds} == dict.fromkeys(kinds, "0027\n")
