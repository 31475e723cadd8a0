# SPDX-License-Identifier: Apache-2.0
"""What a container sees of its cgroups: mounts of type cgroup and cgroup2. Runs inside.

Without a cgroup namespace a real mount of v1 would show every container of the host, so the container's own directory of
each hierarchy is bound instead. One of v2 does show them, as it does with runc and crun; engines make it `ro` then.

`ro` holds for each of the mounts (CVE-2023-25809), not only for the one on top, and so do the other attributes: there is no
difference to `rro` and its like.
"""

from __future__ import annotations

from errno import EBUSY, EPERM

from pyoci import syscalls as k
from pyoci.errors import failed
from pyoci.plan.model import Link
from pyoci.rootfs.devices import make_devices
from pyoci.rootfs.mounts import FilesystemRefused, Mounter, new_filesystem, set_propagation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import CgroupHierarchy, CgroupView, Mount


def mount_cgroups(mounter: Mounter, mount: Mount, view: CgroupView) -> None:
    """Make a cgroup mount as the plan's view of the hierarchies has it. Raises PyociError."""
    try:
        if view.unified:
            _mount_unified(mounter, mount, view)
        else:
            _mount_v1(mounter, mount, view)
    except OSError as error:
        raise failed(f"mount {mount.type} to {mount.destination}", error) from None
    except FilesystemRefused as refused:
        raise refused.of(f"mount {mount.type} to {mount.destination}") from None


def _mount_unified(mounter: Mounter, mount: Mount, view: CgroupView) -> None:
    attributes = _attributes(mount) | _read_only(view.hierarchies[0])
    try:
        tree = new_filesystem("cgroup2", "cgroup", list(mount.parameters), attributes)
    except (OSError, FilesystemRefused) as error:
        # Not ours to mount: a user namespace without a cgroup namespace, or flags that the host's mount has locked.
        if error.errno not in (EPERM, EBUSY):
            raise
        tree = _bound(view.hierarchies[0], mount)
    if tree < 0:
        tree = new_filesystem("tmpfs", "tmpfs", mounter.context(), attributes | k.MOUNT_ATTR_RDONLY)
    mounter.attach(tree, mount.destination, directory=True)
    set_propagation(tree, mount)
    k.close(tree)


def _mount_v1(mounter: Mounter, mount: Mount, view: CgroupView) -> None:
    attributes = _attributes(mount)
    top = new_filesystem("tmpfs", "tmpfs", [("mode", "755"), *mounter.context()], attributes & ~k.MOUNT_ATTR_RDONLY)
    mounter.attach(top, mount.destination, directory=True)
    for hierarchy in view.hierarchies:
        tree = _hierarchy(hierarchy, mount, view.namespaced)
        if tree >= 0:
            mounter.attach(tree, f"{mount.destination}/{hierarchy.name}", directory=True)
            k.close(tree)
    links = tuple(Link(path=f"{mount.destination}/{link.path}", target=link.target) for link in view.links)
    make_devices(mounter.root, (), links, bind=False)
    if attributes & k.MOUNT_ATTR_RDONLY:
        k.mount_setattr(top, k.MOUNT_ATTR_RDONLY)
    set_propagation(top, mount)
    k.close(top)


def _attributes(mount: Mount) -> int:
    """What each of the mounts is to have: those for the whole tree come last, and count."""
    return (mount.attr_set & ~mount.rec_clear) | mount.rec_set


def _read_only(hierarchy: CgroupHierarchy) -> int:
    """A container without a cgroup of its own is in ours: it may see it, and not write to it."""
    return 0 if hierarchy.path else k.MOUNT_ATTR_RDONLY


def _hierarchy(hierarchy: CgroupHierarchy, mount: Mount, namespaced: bool) -> int:
    if not namespaced:
        return _bound(hierarchy, mount)
    attributes = _attributes(mount) | _read_only(hierarchy)
    return new_filesystem("cgroup", "cgroup", list(hierarchy.parameters), attributes)


def _bound(hierarchy: CgroupHierarchy, mount: Mount) -> int:
    """The container's cgroup; if an ordinary user could make none, his own, which is not to be written to. -1: neither.

    It is private, as a new file system is. A copy of the host's mount hears of what is mounted there, and criu refuses to save
    a mount whose master it cannot see.
    """
    for path, more in ((hierarchy.path, 0), (hierarchy.ours, k.MOUNT_ATTR_RDONLY)):
        try:
            tree = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE) if path else -1
        except FileNotFoundError:
            continue
        if tree >= 0:
            # One kind of atime takes the place of another, for which the kernel wants the other cleared.
            clear = mount.rec_clear | mount.attr_clear & k.MOUNT_ATTR__ATIME
            k.mount_setattr(tree, _attributes(mount) | more, clear, propagation=k.MS_PRIVATE)
            return tree
    return -1
