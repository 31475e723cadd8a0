# SPDX-License-Identifier: Apache-2.0
"""Which cgroup hierarchies this host has, where they are mounted, and where in them we are ourselves.

Sources: proc(5) for mountinfo, cgroups(7) for /proc/PID/cgroup. A hierarchy of cgroup v1 is known by its controllers
(`cpu`, `memory`, `name=systemd`), the one of cgroup v2 by the empty name, as in /proc/PID/cgroup.
"""

from __future__ import annotations

from pyoci.cgroups.files import get
from pyoci.record import Record

_USUAL_PLACE = "/sys/fs/cgroup"


class Hierarchy(Record):
    """A mounted hierarchy: where, which of its cgroups is seen at the mount point, and which one we are in."""

    mount_point: str
    root: str = "/"
    own: str = "/"

    def directory(self, cgroup: str) -> str | None:
        """The directory of a cgroup named as in /proc/PID/cgroup; None if it is not below this mount."""
        if self.root == "/":
            below = cgroup
        elif cgroup == self.root or cgroup.startswith(self.root + "/"):
            below = cgroup[len(self.root) :]
        else:
            return None
        if below == "/.." or below.startswith("/../"):
            return None  # outside of our cgroup namespace
        return self.mount_point + below.rstrip("/")


class Layout(Record):
    """`mode` is v1, hybrid (v1 with the unified hierarchy beside it), v2 or none; `hierarchies` goes by controller."""

    mode: str
    hierarchies: dict[str, Hierarchy]

    def named(self, directory: str) -> dict[str, str]:
        """A cgroup's directory by the controllers of its hierarchy, as in CgroupPlan.paths."""
        found = self.hierarchies.items()
        return {name: directory for name, each in found if _is_below(directory, each.mount_point)}


def read() -> Layout:
    """The layout of this host as this process sees it. Raises OSError if /proc is not there."""
    return parse(get("/proc/self/mountinfo"), get("/proc/self/cgroup"))


def parse(mountinfo: str, self_cgroup: str) -> Layout:
    """The layout told by the texts of /proc/self/mountinfo and /proc/self/cgroup.

    Mounts that something else has been mounted over are left out, since no path leads to them. Of several mounts of one
    hierarchy the first below /sys/fs/cgroup counts, or else the first.
    """
    own = _own_cgroups(self_cgroup)
    places: dict[str, tuple[str, str]] = {}
    children: dict[str, list[tuple[str, str]]] = {}
    candidates = []
    for mount_id, parent, _, root, place, rest in mounts(mountinfo):
        places[mount_id] = (parent, place)
        children.setdefault(parent, []).append((mount_id, place))
        _, _, source = rest.partition(" - ")
        if source.startswith(("cgroup ", "cgroup2 ")):
            candidates.append((mount_id, unescape(root), unescape(place), source))
    unified = ""
    found: dict[str, Hierarchy] = {}
    candidates.sort(key=lambda item: not _is_below(item[2], _USUAL_PLACE))
    for mount_id, root, place, source in candidates:
        if _is_hidden(mount_id, places, children):
            continue
        kind, _, options = source.split(" ", 2)
        names = [""] if kind == "cgroup2" else [name for name in options.split(",") if name and name in own]
        for name in names:
            found.setdefault(name, Hierarchy(mount_point=place, root=root, own=own.get(name, "/")))
        unified = unified or (place if kind == "cgroup2" else "")
    return _classified(found, unified)


def mounts(mountinfo: str) -> list[list[str]]:
    """The lines of a mountinfo, each as its first five fields and the rest; what is none is passed over.

    A mount point may have been renamed by whoever is in a container. The kernel escapes blanks, tabs, newlines and
    backslashes there, and nothing else that str.splitlines() takes for the end of a line.
    """
    return [fields for line in mountinfo.split("\n") if len(fields := line.split(" ", 5)) == 6]


def _classified(found: dict[str, Hierarchy], unified: str) -> Layout:
    # A controller mounted on its own beside a unified /sys/fs/cgroup (some VPN clients do so) makes no hybrid host.
    if "" in found and (len(found) == 1 or unified == _USUAL_PLACE):
        return Layout(mode="v2", hierarchies={"": found[""]})
    mode = "none" if not found else "hybrid" if "" in found else "v1"
    return Layout(mode=mode, hierarchies=found)


def memberships(text: str) -> list[list[str]]:
    """The lines of a /proc/PID/cgroup, each as its three fields. In a name the kernel refuses newlines, and nothing else."""
    return [fields for line in text.split("\n") if len(fields := line.split(":", 2)) == 3]


def _own_cgroups(text: str) -> dict[str, str]:
    own = {}
    for _, names, path in memberships(text):
        for name in names.split(","):
            own[name] = path.removesuffix(" (deleted)")
    return own


def _is_hidden(mount_id: str, places: dict[str, tuple[str, str]], children: dict[str, list[tuple[str, str]]]) -> bool:
    """Whether another mount lies on top of this one, or on a directory that leads to it."""
    place = places[mount_id][1]
    if any(other_place == place for _, other_place in children.get(mount_id, ())):
        return True
    while mount_id in places:
        parent, place = places[mount_id]
        if any(other != mount_id and _is_below(place, over) and place != over for other, over in children[parent]):
            return True
        if parent == mount_id:
            break
        mount_id = parent
    return False


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


def unescape(text: str) -> str:
    """Undo the octal escapes (blank, tab, newline, backslash) that the kernel puts into mountinfo."""
    if "\\" not in text:
        return text
    first, *others = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)
