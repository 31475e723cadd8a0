# SPDX-License-Identifier: Apache-2.0
"""checkpoint and restore with the criu that is installed: a program that counts goes on counting where it was."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..conftest import missing
from .harness import PATIENCE, Container, console_socket, eventually, is_gone_or_zombie, namespace_of, read_until

pytestmark = [pytest.mark.needs_criu]
differs = pytest.mark.differs

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


@dataclass
class Pipe:
    """What a container's output goes to: criu saves no file that is outside of the container, but a pipe it replaces."""

    reader: int = -1
    writer: int = -1
    seen: bytes = b""

    def __post_init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def numbers(self) -> list[int]:
        """All that has come so far."""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.reader, 65536):
                self.seen += piece
        return [int(line) for line in self.seen.split()]

    def reaches(self, number: int) -> None:
        eventually(f"{number} to be counted", lambda: (self.numbers() or [0])[-1] >= number)

    def streams(self) -> dict[str, Any]:
        return {"stdout": self.writer, "stderr": self.writer}

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


@dataclass
class Saved:
    """A container that can be saved, and where to."""

    container: Container
    images: Path
    work: Path
    pipes: list[Pipe] = field(default_factory=list)

    def pipe(self) -> Pipe:
        self.pipes.append(Pipe())
        return self.pipes[-1]

    def launch(self, script: str = COUNT) -> Pipe:
        """Create and start it, with its output in a pipe that is returned."""
        pipe = self.pipe()
        self.container.create(args=["sh", "-c", script], **pipe.streams()).ok()
        self.container.start().ok()
        return pipe

    def checkpoint(self, *options: str) -> None:
        where = ("--image-path", str(self.images), "--work-path", str(self.work))
        result = self.container.call("checkpoint", *where, *options, self.container.id)
        assert result.status == 0, f"{result}\n{self.log('dump.log')}"

    def restore(self, *options: str, **streams: Any) -> Pipe:
        """Restore it, detached; its output is in another pipe then."""
        box, pipe = self.container, self.pipe()
        where = ("--image-path", str(self.images), "--work-path", str(self.work), "--bundle", str(box.bundle))
        box.pid_file.unlink(missing_ok=True)
        result = box.call(
            "restore",
            "--detach",
            "--pid-file",
            str(box.pid_file),
            *where,
            *options,
            box.id,
            **(pipe.streams() | streams),
        )
        assert result.status == 0, f"{result}\n{pipe.seen!r}\n{self.log('restore.log')}"
        box.pid = int(box.pid_file.read_text())
        return pipe

    def log(self, name: str) -> str:
        path = self.work / name
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return "".join(line for line in lines if "Error" in line)

    def is_gone(self) -> None:
        eventually("the end of init", lambda: is_gone_or_zombie(self.container.pid))
        self.container.leaves_nothing()
        assert self.container.call("state", self.container.id).status != 0


@pytest.fixture
def saved(container: Container) -> Iterator[Saved]:
    container.config["root"]["readonly"] = False
    made = Saved(container, container.bundle / "images", container.bundle / "work")
    try:
        yield made
    finally:
        for pipe in made.pipes:
            pipe.close()


def test_it_goes_on_where_it_was(saved: Saved) -> None:
    before = saved.launch()
    before.reaches(3)
    saved.checkpoint()
    saved.is_gone()
    last = before.numbers()[-1]
    after = saved.restore()
    after.reaches(last + 3)
    assert after.numbers()[0] == last + 1
    assert saved.container.state()["status"] == "running"
    assert saved.container.state()["pid"] == saved.container.pid
    assert saved.container.exec("echo", "here").ok().out == "here\n"
    saved.container.kill("KILL").ok()
    saved.container.wait()
    assert saved.container.status == "stopped"
    saved.container.delete().ok()
    saved.container.leaves_nothing()


def test_again_and_again(saved: Saved) -> None:
    pipe = saved.launch()
    for target in (3, 6):
        pipe.reaches(target)
        saved.checkpoint()
        saved.is_gone()
        pipe = saved.restore()
    pipe.reaches(9)


