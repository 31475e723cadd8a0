# SPDX-License-Identifier: Apache-2.0
"""What is kept on disk about a container, and what is found out about it when asked.

`<root>/<id>/` holds `state.json` (a Record that names what was made for the container, written before it is made, so that
a create that was killed half-way can be deleted), `config.json` (what was validated, for start, exec and delete, whatever
has become of the bundle), `exec.fifo` while the container waits to be started (`exec.fifo.new` until all of it is made,
`exec.fifo.open` while a start is at it), `seccomp.bpf`, the compiled filter, `notify`, the directory of the socket on which
the program says that it is ready, and `criu-root` while it is being restored.

Whether a container runs is never stored: it follows from its init process, the fifo and the freezer.
"""

from __future__ import annotations

from errno import EEXIST, ENOENT, ENOTDIR, ENOTEMPTY, ESRCH
from fcntl import LOCK_EX, LOCK_NB, flock
from time import monotonic, sleep

from pyoci import jsontext
from pyoci.errors import ContainerExists, ContainerNotFound, InvalidId, StateError, failed, reason
from pyoci.kernel import basic as k
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CREATING, CREATED, RUNNING, PAUSED, STOPPED = "creating", "created", "running", "paused", "stopped"

STATE, CONFIG, FIFO, FILTER, NOTIFY = "state.json", "config.json", "exec.fifo", "seccomp.bpf", "notify"
UNFINISHED, OPENED = f"{FIFO}.new", f"{FIFO}.open"
CRIU_ROOT = "criu-root"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_ID_LENGTH = 1024
_LOCK_PATIENCE = 40.0  # seconds; `start` waits for its init no longer, and it has the lock meanwhile
_MAX_STATE = 64 << 20


class RuntimeState(Record):
    """state.json. `init_process_pid` is 0 until there is one; `init_process_start` is field 22 of proc(5)'s stat, in ticks.

    creator_pid, creator_start: the create or run that makes it, or has made it.
    systemd_unit: what systemd has made for it; "" if its cgroups are ours.
    shares_pids: the container has no pid namespace of its own, so its processes do not die with init.
    has_process: there is something to start.
    new_keyring: it has a session keyring of its own, for exec to join.
    streams: what its standard streams are, as /proc/PID/fd shows them, but for those of a terminal of its own.
    intel_rdt_is_own: its class of service was made for it, and goes with it; its monitoring group always does.
    root_mount: the id of the mount on the host that its root is, with its own mounts below; 0 if it has a mount namespace.
    seccomp_flags: those that go with the filter in seccomp.bpf, -1 without one.
    """

    id: str
    oci_version: str
    bundle: str
    rootfs: str
    created: str
    annotations: dict[str, str]
    cgroup_paths: dict[str, str]
    init_process_pid: int = 0
    init_process_start: int = 0
    creator_pid: int = 0
    creator_start: int = 0
    rootless: bool = False
    systemd_cgroup: bool = False
    systemd_unit: str = ""
    shares_pids: bool = False
    has_process: bool = True
    new_keyring: bool = True
    intel_rdt_path: str = ""
    intel_rdt_mon_path: str = ""
    intel_rdt_is_own: bool = False
    root_mount: int = 0
    seccomp_flags: int = -1
    streams: dict[str, str] = {}  # noqa: RUF012  records are never changed


def check_id(container_id: str) -> None:
    """Raises InvalidId unless the id may name a directory and a cgroup."""
    if not container_id:
        raise InvalidId("container id cannot be empty")
    if (
        container_id in (".", "..")
        or len(container_id) > _ID_LENGTH
        or any(character not in _ID_CHARACTERS for character in container_id)
    ):
        raise InvalidId(
            f"invalid container ID format: {container_id[:80]!r}: use letters, digits, and the characters _ + - ."
        )


