# SPDX-License-Identifier: Apache-2.0
"""checkpoint and restore with a stand-in for criu: what it is asked for, and what becomes of the container."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.container.checkpoint import checkpoint
from pyoci.container.delete import delete
from pyoci.container.options import RestoreOptions
from pyoci.container.restore import restore
from pyoci.criu import rpc, service
from pyoci.criu.images import PLACES
from pyoci.criu.options import CriuOptions, Dumped, dump
from pyoci.errors import PyociError
from tests.container.boxes import Box, Failed
from tests.criu.standin import install, session_keyring
from tests.rootfs.roots import private_mounts

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]

Criu = Callable[..., None]


@pytest.fixture
def criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Criu:
    """Installs a stand-in that behaves as told."""
    bin_ = tmp_path / "bin"
    monkeypatch.setitem(k.environ, b"PATH", os.fsencode(f"{bin_}:{os.environ['PATH']}"))

    def make(**behaviour: Any) -> None:
        install(bin_, **behaviour)

    make()
    return make


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "some/images"


def asked(tmp_path: Path) -> dict[str, Any]:
    """The last request."""
    request: dict[str, Any] = json.loads((tmp_path / "bin/asked").read_text().splitlines()[-1])
    return request


def save(box: Box, images: Path, **options: Any) -> None:
    wanted = CriuOptions(image_path=str(images), **options)
    box.apart(lambda: checkpoint(box.settings(), box.id, wanted))


def bring_back(box: Box, images: Path, **options: Any) -> int:
    box.write_config()
    images.mkdir(parents=True, exist_ok=True)
    if not (images / "descriptors.json").exists():
        (images / "descriptors.json").write_text('["/dev/null", "pipe:[1]", "pipe:[2]"]')
    how: dict[str, Any] = {"detach": True, "pid_file": str(box.bundle / "pid")} | options
    wanted = RestoreOptions(bundle=str(box.bundle), criu=CriuOptions(image_path=str(images)), **how)
    code: int = box.apart(lambda: restore(box.settings(), box.id, wanted))
    return code


def test_a_checkpoint_is_the_end(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    box.config["hooks"] = {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {box.bundle}/poststop"]}]}
    box.config["mounts"].append({"destination": "/vol", "type": "bind", "source": ".", "options": ["bind"]})
    box.config["linux"]["maskedPaths"] = ["/proc/kcore", "/proc/acpi", "/proc/none"]
    box.run("sleep", "1000")
    pid = box.pid
    save(box, images)
    request = asked(tmp_path)
    assert request["type"] == rpc.DUMP and request["opts"]["pid"] == pid
    assert (images / "inventory.img").exists()
    assert images.stat().st_mode & 0o777 == 0o711
    assert len(json.loads((images / "descriptors.json").read_text())) == 3
    assert box.left() == []
    assert (box.bundle / "poststop").exists()


def test_mounts_that_are_not_its_own(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    """By where they are in truth: the first is at the end of a link."""
    (box.rootfs / "real").mkdir()
    (box.rootfs / "link").symlink_to("/real")
    box.config["mounts"].append({"destination": "/link", "type": "bind", "source": ".", "options": ["bind"]})
    box.run("sleep", "1000")
    save(box, images, leave_running=True)
    assert asked(tmp_path)["opts"]["ext_mnt"] == {"key": "/real", "val": "/real"}


@pytest.mark.needs_cgroup_v1
def test_cgroups_are_mounts_that_are_not_its_own(
    box: Box, criu: Criu, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they are in truth, whatever the spelling; the type of a bind mount has no meaning."""
    box.config["mounts"] += [
        {"destination": "//cg/./", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/vol", "type": "cgroup", "source": ".", "options": ["bind"]},
        {"destination": "/cg2", "type": "cgroup2", "source": "cgroup", "options": ["ro"]},
    ]
    box.run("sleep", "1000")

    def noted(options: CriuOptions, found: Dumped) -> dict[str, Any]:
        (tmp_path / "binds").write_text(json.dumps(found.binds))
        return dump(options, found)

    monkeypatch.setattr("pyoci.container.checkpoint.dump", noted)
    save(box, images, leave_running=True)
    places = json.loads((tmp_path / "binds").read_text())
    assert "/vol" in places and "/cg/memory" in places
    assert [place for place in places if not place.startswith("/cg/") or "/./" in place] == ["/vol"]


@pytest.fixture
def crossed(box: Box) -> Callable[[], None]:
    """Two bind mounts by way of links, and a function that has each lead to the place of the other."""
    for name in ("one", "two"):
        (box.rootfs / f"at-{name}").mkdir()
        (box.rootfs / f"at-{name}" / "mount").mkdir()
        (box.rootfs / name).symlink_to(f"at-{name}")
        (box.bundle / name).mkdir()
        entry = {"destination": f"/{name}/mount", "type": "bind", "source": name, "options": ["bind"]}
        box.config["mounts"].append(entry)

    def cross() -> None:
        for name, other in (("one", "two"), ("two", "one")):
            (box.rootfs / name).unlink()
            (box.rootfs / name).symlink_to(f"at-{other}")

    return cross


def test_links_that_cross_do_not_mistake_mounts(
    box: Box, criu: Criu, images: Path, crossed: Callable[[], None]
) -> None:
    """CVE-2026-119101: what may be read would be restored in the place of what may be written to."""
    box.run("sleep", "1000")
    crossed()
    with pytest.raises(Failed) as caught:
        save(box, images)
    assert caught.value.message == (
        f"mount /one/mount: links lead to /at-two/mount now, where {box.bundle}/two is mounted"
    )
    assert box.status() == "running"


def test_links_that_cross_before_a_restore(box: Box, criu: Criu, images: Path, crossed: Callable[[], None]) -> None:
    box.run("sleep", "1000")
    save(box, images)
    crossed()
    with pytest.raises(Failed) as caught:
        bring_back(box, images)
    assert caught.value.message == (
        "mount /one/mount: links lead to /at-two/mount now, and to /at-one/mount when it was saved"
    )
    assert box.left() == []


def test_links_that_meet_in_images_of_another_runtime(
    box: Box, criu: Criu, images: Path, crossed: Callable[[], None]
) -> None:
    box.run("sleep", "1000")
    save(box, images)
    (images / PLACES).unlink()
    (box.rootfs / "two").unlink()
    (box.rootfs / "two").symlink_to("at-one")
    with pytest.raises(Failed) as caught:
        bring_back(box, images)
    assert caught.value.message == "mount /two/mount: links lead to /at-one/mount, where /one/mount is as well"
    assert box.left() == []


@pytest.mark.parametrize("how", ["leave_running", "pre_dump"])
def test_it_may_go_on(box: Box, criu: Criu, images: Path, tmp_path: Path, how: str) -> None:
    criu(features=["mem_track"])
    box.run("sleep", "1000")
    save(box, images, **{how: True})
    assert asked(tmp_path)["type"] == (rpc.PRE_DUMP if how == "pre_dump" else rpc.DUMP)
    assert box.status() == "running"


def test_a_checkpoint_that_fails(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    criu(
        fails="",
        log=["(00.1) Error (criu/files.c:1): Can't dump a chimaera", "(00.2) Error (criu/x.c:2): Dumping FAILED."],
    )
    box.run("sleep", "1000")
    with pytest.raises(Failed) as caught:
        save(box, images, work_path=str(tmp_path / "work"))
    assert caught.value.message == (
        f"criu cannot checkpoint container {box.id}: Can't dump a chimaera (log: {tmp_path}/work/dump.log)"
    )
    assert box.status() == "running"


@pytest.mark.parametrize("options", [{"pre_dump": True}, {"lazy_pages": True}])
def test_what_the_kernel_cannot(box: Box, criu: Criu, images: Path, options: dict[str, bool]) -> None:
    box.run("sleep", "1000")
    with pytest.raises(Failed, match="cannot be had: this kernel"):
        save(box, images, **options)
    assert box.status() == "running"


def test_no_criu(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    (tmp_path / "bin/criu").unlink()
    box.run("sleep", "1000")
    with pytest.raises(Failed, match='"criu": executable file not found'):
        save(box, images)
    assert box.status() == "running"


def test_a_container_that_does_not_run(box: Box, criu: Criu, images: Path) -> None:
    box.create()
    with pytest.raises(Failed, match="Container cannot be checkpointed in created state"):
        save(box, images)
    assert not images.exists()


def test_status_fd(box: Box, criu: Criu, images: Path) -> None:
    criu(features=["lazy_pages"])
    box.run("sleep", "1000")
    reader, writer = os.pipe()
    with pytest.raises(Failed, match="not writable"):
        save(box, images, lazy_pages=True, status_fd=reader)
    with pytest.raises(Failed, match="invalid --status-fd argument 999: bad file descriptor"):
        save(box, images, lazy_pages=True, status_fd=999)
    save(box, images, lazy_pages=True, status_fd=writer)
    os.close(writer)
    assert os.read(reader, 10) == b"\0"
    os.close(reader)


@pytest.fixture
def serving(box: Box, criu: Criu, images: Path, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """A checkpoint whose memory is yet to be fetched; has it fetched, and gives what has become of the checkpoint."""
    criu(features=["lazy_pages"], serves=True)
    box.run("sleep", "1000")
    ready, tells = os.pipe()
    os.set_inheritable(tells, True)
    answer = tmp_path / "answer"
    pid = os.fork()
    if pid == 0:
        try:
            patch = pytest.MonkeyPatch()
            patch.setattr(service, "_PATIENCE", 500)
            wanted = CriuOptions(image_path=str(images), lazy_pages=True, status_fd=tells)
            try:
                checkpoint(box.settings(), box.id, wanted)
                answer.write_text("done")
            except PyociError as error:
                answer.write_text(error.message)
        finally:
            os._exit(0)
    os.close(tells)
    assert os.read(ready, 10) == b"\0"
    os.close(ready)

    def fetch() -> str:
        (tmp_path / "bin/fetched").touch()
        os.waitpid(pid, 0)
        return answer.read_text()

    try:
        yield fetch
    finally:
        (tmp_path / "bin/fetched").touch()
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass


def test_memory_that_is_fetched_later(box: Box, serving: Callable[[], str]) -> None:
    assert serving() == "done"
    assert box.left() == []


def test_a_container_whose_memory_nobody_fetches_can_be_deleted(
    box: Box, serving: Callable[[], str], tmp_path: Path
) -> None:
    """And another of its name is none of the checkpoint's business."""
    box.delete(force=True)
    assert box.left() == []
    box.run("sleep", "1000")
    answer = tmp_path / "answer"
    deadline = time.monotonic() + 30
    while not answer.exists():
        assert time.monotonic() < deadline, "the checkpoint should have ended"
        time.sleep(0.01)
    assert serving() == "criu is still at it, but the container has ended"
    assert box.status() == "running"


def test_restored(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    note = box.bundle / "note"
    box.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} >>{note}"]}]
        for kind in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart")
    }
    (box.bundle / "vol").mkdir()
    box.config["mounts"].append({"destination": "/new/vol", "type": "bind", "source": "vol", "options": ["bind"]})
    assert bring_back(box, images) == 0
    assert box.status() == "running"
    assert (box.bundle / "pid").read_text() == str(box.pid)
    assert note.read_text().split() == ["prestart", "createRuntime"]
    assert (box.rootfs / "new/vol").is_dir()
    options = asked(tmp_path)["opts"]
    assert options["ext_mnt"]["key"] == "/run/notify"  # the last one
    assert asked(tmp_path)["keyring"] != session_keyring() or not session_keyring()
    assert options["inherit_fd"] == {"key": "pipe:[2]", "fd": 2}
    assert not (tmp_path / "state" / box.id / "criu-root").exists()
    assert any(
        str(box.pid) in (path / "cgroup.procs").read_text().split()
        for path in Path("/sys/fs/cgroup").glob(f"*/{box.id}")
    )
    box.delete(force=True)
    assert box.left() == []


@pytest.mark.needs_time_namespaces
def test_its_clocks_are_those_of_its_own_namespace(box: Box, criu: Criu, images: Path) -> None:
    """criu makes one, so that time has not jumped, and what is executed later is to be in it, too."""
    bring_back(box, images)
    assert {"type": "time"} in box.directory.config()["linux"]["namespaces"]


def test_nothing_is_mounted_in_sight(box: Box, criu: Criu, images: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    bring_back(box, images)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_nor_where_the_way_to_the_state_is_a_link(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    """As /var/run is one to /run: the mount that must not be shared is the one that the way ends on."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    box.root = tmp_path / "link/state"
    box.write_config()
    images.mkdir(parents=True)
    (images / "descriptors.json").write_text('["/dev/null", "/dev/null", "/dev/null"]')
    wanted = RestoreOptions(bundle=str(box.bundle), criu=CriuOptions(image_path=str(images)), detach=True)

    def inside() -> bool:
        private_mounts()
        k.mount("tmpfs", str(tmp_path / "real"), "tmpfs", 0)
        k.mount(None, str(tmp_path / "real"), None, k.MS_SHARED)
        before = Path("/proc/self/mountinfo").read_text()
        restore(box.settings(), box.id, wanted)
        seen = Path("/proc/self/mountinfo").read_text()
        delete(box.settings(), box.id, force=True)
        return seen == before

    assert box.apart(inside)
    assert (box.rootfs / "bin/busybox").exists()
    assert box.left() == []


def test_the_terminal_is_handed_over(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    criu(master=True)
    box.config["process"]["terminal"] = True
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        bring_back(box, images, console_socket=str(tmp_path / "console"))
        connection, _ = listener.accept()
        with connection:
            name, fds, _, _ = socket.recv_fds(connection, 100, 4)
    assert name == b"orphan-pts-master"
    assert os.readlink(f"/proc/self/fd/{fds[0]}").endswith("/ptmx")
    os.close(fds[0])


@pytest.mark.parametrize("behaviour", [{"fails": "", "log": ["(0) Error (criu/a.c:1): no"]}, {"fails": "no"}])
def test_a_restore_that_fails(box: Box, criu: Criu, images: Path, behaviour: dict[str, Any]) -> None:
    criu(**behaviour)
    with pytest.raises(Failed) as caught:
        bring_back(box, images)
    assert caught.value.message == f"criu cannot restore from {images}: no (log: {images}/restore.log)"
    assert box.left() == []


@pytest.mark.parametrize("behaviour", [{"dies": True}, {"version": [3, 1, 0]}])
def test_a_criu_that_is_of_no_use(box: Box, criu: Criu, images: Path, behaviour: dict[str, Any]) -> None:
    criu(**behaviour)
    with pytest.raises(Failed, match="criu"):
        bring_back(box, images)
    assert box.left() == []


def test_a_hook_that_fails(box: Box, criu: Criu, images: Path) -> None:
    box.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}
    with pytest.raises(Failed, match="createRuntime hook #0"):
        bring_back(box, images)
    assert box.left() == []


@pytest.mark.parametrize("content", [None, "{}", "[1]", "nonsense"])
def test_no_images(box: Box, criu: Criu, images: Path, content: str | None) -> None:
    images.mkdir(parents=True)
    if content is not None:
        (images / "descriptors.json").write_text(content)
    box.write_config()
    wanted = RestoreOptions(bundle=str(box.bundle), criu=CriuOptions(image_path=str(images)), detach=True)
    with pytest.raises(Failed, match=r"descriptors\.json"):
        box.apart(lambda: restore(box.settings(), box.id, wanted))
    assert box.left() == []


def test_a_cgroup_namespace_of_somebody_elses(box: Box, criu: Criu, images: Path) -> None:
    box.config["linux"]["namespaces"].append({"type": "cgroup", "path": "/proc/self/ns/cgroup"})
    with pytest.raises(Failed, match="criu cannot restore a container into a cgroup namespace that is there already"):
        bring_back(box, images)
    assert box.left() == []


def test_in_the_foreground(box: Box, criu: Criu, images: Path, tmp_path: Path) -> None:
    """It is waited for, gives the exit code, and is deleted. What a hook has left behind kills it."""
    box.config["hooks"] = {
        "createRuntime": [
            {
                "path": "/bin/sh",
                "args": ["sh", "-c", f"(until kill -9 $(cat {tmp_path}/pid); do sleep 0.1; done) >&- 2>&- & exit 0"],
            }
        ]
    }
    assert bring_back(box, images, detach=False, pid_file=str(tmp_path / "pid")) == 137
    assert box.left() == []
