# SPDX-License-Identifier: Apache-2.0
"""Rules on what the container finds in its filesystem: mounts, device nodes, masked and read-only paths."""

from __future__ import annotations

from pyoci.jsontext import quote
from pyoci.spec.rules.process import for_linux, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.spec.rules import Finding, Rule

FLAG_OPTIONS = frozenset(
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec"
    " noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime"
    " relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro"
    " rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave"
    " strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap".split()
)
"""Mount options that are not data for the filesystem: what pyoci.plan.mounts knows by name (a test compares them)."""

LAST_ID = 1 << 32


def is_bind(mount: Any) -> bool:
    options = mount.get("options", ())
    return "bind" in options or "rbind" in options


def clean(path: str) -> str:
    """An absolute path without empty, `.` and `..` steps: what a path in a container names, symbolic links apart."""
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return "/" + "/".join(steps)


def mount_on_root(mount: Any, config: Any) -> Iterator[Finding]:
    if for_linux(config) and clean(mount["destination"]) == "/":
        yield "/destination", "nothing can be mounted on the container's root", "a path below it"


def bind_with_data(mount: Any, _: Any) -> Iterator[Finding]:
    # The kernel would ignore them, silently.
    if is_bind(mount):
        for index, option in enumerate(mount["options"]):
            if option and option not in FLAG_OPTIONS:  # an empty one says nothing
                wrong = f"a bind mount takes no filesystem option, such as {quote(option)}"
                yield f"/options/{index}", wrong, "options for all filesystems only"


def bind_without_source(mount: Any, _: Any) -> Iterator[Finding]:
    if is_bind(mount) and not mount.get("source") and "remount" not in mount["options"]:
        yield "", "a bind mount without a source", '"source", the file or directory to bind'


def mount_type_bind(mount: Any, _: Any) -> Iterator[Finding]:
    if mount.get("type") == "bind" and not is_bind(mount):
        yield "/type", '"bind" is no filesystem, and no option asks for a bind mount', '"bind" or "rbind" in options'


def mount_mappings_halved(mount: Any, _: Any) -> Iterator[Finding]:
    for given, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if mount.get(given) and not mount.get(other):
            yield f"/{given}", f"a mount with {given} alone", f'"{other}" as well'


def idmap_without_mappings(mount: Any, config: Any) -> Iterator[Finding]:
    options = mount.get("options", ())
    mapped = mount.get("uidMappings") or mount.get("gidMappings") or "user" in namespaces(config)
    if ("idmap" in options or "ridmap" in options) and not mapped:
        yield "", "an id-mapped mount without id mappings", "its own mappings, or a user namespace"


def mapping_impossible(mappings: Any, _: Any) -> Iterator[Finding]:
    """The kernel takes ranges only if they end within 32 bits and do not overlap, on either side."""
    for side in ("containerID", "hostID"):
        end = 0
        for start, size, index in sorted((item[side], item["size"], index) for index, item in enumerate(mappings)):
            if start + size > LAST_ID:
                yield f"/{index}/size", f"{size} ids from {side} {start} on are more than there are", "32-bit ids"
            elif start < end:
                yield f"/{index}/{side}", f"the range from {side} {start} on overlaps another", "separate ranges"
            end = max(end, start + size)


def device_path(device: Any, _: Any) -> Iterator[Finding]:
    if clean(device["path"]) == "/" or not device["path"].startswith("/"):
        yield "/path", f"{quote(device['path'])} is no place for a device node", 'a path that starts with "/"'


def device_numbers(device: Any, _: Any) -> Iterator[Finding]:
    if device["type"] != "p":
        for name, bits in (("major", 12), ("minor", 20)):
            if name not in device:
                yield "", f'the property "{name}" is missing', "the device's numbers, unless it is a FIFO"
            elif not 0 <= device[name] < 1 << bits:
                yield f"/{name}", f"no device has the {name} number {device[name]}", f"0 to {(1 << bits) - 1}"


def device_twice(devices: Any, _: Any) -> Iterator[Finding]:
    seen: dict[str, tuple[object, ...]] = {}
    for index, device in enumerate(devices):
        path = clean(device["path"])
        # u is another word for c
        identity = (device["type"].replace("u", "c"), device.get("major"), device.get("minor"))
        if seen.setdefault(path, identity) != identity:
            yield f"/{index}/path", f"two different devices at {quote(path)}", "one device for each path"


def paths_relative(paths: Any, _: Any) -> Iterator[Finding]:
    for index, path in enumerate(paths):
        if not path.startswith("/"):
            yield f"/{index}", f"the path {quote(path)} is not absolute", 'a path that starts with "/"'


def paths_without_mount_namespace(paths: Any, config: Any) -> Iterator[Finding]:
    # The host would see what is masked.
    if paths and "mount" not in namespaces(config):
        yield "", "paths are hidden or protected without a mount namespace", '"mount" among linux.namespaces'


def propagation_of_the_host(propagation: Any, config: Any) -> Iterator[Finding]:
    # The root is no mount of its own then, and the one that it lies on is the host's.
    if propagation and "mount" not in namespaces(config):
        yield "", "a propagation of the root without a mount namespace", '"mount" among linux.namespaces'


_NAMESPACES = ("/linux/namespaces",)
_MOUNTS, _POSIX = "config.md, Mounts", "config.md, POSIX-platform Mounts"
_MAPPINGS, _DEVICES = "config-linux.md, User namespace mappings", "config-linux.md, Devices"
_PROPAGATION = "config-linux.md, Rootfs Mount Propagation"
_MASKED, _READONLY = "config-linux.md, Masked Paths", "config-linux.md, Readonly Paths"

RULES: tuple[Rule, ...] = (
    ("mount-on-root", "/mounts/*", (), _MOUNTS, mount_on_root),
    ("bind-with-data", "/mounts/*", (), _MOUNTS, bind_with_data),
    ("bind-without-source", "/mounts/*", (), _MOUNTS, bind_without_source),
    ("mount-type-bind", "/mounts/*", (), _MOUNTS, mount_type_bind),
    ("mount-mappings-halved", "/mounts/*", (), _POSIX, mount_mappings_halved),
    ("idmap-without-mappings", "/mounts/*", _NAMESPACES, "config.md, Linux mount options", idmap_without_mappings),
    ("mapping-impossible", "/mounts/*/uidMappings", (), _MAPPINGS, mapping_impossible),
    ("mapping-impossible", "/mounts/*/gidMappings", (), _MAPPINGS, mapping_impossible),
    ("mapping-impossible", "/linux/uidMappings", (), _MAPPINGS, mapping_impossible),
    ("mapping-impossible", "/linux/gidMappings", (), _MAPPINGS, mapping_impossible),
    ("device-path", "/linux/devices/*", (), _DEVICES, device_path),
    ("device-numbers", "/linux/devices/*", (), _DEVICES, device_numbers),
    ("device-twice", "/linux/devices", (), _DEVICES, device_twice),
    ("paths-relative", "/linux/maskedPaths", (), _MASKED, paths_relative),
    ("paths-relative", "/linux/readonlyPaths", (), _READONLY, paths_relative),
    ("paths-without-mount-namespace", "/linux/maskedPaths", _NAMESPACES, _MASKED, paths_without_mount_namespace),
    ("paths-without-mount-namespace", "/linux/readonlyPaths", _NAMESPACES, _READONLY, paths_without_mount_namespace),
    ("propagation-of-the-host", "/linux/rootfsPropagation", _NAMESPACES, _PROPAGATION, propagation_of_the_host),
)
