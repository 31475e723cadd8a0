# SPDX-License-Identifier: Apache-2.0
"""What the launcher opens for init's mounts, where init will not be able to: loaded only if there is something of the kind.

An init in a user namespace of its own is somebody else on the host, who may not see what is to be bound. And only who has
rights over a file system may map the ids of a mount of it, in a user namespace made for its maps alone.
"""

from __future__ import annotations

from errno import EINVAL

from pyoci import syscalls as k
from pyoci.errors import failed
from pyoci.process.idmap import write_id_maps
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import Mapping, Mount, Plan


class Sources(Record):
    """Descriptors for init; `trees` and `user_namespaces` by the mount's place in the plan.

    root                the root's tree, -1 if init opens it itself
    trees               sources of bind mounts, detached
    user_namespaces     whose maps new file systems get
    """

    root: int = -1
    trees: dict[int, int] = {}  # noqa: RUF012  records are never changed
    user_namespaces: dict[int, int] = {}  # noqa: RUF012

    def close(self) -> None:
        for fd in (self.root, *self.trees.values(), *self.user_namespaces.values()):
            if fd >= 0:
                k.close(fd)


def open_sources(plan: Plan) -> Sources:
    """Open what init needs. Raises PyociError."""
    for_init = plan.namespaces.has(k.CLONE_NEWUSER) and _may_open_trees()
    root = _open_tree(plan.rootfs.path, recursive=True) if for_init else -1
    trees: dict[int, int] = {}
    wanted: dict[int, int] = {}
    maps: dict[Mapping, int] = {}
    for place, mount in enumerate(plan.mounts):
        if mount.kind == "bind" and (for_init or mount.mapping):
            trees[place] = _open_tree(mount.source, mount.recursive)
        if mount.mapping:
            # One user namespace for all mounts that are mapped in the same way, be it recursively or not.
            alike = mount.mapping.replace(recursive=False)
            if alike not in maps:
                maps[alike] = _user_namespace(mount.mapping)
            if mount.kind == "bind":
                _map_ids(trees[place], maps[alike], mount, mount.mapping)
            else:
                wanted[place] = k.dup(maps[alike])
    for fd in maps.values():
        k.close(fd)
    return Sources(root=root, trees=trees, user_namespaces=wanted)


def _may_open_trees() -> bool:
    """Not where an ordinary user is about to be root of his own: he can do no more here than init will be able to."""
    if k.geteuid() != 0:
        return False
    try:
        k.close(k.open_tree(k.AT_FDCWD, "/", k.OPEN_TREE_CLONE))
    except PermissionError:  # root of a user namespace that has no mount namespace to itself
        return False
    except OSError as error:
        # EINVAL: we have the right, but in a user namespace's mount namespace the mounts below cannot be left behind.
        if error.errno != EINVAL:
            raise failed("open a mount apart from its place (open_tree)", error) from None
    return True


def _map_ids(tree: int, user_namespace: int, mount: Mount, mapping: Mapping) -> None:
    try:
        k.mount_setattr(tree, k.MOUNT_ATTR_IDMAP, userns_fd=user_namespace, recursive=mapping.recursive)
    except OSError as error:
        hint = ": its file system may not know id mappings (mount_setattr(2))" if error.errno == EINVAL else ""
        raise failed(f"map the ids of {mount.source} for {mount.destination}", error, hint) from None


def _user_namespace(mapping: Mapping) -> int:
    """A user namespace with these maps. Nobody is in it: the process that it was made with ends here."""
    if mapping.user_namespace:
        try:
            return k.open(mapping.user_namespace, k.O_RDONLY | k.O_CLOEXEC)
        except OSError as error:
            raise failed(f"open the user namespace {mapping.user_namespace}", error) from None
    before = k.hold_signals()  # an interrupt that is meant for us must not have the child go our ways
    try:
        waiting, release = k.pipe2(k.O_CLOEXEC)
        pid, pidfd = k.clone3(k.CLONE_NEWUSER)
        if pid == 0:
            try:
                k.close(release)
                k.read(waiting, 1)  # until the launcher has what it wants, or is gone
            finally:
                k._exit(0)
    except OSError as error:
        k.let_signals(before)
        raise failed("make a user namespace for an id-mapped mount", error) from None
    k.close(waiting)
    k.close(pidfd)
    try:
        k.let_signals(before)
        write_id_maps(pid, mapping.uid_map, mapping.gid_map)
        return k.open(f"/proc/{pid}/ns/user", k.O_RDONLY | k.O_CLOEXEC)
    except OSError as error:
        raise failed("open the user namespace of an id-mapped mount", error) from None
    finally:
        k.close(release)
        k.waitpid(pid, 0)


def _open_tree(path: str, recursive: bool) -> int:
    try:
        return k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | (k.AT_RECURSIVE if recursive else 0))
    except OSError as error:
        raise failed(f"open {path} to bind it", error) from None
