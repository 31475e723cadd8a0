# SPDX-License-Identifier: Apache-2.0
"""The state directory: claimed, locked, written whole, read with doubt, and removed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyoci import state as states
from pyoci import syscalls
from pyoci.errors import ContainerExists, ContainerNotFound, InvalidId, PyociError, StateError
from pyoci.kernel import basic as k
from pyoci.state import RuntimeState, StateDir
from tests.forked import in_child

STATE = RuntimeState(
    id="box",
    oci_version="1.2.0",
    bundle="/srv/box",
    rootfs="/srv/box/rootfs",
    created="2026-01-02T03:04:05.000000006Z",
    annotations={"a": "b"},
    cgroup_paths={"memory": "/sys/fs/cgroup/memory/box"},
    init_process_pid=1234,
    init_process_start=5678,
    shares_pids=True,
)


@pytest.fixture
def directory(tmp_path: Path) -> StateDir:
    made = StateDir(str(tmp_path), "box")
    made.make(str(tmp_path))
    return made


# Ids


@pytest.mark.parametrize("container_id", ["a", "A.b-c_d+e", "0" * 1024, "..a", "-x", "..."])
def test_good_ids(container_id: str) -> None:
    states.check_id(container_id)


@pytest.mark.parametrize(
    "container_id", [".", "..", "a/b", "/", "a b", "a\n", "a\0", "ä", "a:b", "0" * 1025, "../x", "*"]
)
def test_bad_ids(container_id: str) -> None:
    with pytest.raises(InvalidId, match="invalid container ID format") as caught:
        StateDir("/nonexistent", container_id)
    assert len(caught.value.message) < 400


def test_no_id() -> None:
    with pytest.raises(InvalidId, match="cannot be empty"):
        states.check_id("")


# Claiming


def test_claim_an_id(tmp_path: Path) -> None:
    root = tmp_path / "a/b/c"
    made = StateDir(str(root), "box")
    assert not made.exists()
    made.make(str(root))
    assert made.exists()
    assert (root.stat().st_mode & 0o7777, Path(made.path).stat().st_mode & 0o7777) == (0o700, 0o711)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o711
    assert made.owner() == os.geteuid()
    with pytest.raises(ContainerExists, match='already exists: "box"'):
        StateDir(str(root), "box").make(str(root))


def test_a_root_below_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    root = str(tmp_path / "link" / "a" / "b")
    with pytest.raises(PyociError, match="no such file or directory"):
        StateDir(root, "box").make(root)


@pytest.mark.parametrize("what", ["file", "dangling link"])
def test_an_id_taken_by_something_else(tmp_path: Path, what: str) -> None:
    if what == "file":
        (tmp_path / "box").touch()
    else:
        (tmp_path / "box").symlink_to("nowhere")
    made = StateDir(str(tmp_path), "box")
    assert made.exists()
    with pytest.raises(ContainerExists):
        made.make(str(tmp_path))
    assert what == "dangling link" or (tmp_path / "box").is_file()


def test_a_root_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = f"{tmp_path}/file/root"
    with pytest.raises(PyociError) as caught:
        StateDir(root, "box").make(root)
    assert caught.value.message == f"make the state directory {root}/box: not a directory"


def test_a_directory_that_has_come_in_the_place_of_ours(directory: StateDir) -> None:
    fd = directory.lock()
    assert directory.is_made_by_us(fd)
    os.close(fd)
    os.rename(directory.path, f"{directory.path}.gone")  # not removed: its number might be used again
    os.mkdir(directory.path)
    fd = directory.lock()
    assert not directory.is_made_by_us(fd)
    os.close(fd)


def test_two_make_the_root_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes second finds each directory made between its own two tries, and is not told that its id is taken."""
    root = f"{tmp_path}/a/root"
    real = k.mkdir

    def mkdir(path: str, mode: int) -> None:
        if path == root and not os.path.exists(f"{tmp_path}/a"):
            os.makedirs(root)  # the other one, right after our look
            raise FileNotFoundError(errno.ENOENT, "")
        real(path, mode)

    monkeypatch.setattr(k, "mkdir", mkdir)
    made = StateDir(root, "box")
    made.make(root)
    assert made.exists()


# Locking


def test_the_lock_keeps_others_out(directory: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = directory.lock()
    assert not os.get_inheritable(fd)
    monkeypatch.setattr(states, "_LOCK_PATIENCE", 0.05)
    with pytest.raises(StateError, match="container box is busy"):
        directory.lock()
    open_before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StateError):
        directory.lock()
    assert len(os.listdir("/proc/self/fd")) == open_before
    os.close(fd)
    os.close(directory.lock())


def test_the_lock_is_had_as_soon_as_it_is_free(directory: StateDir) -> None:
    fd = directory.lock()
    waiting = threading.Timer(0.1, os.close, (fd,))
    waiting.start()
    try:
        os.close(directory.lock())
    finally:
        waiting.join()


