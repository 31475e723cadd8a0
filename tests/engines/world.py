# SPDX-License-Identifier: Apache-2.0
"""A place to run a container engine in, which ends with everything in it.

An engine leaves behind daemons, shims, monitors, containers, mounts, bridges, packet filter rules and cgroups.  A
`World` is a set of namespaces (pid, mount, network, cgroup) with a /run of its own and one cgroup in each hierarchy:
when its init is killed, the kernel ends all the rest, and what then remains are empty cgroups below one name.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..lifecycle.harness import PATIENCE, Result, eventually, never_a_traceback

CGROUP_ROOT = Path("/sys/fs/cgroup")

# The init of a world; its arguments are the file that says it is ready, and what it is to become.
_INIT = """
set -eu
ready=$1 && shift
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock
if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    umount -l /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    # A cgroup that has processes can have no controllers for its children.
    mkdir /sys/fs/cgroup/engine
    echo 0 > /sys/fs/cgroup/engine/cgroup.procs
else
    hierarchies=$(while read -r _ _ _ _ point rest; do
        case $point in /sys/fs/cgroup/*) echo "${point##*/} ${rest##* - }" ;; esac
    done < /proc/self/mountinfo)
    umount -R -l /sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    echo "$hierarchies" | while read -r name type _ options; do
        mkdir "/sys/fs/cgroup/$name"
        case $type in
            cgroup) mount -t cgroup -o "${options#rw,}" cgroup "/sys/fs/cgroup/$name" ;;
            cgroup2) mount -t cgroup2 cgroup2 "/sys/fs/cgroup/$name" ;;
        esac
    done
fi
ip link set lo up
: > "$ready"
exec "$@"
"""

# What it then becomes: a parent for orphans, which some engines expect to be gone as soon as they have ended.
_REAPER = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
while True:
    signal.sigwait({signal.SIGCHLD})
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
"""