class StateDir:
    """The directory of one container."""

    def __init__(self, root: str, container_id: str) -> None:
        check_id(container_id)
        self.id, self.path = container_id, f"{root}/{container_id}"
        self.made = (0, 0)  # the device and inode of the directory that we have made

    def make(self, root: str) -> None:
        """Claim the id. Raises ContainerExists, PyociError."""
        try:
            make_directories(root, 0o700)
            k.mkdir(self.path, 0o711)
            status = k.stat(self.path)
        except OSError as error:
            if error.errno == EEXIST:
                raise ContainerExists(self.id) from None
            raise failed(f"make the state directory {self.path}", error) from None
        self.made = (status.st_dev, status.st_ino)

    def is_made_by_us(self, lock: int) -> bool:
        """Whether the locked directory is the one that `make` has made, not another that has come in its place."""
        status = k.fstat(lock)
        return (status.st_dev, status.st_ino) == self.made

    def lock(self) -> int:
        """Take the container's lock for this command; held by the descriptor. Raises ContainerNotFound, StateError."""
        try:
            fd = k.open(self.path, k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC)
        except OSError as error:
            raise self._unreadable(error) from None
        deadline = monotonic() + _LOCK_PATIENCE
        while True:
            try:
                flock(fd, LOCK_EX | LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > deadline:
                    k.close(fd)
                    raise StateError(
                        f"container {self.id} is busy: others have held its lock for {_LOCK_PATIENCE:g} s"
                    ) from None
                sleep(0.005)
            except OSError as error:
                k.close(fd)
                raise StateError(f"lock the state directory {self.path}: {reason(error)}") from None
        if k.fstat(fd).st_nlink == 0:  # deleted while we waited
            k.close(fd)
            raise ContainerNotFound(self.id)
        return fd

    def save(self, state: RuntimeState) -> None:
        """Write state.json, whole or not at all. Raises PyociError."""
        self.write(STATE, jsontext.dumps(state.asdict()).encode())

    def write(self, name: str, content: bytes) -> None:
        """Write one file of the directory, whole or not at all. Raises PyociError."""
        path = f"{self.path}/{name}"
        try:
            fd = k.open(f"{path}.new", k.O_WRONLY | k.O_CREAT | k.O_TRUNC | k.O_CLOEXEC, 0o600)
            try:
                write_all(fd, content)
            finally:
                k.close(fd)
            k.rename(f"{path}.new", path)
        except OSError as error:
            raise failed(f"write {path}", error) from None

    def load(self) -> RuntimeState:
        """Read state.json. Raises ContainerNotFound, or StateError where it cannot be used."""
        try:
            content = self.read(STATE)
        except FileNotFoundError as error:
            raise self._unreadable(error) from None
        try:
            fields: Any = jsontext.loads(content.decode())
            state = RuntimeState(**{name: fields[name] for name in RuntimeState._fields})
            _check_types(state)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StateError(f"{self.path}/{STATE} is damaged ({error}); delete --force {self.id} removes it") from None
        return state

    def read(self, name: str) -> bytes:
        """A file of the directory. Raises FileNotFoundError, StateError."""
        path = f"{self.path}/{name}"
        try:
            fd = k.open(path, k.O_RDONLY | k.O_CLOEXEC)
            try:
                pieces, size = [], 0
                while piece := k.read(fd, 1 << 16):
                    pieces.append(piece)
                    size += len(piece)
                    if size > _MAX_STATE:
                        raise StateError(f"{path} is larger than {_MAX_STATE >> 20} MiB")
            finally:
                k.close(fd)
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR):
                raise FileNotFoundError(ENOENT, k.strerror(ENOENT), path) from None
            raise StateError(f"read {path}: {reason(error)}") from None
        return b"".join(pieces)

    def config(self) -> dict[str, Any]:
        """The container's config, as it was at create. Raises StateError."""
        try:
            text = self.read(CONFIG).decode()
            config: dict[str, Any] = jsontext.loads(text)
            if not isinstance(config, dict):
                raise ValueError("it holds no object")
            if "null" in text:  # it is the text that was kept, as it came
                jsontext.drop_nulls(config)
        except FileNotFoundError as error:
            raise self._missing(CONFIG, error) from None
        except ValueError as error:
            raise StateError(f"{self.path}/{CONFIG} is damaged ({error})") from None
        return config

    def hooks(self, kind: str) -> list[dict[str, Any]]:
        """The hooks of one kind in the container's config. Raises StateError.

        Most have none, which shows in the text: what is in it need not be made out, and with an engine's seccomp profile that
        takes 0.3 ms, of each start and delete. A name may be written in escapes, too.
        """
        try:
            content = self.read(CONFIG)
        except FileNotFoundError as error:
            raise self._missing(CONFIG, error) from None
        if kind.encode() not in content and b"\\u" not in content:
            return []
        return (self.config().get("hooks") or {}).get(kind) or []

    def filter(self) -> bytes:
        """The compiled seccomp filter of a container that has one. Raises StateError."""
        try:
            return self.read(FILTER)
        except FileNotFoundError as error:
            raise self._missing(FILTER, error) from None

    def has_fifo(self) -> bool:
        """Whether the container still waits to be started."""
        return self.has(FIFO)

    def has(self, name: str) -> bool:
        """Whether a file is in the directory."""
        try:
            k.lstat(f"{self.path}/{name}")
        except OSError:
            return False
        return True

    def owner(self) -> int:
        """The uid that the directory belongs to, which `list` shows. Raises ContainerNotFound, StateError."""
        try:
            return k.stat(self.path).st_uid
        except OSError as error:
            raise self._unreadable(error) from None

    def exists(self) -> bool:
        """Whether the id is taken."""
        try:
            k.lstat(self.path)
        except OSError:
            return False
        return True

    def remove(self) -> None:
        """Remove the directory with all that we put there; the record goes last. Raises PyociError."""
        try:
            for name in sorted(k.listdir(self.path), key=lambda name: name == STATE):
                _unlink(f"{self.path}/{name}")
            _remove_directory(self.path)
        except OSError as error:
            if error.errno != ENOENT:
                raise failed(f"remove the state directory {self.path}", error) from None

    def _missing(self, name: str, error: OSError) -> StateError:
        """What a container has as long as it is there."""
        if self.exists():
            return StateError(f"read {self.path}/{name}: {reason(error)}")
        return ContainerNotFound(self.id)

    def _unreadable(self, error: OSError) -> StateError:
        if error.errno in (ENOENT, ENOTDIR):
            return ContainerNotFound(self.id)
        return StateError(f"open {self.path}: {reason(error)}")


