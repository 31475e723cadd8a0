# SPDX-License-Identifier: Apache-2.0
"""Nothing of the image is loaded by the runtime, on the ways that few containers go: more of tests/lifecycle/test_isolation.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ..lifecycle.configs import Config
from ..lifecycle.harness import Container, console_socket, eventually
from ..lifecycle.test_isolation import no_mark, trap


@pytest.fixture
def trapped(container: Container) -> Container:
    assert trap(container.rootfs) > 500
    return container


def _terminal(config: Config) -> None:
    config["process"] |= {"terminal": True, "consoleSize": {"height": 10, "width": 20}}


def _user_namespace(config: Config) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]
    config["mounts"] = [mount for mount in config["mounts"] if mount["destination"] != "/dev/mqueue"]


def _joined(config: Config) -> None:
    for entry in config["linux"]["namespaces"]:
        if entry["type"] in ("network", "ipc", "uts", "pid"):
            entry["path"] = f"/proc/self/ns/{ {'network': 'net'}.get(entry['type'], entry['type']) }"
    config.pop("hostname")


def _hooks(config: Config) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "cat > /dev/null"]}
    config["hooks"] = {"createContainer": [hook], "startContainer": [{**hook, "timeout": 60}]}


def _priorities(config: Config) -> None:
    config["process"] |= {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 1},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "oomScoreAdj": 100,
    }
    config["linux"]["personality"] = {"domain": "LINUX"}


def _readonly_with_seccomp(config: Config) -> None:
    config["root"]["readonly"] = True
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["ptrace", "kexec_load"], "action": "SCMP_ACT_ERRNO"}],
    }


def _names_outside_ascii(config: Config) -> None:
    config["hostname"] = "xn--hst-sna"
    config["process"]["env"].append("NAME=äöü€😀")
    config["process"]["cwd"] = "/tmp/ä€"
    config["mounts"].append({"destination": "/tmp/ü", "type": "tmpfs", "source": "tmpfs"})


WAYS: list[Any] = [
    _terminal,
    _user_namespace,
    _joined,
    _hooks,
    _priorities,
    _readonly_with_seccomp,
    _names_outside_ascii,
]


@pytest.mark.parametrize("change", WAYS, ids=lambda change: change.__name__.strip("_"))
def test_nothing_is_loaded_on_rare_ways(trapped: Container, change: Any) -> None:
    change(trapped.config)
    trapped.process["args"] = ["sleep", "1000"]
    if change is _terminal:
        with console_socket(trapped.scratch) as (path, receive):
            trapped.create("--console-socket", path).ok()
            receive()
    else:
        trapped.create().ok()
    trapped.start().ok()
    no_mark(trapped)
    trapped.exec("true").ok()
    no_mark(trapped)


FAILING: dict[str, Any] = {
    "mount": lambda config: config["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "none"}),
    "option": lambda config: config["mounts"].append(
        {"destination": "/x", "type": "tmpfs", "source": "none", "options": ["ä=1"]}
    ),
    "sysctl": lambda config: config["linux"].update(sysctl={"net.no.such": "ä"}),
    "hook": lambda config: config.update(hooks={"createContainer": [{"path": "/no/such/hook"}]}),
    "user": lambda config: config["process"]["user"].update(uid=4294967294),
    "directory": lambda config: config["process"].update(cwd="/bin/busybox"),
    "namespace": lambda config: config["linux"]["namespaces"][1].update(path="/proc/self/ns/uts"),
}


@pytest.mark.parametrize("what", FAILING)
def test_nothing_is_loaded_to_report_failures(trapped: Container, what: str) -> None:
    FAILING[what](trapped.config)
    result = trapped.create()
    assert result.status == 1 or what == "user", f"{result}"
    no_mark(trapped)


@pytest.mark.parametrize("number", [1, 3, 6, 10, 11, 15])
def test_nothing_is_loaded_by_an_init_that_is_signalled(trapped: Container, number: int) -> None:
    """Its handlers are gone, and no traceback is made of the interruption."""
    trapped.create(args=["sleep", "1000"]).ok()
    os.kill(trapped.pid, number)
    trapped.kill("KILL")
    eventually("the end of init", lambda: not Path(f"/proc/{trapped.pid}/cmdline").read_bytes())
    no_mark(trapped)
    assert "Traceback" not in (trapped.bundle / f"stderr.{1}").read_text()
