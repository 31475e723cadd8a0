# SPDX-License-Identifier: Apache-2.0
"""What an image, or somebody inside, has put in the place of a file that a runtime may want to look into."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..lifecycle.configs import mount
from ..lifecycle.harness import Container, eventually
from .conftest import Canary

OUT_OF_PLACE = 4096
"""An address that no process has anything at."""


@contextmanager
def opened(fifo: Path) -> Iterator[Callable[[], bool]]:
    """Make a fifo, and find out whether anybody opens it for reading: only then can it be opened for writing."""
    os.mkfifo(fifo, 0o666)
    found = []

    def look() -> None:
        os.close(os.open(fifo, os.O_WRONLY))
        found.append(True)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield lambda: bool(found)
    finally:
        os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
        looking.join()


def in_user_namespace(container: Container) -> None:
    container.linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        container.linux[kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]


def test_a_users_home_is_looked_for_in_files_alone(container: Container) -> None:
    """To open a device has effects, a watchdog begins to count; and while a container is made it may open any (devices)."""
    passwd = container.rootfs / "etc" / "passwd"
    passwd.unlink()
    container.process["env"] = ["PATH=/bin"]
    with opened(passwd) as was_opened:
        container.create(args=["sh", "-c", "echo $HOME; exec sleep 1000"]).ok()
        container.start().ok()
        container.prints("/\n")
        assert container.exec("sh", "-c", "echo $HOME").ok().out == "/\n"
        assert not was_opened()


def test_copying_up_opens_files_alone(container: Container) -> None:
    (container.rootfs / "data").mkdir()
    (container.rootfs / "data" / "file").write_text("x")
    container.mounts.append(mount("/data", "tmpfs", "tmpfs", "tmpcopyup"))
    with opened(container.rootfs / "data" / "fifo") as was_opened:
        assert container.output("ls", "/data") == "fifo\nfile\n"
        assert not was_opened()


def test_copying_up_has_an_end(container: Container) -> None:
    """Directories within directories, deeper than any path goes: said in one line that names the place."""
    top = os.open(container.rootfs, os.O_PATH)
    os.mkdir("data", dir_fd=top)
    here = os.open("data", os.O_PATH, dir_fd=top)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    os.close(top)
    container.process["rlimits"] = []
    container.mounts.append(mount("/data", "tmpfs", "tmpfs", "tmpcopyup"))
    container.write_config()
    try:
        wrapper = ["sh", "-c", 'ulimit -n $(ulimit -Hn); exec "$0" "$@"']
        result = container.call("create", "--bundle", str(container.bundle), container.id, wrapper=wrapper)
        result.refused("/data")
        assert len(result.err.splitlines()) == 1 and "internal" not in result.err
        container.leaves_nothing()
    finally:
        subprocess.run(["rm", "-rf", str(container.rootfs / "data")], check=True)


@pytest.mark.parametrize("stage", [False, True], ids=["at once", "by a stage"])
def test_who_enters_does_not_ask_the_containers_proc(container: Container, stage: bool) -> None:
    """Where things are in its own memory is not for somebody inside to say."""
    container.mounts[:] = [one for one in container.mounts if one["destination"] in ("/dev", "/dev/pts")]
    if stage:
        in_user_namespace(container)
    own = container.rootfs / "proc" / "self"
    own.mkdir()
    places = [OUT_OF_PLACE, OUT_OF_PLACE * 2] * 2
    (own / "stat").write_text(f"1 (x) S {'0 ' * 44}{' '.join(map(str, places))} 0\n")
    container.create(args=["sleep", "1000"]).ok()
    container.start().ok()
    assert container.exec("echo", "here").ok().out == "here\n"
    (own / "stat").unlink()
    assert container.exec("echo", "here").ok().out == "here\n"


@pytest.mark.needs_time_namespaces
def test_clocks_are_set_through_the_hosts_proc(containers: Callable[[], Container]) -> None:
    """For a container that joins the mounts of another one, which has a /proc of its own making."""
    first, second = containers(), containers()
    first.mounts[:] = [one for one in first.mounts if one["destination"] in ("/dev", "/dev/pts")]
    own = first.rootfs / "proc" / "self"
    own.mkdir()
    (own / "timens_offsets").write_text("the image's own\n")
    first.create(args=["sleep", "1000"]).ok()
    second.mounts.clear()
    second.linux["maskedPaths"] = second.linux["readonlyPaths"] = []
    for entry in second.linux["namespaces"]:
        if entry["type"] == "mount":
            entry["path"] = f"/proc/{first.pid}/ns/mnt"
    second.linux["namespaces"].append({"type": "time"})
    second.linux["timeOffsets"] = {"monotonic": {"secs": 1000}}
    second.config["root"]["path"] = "/"
    second.create(args=["sleep", "1000"])
    assert (own / "timens_offsets").read_text() == "the image's own\n"


def test_what_a_hook_from_the_image_says_is_shown_whatever_it_is(container: Container) -> None:
    container.config["hooks"] = {
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", r"printf 'a\377b\033[31m' >&2; exit 1"]}]
    }
    container.create(args=["sleep", "1000"]).ok()
    container.start().refused("startContainer hook #0", r"a\xffb")


# Not files of an image, but of the host, that come along


@pytest.mark.parametrize("how", ["run", "exec"])
def test_a_file_that_is_read_stays_its_owners(container: Container, how: str) -> None:
    """What may be written to belongs to the user from then on, so that he can open it again: what is read alone does not."""
    script = container.scratch / "script"
    script.write_text("echo was read\n")
    if how == "run":
        container.process["user"] = {"uid": 1000, "gid": 1000}
        with script.open() as reading:
            assert container.run(args=["sh"], stdin=None, **_stream(reading)).ok().out == "was read\n"
    else:
        container.launch()
        with script.open() as reading:
            assert container.exec("sh", options=("--user", "1000"), **_stream(reading)).ok().out == "was read\n"
    assert script.stat().st_uid == 0


def _stream(file: Any) -> dict[str, Any]:
    return {"wrapper": ["sh", "-c", f'exec "$0" "$@" < /proc/self/fd/{file.fileno()}'], "pass_fds": [file.fileno()]}


# Not the way that was meant to a program


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process of root's on the host that has no more rights than one in a container, as many a service has: its pid."""
    process = subprocess.Popen(
        ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "sleep", "1000"], stdin=subprocess.DEVNULL
    )
    eventually("setpriv", lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    yield process.pid
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", ["exec", "run"])
def test_no_program_of_the_host_is_reached_through_a_descriptor(
    container: Container, bystander: int, canary: Canary, how: str
) -> None:
    """CVE-2024-21626: what is executed is looked for while the runtime's descriptors are open, and could be written to later."""
    program = canary.path / "echo"
    shutil.copy(container.rootfs / "bin" / "busybox", program)
    names = []
    for fd in range(3, 20):
        for place in (f"/proc/self/fd/{fd}/{bystander}/root{canary.path}", f"/proc/self/fd/{fd}{canary.path}"):
            names.append(f"/by-{len(names)}/echo")
            (container.rootfs / names[-1].split("/")[1]).symlink_to(place)
    if how == "exec":
        container.launch()
        reached = [name for name in names if container.exec(name, "reached").out]
    else:
        reached = [name for name in names if container.run(args=[name, "reached"]).out]
    assert reached == []
