# SPDX-License-Identifier: Apache-2.0
"""From the `mounts` of config.json to mounts that can be carried out (config.md, Mounts; mount(8), mount_setattr(2)).

An option is one of four things: an attribute of the mount (set or cleared), a propagation, a property of ours (bind,
tmpcopyup), or, when it is in no table, data for the file system.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import SpecError
from pyoci.host import clean_path
from pyoci.plan.model import Mapping, Mount
from pyoci.plan.namespaces import id_map

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyoci.plan.model import Namespaces

_ATIME = k.MOUNT_ATTR__ATIME

# option -> (attributes to set, attributes to clear)
ATTRIBUTES = {
    "ro": (k.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, k.MOUNT_ATTR_RDONLY),
    "nosuid": (k.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, k.MOUNT_ATTR_NOSUID),
    "nodev": (k.MOUNT_ATTR_NODEV, 0),
    "dev": (0, k.MOUNT_ATTR_NODEV),
    "noexec": (k.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, k.MOUNT_ATTR_NOEXEC),
    "nodiratime": (k.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, k.MOUNT_ATTR_NODIRATIME),
    "relatime": (k.MOUNT_ATTR_RELATIME, _ATIME),
    "norelatime": (k.MOUNT_ATTR_RELATIME, _ATIME),
    "noatime": (k.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (k.MOUNT_ATTR_RELATIME, _ATIME),
    "strictatime": (k.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (k.MOUNT_ATTR_RELATIME, _ATIME),
    "nosymfollow": (k.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, k.MOUNT_ATTR_NOSYMFOLLOW),
}

# The same for the whole tree of a mount: "r" before the name.
RECURSIVE_ATTRIBUTES = {"r" + option: change for option, change in ATTRIBUTES.items()}

PROPAGATIONS = {
    "private": k.MS_PRIVATE,
    "rprivate": k.MS_PRIVATE | k.MS_REC,
    "shared": k.MS_SHARED,
    "rshared": k.MS_SHARED | k.MS_REC,
    "slave": k.MS_SLAVE,
    "rslave": k.MS_SLAVE | k.MS_REC,
    "unbindable": k.MS_UNBINDABLE,
    "runbindable": k.MS_UNBINDABLE | k.MS_REC,
}

# Properties of the file system (the superblock) that fsconfig(2) takes as flags; None: nothing to be done.
SUPERBLOCK_FLAGS = {
    "sync": "sync",
    "async": "async",
    "dirsync": "dirsync",
    "lazytime": "lazytime",
    "nolazytime": "nolazytime",
    "mand": "mand",
    "nomand": "nomand",
    "iversion": None,
    "noiversion": None,
    "silent": None,
    "loud": None,
    "defaults": None,
}

# New file systems that are read-only as mounts alone: a tmpfs gets mount points first, and the others show the kernel's own
# state, where one read-only mount would be one for all who see the same: of a devtmpfs, the host's /dev.
_READONLY_AS_MOUNTS = frozenset(
    ("tmpfs", "proc", "sysfs", "mqueue", "devpts", "devtmpfs", "ramfs", "securityfs", "debugfs", "tracefs", "bpf")
)

OWN = ("bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap")


def option_names() -> list[str]:
    """Every mount option that is known by name, sorted, as `features` lists them (features.md, Mount options)."""
    return sorted({*ATTRIBUTES, *RECURSIVE_ATTRIBUTES, *PROPAGATIONS, *SUPERBLOCK_FLAGS, *OWN})


def plan_mounts(
    mounts: Sequence[dict[str, Any]], bundle: str, namespaces: Namespaces, euid: int = 0
) -> tuple[Mount, ...]:
    """The mounts of a config in the listed order. Relative bind sources lie in the bundle. Raises SpecError.

    euid: who we are; an ordinary user has no rights over the file system of what he binds.
    """
    planned = tuple(_plan_mount(mount, bundle, namespaces) for mount in mounts)
    for mount in planned:
        if euid != 0 and mount.kind == "bind" and mount.mapping:
            raise SpecError(f"mount {mount.destination}: only root can map the ids of a bind mount")
    return planned


def unheeded_words(mounts: Sequence[dict[str, Any]]) -> list[str]:
    """The options that these mounts have to do without, and destinations that are not what they look like, in words."""
    notes = []
    for mount in mounts:
        if not mount["destination"].startswith("/"):
            notes.append(f"mount {mount['destination']}: a relative destination is deprecated, and taken from /")
        options = mount.get("options") or ()
        is_bind = "bind" in options or "rbind" in options
        for option in options:
            if is_bind and option in SUPERBLOCK_FLAGS and SUPERBLOCK_FLAGS[option]:
                why = "a bind mount has the file system of its source"
            elif option in _NO_FLAG:
                why = "that is up to the file system"
            else:
                continue
            notes.append(f"mount {mount['destination']}: the option {option} is left out: {why}")
    return notes


def _plan_mount(mount: dict[str, Any], bundle: str, namespaces: Namespaces) -> Mount:
    options = tuple(mount.get("options") or ())
    fstype, source = mount.get("type") or "", mount.get("source") or ""
    attr_set = attr_clear = rec_set = rec_clear = 0
    parameters: list[tuple[str, str | None]] = []
    data: list[str] = []
    propagation: list[int] = []
    for option in options:
        if option in ATTRIBUTES:
            attr_set, attr_clear = _change(attr_set, attr_clear, *ATTRIBUTES[option])
        elif option in RECURSIVE_ATTRIBUTES:
            rec_set, rec_clear = _change(rec_set, rec_clear, *RECURSIVE_ATTRIBUTES[option])
        elif option in PROPAGATIONS:
            propagation.append(PROPAGATIONS[option])
        elif option in SUPERBLOCK_FLAGS:
            if (flag := SUPERBLOCK_FLAGS[option]) is not None:
                parameters.append((flag, None))
        elif option not in OWN:
            data.append(option)
    parameters += _parameters(fstype, ",".join(data))
    is_bind = "bind" in options or "rbind" in options
    kind = "remount" if "remount" in options else "bind" if is_bind else "new"
    if kind == "new" and fstype in ("cgroup", "cgroup2"):
        kind = "cgroup"
    if kind == "new" and attr_set & k.MOUNT_ATTR_RDONLY and fstype not in _READONLY_AS_MOUNTS:
        parameters.append(
            ("ro", None)
        )  # or else a disk is opened for writing, which one that is read-only does not allow
    destination = clean_path(mount["destination"])
    mapping = _plan_mapping(mount, destination, namespaces)
    if mapping and kind not in ("bind", "new"):
        raise SpecError(
            f"mount {destination}: ids can be mapped for a bind mount or a new file system, not for a {kind}"
        )
    if fstype == "bind" and not is_bind:
        raise SpecError(f'mount {destination}: type "bind" is no file system: add "bind" or "rbind" to its options')
    if is_bind:
        parameters = [(key, value) for key, value in parameters if key not in _NO_DATA]
        if parameters:
            raise SpecError(f"mount {destination}: a bind mount takes no data, yet it has {_join(parameters)}")
    if kind == "bind":
        source = source if source.startswith("/") else f"{bundle}/{source}"
    return Mount(
        destination=destination,
        kind=kind,
        type="" if is_bind else fstype,
        source=source,
        recursive="rbind" in options,
        attr_set=attr_set,
        attr_clear=attr_clear,
        rec_set=rec_set,
        rec_clear=rec_clear,
        parameters=tuple(parameters),
        propagation=tuple(propagation),
        copy_up="tmpcopyup" in options,
        mapping=mapping,
        at_once=kind == "new" and _is_long(source, parameters),
        options=options,
    )


def _plan_mapping(mount: dict[str, Any], destination: str, namespaces: Namespaces) -> Mapping | None:
    """The id mapping that a mount asks for: its own, or else that of the container's user namespace."""
    options = mount.get("options") or ()
    uid_map, gid_map = id_map(mount.get("uidMappings")), id_map(mount.get("gidMappings"))
    recursive = "ridmap" in options
    if bool(uid_map) != bool(gid_map):
        raise SpecError(f"mount {destination}: uidMappings and gidMappings go together")
    if uid_map:
        return Mapping(uid_map=uid_map, gid_map=gid_map, recursive=recursive)
    if not recursive and "idmap" not in options:
        return None
    if namespaces.uid_map:
        return Mapping(uid_map=namespaces.uid_map, gid_map=namespaces.gid_map, recursive=recursive)
    path = next((join.path for join in namespaces.join if join.flag == k.CLONE_NEWUSER), "")
    if not path:
        raise SpecError(f"mount {destination}: neither the mount nor the container has id mappings")
    return Mapping(user_namespace=path, recursive=recursive)


