# SPDX-License-Identifier: Apache-2.0
"""The launcher: makes init, serves it, and ends it, with no descriptor left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.container.create import decide
from pyoci.container.options import CreateOptions
from pyoci.errors import HookFailed, PyociError, StageFailed, failed
from pyoci.plan.model import IdMap, Namespaces, Plan
from pyoci.process import exec_fifo
from pyoci.process import launcher as launcher_module
from pyoci.process.exec_fifo import Starter
from pyoci.process.launcher import Launcher, fifo_owner
from tests.container.boxes import Box
from tests.plan.hosts import planned
from tests.rootfs.roots import descriptors

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A bundle, without cgroups: those are the container's to make, not the launcher's."""
    made = Box(tmp_path)
    made.config["process"]["args"] = ["sh", "-c", "echo started > /proof"]
    return made


def launched(box: Box, use: Callable[[Launcher, str], Any]) -> Any:
    """What `use` finds, given a launcher for the box's plan, and the path of a fifo; its init is ended."""
    box.write_config()

    def inside() -> Any:
        options = CreateOptions(bundle=str(box.bundle))
        plan: Plan = decide(box.settings(cgroup_manager="disabled"), box.id, options)[2]
        fifo = f"{box.bundle}/fifo"
        exec_fifo.make(fifo, 0, 0)
        launcher = Launcher(plan, {}, {"ociVersion": "1.2.0", "id": box.id, "bundle": plan.bundle}, False)
        try:
            return use(launcher, fifo)
        finally:
            launcher.kill()

    return box.apart(inside)


def served(launcher: Launcher, fifo: str) -> None:
    launcher.clone(fifo, b"", -1, 0)
    launcher.serve()


def test_from_birth_to_program(box: Box) -> None:
    def use(launcher: Launcher, fifo: str) -> list[Any]:
        before = descriptors()
        launcher.clone(fifo, b"", -1, 0)
        assert len(descriptors()) == len(before) + 2, "the channel and the pidfd"
        launcher.serve()
        assert len(descriptors()) == len(before) + 1
        name = Path(f"/proc/{launcher.pid}/cmdline").read_bytes().strip(b"\0").decode()
        assert launcher.channel.fd == -1
        held: set[str] = set()
        for _ in range(3000):  # init is ready, and about to let go of its channel
            files = [fd for fd in os.listdir(f"/proc/{launcher.pid}/fd") if int(fd) > 2]
            with contextlib.suppress(FileNotFoundError):  # it lets go of it right now
                held = {os.readlink(f"/proc/{launcher.pid}/fd/{fd}") for fd in files}
                if not any(file.startswith("socket:") for file in held):
                    break
            time.sleep(0.01)
        starter = Starter(fifo, f"{fifo}.open", launcher.pidfd)
        starter.release()
        starter.await_program()
        status = os.waitstatus_to_exitcode(os.waitpid(launcher.pid, 0)[1])
        return [name, sorted(held), fifo, status]

    name, held, fifo, status = launched(box, use)
    assert name and "pyoci:[init]".startswith(name)
    assert held == ["/", fifo], "all that it waits with: its root, a procfs of its own, the fifo"
    assert (status, (box.rootfs / "proof").read_text()) == (0, "started\n")


def test_what_fails_inside_is_told(box: Box) -> None:
    box.config["process"]["args"] = ["no-such-program"]

    def use(launcher: Launcher, fifo: str) -> list[Any]:
        with pytest.raises(StageFailed) as caught:
            served(launcher, fifo)
        launcher.kill()
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, 0)
        return [caught.value.message]

    assert launched(box, use) == ['exec: "no-such-program": executable file not found in $PATH']