def write_all(fd: int, content: bytes) -> None:
    """Write everything; write(2) may take less at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[k.write(fd, rest) :]


def start_time(pid: int) -> tuple[str, int]:
    """The state letter and the start time of a process (proc(5), fields 3 and 22), or ("", 0) if there is none.

    One whose first thread has ended before others sleeps: only that thread is a zombie.
    """
    try:
        fd = k.open(f"/proc/{pid}/stat", k.O_RDONLY | k.O_CLOEXEC)
        try:
            content = k.read(fd, 4096)
        finally:
            k.close(fd)
    except OSError as error:
        if error.errno in (ENOENT, ESRCH):
            return "", 0
        raise
    fields = content[content.rindex(b")") + 2 :].split()  # the name before may hold anything, blanks and brackets too
    letter = "S" if fields[0] == b"Z" and int(fields[17]) > 1 else fields[0].decode()
    return letter, int(fields[19])


def is_alive(state: RuntimeState) -> bool:
    """Whether init is there and still the same process; a zombie is not."""
    return _is_there(state.init_process_pid, state.init_process_start)


def had_init(state: RuntimeState) -> bool:
    """Whether there ever was an init. Of two numbers one may be damaged."""
    return bool(state.init_process_pid or state.init_process_start)


def may_have_processes(state: RuntimeState) -> bool:
    """Whether anybody of the container may be left. With the init of a pid namespace all have ended that are in it; whoever
    is in the container's cgroups by then has been given them since. Where it is not known who init was, all are ours.
    """
    return is_alive(state) or (had_init(state) and (state.shares_pids or not _names_init(state)))


def _names_init(state: RuntimeState) -> bool:
    """Whether these can be the numbers of an init: damage shows, in most of them."""
    return 1 < state.init_process_pid < 1 << 22 and state.init_process_start > 0


def has_creator(state: RuntimeState) -> bool:
    """Whether whoever makes or has made it is still there, and may be at it."""
    return _is_there(state.creator_pid, state.creator_start)


def _is_there(pid: int, start: int) -> bool:
    if pid <= 1:
        return False
    letter, started = start_time(pid)
    return letter not in ("", "Z", "X", "x") and started == start


def open_init(state: RuntimeState) -> int:
    """A pidfd of init, known to be it, or -1 if it is gone. Whoever signals goes by this: numbers are used again. Raises
    PyociError.
    """
    try:
        return _open_init(state)
    except OSError as error:
        raise failed(f"open init (pid {state.init_process_pid}) of container {state.id}", error) from None


def _open_init(state: RuntimeState) -> int:
    if not is_alive(state):
        return -1
    try:
        pidfd = k.pidfd_open(state.init_process_pid)
    except OSError as error:
        if error.errno == ESRCH:
            return -1
        raise
    if is_alive(state):
        return pidfd
    k.close(pidfd)
    return -1


def container_ids(root: str) -> list[str]:
    """Every id below a root, sorted; what is no directory is none. Raises FileNotFoundError if the root is not there."""
    with k.scandir(root) as entries:
        return sorted(
            entry.name
            for entry in entries
            if _ID_CHARACTERS.issuperset(entry.name) and entry.is_dir(follow_symlinks=False)
        )


_KINDS = {"str": str, "int": int, "bool": bool, "dict[str, str]": dict}


def _check_types(state: RuntimeState) -> None:
    for name in RuntimeState._fields:
        value, kind = getattr(state, name), _KINDS[RuntimeState.__annotations__[name]]
        if type(value) is not kind:
            raise TypeError(f"{name} is no {kind.__name__}")
    for name in ("annotations", "cgroup_paths", "streams"):
        if not all(isinstance(item, str) for item in getattr(state, name).values()):
            raise TypeError(f"{name} holds what is no str")
    if not all(path.startswith("/") for path in state.cgroup_paths.values()):
        raise TypeError("cgroup_paths holds what is no absolute path")


def make_directories(path: str, mode: int, above: int = 0o711) -> None:
    """Make a directory, and what is missing of the way to it with the mode `above`; what is there already stays as it is.
    Raises OSError.
    """
    try:
        _make_directory(path, mode)
    except FileNotFoundError:
        parent = path.rpartition("/")[0]
        if not parent:
            raise
        make_directories(parent, above, above)
        _make_directory(path, mode)


def _make_directory(path: str, mode: int) -> None:
    try:
        k.mkdir(path, mode)
    except FileExistsError:
        pass  # another create may have made it meanwhile


def _unlink(path: str) -> None:
    """Remove a file or a whole directory. That something is gone already is fine: another command may be at it, too."""
    try:
        k.unlink(path)
    except IsADirectoryError:
        _remove_directory(path)
    except FileNotFoundError:
        pass


def _remove_directory(path: str) -> None:
    """As `_unlink`. What is mounted on one of ours, such as a container's root, is not ours to remove: to begin with rmdir
    says EBUSY of it, whatever is in it."""
    try:
        try:
            k.rmdir(path)
        except OSError as error:
            if error.errno not in (ENOTEMPTY, EEXIST):
                raise
            for name in k.listdir(path):
                _unlink(f"{path}/{name}")
            k.rmdir(path)
    except FileNotFoundError:
        pass
