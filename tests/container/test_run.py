# SPDX-License-Identifier: Apache-2.0
"""run: all of a container's life in one call, and nothing left of it."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.container import run as runs
from pyoci.container.options import CreateOptions
from pyoci.container.run import run
from pyoci.errors import CgroupError, PyociError
from pyoci.process.exec_fifo import Starter
from pyoci.process.launcher import Launcher
from tests.container.boxes import Box, Failed

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def ran(box: Box, *args: str, **options: Any) -> int:
    box.config["process"]["args"] = list(args)
    box.write_config()
    wanted = CreateOptions(bundle=str(box.bundle), **options)
    code: int = box.apart(lambda: run(box.settings(), box.id, wanted))
    return code


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_the_programs(box: Box, script: str, code: int) -> None:
    box.config["linux"]["namespaces"].remove({"type": "pid"})  # where it is no init, which signals cannot end
    assert ran(box, "sh", "-c", script) == code
    assert box.left() == []


def test_detached(box: Box) -> None:
    assert ran(box, "sleep", "1000", detach=True) == 0
    assert box.status() == "running"


def test_what_cannot_be_cleared_up_is_no_failure_of_the_program(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is what was waited for. The rest is said, and left for delete."""

    def refuse(*_: Any) -> None:
        raise CgroupError("remove the cgroup: device or resource busy")

    monkeypatch.setattr(runs, "remove", refuse)
    assert ran(box, "sh", "-c", "exit 7") == 7
    assert "busy" in box.log.read_text()
    box.delete()
    assert box.left() == []


def test_kept(box: Box) -> None:
    assert ran(box, "sh", "-c", "exit 3", keep=True) == 3
    assert box.status() == "stopped"
    box.delete()
    assert box.left() == []


@pytest.mark.parametrize("detach", [False, True])
def test_a_program_that_there_is_not(box: Box, detach: bool) -> None:
    with pytest.raises(Failed, match="executable file not found"):
        ran(box, "none", detach=detach)
    assert box.left() == []


@pytest.mark.parametrize("detach", [False, True])
def test_a_program_that_the_kernel_refuses(box: Box, detach: bool) -> None:
    """Which shows when the container is created already: there is nobody who would delete it."""
    (box.rootfs / "bin/junk").write_text("junk")
    (box.rootfs / "bin/junk").chmod(0o755)
    with pytest.raises(Failed, match="exec format error"):
        ran(box, "junk", detach=detach)
    assert box.left() == []


@pytest.mark.parametrize("kind", ["createContainer", "startContainer", "poststart"])
def test_a_hook_that_fails(box: Box, kind: str) -> None:
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {box.bundle}/poststop"]}],
    }
    with pytest.raises(Failed, match=f"{kind} hook #0"):
        ran(box, "sleep", "1000")
    assert box.left() == []
    assert (box.bundle / "poststop").exists()


def test_console_sockets_are_for_detached_ones(box: Box) -> None:
    box.config["process"]["terminal"] = True
    for detach in (False, True):
        with pytest.raises(Failed) as caught:
            ran(box, "true", detach=detach, console_socket="" if detach else "/no/such/socket")
        assert caught.value.kind == "UsageError"
    assert box.left() == []


def test_an_init_that_does_not_end(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed first is told first, and what can be undone is."""

    def kill(launcher: Launcher) -> None:
        killed(launcher)
        raise PyociError("process 7 is still there")

    killed = Launcher.kill
    monkeypatch.setattr(Launcher, "kill", kill)
    with pytest.raises(Failed, match=r"executable file not found in \$PATH; and then, .*: process 7 is still there"):
        ran(box, "none")
    assert box.left() == []


def test_an_init_that_has_gone_before_the_start(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the container back takes the lock, which the start has had."""

    def release(starter: Starter) -> None:
        raise PyociError("container init is gone")

    monkeypatch.setattr(Starter, "release", release)
    with pytest.raises(Failed, match=r"container init is gone$"):
        ran(box, "true")
    assert box.left() == []
