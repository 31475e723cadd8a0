# SPDX-License-Identifier: Apache-2.0
"""Each command, with the container that it needs beforehand and what its success must mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...lifecycle.configs import Config
from ...lifecycle.harness import Container


class Command(NamedTuple):
    """`before` is "", created, running, paused or stopped. `after`: what state may say if the command succeeds; "" is gone."""

    before: str
    arguments: Callable[[Container], list[str]]
    after: tuple[str, ...]


def _plain(*words: str, last: tuple[str, ...] = ()) -> Callable[[Container], list[str]]:
    return lambda box: [*words, box.id, *last]


def _creating(*words: str) -> Callable[[Container], list[str]]:
    return lambda box: [*words, "--bundle", str(box.bundle), "--pid-file", str(box.pid_file), box.id]


COMMANDS: dict[str, Command] = {
    "create": Command("", _creating("create"), ("created",)),
    "run": Command("", _creating("run"), ("",)),
    "run --detach": Command("", _creating("run", "--detach"), ("running",)),
    "start": Command("created", _plain("start"), ("running",)),
    "exec": Command("running", _plain("exec", last=("true",)), ("running",)),
    "exec --detach": Command("running", _plain("exec", "--detach", last=("sleep", "1000")), ("running",)),
    "exec created": Command("created", _plain("exec", last=("true",)), ("created",)),
    "kill": Command("running", _plain("kill", last=("KILL",)), ("running", "stopped")),
    "kill --all": Command("running", _plain("kill", "--all", last=("KILL",)), ("running", "stopped")),
    "pause": Command("running", _plain("pause"), ("paused",)),
    "resume": Command("paused", _plain("resume"), ("running",)),
    "update": Command("running", _plain("update", "--pids-limit", "50"), ("running",)),
    "state": Command("running", _plain("state"), ("running",)),
    "ps": Command("running", _plain("ps"), ("running",)),
    "list": Command("running", lambda box: ["list"], ("running",)),
    "delete": Command("stopped", _plain("delete"), ("",)),
    "delete created": Command("created", _plain("delete"), ("",)),
    "delete --force": Command("running", _plain("delete", "--force"), ("",)),
    "delete --force paused": Command("paused", _plain("delete", "--force"), ("",)),
}


def _plain_config(config: Config) -> None:
    pass


def _user_namespace(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]


def _joined_namespaces(config: Config) -> None:
    """Those of the caller: by way of a stage where there is one."""
    for entry in config["linux"]["namespaces"]:
        if entry["type"] in ("network", "ipc"):
            entry["path"] = f"/proc/self/ns/{ {'network': 'net'}.get(entry['type'], entry['type']) }"


def _hooks(config: Config) -> None:
    config["hooks"] = {
        kind: [{"path": "/bin/true"}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }


def _seccomp(config: Config) -> None:
    calls = [{"names": ["ptrace", "kexec_load", "swapon"], "action": "SCMP_ACT_ERRNO"}]
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}


def _no_pid_namespace(config: Config) -> None:
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] != "pid"]


FLAVOURS: tuple[Callable[[Config], None], ...] = (
    _plain_config,
    _user_namespace,
    _joined_namespaces,
    _hooks,
    _seccomp,
    _no_pid_namespace,
)
"""Kinds of containers, which take different ways through a runtime."""


def prepare(box: Container, name: str, flavour: Callable[[Config], None]) -> list[str]:
    """Bring a container to where the command starts from; the command's arguments."""
    command = COMMANDS[name]
    flavour(box.config)
    if name == "run":
        box.process["args"] = ["true"]
    box.write_config()
    if command.before:
        box.create().ok()
        if command.before != "created":
            box.start().ok()
        if command.before == "paused":
            box.call("pause", box.id).ok()
        if command.before == "stopped":
            box.kill("KILL").ok()
            box.wait()
    return command.arguments(box)
