# SPDX-License-Identifier: Apache-2.0
"""Fills /dev. Runs inside.

Every node is made in the directory that was opened in the root, so a /dev that is a link of the image's leads nowhere
else (CVE-2026-41579). Where nodes may not be made (user namespaces), the host's own are bound instead; a FIFO anybody may make.
"""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENOENT, EPERM

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.rootfs.root import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import Device, Link

_ATTEMPTS = 8
_TYPES = {"c": k.S_IFCHR, "b": k.S_IFBLK, "p": k.S_IFIFO}


def make_devices(
    root: Root, devices: tuple[Device, ...], links: tuple[Link, ...], *, bind: bool, dev_is_ours: bool = True
) -> None:
    """Make nodes, then links. `bind`: take the host's devices rather than making any. `dev_is_ours`: /dev is there to be
    filled, and not a bound one, in which nothing is made, wherever a link of the image's may lead.
    """
    if not devices and not links:
        return
    parents: dict[str, int] = {}
    try:
        for device in devices:
            try:
                parent, name = _parent(root, parents, device.path, dev_is_ours)
                if (bind and device.type != "p") or not _make_node(parent, name, device):
                    _bind_node(root, parent, name, device)
            except OSError as error:
                raise failed(f"make device {device.path}", error) from None
        for link in links:
            try:
                parent, name = _parent(root, parents, link.path, dev_is_ours)
                _make_link(parent, name, link)
            except OSError as error:
                raise failed(f"link {link.path} to {link.target}", error) from None
    finally:
        for fd in parents.values():
            k.close(fd)


def _parent(root: Root, parents: dict[str, int], path: str, dev_is_ours: bool) -> tuple[int, str]:
    """The directory of a node; opened once for all that lie in it."""
    folder, _, name = path.rstrip("/").rpartition("/")
    if folder not in parents:
        parents[folder], name = root.open_parent(path)
        place = root.where(parents[folder])
        if not dev_is_ours and f"{place}/".startswith("/dev/"):
            raise PyociError(f"make device {path}: it would come to {place}, which is bound, and not ours to fill")
    return parents[folder], name


def _make_node(parent: int, name: str, device: Device) -> bool:
    """Make the node; False where that is not allowed. One that is there already must be the same (config-linux.md, Devices).

    Its owner stays: it may be the host's own node, which a mount has brought.
    """
    kind, number = _TYPES[device.type], _number(device)
    try:
        k.mknod(name, kind | device.mode, number, dir_fd=parent)
    except OSError as error:
        if error.errno == EPERM:
            return False
        if error.errno != EEXIST:
            raise
        _check_node(parent, name, device)
        return True
    k.chown(name, device.uid, device.gid, dir_fd=parent, follow_symlinks=False)
    return True


def _check_node(parent: int, name: str, device: Device) -> None:
    if not _is_planned(k.stat(name, dir_fd=parent, follow_symlinks=False), device):
        raise PyociError(f"device {device.path}: the image has something else there already")


def _is_planned(status: k.stat_result, device: Device) -> bool:
    number = 0 if device.type == "p" else status.st_rdev
    return (k.S_IFMT(status.st_mode), number) == (_TYPES[device.type], _number(device))


def _number(device: Device) -> int:
    return 0 if device.type == "p" else k.makedev(device.major, device.minor)


def _bind_node(root: Root, parent: int, name: str, device: Device) -> None:
    """The host's node of the same path, if it is the device that the config means."""
    tree = k.open_tree(k.AT_FDCWD, device.path, k.OPEN_TREE_CLONE)
    try:
        if not _is_planned(k.fstat(tree), device):
            raise PyociError(f"device {device.path}: the host's node of that path is another one, and none may be made")
        target = root.make_file(parent, name)
        try:
            k.move_mount(tree, target)
        finally:
            k.close(target)
    finally:
        k.close(tree)


def _make_link(parent: int, name: str, link: Link) -> None:
    """Make the link, or leave what is there. Another container that shares the root may be making the same one."""
    for _ in range(_ATTEMPTS):
        try:
            return k.symlink(link.target, name, dir_fd=parent)
        except FileExistsError:
            pass
        # An image's own ptmx would be the host's: it must be the one of our devpts.
        if name != "ptmx" or _is_link_to(parent, name, link.target):
            return None
        try:
            k.unlink(name, dir_fd=parent)
        except FileNotFoundError:
            pass
    raise OSError(EEXIST, k.strerror(EEXIST))


def _is_link_to(parent: int, name: str, target: str) -> bool:
    try:
        return k.readlink(name, dir_fd=parent) == target
    except OSError as error:
        if error.errno not in (EINVAL, ENOENT):  # no link, or gone by now
            raise
        return False
