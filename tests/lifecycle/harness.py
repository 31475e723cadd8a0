# SPDX-License-Identifier: Apache-2.0
"""Drive a container runtime through its command line, the way an engine does, and leave no trace of it.

`Container` is one container of one runtime: its bundle, its id, each command about it, and what is left of it
afterwards.  A test changes `container.config` and looks at what the container then prints or at what the kernel
says about it.  Nothing here knows pyoci's code: any OCI runtime with runc's command line can be driven.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..bystanders import BYSTANDERS
from .configs import Config, base_config

PATIENCE = 60.0
"""Seconds after which whatever has not happened counts as a hang.  Nothing here takes one second when it works, and the
machine has nothing else to do."""
SHORT_PATIENCE = 10.0
"""The same, where another runtime is known to hang, and each test of it takes as long."""

CGROUP_ROOT = Path("/sys/fs/cgroup")
MNT_DETACH = 2
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def eventually(what: str, probe: Callable[[], T]) -> T:
    """The first truthy answer of `probe`; fails, naming `what`, when PATIENCE runs out."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE:.0f} s")
        time.sleep(0.005)


# --- processes ---------------------------------------------------------------------------------------------------


def children() -> list[int]:
    """Pids of this process's children, adopted orphans included, but for bystanders."""
    pids: list[int] = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            pids += map(int, (thread / "children").read_text().split())
    return [pid for pid in pids if pid not in BYSTANDERS]


def process_state(pid: int) -> str | None:
    """The kernel's letter for the state of a process, None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_gone_or_zombie(pid: int) -> bool:
    return process_state(pid) in (None, "Z", "X")


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def exit_code(wait_status: int) -> int:
    """A wait status as a shell shows it: 128 + n for death by signal n."""
    code = os.waitstatus_to_exitcode(wait_status)
    return 128 - code if code < 0 else code


# --- the kernel's view -------------------------------------------------------------------------------------------


def cgroups_named(fragment: str) -> list[Path]:
    """Every cgroup, in every hierarchy, with `fragment` in its own name; children before their parents."""
    return [
        Path(directory)
        for directory, _, _ in os.walk(CGROUP_ROOT, topdown=False)
        if fragment in os.path.basename(directory)
    ]


def has_controller(name: str) -> bool:
    """Whether this host has a controller for cgroups: a hierarchy of its own, or in that of version 2, which may lack it."""
    try:
        return name in (CGROUP_ROOT / "cgroup.controllers").read_text().split()
    except FileNotFoundError:
        return (CGROUP_ROOT / name).is_dir()


def mounts_below(path: Path) -> list[str]:
    """Mount points of this mount namespace at or below `path`, the last mounted first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [point for point in points if point == str(path) or point.startswith(f"{path}/")]
    return inside[::-1]


def namespace_of(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def status_field(text: str, name: str) -> str:
    """The value of one line of a /proc/PID/status."""
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise AssertionError(f"no {name} in {text!r}")


# --- the runtime -------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What one call of the runtime left behind: exit status, standard output, standard error."""

    argv: list[str]
    status: int
    out: str
    err: str

    def ok(self) -> Result:
        assert self.status == 0, f"{self}"
        return self

    def refused(self, *fragments: str, status: int = 1) -> Result:
        """The call failed with `status`, and said each of `fragments` on standard error."""
        assert self.status == status, f"should exit {status}: {self}"
        assert self.err.strip(), f"failed without a word: {self}"
        said = self.err.replace('\\"', '"')  # a log line in text form quotes the message
        for fragment in fragments:
            assert fragment in said, f"should say {fragment!r}: {self}"
        return self

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}: exit {self.status}\nstdout: {self.out}\nstderr: {self.err}"


