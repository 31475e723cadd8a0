# SPDX-License-Identifier: Apache-2.0
"""What criu is to be asked for: pure functions from the command line and a container to the options of its RPC.

What criu finds outside of the container, and so cannot save, goes by names that are agreed on between a checkpoint and a
restore. They are those that runc gives, and the files are too: what one has saved, the other can restore.

    a bind mount, a cgroup of version 1     its mount point in the container
    the mask of a file                      /dev/null
    a network, a pid namespace, joined      extRootNetNS, extRootPidNS
    a standard stream that is a pipe        pipe:[INODE], which is kept in descriptors.json
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.cgroups.layout import memberships
from pyoci.criu import rpc
from pyoci.errors import UsageError
from pyoci.plan.namespaces import PROC_NAMES
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pyoci.plan.model import CgroupView, Namespaces, Plan

DUMP_LOG, RESTORE_LOG = "dump.log", "restore.log"
OLDEST = 31600
"""The oldest criu that can do all of this: 3.16 came with lsm_mount_context. As MAJOR * 10000 + MINOR * 100 + SUBLEVEL."""

NULL = "/dev/null"
CONFIG_FILES = ("/etc/criu/pyoci.conf", "/etc/criu/runc.conf")
CONFIG_ANNOTATION = "org.criu.config"
SERVICE_FD, IMAGES_FD, WORK_FD, NAMESPACES_FD = 3, 4, 5, 6
"""Where criu finds its end of the conversation, its directories, and, one after the other, the namespaces to join."""

_EXTERNAL = {k.CLONE_NEWNET: "extRootNetNS", k.CLONE_NEWPID: "extRootPidNS"}
_LOG_LEVEL = 4
_PORTS = range(1, 1 << 16)


class CriuOptions(Record):
    """The options of checkpoint and restore that are criu's. `image_path` and `work_path` are absolute ("" where none is).

    parent_path: where the images before are, from the images on. page_server: host and port, or nothing.
    status_fd: a descriptor to be told on that lazy pages are served, or -1.
    """

    image_path: str
    work_path: str = ""
    parent_path: str = ""
    leave_running: bool = False
    pre_dump: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    link_remap: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    lazy_pages: bool = False
    auto_dedup: bool = False
    manage_cgroups_mode: str = ""
    page_server: tuple[str, int] | None = None
    status_fd: int = -1
    lsm_profile: str = ""
    lsm_mount_context: str = ""

    @property
    def log_directory(self) -> str:
        """Where criu writes its log."""
        return self.work_path or self.image_path

    @property
    def ends(self) -> bool:
        """Whether a checkpoint with these options is the end of the container."""
        return not (self.leave_running or self.pre_dump)


class Dumped(Record):
    """A container as a dump finds it.

    pid: of its init. freezer: the directory of the cgroup to freeze it by, or "". binds, masks: the mount points, as the
    container itself sees them, of what is not its own; places: those of the binds that the configuration has, by their
    destination there. inodes: those of the namespaces that it was joined to, by CLONE_NEW*.
    """

    pid: int
    rootfs: str
    freezer: str = ""
    binds: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()
    places: dict[str, str] = {}  # noqa: RUF012  records are never changed
    inodes: dict[int, int] = {}  # noqa: RUF012
    config_file: str = ""


def page_server(text: str) -> tuple[str, int]:
    """`HOST:PORT`, or `[HOST]:PORT` where there are colons in the host. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (colon and host and port):
        raise UsageError(f"Use --page-server ADDRESS:PORT to specify page server (it is {text!r})")
    if not (port.isascii() and port.isdigit() and int(port) in _PORTS):
        raise UsageError(f"Invalid port number {port!r} in --page-server")
    return host, int(port)