def test_deleted_while_waiting_for_the_lock(directory: StateDir) -> None:
    fd = directory.lock()

    def delete() -> None:
        directory.remove()
        os.close(fd)

    waiting = threading.Timer(0.1, delete)
    waiting.start()
    try:
        with pytest.raises(ContainerNotFound):
            directory.lock()
    finally:
        waiting.join()


def test_a_lock_that_cannot_be_had(directory: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "")

    monkeypatch.setattr(states, "flock", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StateError, match=f"lock the state directory {directory.path}: no locks available"):
        directory.lock()
    assert len(os.listdir("/proc/self/fd")) == before


def test_no_lock_on_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ContainerNotFound):
        StateDir(str(tmp_path), "box").lock()
    with pytest.raises(ContainerNotFound):
        StateDir(f"{tmp_path}/none", "box").lock()


# Writing and reading


def test_what_is_saved_is_loaded(directory: StateDir) -> None:
    directory.save(STATE)
    assert directory.load() == STATE
    assert os.stat(f"{directory.path}/state.json").st_mode & 0o7777 == 0o600
    directory.save(STATE.replace(init_process_pid=0))
    assert directory.load().init_process_pid == 0
    assert os.listdir(directory.path) == ["state.json"]


def test_saving_over_the_remains_of_a_killed_save(directory: StateDir) -> None:
    Path(f"{directory.path}/state.json.new").write_text("x" * 10000)
    directory.save(STATE)
    assert directory.load() == STATE


def test_the_old_record_is_there_until_the_new_one_is(directory: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.save(STATE)

    def refuse(source: str, target: str) -> None:
        assert json.loads(Path(target).read_text())["created"] == STATE.created
        raise PermissionError(1, "")

    monkeypatch.setattr(k, "rename", refuse)
    with pytest.raises(PyociError, match="operation not permitted"):
        directory.save(STATE.replace(created="later"))
    assert directory.load() == STATE


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tiny", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.needs_root
def test_a_full_disk_leaves_the_old_record(tiny: Path) -> None:
    directory = StateDir(str(tiny), "box")
    directory.make(str(tiny))
    directory.save(STATE)
    with pytest.raises(PyociError) as caught:
        directory.save(STATE.replace(annotations={"a": "x" * 20000}))
    assert caught.value.message == f"write {directory.path}/state.json: no space left on device"
    assert directory.load() == STATE
    directory.remove()
    assert not directory.exists()


def test_a_write_may_take_less_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []

    def write(fd: int, content: Any) -> int:
        taken.append(bytes(content[:3]))
        return len(taken[-1])

    monkeypatch.setattr(k, "write", write)
    states.write_all(7, b"0123456789")
    assert taken == [b"012", b"345", b"678", b"9"]


def test_a_large_file_is_read_whole(directory: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(1 << 20)
    directory.write("seccomp.bpf", content)
    assert directory.read("seccomp.bpf") == content
    monkeypatch.setattr(states, "_MAX_STATE", 1 << 19)
    with pytest.raises(StateError, match=r"seccomp\.bpf is larger than"):
        directory.read("seccomp.bpf")


def test_a_record_that_is_not_there(tmp_path: Path, directory: StateDir) -> None:
    for missing in (directory, StateDir(str(tmp_path), "other")):
        with pytest.raises(ContainerNotFound):
            missing.load()
    with pytest.raises(FileNotFoundError):
        directory.read("config.json")


def test_a_record_that_cannot_be_read(directory: StateDir) -> None:
    os.mkdir(f"{directory.path}/state.json")
    with pytest.raises(StateError) as caught:
        directory.load()
    assert caught.value.message == f"read {directory.path}/state.json: is a directory"


def damaged(directory: StateDir, content: bytes) -> str:
    Path(f"{directory.path}/state.json").write_bytes(content)
    with pytest.raises(StateError) as caught:
        directory.load()
    assert not isinstance(caught.value, ContainerNotFound)
    assert "delete --force box removes it" in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"{}", b'"x"', b"\xff\xfe", b"[" * 100_000, b"7"])
def test_a_record_that_is_none(directory: StateDir, content: bytes) -> None:
    damaged(directory, content)


@pytest.mark.parametrize("field", RuntimeState._fields)
def test_a_record_with_one_field_damaged(directory: StateDir, field: str) -> None:
    fields = STATE.asdict()
    directory.save(STATE)
    missing = {name: value for name, value in fields.items() if name != field}
    assert field in damaged(directory, json.dumps(missing).encode())
    for other in (
        None,
        [],
        1.5,
        {"a": 1},
        {"a": None},
        "1" if not isinstance(fields[field], str) else 1,
        [fields[field]],
    ):
        assert field in damaged(directory, json.dumps({**fields, field: other}).encode())


