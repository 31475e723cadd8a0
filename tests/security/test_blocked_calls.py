# SPDX-License-Identifier: Apache-2.0
"""On old kernels and inside of filters that forbid newer system calls, nothing is done in a way that is less safe.

`clone3` has a stand-in, and test_mount_dev.py runs with that, too; so does any other test with `--block ENOSYS:clone3`. The
others have none that would not follow a link too far or mount by a path: what takes them is refused in one line that names
them, and leaves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..lifecycle.configs import bind, mount
from ..lifecycle.harness import Container, Result, Runtime
from .blocking import blocked
from .conftest import Canary

pytestmark = [pytest.mark.needs_compiler, pytest.mark.needs_seccomp]

MOUNTING = ("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "mount_setattr")
ALL = ",".join(("openat2", "clone3", *MOUNTING))


@pytest.fixture
def block(container: Container, pyoci_program: Path, place: Path) -> Callable[[str, str], None]:
    """A function that has the container's next commands run with these system calls blocked."""

    def begin(error: str, calls: str) -> None:
        container.runtime = Runtime("pyoci", str(blocked(place, error, calls, pyoci_program)))

    return begin


def names_what_is_missing(result: Result, *names: str, status: int = 1) -> None:
    assert result.status == status, f"{result}"
    (line,) = result.err.splitlines()
    assert all(name in line.partition("not to be had here: ")[2] for name in names), f"{result}"


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("calls", ["openat2", *MOUNTING, "close_range", "pidfd_open,openat2", ALL])
def test_nobody_is_let_in_without(
    container: Container, canary: Canary, block: Callable[[str, str], None], error: str, calls: str
) -> None:
    """Neither by create, though links lead out and the kernel would follow them, nor by exec."""
    (container.rootfs / "link").symlink_to(canary.path)
    plain = container.runtime
    container.mounts.insert(0, bind("/etc", "/bound", "bind", "ro"))  # which takes all of them
    container.mounts.append(mount("/link/new", "tmpfs", "tmpfs"))
    block(error, calls)
    names_what_is_missing(
        container.create(), *(name for name in calls.split(",") if name not in ("clone3", "pidfd_open"))
    )
    container.leaves_nothing()
    canary.is_untouched()
    container.runtime = plain
    container.mounts.pop()
    container.create(args=["sleep", "1000"]).ok()
    block(error, calls)
    if "pidfd_open" in calls:
        names_what_is_missing(container.start(), "pidfd_open")
        assert container.status == "created"
        names_what_is_missing(container.delete("--force"), "pidfd_open")
        container.runtime = plain
        return
    container.start().ok()
    entered = container.exec("true")
    if "openat2" in calls or "close_range" in calls:
        names_what_is_missing(entered, *({"openat2", "close_range"} & set(calls.split(","))), status=255)
    else:
        entered.ok()
    assert container.status == "running"
    container.call("pause", container.id).ok()
    container.call("resume", container.id).ok()
    container.kill("KILL").ok()
    container.wait()
    container.delete().ok()
    container.leaves_nothing()


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
@pytest.mark.parametrize("stage", [False, True], ids=["at once", "by a stage"])
def test_all_is_as_usual_without_clone3(
    container: Container, block: Callable[[str, str], None], error: str, stage: bool
) -> None:
    block(error, "clone3")
    if stage:
        for entry in container.linux["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = "/proc/self/ns/net"
        container.linux["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            container.linux[kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]
        container.mounts[:] = [one for one in container.mounts if one["destination"] not in ("/sys", "/dev/mqueue")]
    container.launch()
    assert container.exec("sh", "-c", "echo $$; exit 3").status == 3
    container.kill("KILL").ok()
    container.wait()
    container.delete().ok()
    container.leaves_nothing()
    assert container.output("sh", "-c", "echo $$") == "1\n"
