# SPDX-License-Identifier: Apache-2.0
"""`pyoci spec`: a config.json to begin with."""

from __future__ import annotations

from pyoci import SPEC_VERSION
from pyoci.cli.options import STRING, Call, Command, Option
from pyoci.cli.settings import absolute
from pyoci.errors import PyociError, failed
from pyoci.jsontext import dumps
from pyoci.kernel.basic import (
    O_CLOEXEC,
    O_CREAT,
    O_EXCL,
    O_WRONLY,
    access,
    close,
    getegid,
    geteuid,
    open,
    unlink,
    write,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.log import Log

COMMAND = Command(
    name="spec",
    summary="Write a config.json to begin with",
    description="""\
Writes a config.json that runs "sh" on a terminal, in namespaces of its own, from the root filesystem in the directory
rootfs beside it, with few capabilities and no devices but the usual ones. What is there already is not overwritten.

Edit it to suit; `pyoci validate` tells what is wrong with it then, and `pyoci plan` what it comes to.""",
    options=(
        Option(
            name="bundle",
            short="b",
            kind=STRING,
            metavar="DIR",
            default=".",
            completes="directory",
            help="Write it into DIR.",
        ),
        Option(
            name="rootless",
            help="Write one for an ordinary user: with a user namespace in which the caller is root, the host's network"
            " and no limits.",
        ),
    ),
    examples=(
        (
            "mkdir rootfs && docker export $(docker create busybox) | tar -C rootfs -xf -",
            "get a root filesystem",
        ),
        ("pyoci spec && pyoci run test", "and a shell in it"),
    ),
)
_FILE = "config.json"
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_NO_EXTRAS = ["nosuid", "noexec", "nodev"]
_MOUNTS: tuple[tuple[str, str, str, list[str]], ...] = (
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    (
        "/dev/pts",
        "devpts",
        "devpts",
        ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    ),
    ("/dev/shm", "tmpfs", "shm", [*_NO_EXTRAS, "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", _NO_EXTRAS),
    ("/sys", "sysfs", "sysfs", [*_NO_EXTRAS, "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", [*_NO_EXTRAS, "relatime", "ro"]),
)
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def run(call: Call, log: Log) -> int:
    path = absolute(f"{call.text('bundle') or '.'}/{_FILE}")
    config = template(unified=access("/sys/fs/cgroup/cgroup.controllers", 0))
    if call.flag("rootless"):
        config = rootless(config, geteuid(), getegid())
    _write_new(path, (dumps(config, indent=4) + "\n").encode())
    return 0


def template(unified: bool) -> dict[str, Any]:
    """A configuration for a host with cgroup v2 alone (`unified`), or another one."""
    kinds = ["pid", "network", "ipc", "uts", "mount"] + (["cgroup"] if unified else [])
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: _CAPABILITIES for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyoci",
        "mounts": [_mount(*mount) for mount in _MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READONLY),
        },
    }


def rootless(config: dict[str, Any], uid: int, gid: int) -> dict[str, Any]:
    """The same for a user without privileges: what only root may do is left out or comes from the host as it is."""
    linux = {key: value for key, value in config["linux"].items() if key != "resources"}
    kept = [namespace for namespace in linux["namespaces"] if namespace["type"] != "network"]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    return {**config, "mounts": [_rootless_mount(mount) for mount in config["mounts"]], "linux": linux}


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
    return {**mount, "options": options} if options else mount


def _rootless_mount(mount: dict[str, Any]) -> dict[str, Any]:
    if mount["destination"] == "/sys":  # sysfs shows a network namespace: only its owner may mount it
        return _mount("/sys", "none", "/sys", ["rbind", *_NO_EXTRAS, "ro"])
    options = [option for option in mount.get("options", ()) if not option.startswith(("uid=", "gid="))]
    return _mount(mount["destination"], mount["type"], mount["source"], options)


def _write_new(path: str, data: bytes) -> None:
    try:
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    except FileExistsError:
        raise PyociError(f"{path} exists already: remove it first, or name another bundle") from None
    except OSError as error:
        raise failed(f"create {path}", error) from error
    try:
        while data:
            data = data[write(fd, data) :]
    except OSError as error:
        unlink(path)
        raise failed(f"write {path}", error) from error
    finally:
        close(fd)