def test_true_is_no_pid(directory: StateDir) -> None:
    assert "init_process_pid is no int" in damaged(
        directory, json.dumps({**STATE.asdict(), "init_process_pid": True}).encode()
    )


@pytest.mark.parametrize("path", ["", "relative", "../x"])
def test_cgroups_are_absolute(directory: StateDir, path: str) -> None:
    content = json.dumps({**STATE.asdict(), "cgroup_paths": {"memory": path}}).encode()
    assert "cgroup_paths holds what is no absolute path" in damaged(directory, content)


def test_fields_of_a_later_version_are_passed_over(directory: StateDir) -> None:
    Path(f"{directory.path}/state.json").write_text(json.dumps({**STATE.asdict(), "later": 1}))
    assert directory.load() == STATE


@pytest.mark.parametrize(
    ("text", "hooks"),
    [
        (b'{"hooks": {"poststop": [{"path": "/a"}], "poststart": []}}', [{"path": "/a"}]),
        (rb'{"hooks": {"\u0070oststop": [{"path": "/a"}]}}', [{"path": "/a"}]),
        (b'{"hooks": {"poststart": [{"path": "/a"}]}}', []),
        (b'{"hooks": {}, "hostname": "poststop"}', []),
        (b"{}", []),
    ],
)
def test_hooks_of_one_kind(directory: StateDir, text: bytes, hooks: list[Any]) -> None:
    directory.write(states.CONFIG, text)
    assert directory.hooks("poststop") == hooks


def test_hooks_without_a_config(directory: StateDir) -> None:
    with pytest.raises(StateError, match=r"config\.json: no such file"):
        directory.hooks("poststop")


def test_the_config(directory: StateDir) -> None:
    directory.write("config.json", '{"hostname": "ä"}'.encode())
    assert directory.config() == {"hostname": "ä"}


def test_what_is_null_in_it_is_absent(directory: StateDir) -> None:
    """What is kept is the text that create was given."""
    text = '{"hostname": null, "linux": {"timeOffsets": {"monotonic": null}}, "mounts": [{"options": null, "type": "null"}]}'
    directory.write("config.json", text.encode())
    assert directory.config() == {"linux": {"timeOffsets": {}}, "mounts": [{"type": "null"}]}
    directory.write(
        "config.json", b'{"hooks": {"poststop": [{"path": "/bin/true", "timeout": null}], "prestart": null}}'
    )
    assert directory.hooks("poststop") == [{"path": "/bin/true"}]
    assert directory.hooks("prestart") == []


@pytest.mark.parametrize("content", [None, b"", b"[]", b"null", b"\xff", b'{"a"', b"[" * 100_000])
def test_a_damaged_config(directory: StateDir, content: bytes | None) -> None:
    if content is not None:
        directory.write("config.json", content)
    with pytest.raises(StateError) as caught:
        directory.config()
    said = "no such file or directory" if content is None else "damaged"
    assert f"{directory.path}/config.json" in caught.value.message
    assert said in caught.value.message


def test_the_fifo(directory: StateDir) -> None:
    assert not directory.has_fifo()
    os.mkfifo(f"{directory.path}/exec.fifo")
    assert directory.has_fifo()


# Removing


def test_remove_with_leftovers(directory: StateDir, tmp_path: Path) -> None:
    directory.save(STATE)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    place = Path(directory.path)
    os.mkfifo(place / "exec.fifo")
    (place / "state.json.new").touch()
    (place / "link").symlink_to(kept)
    (place / "deep/deeper").mkdir(parents=True)
    (place / "deep/deeper/file").touch()
    directory.remove()
    assert not directory.exists()
    assert (kept / "file").exists()
    directory.remove()  # once more does no harm


