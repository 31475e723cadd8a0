# SPDX-License-Identifier: Apache-2.0
"""The root and the keyring for a restore. Runs in the process that is to become criu.

criu wants a root that is a mount of its own, in which every mount point is there. It gets one in a mount namespace of its
own, which ends with it: nobody else ever sees the mount, and nothing is left to be taken away, whatever happens. Mount points
are looked for and made as they are for a new container, by descriptors below the root.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.process.channel import REMARK, Channel
from pyoci.process.program import Program
from pyoci.rootfs.attach import mount_id_of, mount_point_of
from pyoci.rootfs.mounts import Mounter, open_source
from pyoci.rootfs.root import Root, is_directory, open_proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import Mount, Plan


def prepare(plan: Plan, place: str, channel: Channel) -> None:
    """Mount the plan's root at the directory `place`, and make what mount points are missing.

    Of each bind mount of the plan, in order, its mount point as the container will see it goes over the channel. Raises
    PyociError.
    """
    root = _mount_root(plan.rootfs.path, place)
    if plan.process.keyring:  # which the container gets from criu: not its caller's
        program = Program(plan.process, b"", 0, in_user_namespace=plan.namespaces.has(k.CLONE_NEWUSER))
        program.join_keyring(f"_ses.{plan.id}", root.proc, new=True)
    mounter = Mounter(root, 0, "")
    bound: list[int] = []
    for number, mount in enumerate(plan.mounts):
        if mount.kind == "bind":
            channel.send(REMARK, _place_bind(mounter, mount, plan.mounts[:number], bound).encode())
        elif mount.kind == "new" and not is_below(mount.destination, plan.mounts[:number]):
            _make_place(root, mount)
    for tree in reversed(bound):  # they were there for the sake of the mount points in them
        k.umount2(f"/proc/self/fd/{tree}", k.MNT_DETACH)
        k.close(tree)
    k.close(root.fd)
    k.close(root.proc)


def mount_points(plan: Plan, told: list[bytes], saved: dict[str, str] | None) -> dict[str, str]:
    """The sources of the plan's bind mounts by mount point, of what `prepare` has told.

    saved: where they were when the container was saved, by destination, if that is known. Raises PyociError if links of the
    image lead elsewhere by now, for that is where another of them may have been (CVE-2026-119101).
    """
    binds = [mount for mount in plan.mounts if mount.kind == "bind"]
    sources: dict[str, str] = {}
    destinations: dict[str, str] = {}
    for mount, text in zip(binds, told, strict=True):
        place = text.decode("utf-8", "surrogateescape")
        before = place if saved is None else saved.get(mount.destination, place)
        if place != before:
            raise PyociError(f"mount {mount.destination}: links lead to {place} now, and to {before} when it was saved")
        if destinations.setdefault(place, mount.destination) != mount.destination:
            raise PyociError(
                f"mount {mount.destination}: links lead to {place}, where {destinations[place]} is as well"
            )
        sources[place] = mount.source
    return sources


def is_below(destination: str, mounts: tuple[Mount, ...]) -> bool:
    """Whether a place is in a new file system of these: criu brings its content, or it has what it has by itself."""
    return any(
        mount.kind in ("new", "cgroup") and destination.startswith(f"{mount.destination.rstrip('/')}/")
        for mount in mounts
    )


def _mount_root(path: str, place: str) -> Root:
    step = "make a mount namespace for criu"
    try:
        k.unshare(k.CLONE_NEWNS)
        # The one that we mount on, for our mount to stay with us: as the kernel has it, for links may have led there. All
        # others are left as they are: the container's own mounts are made of them, and may be meant to be shared.
        step = f"open {place}"
        directory = k.open(place, k.O_PATH | k.O_DIRECTORY | k.O_NOFOLLOW | k.O_CLOEXEC)
        parent_mount = mount_point_of(mount_id_of(directory))
        step = f"make {parent_mount} a slave of the host's"
        k.mount(None, parent_mount, None, k.MS_SLAVE)
        step = f"bind the root {path}"
        tree = k.open_tree(k.AT_FDCWD, path, k.OPEN_TREE_CLONE | k.AT_RECURSIVE)
        k.mount_setattr(tree, 0, propagation=k.MS_SLAVE, recursive=True)
        k.move_mount(tree, directory)
        k.close(directory)
    except OSError as error:
        raise failed(step, error) from None
    return Root(tree, place, open_proc())


def _place_bind(mounter: Mounter, mount: Mount, before: tuple[Mount, ...], bound: list[int]) -> str:
    """Bind it, and return where it has got to."""
    if is_below(mount.destination, before):
        return mount.destination
    try:
        tree = open_source(mount.source, mount.recursive)
    except OSError as error:
        raise failed(f"bind mount {mount.source} to {mount.destination}", error) from None
    k.mount_setattr(tree, 0, propagation=k.MS_PRIVATE, recursive=True)
    mounter.attach(tree, mount.destination, directory=is_directory(tree))
    bound.append(tree)
    return mounter.root.where(tree)


def _make_place(root: Root, mount: Mount) -> None:
    try:
        target = root.open_target(mount.destination, directory=True)
    except OSError as error:
        raise failed(f"mount to {mount.destination}: open or make the place", error) from None
    try:
        if not is_directory(target):
            raise PyociError(f"mount to {mount.destination}: there is no directory")
    finally:
        k.close(target)