_NO_FLAG = ("iversion", "noiversion")
_NO_DATA = frozenset(flag for flag in SUPERBLOCK_FLAGS.values() if flag)


def _change(present: int, absent: int, add: int, remove: int) -> tuple[int, int]:
    """Fold one option into the attributes to set and to clear: of contradicting options the last one counts."""
    return (present & ~remove) | add, (absent & ~add) | remove


def _parameters(fstype: str, data: str) -> list[tuple[str, str | None]]:
    """Data for a file system: flags and `key=value`, with commas between them.

    A label (`context=` and its like, mount(8)) has its own within double quotes. Two file systems have commas of their own, as the kernel has it where it parts the data of mount(2): an overlay's stand
    behind a backslash, and a tmpfs has ranges of nodes, so that what begins with a digit goes with what is before it.
    """
    pieces, quoted, escaped, piece = [], False, False, ""
    for place, char in enumerate(data):
        if char == '"' and piece.partition("=")[0].endswith("context"):
            quoted = not quoted
        elif char != "," or quoted or escaped or (fstype == "tmpfs" and "0" <= data[place + 1 : place + 2] <= "9"):
            piece += char
        else:
            pieces.append(piece)
            piece = ""
        escaped = fstype == "overlay" and char == "\\" and not escaped
    pieces.append(piece)
    split = (piece.partition("=") for piece in pieces if piece)
    return [(key, value if equals else None) for key, equals, value in split]


def _is_long(source: str, parameters: list[tuple[str, str | None]]) -> bool:
    """Whether there is something that fsconfig(2) does not take."""
    texts = (source, *(text for parameter in parameters for text in parameter if text))
    return any(len(k.encode(text)) > k.FSCONFIG_LONGEST for text in texts)


def _join(parameters: list[tuple[str, str | None]]) -> str:
    return ", ".join(key if value is None else f"{key}={value}" for key, value in parameters)