def test_the_record_goes_last(directory: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.save(STATE)
    for name in ("a", "z", "config.json"):
        directory.write(name, b"")
    gone: list[str] = []
    real = k.unlink
    monkeypatch.setattr(k, "unlink", lambda path: (gone.append(path.rpartition("/")[2]), real(path)))
    directory.remove()
    assert sorted(gone[:-1]) == ["a", "config.json", "z"]
    assert gone[-1] == "state.json"


def test_two_remove_at_once(directory: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the other one was faster to remove is no reason to leave the rest."""
    for name in ("a", "b", "c"):
        directory.write(name, b"")
    real = k.listdir
    monkeypatch.setattr(k, "listdir", lambda path: ["gone before", *real(path)])
    directory.remove()
    assert not directory.exists()


@pytest.mark.needs_root
def test_what_cannot_be_removed_is_said(directory: StateDir) -> None:
    """And what is mounted there is not ours to empty."""
    busy = f"{directory.path}/busy"
    os.mkdir(busy)

    def inside() -> str:
        syscalls.unshare(syscalls.CLONE_NEWNS)
        syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("tmpfs", busy, "tmpfs", 0)
        Path(f"{busy}/precious").touch()
        with pytest.raises(PyociError) as caught:
            directory.remove()
        assert os.listdir(busy) == ["precious"]
        return caught.value.message

    assert in_child(inside) == f"remove the state directory {directory.path}: device or resource busy"
    directory.remove()


def test_ids_below_a_root(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden", "@no container"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("a")
    assert states.container_ids(str(tmp_path)) == [".hidden", "a", "b"]
    with pytest.raises(FileNotFoundError):
        states.container_ids(f"{tmp_path}/none")


# Processes


@pytest.fixture
def sleeper() -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
        os._exit(0)
    try:
        yield pid
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


@pytest.mark.parametrize("name", ["a b", ") R 1 2", "))", "(", ") Z (", "a\nb"])
def test_a_process_of_any_name(name: str) -> None:
    def inside() -> list[Any]:
        before = states.start_time(os.getpid())
        fd = os.open("/proc/self/comm", os.O_WRONLY)
        os.write(fd, name.encode())
        return [before, states.start_time(os.getpid())]

    before, after = in_child(inside)
    assert before == after
    assert (after[0], after[1] > 0) == ("R", True)


def test_no_process() -> None:
    assert states.start_time(0) == ("", 0)
    assert states.start_time(2**31 - 1) == ("", 0)


def test_life_and_death_of_init(sleeper: int) -> None:
    letter, started = states.start_time(sleeper)
    state = STATE.replace(init_process_pid=sleeper, init_process_start=started)
    assert letter in "SRD"
    assert states.is_alive(state)
    pidfd = states.open_init(state)
    assert pidfd >= 0
    os.kill(sleeper, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper, os.WEXITED | os.WNOWAIT)
    assert states.start_time(sleeper) == ("Z", started)
    assert not states.is_alive(state), "a zombie has ended"
    assert states.open_init(state) == -1
    os.waitpid(sleeper, 0)
    assert states.start_time(sleeper) == ("", 0)
    assert not states.is_alive(state)
    os.close(pidfd)


def test_an_init_that_lives_on_without_its_first_thread() -> None:
    """As any program may: its pid namespace is still there, with all in it."""
    pid = os.fork()
    if pid == 0:
        threading.Thread(target=time.sleep, args=(1000,)).start()
        ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit(2), of this thread alone
    try:
        state = STATE.replace(init_process_pid=pid, init_process_start=states.start_time(pid)[1])
        while "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            time.sleep(0.01)
        assert states.is_alive(state)
    finally:
        os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not states.is_alive(state)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("step", ["open", "pidfd_open"])
def test_an_init_that_cannot_be_opened(sleeper: int, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = STATE.replace(init_process_pid=sleeper, init_process_start=states.start_time(sleeper)[1])

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "")

    monkeypatch.setattr(k, step, refuse)
    with pytest.raises(PyociError) as caught:
        states.open_init(state)
    assert caught.value.message == f"open init (pid {sleeper}) of container box: too many open files"


@pytest.mark.parametrize("read", [StateDir.config, StateDir.filter, lambda directory: directory.hooks("poststop")])
def test_a_file_that_is_missing(directory: StateDir, read: Callable[[StateDir], object]) -> None:
    """Of a container that is there it is damage; else it has been deleted meanwhile."""
    with pytest.raises(StateError, match=rf"read {directory.path}/.*: no such file or directory"):
        read(directory)
    os.rmdir(directory.path)
    with pytest.raises(ContainerNotFound, match="container does not exist"):
        read(directory)


def test_another_process_of_that_number(sleeper: int) -> None:
    started = states.start_time(sleeper)[1]
    other = STATE.replace(init_process_pid=sleeper, init_process_start=started + 1)
    assert not states.is_alive(other)
    assert states.open_init(other) == -1


@pytest.mark.parametrize("pid", [0, 1, -1, -(2**40), 2**40])
def test_numbers_that_are_no_init(pid: int) -> None:
    started = states.start_time(1)[1]
    state = STATE.replace(init_process_pid=pid, init_process_start=started)
    assert not states.is_alive(state)
    assert states.open_init(state) == -1


def test_a_number_that_is_used_again_while_we_look(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends, and another one takes its number, between the look and pidfd_open."""
    state = STATE.replace(init_process_pid=sleeper, init_process_start=states.start_time(sleeper)[1])
    real = k.pidfd_open
    opened: list[int] = []

    def pidfd_open(pid: int) -> int:
        monkeypatch.setattr(states, "start_time", lambda pid: ("S", state.init_process_start + 1))
        opened.append(real(pid))
        return opened[-1]

    monkeypatch.setattr(k, "pidfd_open", pidfd_open)
    assert states.open_init(state) == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        fcntl.fcntl(opened[0], fcntl.F_GETFD)
