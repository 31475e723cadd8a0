# SPDX-License-Identifier: Apache-2.0
"""Rules on namespaces and on what only works within them: mappings, clocks, kernel parameters, network devices; seccomp."""

from __future__ import annotations

from pyoci.jsontext import quote
from pyoci.spec.pointer import escape
from pyoci.spec.rules.process import cpu_list, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.spec.rules import Finding, Rule

IPC_PARAMETERS = frozenset(
    "kernel." + name
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced", "msg_next_id",
                 "sem_next_id", "shm_next_id")
)  # fmt: skip
MAX_INTERFACE = 15
"""Bytes of the name of a network interface (IFNAMSIZ less the NUL)."""
MAX_ERRNO_RET = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 65535}
"""The highest number that an action can give: of errors the kernel has none above (MAX_ERRNO), and the field has 16 bits."""


def namespace_twice(items: Any, _: Any) -> Iterator[Finding]:
    seen = set()
    for index, item in enumerate(items):
        if item["type"] in seen:
            yield f"/{index}/type", f"a second {item['type']} namespace", "each type once at most"
        seen.add(item["type"])


def namespace_path_relative(item: Any, _: Any) -> Iterator[Finding]:
    path = item.get("path", "")
    if path and not path.startswith("/"):
        yield "/path", f"the path {quote(path)} of a namespace is not absolute", 'a path that starts with "/"'


def mappings_without_namespace(mappings: Any, config: Any) -> Iterator[Finding]:
    if mappings and "user" not in namespaces(config):
        yield "", "id mappings without a user namespace", '"user" among linux.namespaces'


def namespace_without_mappings(items: Any, config: Any) -> Iterator[Finding]:
    linux = config["linux"]
    for index, item in enumerate(items):
        if item["type"] == "user" and not item.get("path"):
            for name in ("uidMappings", "gidMappings"):
                if not linux.get(name):
                    yield f"/{index}", f"a new user namespace without {name}", f"linux.{name}, or a path to join"


def time_offsets(offsets: Any, config: Any) -> Iterator[Finding]:
    """They can be set only in a time namespace that nobody is in yet."""
    if not offsets:
        return
    path = namespaces(config).get("time")
    if path is None:
        yield "", "clock offsets without a time namespace", '"time" among linux.namespaces'
    elif path:
        yield "", "clock offsets for a time namespace that exists already", "them only with a new one"
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            yield f"/{escape(clock)}", f"the clock {quote(clock)} has no offset", '"monotonic" or "boottime"'


def sysctl_foreign(values: Any, config: Any) -> Iterator[Finding]:
    """A parameter that belongs to no namespace of the container would be set for the whole host."""
    have = namespaces(config)
    for key in values:
        at = f"/{escape(key)}"
        name = sysctl_name(key)
        # What the dots part are the steps of a path below /proc/sys.
        if any(step in ("", "/", "//") for step in name.split(".")):
            yield at, f"{quote(key)} is no kernel parameter", "a name such as net.ipv4.ip_forward"
            continue
        needed = _namespace_of(name)
        if name == "kernel.hostname":
            yield at, "the host name is not set by a kernel parameter", 'the property "hostname"'
        elif not needed:
            yield at, f"{quote(key)} is in no namespace, it would be set for the whole host", "another one"
        elif needed not in have:
            message = f"{quote(key)} would be set for the host, without a namespace of type {needed}"
            yield at, message, f'"{needed}" among linux.namespaces'


def sysctl_name(key: str) -> str:
    """The name with dots between its steps; where a slash comes first, the two have changed places (sysctl.d(5))."""
    for char in key:
        if char == ".":
            return key
        if char == "/":
            return key.translate({ord("."): "/", ord("/"): "."})
    return key


def _namespace_of(name: str) -> str:
    if name in IPC_PARAMETERS or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    if name == "kernel.domainname":
        return "uts"
    return "user" if name.startswith("user.") else ""


def network_devices(devices: Any, config: Any) -> Iterator[Finding]:
    if devices and "network" not in namespaces(config):
        yield "", "network devices to move, and nowhere to move them", '"network" among linux.namespaces'
    taken: set[str] = set()
    for name, device in devices.items():
        at = f"/{escape(name)}"
        inside = device.get("name", "") or name
        if not _is_interface(name):
            yield at, f"{quote(name)} cannot be the name of a network device", f"1 to {MAX_INTERFACE} bytes"
        elif not _is_interface(inside) or (inside.count("%") and (inside.count("%"), inside.count("%d")) != (1, 1)):
            yield f"{at}/name", f"{quote(inside)} cannot be the name of a network device", "a name, or one with %d"
        elif inside in taken and "%d" not in inside:
            yield at, f"two network devices would be called {quote(inside)}", "different names"
        taken.add(inside)


def _is_interface(name: str) -> bool:
    """Whether the kernel takes it for a name (dev_valid_name)."""
    size = len(name.encode("utf-8", "surrogatepass"))
    return 1 <= size <= MAX_INTERFACE and name not in (".", "..") and not any(c in "/:" or c.isspace() for c in name)