def test_an_init_that_is_killed(box: Box) -> None:
    def use(launcher: Launcher, fifo: str) -> str:
        launcher.clone(fifo, b"", -1, 0)
        k.pidfd_send_signal(launcher.pidfd, k.SIGKILL)
        with pytest.raises(StageFailed) as caught:
            launcher.serve()
        return caught.value.message

    assert launched(box, use) == "container init ended without a word"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/null", "join the ipc namespace /dev/null: invalid argument"),
        ("", "place it: no such process"),
    ],
    ids=["init has failed", "init waits"],
)
def test_what_init_failed_of_comes_before_what_failed_of_that(
    box: Box, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    """Nothing can be done any more to an init that has ended: that is no news."""
    entry = next(entry for entry in box.config["linux"]["namespaces"] if entry["type"] == "ipc")
    entry |= {"path": path} if path else {}

    def use(launcher: Launcher, fifo: str) -> str:
        launcher.clone(fifo, b"", -1, 0)

        def reset_affinity(pid: int) -> str:
            if path:
                os.waitid(os.P_PIDFD, launcher.pidfd, os.WEXITED | os.WNOWAIT)
            raise failed("place it", OSError(errno.ESRCH, ""))

        monkeypatch.setattr(launcher_module, "reset_affinity", reset_affinity)
        with pytest.raises(PyociError) as caught:
            launcher.serve()
        return caught.value.message

    assert launched(box, use) == message


def test_killing_is_for_good_and_twice_does_no_harm(box: Box) -> None:
    def use(launcher: Launcher, fifo: str) -> bool:
        served(launcher, fifo)
        launcher.kill()
        launcher.kill()
        return Path(f"/proc/{launcher.pid}").exists()

    assert launched(box, use) is False


def test_init_ends_with_its_launcher(box: Box) -> None:
    """Until it is ready: after that it is the container's."""
    box.write_config()

    def inside() -> int:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            options = CreateOptions(bundle=str(box.bundle))
            plan = decide(box.settings(cgroup_manager="disabled"), box.id, options)[2]
            fifo = f"{box.bundle}/fifo"
            exec_fifo.make(fifo, 0, 0)
            launcher = Launcher(plan, {}, {}, False)
            launcher.clone(fifo, b"", -1, 0)
            os.write(writing, str(launcher.pid).encode())
            os._exit(0)
        k.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
        orphan = int(os.read(reading, 99))
        os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(os.waitpid(orphan, 0)[1])

    assert box.apart(inside) in (1, -9)


def test_hooks_of_the_runtime(box: Box) -> None:
    told = box.bundle / "told"
    script = f"cat >> {told}; pwd >> {told}"
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >> {told}; {script}"]}]
        for kind in ("createRuntime", "prestart")
    }

    def use(launcher: Launcher, fifo: str) -> int:
        served(launcher, fifo)
        return launcher.pid

    pid = launched(box, use)
    lines = told.read_text().replace("}", "}\n").splitlines()
    assert [line for line in lines if line in ("prestart", "createRuntime")] == ["prestart", "createRuntime"]
    assert told.read_text().count(f'"status":"created","pid":{pid}') == 2
    assert lines.count(str(box.bundle)) == 2


def test_an_interrupt_does_not_bring_init_back_into_our_code(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when init is born and before that has done anything: there, we would undo what we have made."""
    original = launcher_module.clone_init

    def interrupted(*arguments: Any) -> tuple[int, int, bool]:
        pid, pidfd, born_there = original(*arguments)
        if pid == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return pid, pidfd, born_there

    monkeypatch.setattr(launcher_module, "clone_init", interrupted)

    def use(launcher: Launcher, fifo: str) -> list[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        served(launcher, fifo)
        return [launcher.pid > 0, signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before]

    assert launched(box, use) == [True, True]


def test_and_it_is_not_lost(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that comes to us meanwhile is heard when there is an init to end."""
    original = launcher_module.clone_init

    def interrupted(*arguments: Any) -> tuple[int, int, bool]:
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(launcher_module, "clone_init", interrupted)

    def use(launcher: Launcher, fifo: str) -> bool:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in the background
        with pytest.raises(KeyboardInterrupt):
            served(launcher, fifo)
        return launcher.pid > 0

    assert launched(box, use)


def test_a_hook_that_fails(box: Box) -> None:
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}

    def use(launcher: Launcher, fifo: str) -> str:
        with pytest.raises(HookFailed) as caught:
            served(launcher, fifo)
        return caught.value.message

    assert "createRuntime hook #0" in launched(box, use)


def test_nothing_is_left_open_when_there_is_no_fifo(box: Box) -> None:
    def use(launcher: Launcher, fifo: str) -> list[Any]:
        os.unlink(fifo)
        with pytest.raises(PyociError) as caught:
            launcher.clone(fifo, b"", -1, 0)
        return [caught.value.message, launcher.pid]

    assert launched(box, use) == [f"open {box.bundle}/fifo: no such file or directory", 0]


@pytest.mark.parametrize(
    ("id_map", "owner"),
    [
        ((), (0, 0)),
        ((IdMap(container=0, host=1000, size=10),), (1000, 1000)),
        ((IdMap(container=5, host=1000, size=10),), (0, 0)),
    ],
)
def test_whose_the_fifo_is(id_map: tuple[IdMap, ...], owner: tuple[int, int]) -> None:
    plan = planned().replace(namespaces=Namespaces(new=k.CLONE_NEWUSER, uid_map=id_map, gid_map=id_map))
    assert fifo_owner(plan) == owner