def test_leave_running(saved: Saved) -> None:
    pipe = saved.launch()
    pipe.reaches(3)
    saved.checkpoint("--leave-running")
    assert saved.container.status == "running"
    pipe.reaches(pipe.numbers()[-1] + 3)


@pytest.mark.needs_dirty_tracking
def test_pre_dump(saved: Saved) -> None:
    pipe = saved.launch()
    pipe.reaches(3)
    first = saved.images.with_name("first")
    saved.container.call("checkpoint", "--pre-dump", "--image-path", str(first), saved.container.id).ok()
    assert saved.container.status == "running"
    pipe.reaches(pipe.numbers()[-1] + 3)
    saved.checkpoint("--parent-path", "../first")
    assert (saved.images / "parent").resolve() == first
    last = pipe.numbers()[-1]
    after = saved.restore()
    after.reaches(last + 1)
    assert after.numbers()[0] == last + 1


def test_a_pre_dump_without_the_kernels_help(saved: Saved) -> None:
    if missing("needs_dirty_tracking") is None:
        pytest.skip("this kernel has what a pre-dump takes")
    pipe = saved.launch()
    pipe.reaches(3)
    box = saved.container
    refusal = box.call("checkpoint", "--pre-dump", "--image-path", str(saved.images), box.id).refused()
    if box.runtime.name == "pyoci":
        assert "--pre-dump cannot be had" in refusal.err
    assert box.status == "running"
    pipe.reaches(pipe.numbers()[-1] + 3)


def unused_port() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return str(unused.getsockname()[1])


def test_a_page_server(saved: Saved) -> None:
    """The memory goes over a connection, here to where the other images are."""
    before = saved.launch()
    before.reaches(3)
    port = unused_port()
    saved.images.mkdir()
    listening = re.compile(rf":{int(port):04X} [0-9A-F]+:0000 0A ")
    serve = ["criu", "page-server", "--address", "127.0.0.1", "--port", port, "--log-file", "server.log"]
    with subprocess.Popen([*serve, "--images-dir", str(saved.images)]) as server:
        saved.container.live.append(server)
        eventually("the server to listen", lambda: listening.search(Path("/proc/net/tcp").read_text()))
        saved.checkpoint("--page-server", f"127.0.0.1:{port}")
        assert server.wait(PATIENCE) == 0
    saved.is_gone()
    last = before.numbers()[-1]
    after = saved.restore()
    after.reaches(last + 1)
    assert after.numbers()[0] == last + 1


@pytest.mark.needs_lazy_pages
def test_lazy_pages(saved: Saved, containers: Callable[[], Container]) -> None:
    """The memory stays in the first container, which serves it, until the second has got all of it."""
    pipe = saved.launch()
    pipe.reaches(3)
    box, other = saved.container, Saved(containers(), saved.images, saved.images, saved.pipes)
    other.container.config["root"]["readonly"] = False
    other.container.process["args"] = ["sh", "-c", COUNT]
    other.container.write_config()
    port = unused_port()
    ready, tells = os.pipe()
    try:
        where = ("--image-path", str(saved.images), "--work-path", str(saved.work))
        lazily = ("--lazy-pages", "--page-server", f"127.0.0.1:{port}", "--status-fd", str(tells))
        serving = box.background("checkpoint", *lazily, *where, box.id, pass_fds=(tells,))
        assert select.select([ready], [], [], PATIENCE)[0] and os.read(ready, 2) == b"\0"
        assert serving.poll() is None
        last = pipe.numbers()[-1]
        fetch = ["criu", "lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", port]
        with subprocess.Popen([*fetch, "--images-dir", str(saved.images), "--log-file", "lazy.log"]) as fetching:
            other.container.live.append(fetching)
            eventually("the daemon to listen", (saved.images / "lazy-pages.socket").exists)
            after = other.restore("--lazy-pages")
            after.reaches(last + 3)
            assert after.numbers()[0] == last + 1
            assert serving.wait(PATIENCE) == 0
            assert fetching.wait(PATIENCE) == 0
        saved.is_gone()
        assert other.container.status == "running"
    finally:
        os.close(ready)
        os.close(tells)


