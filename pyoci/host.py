# SPDX-License-Identifier: Apache-2.0
"""The facts of this host that a plan depends on, read once, as plain data."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.cgroups.files import get
from pyoci.cgroups.layout import Layout, unescape
from pyoci.cgroups.layout import mounts as mount_lines
from pyoci.cgroups.layout import parse as parse_layout
from pyoci.confinement import Confinement, gather_confinement
from pyoci.record import Record
from pyoci.seccomp import supported_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.user_namespaces import Lines


class HostMount(Record):
    """A mount of this mount namespace: where, what of its file system, and of which type."""

    point: str
    root: str
    fstype: str


class Host(Confinement):
    """What is known before anything is decided.

    `mounts` are those of this mount namespace; `real_paths` has the config's root without symbolic links;
    `own_namespaces` has, for each joined namespace path, whether it is the one that we are in; `joined_maps` are the uid_map
    and the gid_map of a user namespace that is joined, None if there is none or they cannot be had; `euid` is our user;
    `network_devices` are those of the config's that are here, with their names: what the config has may be another one that a
    device goes by (altname, ip-link(8)).
    """

    cgroups: Layout
    rootless: bool
    seccomp_flags: tuple[str, ...]
    has_kcore: bool
    mounts: tuple[HostMount, ...] = ()
    real_paths: dict[str, str] = {}  # noqa: RUF012  records are never changed
    own_namespaces: dict[str, bool] = {}  # noqa: RUF012
    joined_maps: tuple[Lines, Lines] | None = None
    euid: int = 0
    network_devices: dict[str, str] = {}  # noqa: RUF012

    def mount_point_of(self, path: str) -> str:
        """The mount that a path lies on."""
        points = (mount.point for mount in self.mounts)
        return max((point for point in points if _lies_below(path, point)), key=len, default="/")

    def whole_views(self, root: str) -> tuple[str, ...]:
        """Where proc and sysfs are mounted whole, outside of a root: what a root that is not pivoted to would leave open."""
        return tuple(
            mount.point
            for mount in self.mounts
            if mount.fstype in ("proc", "sysfs") and mount.root == "/" and not _lies_below(mount.point, root)
        )

    def is_own_namespace(self, proc_name: str, path: str) -> bool:
        """Whether joining the namespace at `path` changes nothing."""
        return self.own_namespaces.get(f"{proc_name}:{path}", False)


def gather(config: dict[str, Any], bundle: str, rootless: bool | None = None) -> Host:
    """Look at this host, for this config. `rootless` None: decide by our own ids and user namespace."""
    mountinfo = get("/proc/self/mountinfo")
    linux = config.get("linux") or {}
    joined = [(item["type"], item["path"]) for item in linux.get("namespaces") or () if item.get("path")]
    root = (config.get("root") or {}).get("path") or ""
    path = clean_path(root if root.startswith("/") else f"{bundle}/{root}")
    return Host(
        **gather_confinement(config.get("process") or {}).__dict__,
        cgroups=parse_layout(mountinfo, get("/proc/self/cgroup")),
        rootless=is_rootless() if rootless is None else rootless,
        seccomp_flags=supported_flags() if linux.get("seccomp") else (),
        has_kcore=_exists("/proc/kcore"),
        mounts=tuple(_host_mount(fields) for fields in mount_lines(mountinfo)),
        real_paths={path: real_path(path)},
        own_namespaces={f"net:{path}": _same("/proc/self/ns/net", path) for kind, path in joined if kind == "network"},
        joined_maps=next((_maps_of(path) for kind, path in joined if kind == "user"), None),
        euid=k.geteuid(),
        network_devices={name: own for name in linux.get("netDevices") or () if (own := _name_of_device(name))},
    )


def _maps_of(path: str) -> tuple[Lines, Lines] | None:
    from pyoci.user_namespaces import maps_of  # few containers join one

    return maps_of(path)


def is_rootless() -> bool:
    """Whether we lack the host's root: another user, or root of a user namespace only (user_namespaces(7))."""
    if k.geteuid() != 0:
        return True
    # Its maps do not tell: they may be those of the host.
    return k.stat("/proc/self/ns/user").st_ino != k.PROC_USER_INIT_INO


def clean_path(path: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes; links are not looked at."""
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def real_path(path: str) -> str:
    """The path without symbolic links, or as it is where it leads nowhere (creation will say so)."""
    try:
        fd = k.open(path, k.O_PATH | k.O_CLOEXEC)
    except OSError:
        return path
    try:
        return k.readlink(f"/proc/self/fd/{fd}")
    finally:
        k.close(fd)


def _host_mount(fields: list[str]) -> HostMount:
    _, _, _, root, point, rest = fields
    fstype = (" " + rest).partition(" - ")[2].partition(" ")[0]
    return HostMount(point=unescape(point), root=root, fstype=fstype)


def _lies_below(path: str, directory: str) -> bool:
    return directory == "/" or path == directory or path.startswith(directory + "/")


def _exists(path: str) -> bool:
    try:
        k.lstat(path)
    except OSError:
        return False
    return True


def _name_of_device(name: str) -> str:
    """The name of the network device that goes by this one, "" if there is none."""
    try:
        return k.if_indextoname(k.if_nametoindex(name))
    except OSError:
        return ""


def _same(one: str, other: str) -> bool:
    try:
        first, second = k.stat(one), k.stat(other)
    except OSError:
        return False
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)