class World:
    """Namespaces, a scratch directory and cgroups for one engine; `close` ends it all."""

    def __init__(self, name: str) -> None:
        self.name = f"pyoci-{name}-{os.getpid()}"
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        self.scratch.chmod(0o755)
        self.cgroups: list[Path] = []
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",  # the distribution's engines, whatever else is installed
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch / "tmp"),
            "XDG_RUNTIME_DIR": "/run",
        }
        (self.scratch / "tmp").mkdir()
        self.logs: list[Path] = []
        self.spawned: list[subprocess.Popen[bytes]] = []
        self.keeper: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        self._make_cgroups()
        init, ready = self.scratch / "init", self.scratch / "ready"
        init.write_text(_INIT)
        enter = " && ".join(f"echo 0 > {path}/cgroup.procs" for path in self.cgroups)
        unshare = ["unshare", "--mount", "--net", "--pid", "--cgroup", "--fork", "--kill-child", "--mount-proc"]
        # Should the tests be killed, so is the world.
        command = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", f'{enter} && exec "$@"', "world", *unshare]
        reaper = [os.path.realpath(sys.executable), "-I", "-S", "-c", _REAPER]
        self.keeper = self._spawn("init", *command, "sh", str(init), str(ready), *reaper)
        eventually("the world's init", lambda: ready.exists() or self._has_ended())
        assert ready.exists(), self.said()
        children = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children").read_text().split()
        self.pid = int(children[0])

    def _has_ended(self) -> bool:
        assert self.keeper is not None
        return self.keeper.poll() is not None

    def _make_cgroups(self) -> None:
        """One cgroup of our name in every hierarchy."""
        if (CGROUP_ROOT / "cgroup.controllers").exists():
            roots = [CGROUP_ROOT]
        else:
            roots = [path for path in CGROUP_ROOT.iterdir() if path.is_dir() and not path.is_symlink()]
        for root in roots:
            path = root / self.name
            path.mkdir()
            self.cgroups.append(path)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (root / name).exists() and not (root / "cgroup.controllers").exists():
                    (path / name).write_text((root / name).read_text())

    def _spawn(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start what goes on until the end, and keep what it says."""
        path = self.scratch / f"{name}.log"
        self.logs.append(path)
        with path.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
        self.spawned.append(process)
        return process

    def said(self) -> str:
        """The last lines of what the world's daemons have written, for a test that fails."""
        return "\n".join(f"--- {log.name}\n{log.read_text(errors='backslashreplace')[-3000:]}" for log in self.logs)

    # What is run in it.

    def inside(self, *command: str) -> list[str]:
        """`command` as it has to be called to run in the world."""
        assert self.keeper is not None
        enter = " && ".join(f"echo 0 > {path}/cgroup.procs" for path in self.cgroups)
        return [
            "sh", "-c", f'{enter} && exec "$@"', "enter",
            "nsenter", "--target", str(self.pid), "--mount", "--net", "--pid", "--cgroup", "--wd=/", "--", *command,
        ]  # fmt: skip

    def daemon(self, name: str, *command: str) -> None:
        """Start a daemon; it ends with the world at the latest."""
        self._spawn(name, *self.inside(*command))

    def call(
        self, *command: str, stdin: str | None = None, timeout: float = PATIENCE, extra: dict[str, str] | None = None
    ) -> Result:
        """Run a command to its end.  What it starts may hold on to its streams, so these are files."""
        with tempfile.TemporaryFile(mode="w+") as out, tempfile.TemporaryFile(mode="w+") as err:
            try:
                done = subprocess.run(
                    self.inside(*command),
                    input=stdin,
                    stdin=subprocess.DEVNULL if stdin is None else None,
                    stdout=out,
                    stderr=err,
                    text=True,
                    timeout=timeout,
                    env=self.environment | (extra or {}),
                )
                status = done.returncode
            except subprocess.TimeoutExpired:
                status = -1
            for stream in (out, err):
                stream.seek(0)
            result = Result(list(command), status, out.read(), err.read())
        assert status != -1, f"hung: {shlex.join(command)}\n{result.out}\n{result.err}\n{self.said()}"
        never_a_traceback(result)
        return result

    def typed(self, *command: str, text: str = "") -> str:
        """What a command shows on a terminal, after `text` was typed there; it must succeed."""
        master, slave = os.openpty()
        process = subprocess.Popen(self.inside(*command), stdin=slave, stdout=slave, stderr=slave, env=self.environment)
        os.close(slave)
        os.write(master, text.encode())
        shown = b""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and select.select([master], [], [], deadline - time.monotonic())[0]:
            try:
                shown += os.read(master, 4096)
            except OSError:  # EIO: the last who had it open is gone
                break
        process.kill()
        status = process.wait()
        os.close(master)
        assert status == 0, f"{shlex.join(command)}: {status}: {shown.decode()}"
        return shown.decode().replace("\r", "")

    def path(self, name: str) -> Path:
        """A file of the world as we can open it."""
        return Path(f"/proc/{self.pid}/root{name}")

    def cgroup(self, id: str, controller: str) -> Path:
        """The cgroup of a container, by a name that has its id in it; in v1 that of one controller."""
        for root in self.cgroups:
            if root.parent.name in ("cgroup", controller):
                for directory, _, _ in os.walk(root):
                    if id in os.path.basename(directory):
                        return Path(directory)
        raise AssertionError(f"no {controller} cgroup for {id}")

    def limits(self, id: str) -> dict[str, int]:
        """What a container may use: memory in bytes, pids, and CPUs in hundredths."""
        memory, pids, cpu = (self.cgroup(id, controller) for controller in ("memory", "pids", "cpu"))
        if (memory / "memory.max").exists():
            quota, period = (cpu / "cpu.max").read_text().split()
            limit = memory / "memory.max"
        else:
            quota, period = (cpu / "cpu.cfs_quota_us").read_text(), (cpu / "cpu.cfs_period_us").read_text()
            limit = memory / "memory.limit_in_bytes"
        return {
            "memory": int(limit.read_text()),
            "pids": int((pids / "pids.max").read_text()),
            "cpu": int(quota) * 100 // int(period),
        }

    def cgroups_of(self, id: str) -> list[Path]:
        """Every cgroup below ours whose name has `id` in it."""
        found = [Path(directory) for root in self.cgroups for directory, _, _ in os.walk(root)]
        return [path for path in found if id in path.name and path not in self.cgroups]

    # The end.

    def close(self) -> None:
        if self.keeper is not None:
            self.keeper.kill()
        for process in self.spawned:
            process.wait()
        for cgroup in self.cgroups:
            self._remove(cgroup)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _remove(self, cgroup: Path) -> None:
        """Remove a cgroup of ours with all below, once the kernel has done with the processes."""
        deadline = time.monotonic() + PATIENCE
        while cgroup.exists() and time.monotonic() < deadline:
            for directory, _, _ in os.walk(cgroup, topdown=False):
                self._thaw(Path(directory))
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            time.sleep(0.01)
        assert not cgroup.exists(), f"{cgroup} cannot be removed: {(cgroup / 'cgroup.procs').read_text()}"

    @staticmethod
    def _thaw(cgroup: Path) -> None:
        """What is frozen in cgroup v1 does not die."""
        state = cgroup / "freezer.state"
        with contextlib.suppress(OSError):
            if state.exists() and not (cgroup / "freezer.self_freezing").read_text().startswith("0"):
                state.write_text("THAWED")