@pytest.mark.parametrize("parent", ["../none", "/none"])
def test_a_parent_that_there_is_not(saved: Saved, parent: str) -> None:
    pipe = saved.launch()
    where = ("--image-path", str(saved.images), "--parent-path", parent)
    saved.container.call("checkpoint", *where, saved.container.id).refused("--parent-path")
    pipe.reaches(pipe.numbers()[-1] + 1 if pipe.numbers() else 1)


def test_a_paused_one_stays_paused_until_it_is_restored(saved: Saved) -> None:
    pipe = saved.launch()
    pipe.reaches(3)
    saved.container.call("pause", saved.container.id).ok()
    saved.checkpoint()
    saved.is_gone()
    last = pipe.numbers()[-1]
    saved.restore().reaches(last + 1)


def test_a_terminal(saved: Saved) -> None:
    box = saved.container
    box.process["terminal"] = True
    box.process["args"] = ["sh", "-c", "echo ready; while read line; do echo got $line; done"]
    with console_socket(box.bundle) as (path, receive):
        box.create("--console-socket", path).ok()
        master = receive()
        box.start().ok()
        read_until(master, b"ready")
        os.write(master, b"one\n")
        read_until(master, b"got one")
        saved.checkpoint()
        saved.is_gone()
    with console_socket(box.bundle) as (path, receive):
        saved.restore("--console-socket", path)
        master = receive()
        os.write(master, b"two\n")
        read_until(master, b"got two")


def test_volumes(saved: Saved) -> None:
    """Nested, and at the end of a link; the mount points that were made in them are made again."""
    box = saved.container
    (box.rootfs / "real").mkdir()
    (box.rootfs / "link").symlink_to("/real")
    for name, destination in (("outer", "/outer"), ("inner", "/outer/made/inner"), ("linked", "/link")):
        (box.bundle / name).mkdir()
        box.mounts.append(
            {"destination": destination, "type": "bind", "source": str(box.bundle / name), "options": ["bind"]}
        )
    saved.launch(
        "i=0; while :; do i=$((i+1)); echo $i >/outer/made/inner/new; mv /outer/made/inner/new /outer/made/inner/count; sleep 0.1; done"
    )
    count = box.bundle / "inner/count"
    eventually("a few numbers", lambda: count.exists() and int(count.read_text()) > 3)
    saved.checkpoint()
    saved.is_gone()
    last = int(count.read_text())
    (box.bundle / "outer/made/inner").rmdir()
    (box.bundle / "outer/made").rmdir()
    saved.restore()
    eventually("more numbers", lambda: int(count.read_text()) > last + 2)
    (box.bundle / "linked/file").touch()
    box.exec("ls", "/link/file", "/real/file").ok()


def test_limits(saved: Saved) -> None:
    box = saved.container
    box.linux["resources"] = {"memory": {"limit": 256 << 20}, "pids": {"limit": 77}}
    pipe = saved.launch()
    pipe.reaches(1)
    saved.checkpoint()
    saved.is_gone()
    saved.restore().reaches(1)
    (cgroup,) = {path.parent for path in Path("/sys/fs/cgroup").rglob("pids.max") if path.parent.name == box.id}
    assert (cgroup / "pids.max").read_text().strip() == "77"
    assert str(box.pid) in (cgroup / "cgroup.procs").read_text().split()
    box.call("update", "--pids-limit", "78", box.id).ok()
    assert (cgroup / "pids.max").read_text().strip() == "78"


