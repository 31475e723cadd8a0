# SPDX-License-Identifier: Apache-2.0
"""A stand-in for criu that speaks its RPC and touches nothing: it keeps what it is asked for, and answers as told.

`behaviour.json`, beside the program:

    version     the three numbers of its version
    features    those that it has
    fails       with this message, "" for none; `log` are lines that it writes to its log before
    dies        without an answer
    serves      in a dump, until there is a file `fetched` beside the program
    master      whether it hands over a terminal
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from pyoci import syscalls as k
from pyoci.criu import rpc

RESPONSE = {**rpc.RESPONSE}
PATIENCE = 60


def session_keyring() -> int:
    """The number of the session keyring of this process (keyctl(2)), or 0 where there are none."""
    try:
        return k.keyctl(0, -3)
    except OSError:
        return 0


def install(directory: Path, **behaviour: Any) -> Path:
    """Put a `criu` into a directory; where it keeps what it is asked for, a line of JSON each."""
    directory.mkdir(exist_ok=True)
    program = directory / "criu"
    repository = Path(__file__).resolve().parent.parent.parent
    program.write_text(
        f"#!{sys.executable} -ISB\nimport sys\nsys.path.insert(0, {str(repository)!r})\n"
        f"from tests.criu.standin import serve\nserve({str(directory)!r})\n"
    )
    program.chmod(0o755)
    (directory / "behaviour.json").write_text(json.dumps(behaviour))
    (directory / "asked").touch()
    return directory / "asked"


def serve(place: str) -> None:
    assert sys.argv[1] == "swrk"
    signal.alarm(PATIENCE)
    behaviour = json.loads((Path(place) / "behaviour.json").read_text())
    connection = socket.socket(fileno=int(sys.argv[2]))
    while content := connection.recv(65536):
        Worker(connection, behaviour, Path(place)).answer(rpc.decode(rpc.REQUEST, content))


class Worker:
    def __init__(self, connection: socket.socket, behaviour: dict[str, Any], place: Path) -> None:
        self.connection, self.behaviour, self.place = connection, behaviour, place

    def answer(self, request: dict[str, Any]) -> None:
        with (self.place / "asked").open("a") as asked:
            streams = [os.readlink(f"/proc/self/fd/{stream}") for stream in range(3)]
            asked.write(json.dumps({**request, "streams": streams, "keyring": session_keyring()}) + "\n")
        kind = request["type"]
        if kind == rpc.VERSION:
            major, minor, sublevel = self.behaviour.get("version", (4, 1, 1))
            version = {"major_number": major, "minor_number": minor, "sublevel": sublevel}
            self.send({"type": kind, "success": True, "version": version})
        elif kind == rpc.FEATURE_CHECK:
            has = self.behaviour.get("features", [])
            features = {name: name in has for name in request["features"]}
            self.send({"type": kind, "success": True, "features": features})
        elif self.behaviour.get("dies"):
            os._exit(1)
        elif "fails" in self.behaviour:
            self.write_log(request["opts"])
            told = {"cr_errmsg": self.behaviour["fails"]} if self.behaviour["fails"] else {}
            self.send({"type": kind, "success": False, **told})
        elif kind == rpc.RESTORE:
            self.restore(kind)
        else:
            self.dump(kind, request["opts"])

    def send(self, response: dict[str, Any], fd: int = -1) -> None:
        message = rpc.encode(RESPONSE, response)
        if fd >= 0:
            socket.send_fds(self.connection, [message], [fd])
        else:
            self.connection.send(message)

    def notify(self, script: str, pid: int = 0, fd: int = -1) -> bool:
        notice: dict[str, Any] = {"script": script} | ({"pid": pid} if pid else {})
        self.send({"type": rpc.NOTIFY, "success": True, "notify": notice}, fd)
        return bool(rpc.decode(rpc.REQUEST, self.connection.recv(65536)).get("notify_success"))

    def write_log(self, options: dict[str, Any]) -> None:
        log = os.open(options["log_file"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600, dir_fd=options["work_dir_fd"])
        os.write(log, "".join(f"{line}\n" for line in self.behaviour.get("log", ())).encode())
        os.close(log)

    def dump(self, kind: int, options: dict[str, Any]) -> None:
        os.close(os.open("inventory.img", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=options["images_dir_fd"]))
        for script in ("network-lock", "status-ready", "post-dump"):
            self.notify(script)
            if script == "status-ready" and self.behaviour.get("serves"):
                self.serve_pages()
        if kind == rpc.DUMP and not options.get("leave_running"):
            os.kill(options["pid"], signal.SIGKILL)
        self.send({"type": kind, "success": True})

    def serve_pages(self) -> None:
        while not (self.place / "fetched").exists():
            if select.select([self.connection], [], [], 0.01)[0]:
                os._exit(1)  # it is given up

    def restore(self, kind: int) -> None:
        """Its init is a sibling, as criu's are, and sleeps."""
        pid, _ = k.clone3(k.CLONE_PARENT | k.CLONE_NEWPID | k.CLONE_NEWNET | k.CLONE_NEWNS, exit_signal=0)
        if pid == 0:
            signal.alarm(0)
            os.execvp("sleep", ["sleep", "1000"])
        master, _ = pty.openpty()
        steps = [("setup-namespaces", pid, -1), ("post-restore", pid, -1)]
        if self.behaviour.get("master"):
            steps.insert(1, ("orphan-pts-master", 0, master))
        for script, number, fd in steps:
            if not self.notify(script, number, fd):
                os.kill(pid, signal.SIGKILL)
                self.send({"type": kind, "success": False})
                return
        self.send({"type": kind, "success": True, "restore": {"pid": pid}})