@dataclass
class Runtime:
    """A runtime's program, and the name the tests know it by."""

    name: str
    path: str
    environment: dict[str, str] | None = None

    def call(self, *arguments: str, stdin: str | None = None, cwd: Path | None = None, **options: Any) -> Result:
        """One call that is not about a container of its own: `features`, `--version`, a bad command line."""
        finished = subprocess.run(
            [self.path, *arguments],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="backslashreplace",
            timeout=PATIENCE,
            cwd=cwd,
            **options,
        )
        result = Result([self.path, *arguments], finished.returncode, finished.stdout, finished.stderr)
        never_a_traceback(result)
        return result


def never_a_traceback(result: Result) -> None:
    for word in ("Traceback (most recent call last)", "Exception ignored in", "goroutine 1 ["):
        assert word not in result.err + result.out, f"a crash, not an error: {result}"


# --- one container -----------------------------------------------------------------------------------------------


@dataclass
class Container:
    """One container of `runtime`, in a bundle of its own below `scratch`.

    The rootfs is made by `fill` when the bundle is first written.  Standard streams of every command are files, as
    a pipe would be held open by the container and a caller that reads it would wait for the container's end.
    """

    runtime: Runtime
    scratch: Path
    id: str
    fill: Callable[[Path], None]
    config: Config = field(default_factory=dict)
    pid: int = 0
    siblings: list[Container] = field(default_factory=list)
    live: list[subprocess.Popen[bytes]] = field(default_factory=list)
    calls: int = 0
    systemd: bool = False

    def __post_init__(self) -> None:
        self.root = self.scratch / "state"
        self.bundle = self.scratch / self.id
        self.rootfs = self.bundle / "rootfs"
        self.pid_file = self.bundle / "pid"
        self.bundle.mkdir()
        self.bundle.chmod(0o755)
        self.rootfs.mkdir()
        self.fill(self.rootfs)
        self.config = base_config(None if self.systemd else f"/{self.id}")

    # The parts of the config that most tests touch.

    @property
    def process(self) -> Config:
        process: Config = self.config["process"]
        return process

    @property
    def linux(self) -> Config:
        linux: Config = self.config["linux"]
        return linux

    @property
    def resources(self) -> Config:
        resources: Config = self.linux["resources"]
        return resources

    @property
    def mounts(self) -> list[Config]:
        mounts: list[Config] = self.config["mounts"]
        return mounts

    def write_config(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    # Calls.

    def argv(self, *arguments: str) -> list[str]:
        driver = ["--systemd-cgroup"] if self.systemd else []
        return [self.runtime.path, "--root", str(self.root), *driver, *arguments]

    def background(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it; its streams are files unless `options` say otherwise."""
        self.calls += 1
        out = open(self.bundle / f"stdout.{self.calls}", "wb+")
        err = open(self.bundle / f"stderr.{self.calls}", "wb+")
        with out, err:
            standard: dict[str, Any] = {
                "stdin": subprocess.DEVNULL,
                "stdout": out,
                "stderr": err,
                "env": self.runtime.environment,
            }
            command = [*options.pop("wrapper", []), *self.argv(*arguments)]
            started: subprocess.Popen[bytes] = subprocess.Popen(command, **(standard | options))
        self.live.append(started)
        return started

    def call(self, *arguments: str, stdin: str | None = None, **options: Any) -> Result:
        """Run a command to its end.  It fails the test if the command hangs or shows the inside of a crash."""
        if stdin is not None:
            feed = self.bundle / "stdin"
            feed.write_text(stdin)
            options["stdin"] = feed.open("rb")
        command = self.background(*arguments, **options)
        number = self.calls
        try:
            command.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            command.kill()
            command.wait()
            said = (self.bundle / f"stderr.{number}").read_text(errors="backslashreplace")
            raise AssertionError(f"{' '.join(self.argv(*arguments))} hung, stderr: {said}") from None
        finally:
            self.live.remove(command)
            if stdin is not None:
                options["stdin"].close()
        result = Result(
            self.argv(*arguments),
            128 - command.returncode if command.returncode < 0 else command.returncode,
            (self.bundle / f"stdout.{number}").read_text(errors="backslashreplace"),
            (self.bundle / f"stderr.{number}").read_text(errors="backslashreplace"),
        )
        never_a_traceback(result)
        return result

    def create(self, *options: str, args: list[str] | None = None, **how: Any) -> Result:
        if args is not None:
            self.process["args"] = args
        self.write_config()
        self.pid_file.unlink(missing_ok=True)
        result = self.call(
            "create", "--bundle", str(self.bundle), "--pid-file", str(self.pid_file), *options, self.id, **how
        )
        if result.status == 0:
            self.pid = int(self.pid_file.read_text())
            self.output_file = self.bundle / f"stdout.{self.calls}"
            self.error_file = self.bundle / f"stderr.{self.calls}"
        return result

    def run(self, *options: str, args: list[str] | None = None, **how: Any) -> Result:
        """`run` in the foreground: create, start, wait, delete, all in one command."""
        if args is not None:
            self.process["args"] = args
        self.write_config()
        result = self.call("run", "--bundle", str(self.bundle), *options, self.id, **how)
        self.output_file = self.bundle / f"stdout.{self.calls}"
        return result

    def start(self) -> Result:
        return self.call("start", self.id)

    def kill(self, *arguments: str) -> Result:
        return self.call("kill", *arguments[:-1], self.id, *arguments[-1:])

    def delete(self, *options: str) -> Result:
        return self.call("delete", *options, self.id)

    def exec(self, *command: str, options: tuple[str, ...] = (), **how: Any) -> Result:
        return self.call("exec", *options, self.id, *command, **how)

    def state(self) -> Config:
        state: Config = json.loads(self.call("state", self.id).ok().out)
        return state

    @property
    def status(self) -> str:
        return str(self.state()["status"])

    # Compositions.

    def launch(self, *args: str) -> None:
        """Create and start; without arguments a process that sleeps longer than any test."""
        self.create(args=list(args) if args else ["sleep", "1000"]).ok()
        self.start().ok()

    def output(self, *args: str) -> str:
        """What the container prints when it runs `args`, which must succeed."""
        return self.run(args=list(args)).ok().out

    def sh(self, script: str) -> str:
        """What the container prints when its shell runs `script`, which must succeed."""
        return self.output("sh", "-ec", script)

    def printed(self) -> str:
        """What a created or started container has written to its standard output so far."""
        return self.output_file.read_text(errors="backslashreplace")

    def prints(self, text: str) -> None:
        eventually(f"{text!r} in the output of {self.id}", lambda: text in self.printed())

    def wait(self) -> int:
        """Reap the container's init, as the parent it was handed to, and give its exit code."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return exit_code(status)
            time.sleep(0.005)
        raise AssertionError(f"init of {self.id}, pid {self.pid}, does not end")

    def becomes(self, status: str) -> None:
        eventually(f"{self.id} {status}", lambda: self.status == status)

    def init_becomes_zombie(self) -> None:
        eventually("the end of init", lambda: is_gone_or_zombie(self.pid))

    # The end.

    def reap(self) -> list[int]:
        """Collect the zombies that came to us; the pids of children which are still alive and nobody's."""
        ours = {process.pid for sibling in [self, *self.siblings] for process in sibling.live}
        ours |= {sibling.pid for sibling in self.siblings if sibling is not self}
        alive = []
        for pid in children():
            if pid in ours:
                continue
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    alive.append(pid)
        return alive

    def traces(self) -> list[str]:
        """What is left of the container outside its bundle, one line each."""
        deadline = time.monotonic() + SHORT_PATIENCE
        while (alive := self.reap()) and time.monotonic() < deadline:
            time.sleep(0.005)
        found = [f"process {pid}: {command_line(pid)}" for pid in alive]
        if self.root.exists():
            found += [f"state {path}" for path in self.root.iterdir() if path.name == self.id]
        found += [f"cgroup {path}" for path in cgroups_named(self.id)]
        found += [f"mount {path}" for path in mounts_below(self.bundle)]
        return found

    def leaves_nothing(self) -> None:
        found = self.traces()
        assert not found, "left behind:\n" + "\n".join(found)

    def clean_up(self) -> list[str]:
        """Delete the container, then remove by hand what that did not; the second is returned, one line each."""
        complaints: list[str] = []
        for process in self.live:
            if process.poll() is None:
                process.kill()
                process.wait()
        self.live.clear()
        if (self.root / self.id).exists():
            # The init of a pid namespace ends only after its last process was reaped; some of them may be ours.
            delete = self.background("delete", "--force", self.id)
            with contextlib.suppress(AssertionError):
                eventually("the end of delete", lambda: delete.poll() is not None or self.reap() is None)
            if delete.returncode != 0:
                said = (self.bundle / f"stderr.{self.calls}").read_text(errors="backslashreplace")
                complaints.append(f"delete --force failed: exit {delete.returncode}, {said}")
                delete.kill()
                delete.wait()
            self.live.remove(delete)
        complaints += self.traces()
        for pid in self.reap():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for point in mounts_below(self.bundle):
            _libc.umount2(os.fsencode(point), MNT_DETACH)
        remove_cgroups(cgroups_named(self.id))
        eventually("the end of killed processes", lambda: not self.reap())  # those that were frozen are thawed by now
        shutil.rmtree(self.root / self.id, ignore_errors=True)
        return complaints


def remove_cgroups(cgroups: list[Path]) -> None:
    """Kill what lives in cgroups of ours and those below them, and remove them. A process may be frozen by any of them."""
    trees = [Path(directory) for cgroup in cgroups for directory, _, _ in os.walk(cgroup, topdown=False)]
    for directory in reversed(trees):
        for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                (directory / name).write_text(text)
    for directory in trees:
        _remove_cgroup(directory)


def _remove_cgroup(cgroup: Path) -> None:
    def removed() -> bool:
        with contextlib.suppress(OSError):
            for line in (cgroup / "cgroup.procs").read_text().split():
                os.kill(int(line), signal.SIGKILL)
        for pid in filter(is_gone_or_zombie, children()):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        try:
            cgroup.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    eventually(f"removal of {cgroup}", removed)


@contextlib.contextmanager
def placed(wanted: dict[int, int]) -> Iterator[None]:
    """Duplicate descriptors to the numbers that are the keys, for a child to inherit; afterwards all is as it was."""
    saved: dict[int, int] = {}
    for number in wanted:
        with contextlib.suppress(OSError):
            saved[number] = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100)
    sources = {number: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 100) for number, source in wanted.items()}
    try:
        for number, source in sources.items():
            os.dup2(source, number)
        yield
    finally:
        for number, source in sources.items():
            os.close(source)
            if number in saved:
                os.dup2(saved[number], number, inheritable=False)
                os.close(saved[number])
            else:
                os.close(number)


@contextlib.contextmanager
def console_socket(directory: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """A socket that receives a console: its path, and a function giving the master's descriptor."""
    path = directory / "console.sock"
    path.unlink(missing_ok=True)
    received: list[int] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(PATIENCE)

        def receive() -> int:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(PATIENCE)
                name, descriptors, _, _ = socket.recv_fds(connection, 4096, 4)
            assert name, "no name of the console in the message"
            assert len(descriptors) == 1, f"{len(descriptors)} descriptors in the message"
            received.extend(descriptors)
            return descriptors[0]

        try:
            yield str(path), receive
        finally:
            for descriptor in received:
                os.close(descriptor)


def read_until(descriptor: int, text: bytes) -> bytes:
    """Read a terminal until `text` has come."""
    seen = b""

    def more() -> bool:
        nonlocal seen
        with contextlib.suppress(BlockingIOError):
            seen += os.read(descriptor, 4096)
        return text in seen

    os.set_blocking(descriptor, False)
    try:
        eventually(f"{text!r} on the terminal", more)
    except (AssertionError, OSError) as error:
        raise AssertionError(f"{error}; the terminal said {seen!r}") from None
    return seen