@pytest.mark.parametrize("mode", ["soft", "full", "strict", "ignore"])
@differs(runc="1.1 lacks an option of checkpoint that 1.3 has", always=False)
def test_the_ways_to_manage_cgroups(saved: Saved, mode: str) -> None:
    pipe = saved.launch()
    pipe.reaches(1)
    saved.checkpoint("--manage-cgroups-mode", mode)
    saved.is_gone()
    # Strictly, criu restores into no cgroup that is there, and those of a container are made before it is called.
    mode = "soft" if mode == "strict" else mode
    saved.restore("--manage-cgroups-mode", mode).reaches(pipe.numbers()[-1] + 1)
    assert f"/{saved.container.id}\n" in Path(f"/proc/{saved.container.pid}/cgroup").read_text()


@differs(runc="1.1 lacks an option of checkpoint that 1.3 has", always=False)
def test_an_open_file_that_is_removed(saved: Saved) -> None:
    """Of one that has another name still, criu saves no copy; it is linked back if that is asked for."""
    pipe = saved.launch(f"exec 9>/tmp/a; ln /tmp/a /tmp/b; rm /tmp/a; {COUNT}")
    pipe.reaches(1)
    saved.container.call("checkpoint", "--image-path", str(saved.images), saved.container.id).refused()
    pipe.reaches(pipe.numbers()[-1] + 1)
    saved.checkpoint("--link-remap")
    saved.is_gone()
    saved.restore().reaches(pipe.numbers()[-1] + 1)
    there = os.stat(f"/proc/{saved.container.pid}/fd/9")
    assert there.st_ino == (saved.container.rootfs / "tmp/b").stat().st_ino


def test_in_the_foreground(saved: Saved) -> None:
    """It is waited for, and gives the exit code."""
    box = saved.container
    reader, writer = os.pipe()
    pipe = saved.pipe()
    try:
        box.process["args"] = ["sh", "-c", "echo 1; read line; echo 2; exit 7"]
        box.write_config()
        words = ("create", "--bundle", str(box.bundle), "--pid-file", str(box.pid_file), box.id)
        assert box.background(*words, stdin=reader, **pipe.streams()).wait(PATIENCE) == 0
        box.pid = int(box.pid_file.read_text())
        box.start().ok()
        pipe.reaches(1)
        saved.checkpoint()
        saved.is_gone()
        where = ("--image-path", str(saved.images), "--work-path", str(saved.work), "--bundle", str(box.bundle))
        restored = box.background("restore", *where, box.id, stdin=reader, **pipe.streams())
        eventually("a running container", lambda: box.call("state", box.id).status == 0 and box.status == "running")
        os.write(writer, b"go\n")
        assert restored.wait(PATIENCE) == 7
        pipe.reaches(2)
        box.leaves_nothing()
    finally:
        os.close(reader)
        os.close(writer)


def test_hooks(saved: Saved) -> None:
    box = saved.container
    note = box.bundle / "notes"
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} $(cat) >>{note}"]}]
        for kind in ("prestart", "createRuntime", "poststart", "poststop")
    }
    saved.launch().reaches(1)
    note.unlink()
    saved.checkpoint()
    saved.is_gone()
    assert [line.split()[0] for line in note.read_text().splitlines()] == ["poststop"]
    note.unlink()
    saved.restore().reaches(1)
    told = [line.split(" ", 1) for line in note.read_text().splitlines()]
    assert [kind for kind, _ in told] == ["prestart", "createRuntime"]
    assert {json.loads(state)["pid"] for _, state in told} == {box.pid}


