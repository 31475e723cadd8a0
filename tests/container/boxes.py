# SPDX-License-Identifier: Apache-2.0
"""Containers made by calling the package, each call in a process of its own, as on the command line."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from pyoci import state as states
from pyoci.cgroups import freezer, processes, remove
from pyoci.container.create import create
from pyoci.container.delete import delete
from pyoci.container.options import CreateOptions
from pyoci.container.record import Container, Settings
from pyoci.container.start import start
from pyoci.log import Log
from pyoci.state import StateDir

_numbers = count()

CONFIG: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {"args": ["sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
}


class Failed(Exception):
    """What a call raised in its process: the class, and the message with its notes."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Box:
    """A container to be, in a bundle of its own. `close` removes whatever has become of it."""

    def __init__(self, scratch: Path) -> None:
        self.id = f"pyoci-box-{os.getpid()}-{next(_numbers)}"
        self.bundle = scratch / self.id
        self.rootfs = self.bundle / "rootfs"
        self.root = scratch / "state"
        self.log = self.bundle / "log"
        (self.rootfs / "bin").mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None
        shutil.copy(busybox, self.rootfs / "bin/busybox")
        for name in ("sh", "sleep", "true", "cat", "echo", "touch"):
            (self.rootfs / "bin" / name).symlink_to("busybox")
        self.config = copy.deepcopy(CONFIG)
        self.config["linux"]["cgroupsPath"] = f"/{self.id}"
        self.directory = StateDir(str(self.root), self.id)
        self.children: list[int] = []

    def settings(self, **more: Any) -> Settings:
        log = Log()
        log.open(str(self.log))
        return Settings(root=str(self.root), log=log, **more)

    def write_config(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def apart(self, function: Callable[[], Any]) -> Any:
        """The result of a function in a forked child, by way of a file: commands close what they do not know. Raises Failed."""
        answer = self.bundle / "answer"
        answer.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(self.bundle)
                try:
                    said: Any = [None, function()]
                except Exception as error:
                    notes = "; ".join(getattr(error, "__notes__", ()))
                    message = getattr(error, "message", "".join(traceback.format_exception(error)))
                    said = [type(error).__name__, message + (f"; {notes}" if notes else "")]
                answer.write_text(json.dumps(said))
            finally:
                os._exit(0)
        status = os.waitpid(pid, 0)[1]
        assert status == 0 and answer.exists(), f"the call ended without an answer, wait status {status:#x}"
        kind, value = json.loads(answer.read_text())
        if kind is not None:
            raise Failed(kind, value)
        return value

    def create(self, **options: Any) -> None:
        self.write_config()
        self.apart(lambda: create(self.settings(), self.id, CreateOptions(bundle=str(self.bundle), **options)))

    def start(self) -> None:
        self.apart(lambda: start(self.settings(), self.id))

    def delete(self, force: bool = False) -> None:
        self.apart(lambda: delete(self.settings(), self.id, force))

    def run(self, *args: str) -> None:
        """Create and start, in two calls."""
        self.config["process"]["args"] = list(args)
        self.create()
        self.start()

    def status(self) -> str:
        return Container(self.settings(), self.id).status()

    @property
    def pid(self) -> int:
        return self.directory.load().init_process_pid

    def end(self) -> int:
        """Wait for init, which is ours by now (fixture `subreaper`), and give its exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def left(self) -> list[str]:
        """Every trace of the container: its state, its cgroups."""
        traces = [str(self.root / self.id)] if (self.root / self.id).exists() else []
        return traces + [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{self.id}")]

    def close(self) -> None:
        try:
            state = self.directory.load()
        except Exception:
            state = None
        if state is not None and states.is_alive(state):
            freezer.thaw(state.cgroup_paths)
            os.kill(state.init_process_pid, signal.SIGKILL)
            try:
                os.waitpid(state.init_process_pid, 0)
            except ChildProcessError:
                pass
        for path in Path("/sys/fs/cgroup").glob(f"*/{self.id}"):
            processes.kill_all({"": str(path)}, signal.SIGKILL)
            remove.remove({"": str(path)})
        shutil.rmtree(self.root / self.id, ignore_errors=True)
