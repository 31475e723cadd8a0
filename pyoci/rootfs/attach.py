# SPDX-License-Identifier: Apache-2.0
"""The root of a container that has no mount namespace of its own, as a mount among the host's. Runs outside.

Such a container's mounts are the host's, too. They are made below a copy of its root's mount, which lies in its place and
keeps them from other namespaces: so all of them can be taken back at once.
"""

from __future__ import annotations

from errno import ENOENT, ENOTDIR

from pyoci import syscalls as k
from pyoci.cgroups.files import get
from pyoci.cgroups.layout import mounts, unescape
from pyoci.errors import PyociError, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PLACE = k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC


def attach(path: str, announce: Callable[[int], None]) -> None:
    """Mount a directory over itself. `announce` is called with the mount's id before it is in its place. Raises PyociError."""
    try:
        tree = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
        place = k.open(path, _PLACE)
        announce(mount_id_of(tree))
        k.move_mount(tree, place)
        k.mount_setattr(tree, 0, propagation=k.MS_PRIVATE, recursive=True)
        k.close(place)
        k.close(tree)
    except OSError as error:
        raise failed(f"mount the root {path} in its place on the host", error) from None


def detach(path: str, mount_id: int) -> None:
    """Take that mount away with all that is mounted below it. It is fine if it never came to be, or is gone: then its id may
    be that of another by now, for the kernel gives the lowest that is free.

    Raises PyociError, also if something else has been mounted over it: that is not ours to take away.
    """
    try:
        place = k.open(path, _PLACE)
    except OSError as error:
        if error.errno in (ENOENT, ENOTDIR):
            return
        raise failed(f"unmount the root {path}", error) from None
    try:
        if mount_id_of(place) == mount_id:
            k.umount2(f"/proc/self/fd/{place}", k.MNT_DETACH)
        elif mount_point_of(mount_id) == k.readlink(f"/proc/self/fd/{place}"):
            raise PyociError(f"unmount the root {path}: something else has been mounted over it")
    except OSError as error:
        raise failed(f"unmount the root {path}", error) from None
    finally:
        k.close(place)


def mount_id_of(fd: int) -> int:
    """The id of the mount that a descriptor is on, as mountinfo has it (proc_pid_fdinfo(5))."""
    lines = get(f"/proc/self/fdinfo/{fd}").splitlines()
    return next(int(line.removeprefix("mnt_id:")) for line in lines if line.startswith("mnt_id:"))


def mount_point_of(mount_id: int) -> str:
    """Where the mount of this id is, without symbolic links; "" if it is none of this namespace. Raises OSError."""
    number = str(mount_id)
    return next((unescape(fields[4]) for fields in mounts(get("/proc/self/mountinfo")) if fields[0] == number), "")