@differs(runc="makes directories that the container's root cannot pass through", always=False)
def test_a_user_namespace(saved: Saved) -> None:
    box = saved.container
    box.linux["namespaces"].append({"type": "user"})
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        # As engines have it there: in a user namespace criu may mount cgroup2 only if that has a cgroup namespace as well.
        box.linux["namespaces"].append({"type": "cgroup"})
    for kind in ("uidMappings", "gidMappings"):
        box.linux[kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    for path in (box.rootfs, *box.rootfs.iterdir()):  # not the program, which is linked
        os.chown(path, 100000, 100000, follow_symlinks=False)
    before = saved.launch()
    before.reaches(3)
    saved.checkpoint()
    saved.is_gone()
    last = before.numbers()[-1]
    after = saved.restore()
    after.reaches(last + 1)
    assert after.numbers()[0] == last + 1
    assert saved.container.exec("cat", "/proc/self/uid_map").ok().out.split() == ["0", "100000", "65536"]


def test_a_network_of_somebody_elses(saved: Saved) -> None:
    box = saved.container
    with subprocess.Popen(["unshare", "--net", "sleep", "1000"]) as holder:
        box.live.append(holder)  # ours, and not left behind by it
        try:
            ours = namespace_of("self", "net")
            eventually("a network", lambda: namespace_of(holder.pid, "net") != ours)
            path = f"/proc/{holder.pid}/ns/net"
            for namespace in box.linux["namespaces"]:
                if namespace["type"] == "network":
                    namespace["path"] = path
            saved.launch().reaches(1)
            saved.checkpoint()
            saved.is_gone()
            saved.restore().reaches(1)
            assert namespace_of(box.pid, "net") == namespace_of(holder.pid, "net")
        finally:
            holder.kill()


@differs(runc="leaves the loopback device of a restored container down, and what it executes there in the host's time")
def test_what_is_executed_later_finds_all_as_it_was(saved: Saved) -> None:
    saved.launch().reaches(1)
    saved.checkpoint()
    saved.is_gone()
    saved.restore().reaches(1)
    assert "UP" in saved.container.exec("ip", "link", "show", "lo").ok().out
    time_of_exec = saved.container.exec("readlink", "/proc/self/ns/time").ok().out.strip()
    assert time_of_exec == namespace_of(saved.container.pid, "time")


@pytest.mark.needs_iptables
@pytest.mark.needs_restored_connections
@differs(runc="leaves the loopback device of a restored container down, so there is no way for its connections")
def test_connections(saved: Saved) -> None:
    """Each number goes through a connection of the container with itself."""
    before = saved.launch(f"nc -l -p 9 -e cat & sleep 1; ({COUNT}) | nc 127.0.0.1 9")
    before.reaches(3)
    where = ("--image-path", str(saved.images))
    saved.container.call("checkpoint", *where, saved.container.id).refused()
    assert saved.container.status == "running"
    saved.checkpoint("--tcp-established")
    saved.is_gone()
    last = (before.numbers() or [0])[-1]
    after = saved.restore("--tcp-established")
    after.reaches(last + 3)
    assert after.numbers()[0] == last + 1


def test_what_criu_cannot_save_goes_on(saved: Saved) -> None:
    """Here, output into a file of the host's."""
    box = saved.container
    box.launch("sh", "-c", COUNT)
    box.prints("3")
    where = ("--image-path", str(saved.images), "--work-path", str(saved.work))
    refusal = box.call("checkpoint", *where, box.id).refused()
    if box.runtime.name == "pyoci":
        assert "Can't lookup mount" in refusal.err and f"{saved.work}/dump.log" in refusal.err
        assert len(refusal.err.splitlines()) == 1
    assert box.status == "running"
    last = int(box.printed().split()[-1])
    eventually("more numbers", lambda: int(box.printed().split()[-1]) > last)


def test_one_that_is_not_running(saved: Saved) -> None:
    saved.container.create(args=["sleep", "1000"]).ok()
    where = ("--image-path", str(saved.images))
    saved.container.call("checkpoint", *where, saved.container.id).refused(
        "Container cannot be checkpointed in created state"
    )
    assert saved.container.status == "created"


def test_nothing_to_restore(saved: Saved) -> None:
    box = saved.container
    box.process["args"] = ["sleep", "1000"]
    box.write_config()
    saved.images.mkdir()
    box.call("restore", "--image-path", str(saved.images), "--bundle", str(box.bundle), box.id).refused()
    (saved.images / "descriptors.json").write_text('["", "", ""]')
    refusal = box.call("restore", "--image-path", str(saved.images), "--bundle", str(box.bundle), box.id).refused()
    if box.runtime.name == "pyoci":
        assert f"{saved.images}/restore.log" in refusal.err
    box.leaves_nothing()