def clos_id(rdt: Any, _: Any) -> Iterator[Finding]:
    name = rdt.get("closID", "")
    if name in (".", "..") or ("/" in name and name != "/"):
        yield "/closID", f"{quote(name)} cannot be a class of service", 'the name of a directory, or "/"'


def memory_policy_nodes(policy: Any, _: Any) -> Iterator[Finding]:
    mode, nodes = policy["mode"], policy.get("nodes", "")
    has_nodes = any(element.strip() for element in nodes.split(","))
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and has_nodes:
        yield "/nodes", f"{mode} takes no nodes", "an empty list"
    elif mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not has_nodes:
        yield "", f"{mode} needs memory nodes", '"nodes" with at least one'


def seccomp_errno(rule: Any, _: Any) -> Iterator[Finding]:
    """Of a rule, or of the defaults of the whole filter."""
    prefix = "defaultE" if "defaultAction" in rule else "e"
    action = rule.get("defaultAction", rule.get("action"))
    name = prefix + "rrnoRet"
    if name not in rule:
        return
    if action not in MAX_ERRNO_RET:
        yield f"/{name}", f"{action or 'no action'} gives no error number", "SCMP_ACT_ERRNO or SCMP_ACT_TRACE"
    elif rule[name] > MAX_ERRNO_RET[action]:
        # Cut to what fits, 65536 would be no error at all: a call that seems to succeed and does nothing.
        yield f"/{name}", f"{action} cannot give the number {rule[name]}", f"at most {MAX_ERRNO_RET[action]}"


def seccomp_notify(seccomp: Any, _: Any) -> Iterator[Finding]:
    """The runtime writes the descriptor over to the listener while the filter holds already."""
    if seccomp["defaultAction"] == "SCMP_ACT_NOTIFY":
        yield "/defaultAction", "SCMP_ACT_NOTIFY cannot be the default", "it for single system calls"
    listens = bool(seccomp.get("listenerPath"))
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        if rule["action"] == "SCMP_ACT_NOTIFY":
            at = f"/syscalls/{index}"
            if not listens:
                yield f"{at}/action", "SCMP_ACT_NOTIFY and no one to notify", '"listenerPath" in linux.seccomp'
            if "write" in rule["names"]:
                where = f"{at}/names/{rule['names'].index('write')}"
                yield where, "SCMP_ACT_NOTIFY on write would keep the container from starting", "other system calls"
    if seccomp.get("listenerMetadata") and not listens:
        yield "/listenerMetadata", "listenerMetadata without a listener", '"listenerPath" as well'


def seccomp_off(seccomp: Any, _: Any) -> Iterator[Finding]:
    if not seccomp["defaultAction"] and seccomp.get("syscalls"):
        yield "/defaultAction", "rules without a default action", "a SCMP_ACT_ name"


def seccomp_argument(rule: Any, _: Any) -> Iterator[Finding]:
    for index, argument in enumerate(rule.get("args", ())):
        if argument["index"] > 5:
            yield f"/args/{index}/index", f"no system call has an argument {argument['index']}", "0 to 5"


_NAMESPACES, _SECCOMP = ("/linux/namespaces",), "config-linux.md, Seccomp"
_SPACES, _MAPPINGS = "config-linux.md, Namespaces", "config-linux.md, User namespace mappings"
_MAPS = ("/linux/uidMappings", "/linux/gidMappings")

RULES: tuple[Rule, ...] = (
    ("namespace-twice", "/linux/namespaces", (), _SPACES, namespace_twice),
    ("namespace-path-relative", "/linux/namespaces/*", (), _SPACES, namespace_path_relative),
    ("mappings-without-namespace", _MAPS[0], _NAMESPACES, _MAPPINGS, mappings_without_namespace),
    ("mappings-without-namespace", _MAPS[1], _NAMESPACES, _MAPPINGS, mappings_without_namespace),
    ("namespace-without-mappings", "/linux/namespaces", _MAPS, _MAPPINGS, namespace_without_mappings),
    ("time-offsets", "/linux/timeOffsets", _NAMESPACES, "config-linux.md, Offset for Time Namespace", time_offsets),
    ("sysctl-foreign", "/linux/sysctl", _NAMESPACES, "config-linux.md, Sysctl", sysctl_foreign),
    ("network-devices", "/linux/netDevices", _NAMESPACES, "config-linux.md, Network Devices", network_devices),
    ("clos-id", "/linux/intelRdt", (), "config-linux.md, IntelRdt", clos_id),
    ("memory-policy-nodes", "/linux/memoryPolicy", (), "config-linux.md, Memory policy", memory_policy_nodes),
    ("cpu-list", "/linux/memoryPolicy/nodes", (), "config-linux.md, Memory policy", cpu_list),
    ("seccomp-errno", "/linux/seccomp", (), _SECCOMP, seccomp_errno),
    ("seccomp-errno", "/linux/seccomp/syscalls/*", (), _SECCOMP, seccomp_errno),
    ("seccomp-notify", "/linux/seccomp", (), _SECCOMP, seccomp_notify),
    ("seccomp-off", "/linux/seccomp", (), _SECCOMP, seccomp_off),
    ("seccomp-argument", "/linux/seccomp/syscalls/*", (), _SECCOMP, seccomp_argument),
)
