# SPDX-License-Identifier: Apache-2.0
"""start: once, and only what waits for it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.container.boxes import Box, Failed

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def told(box: Box, script: str = "") -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {box.bundle}/told; {script}"]}


def test_once(box: Box) -> None:
    box.create()
    assert not (box.rootfs / "proof").exists()
    box.start()
    assert not (box.root / box.id / "exec.fifo").exists()
    with pytest.raises(Failed, match="cannot start an already running container") as caught:
        box.start()
    assert caught.value.kind == "InvalidOperation"


def test_once_more_where_the_first_was_killed_before_init_went_on(box: Box) -> None:
    box.create()
    (box.root / box.id / "exec.fifo").rename(box.root / box.id / "exec.fifo.open")
    assert box.status() == "running", "it may well be"
    box.start()
    assert not (box.root / box.id / "exec.fifo.open").exists()
    with pytest.raises(Failed, match="cannot start an already running container"):
        box.start()


def test_not_what_has_ended(box: Box) -> None:
    box.create()
    os.kill(box.pid, signal.SIGKILL)
    box.end()
    with pytest.raises(Failed, match="cannot start a container that has stopped"):
        box.start()


def test_not_what_is_not_there(box: Box) -> None:
    with pytest.raises(Failed) as caught:
        box.start()
    assert caught.value.kind == "ContainerNotFound"


def test_a_program_that_the_kernel_refuses(box: Box) -> None:
    (box.rootfs / "bin/junk").write_text("junk")
    (box.rootfs / "bin/junk").chmod(0o755)
    box.config["process"]["args"] = ["junk"]
    box.create()
    with pytest.raises(Failed, match="exec junk: exec format error"):
        box.start()
    box.end()
    assert box.status() == "stopped"


def test_poststart_hooks_are_told_of_a_running_container(box: Box) -> None:
    box.config["annotations"] = {"a": "b"}
    box.config["hooks"] = {"poststart": [told(box)]}
    box.run("sleep", "1000")
    assert json.loads((box.bundle / "told").read_text()) == {
        "ociVersion": "1.2.0",
        "id": box.id,
        "status": "running",
        "pid": box.pid,
        "bundle": str(box.bundle),
        "annotations": {"a": "b"},
    }


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_a_hook_that_fails_is_the_end(box: Box, kind: str) -> None:
    box.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}
    box.create()
    pid = box.pid
    with pytest.raises(Failed, match=f"{kind} hook #0") as caught:
        box.start()
    assert caught.value.kind == "HookFailed"
    os.waitpid(pid, 0)
    assert box.left() == []


def test_the_lock_is_free_while_hooks_take_their_time(box: Box) -> None:
    """Or nobody could look at, or end, a container whose hook hangs."""
    box.config["hooks"] = {"poststart": [told(box, f"mkfifo {box.bundle}/go; read x < {box.bundle}/go")]}
    box.create()
    pid = os.fork()
    if pid == 0:
        try:
            box.start()
        finally:
            os._exit(0)
    try:
        while not (box.bundle / "go").exists():
            os.sched_yield()
        os.close(box.directory.lock())
    finally:
        with open(box.bundle / "go", "w") as go:
            go.write("x\n")
        os.waitpid(pid, 0)
    assert box.status() == "running"
