# SPDX-License-Identifier: Apache-2.0
"""Whose a container's cgroup is: the host's, unless the container is to make cgroups of its own below it.

Source: runtime-spec config-linux.md, "Cgroup ownership"; cgroups(7), "Cgroups delegation".
"""

from __future__ import annotations

import errno

from pyoci.cgroups.files import GONE, get
from pyoci.errors import CgroupError, reason
from pyoci.kernel.basic import chown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Lines = tuple[tuple[int, int, int], ...]

_MOUNT_POINT = "/sys/fs/cgroup"
_DELEGATE = "/sys/kernel/cgroup/delegate"
_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")  # of cgroups(7), for kernels before 4.15


def owner(config: dict[str, Any], joined: Lines) -> int:
    """The uid, of this host, that a cgroup of version 2 is to belong to; -1 to leave it as it is. Pure.

    It is the program's user, if the container sees nothing but its own cgroup and may write there. `joined` is the uid_map
    of the user namespace that the config gives a path of, empty if unknown: rather than to the wrong user, a cgroup is given
    to nobody.
    """
    linux = config.get("linux") or {}
    new = {item["type"] for item in linux.get("namespaces") or () if not item.get("path")}
    if "cgroup" not in new or not any(_is_writable_view(mount) for mount in config.get("mounts") or ()):
        return -1
    uid: int = ((config.get("process") or {}).get("user") or {}).get("uid", 0)
    users = next((item for item in linux["namespaces"] if item["type"] == "user"), None)
    if users is None:
        return uid
    lines = joined if users.get("path") else _lines(linux.get("uidMappings") or ())
    return next((uid - inside + outside for inside, outside, size in lines if 0 <= uid - inside < size), -1)


def _lines(mappings: Iterable[dict[str, int]]) -> Lines:
    return tuple((mapping["containerID"], mapping["hostID"], mapping["size"]) for mapping in mappings)


def _is_writable_view(mount: dict[str, Any]) -> bool:
    """The specification goes by the source, which says nothing else to the kernel."""
    place = "/" + "/".join(part for part in mount["destination"].split("/") if part not in ("", "."))
    return (
        mount.get("type") in ("cgroup", "cgroup2")
        and mount.get("source") == "cgroup"
        and place == _MOUNT_POINT
        and not any(option in ("ro", "rro") for option in mount.get("options") or ())
    )


def give(directory: str, uid: int) -> None:
    """Let the user have the cgroup: the directory, and of its files those that the kernel says are safe to give away.

    Limits stay ours, so nobody can lift his own. Raises CgroupError.
    """
    try:
        files = get(_DELEGATE).split()
    except FileNotFoundError:
        files = list(_FILES)
    except OSError as error:
        raise CgroupError(f"read {_DELEGATE}: {reason(error)}") from error
    for path in (directory, *(f"{directory}/{file}" for file in files)):
        try:
            chown(path, uid, -1)
        except OSError as error:
            if error.errno in GONE and path != directory:
                continue  # of a controller that is not enabled here
            hint = f" (is user {uid} yours to give to?)" if error.errno == errno.EPERM else ""
            raise CgroupError(f"give {path} to user {uid}: {reason(error)}{hint}") from error