def dump(options: CriuOptions, container: Dumped) -> dict[str, Any]:
    """What is asked of criu for a checkpoint."""
    asked = {
        **_common(options, container.config_file),
        "log_file": DUMP_LOG,
        "pid": container.pid,
        "root": container.rootfs,
        "leave_running": options.leave_running,
        "tcp_skip_in_flight": options.tcp_skip_in_flight,
        "link_remap": options.link_remap,
        "external": [
            f"{PROC_NAMES[name]}[{inode}]:{_EXTERNAL[flag]}"
            for name, flag in (("network", k.CLONE_NEWNET), ("pid", k.CLONE_NEWPID))
            for inode in (container.inodes.get(flag),)
            if inode is not None
        ],
    }
    if container.freezer:
        asked["freeze_cgroup"] = container.freezer
    if options.page_server:
        host, port = options.page_server
        asked["ps"] = {"address": host, "port": port}
    if options.parent_path:
        asked |= {"parent_img": options.parent_path, "track_mem": True}
    if not options.pre_dump:  # which looks at the memory alone
        asked["ext_mnt"] = [
            *({"key": place, "val": place} for place in container.binds),
            *({"key": place, "val": NULL} for place in container.masks),
        ]
    return asked


def restore(
    options: CriuOptions,
    plan: Plan,
    *,
    root: str,
    mounts: Mapping[str, str],
    streams: Sequence[str],
    config_file: str,
) -> dict[str, Any]:
    """What is asked of criu for a restore, less where its cgroups are.

    root: where the root is mounted for criu. mounts: sources by mount point in the container. streams: descriptors.json.
    """
    inherited = [{"key": link, "fd": fd} for fd, link in enumerate(streams) if link.startswith("pipe:")]
    for fd, (flag, _) in enumerate(inherited_namespaces(plan.namespaces), NAMESPACES_FD):
        inherited.append({"key": _EXTERNAL[flag], "fd": fd})
    external = dict(mounts)
    if plan.rootfs.masked:
        external[NULL] = NULL
    asked = {
        **_common(options, config_file),
        "log_file": RESTORE_LOG,
        "root": root,
        "rst_sibling": True,
        "evasive_devices": True,
        "ext_mnt": [{"key": place, "val": source} for place, source in external.items()],
        "inherit_fd": inherited,
        "join_ns": [
            {"ns": PROC_NAMES[join.type], "ns_file": join.path}
            for join in plan.namespaces.join
            if join.flag not in _EXTERNAL
        ],
    }
    for name in ("lsm_profile", "lsm_mount_context"):
        if text := getattr(options, name):
            asked[name] = text
    return asked


def inherited_namespaces(namespaces: Namespaces) -> tuple[tuple[int, str], ...]:
    """The namespaces that criu is handed as descriptors, from NAMESPACES_FD on: CLONE_NEW* and path."""
    return tuple((join.flag, join.path) for join in namespaces.join if join.flag in _EXTERNAL)


def cgroup_roots(self_cgroup: str) -> list[dict[str, str]]:
    """Where the container's cgroups are: those that criu's process is in, told by its /proc/PID/cgroup."""
    roots = []
    for _, names, path in memberships(self_cgroup):
        roots += [{"ctrl": name, "path": path} for name in names.split(",")]
    return roots


def cgroup_mounts(destination: str, view: CgroupView) -> dict[str, str]:
    """A cgroup mount that is made of binds, sources by mount point: version 1 without a cgroup namespace."""
    if view.unified or view.namespaced:
        return {}
    return {f"{destination}/{each.name}": each.path for each in view.hierarchies if each.path}


def config_file(annotations: Mapping[str, str], there: Sequence[str]) -> str:
    """The configuration file of criu's: the container's own, "" if it wants none, or the first of CONFIG_FILES that is there."""
    if CONFIG_ANNOTATION in annotations:
        return annotations[CONFIG_ANNOTATION]
    return there[0] if there else CONFIG_FILES[-1]


def _common(options: CriuOptions, config_file: str) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "images_dir_fd": IMAGES_FD,
        "work_dir_fd": WORK_FD,
        "log_level": _LOG_LEVEL,
        "notify_scripts": True,
        "orphan_pts_master": True,
        "shell_job": options.shell_job,
        "ext_unix_sk": options.ext_unix_sk,
        "tcp_established": options.tcp_established,
        "file_locks": options.file_locks,
        "auto_dedup": options.auto_dedup,
        "lazy_pages": options.lazy_pages,
        # What is in a network namespace is for whoever made it; that is never us.
        "empty_ns": k.CLONE_NEWNET,
        "manage_cgroups": True,  # which means softly
    }
    if options.manage_cgroups_mode:
        asked["manage_cgroups_mode"] = rpc.CGROUP_MODES[options.manage_cgroups_mode]
    if config_file:
        asked["config_file"] = config_file
    return asked
