# SPDX-License-Identifier: Apache-2.0
"""A mark on the cgroups that we make, which tells whose they are when nothing else is left that does.

It is an extended attribute (xattr(7)) of the directory: the state root that the container is kept below, by device and
inode, and the container's id. A path would not do, as in another mount namespace it may be another directory. Attributes
whose names begin with `trusted.` take CAP_SYS_ADMIN in the initial user namespace, so no container can put one on
its own cgroups that leads us to others.
"""

from __future__ import annotations

from pyoci.cgroups.files import walk
from pyoci.kernel.basic import XATTR_REPLACE, getxattr, readlink, setxattr, stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyoci.cgroups.layout import Layout

_NAME = "trusted.pyoci"


def mark_of(root: str, container_id: str) -> str:
    """The mark of a container's cgroups. Raises OSError if the root is not there."""
    status = stat(root)
    return f"{status.st_dev}:{status.st_ino}:{container_id}"


def put(directory: str, mark: str) -> None:
    """Mark a cgroup, if we may: an ordinary user does without."""
    try:
        setxattr(directory, _NAME, mark.encode())
    except OSError:
        pass


def take_over(directory: str, mark: str) -> None:
    """Put our mark in the place of another container's, which has left the cgroup to us; one without a mark gets none."""
    try:
        setxattr(directory, _NAME, mark.encode(), XATTR_REPLACE)
    except OSError:
        pass


def are_on(paths: Iterable[str], mark: str) -> bool:
    """Whether one of these cgroups has this mark."""
    for path in paths:
        try:
            if getxattr(path, _NAME) == mark.encode():
                return True
        except OSError:
            pass
    return False


def find(layout: Layout, root: str) -> dict[str, list[str]]:
    """The cgroups in all hierarchies that are marked as those of containers below `root`: id -> directories.

    Raises OSError.
    """
    start = mark_of(root, "")
    found: dict[str, list[str]] = {}

    def visit(fd: int, name: str) -> None:
        try:
            mark = getxattr(fd, _NAME).decode()
        except OSError:
            return
        if mark.startswith(start):
            found.setdefault(mark[len(start) :], []).append(readlink(f"/proc/self/fd/{fd}"))

    for place in dict.fromkeys(hierarchy.mount_point for hierarchy in layout.hierarchies.values()):
        walk(place, visit)
    return found
