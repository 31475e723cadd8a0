# SPDX-License-Identifier: Apache-2.0
"""A plan for people to read: what will be done, section by section, in the order in which it is carried out."""

from __future__ import annotations

from pyoci import capabilities, seccomp
from pyoci.plan.namespaces import FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyoci.plan.model import Device, Mount, Namespaces, Plan, Process, Rootfs

_ACTION_NAMES = {number: name.removeprefix("SCMP_ACT_").lower() for name, number in seccomp.ACTIONS.items()}
_ACTION_MASK = 0xFFFF0000
_SET_NAMES = ("bounding", "effective", "permitted", "inheritable", "ambient")
_UNLIMITED = (1 << 64) - 1


def render(plan: Plan) -> str:
    """The plan as text, a line for each thing that is done."""
    sections = (
        ("namespaces", namespace_lines(plan.namespaces)),
        ("cgroup", _cgroup_lines(plan)),
        ("hooks, in the runtime's namespaces", _hook_lines(plan, "prestart", "createRuntime")),
        ("mounts", (mount_line(mount) for mount in plan.mounts)),
        ("devices", (*map(device_line, plan.devices), *(f"link {link.path} -> {link.target}" for link in plan.links))),
        ("hooks, in the container's namespaces", _hook_lines(plan, "createContainer")),
        ("root file system", rootfs_lines(plan.rootfs)),
        ("kernel settings", _setting_lines(plan)),
        ("process", process_lines(plan.process)),
        ("system call filter", _seccomp_lines(plan)),
        ("hooks, later on", _hook_lines(plan, "startContainer", "poststart", "poststop")),
        ("warnings", (*plan.warnings, *plan.cgroup.notes)),
    )
    pieces = [f"container {plan.id} from the bundle {plan.bundle}\n"]
    for title, lines in sections:
        held = "".join(f"    {_printable(line)}\n" for line in lines)
        if held:
            pieces.append(f"\n{title}\n{held}")
    return "".join(pieces)


def namespace_lines(namespaces: Namespaces) -> Iterator[str]:
    """New namespaces, joined ones, and those that stay the host's, which is what one would overlook."""
    new = [name for name, flag in FLAGS.items() if namespaces.new & flag]
    shared = [name for name, flag in FLAGS.items() if not namespaces.has(flag)]
    if new:
        yield f"new: {', '.join(new)}"
    for join in namespaces.join:
        yield f"join {join.type}: {join.path}"
    if shared:
        yield f"shared with the host: {', '.join(shared)}"
    for kind, id_map in (("uid", namespaces.uid_map), ("gid", namespaces.gid_map)):
        for line in id_map:
            yield f"{kind} {_range(line.container, line.size)} is {_range(line.host, line.size)} on the host"
    for clock, seconds, nanoseconds in namespaces.time_offsets:
        yield f"clock {clock} is ahead by {seconds}.{nanoseconds:09} s"


def mount_line(mount: Mount) -> str:
    """One mount with its options as config.json has them."""
    told = f" ({','.join(mount.options)})" if mount.options else ""
    if mount.kind == "bind":
        return f"bind {mount.source} to {mount.destination}{told}"
    if mount.kind == "remount":
        return f"remount {mount.destination}{told}"
    return f"mount {mount.type} on {mount.destination}{told}"


def device_line(device: Device) -> str:
    """A device node, as `ls -l` would show it."""
    numbers = "" if device.type == "p" else f" {device.major}:{device.minor}"
    return f"make {device.path}: {device.type}{numbers} mode {device.mode:04o} owner {device.uid}:{device.gid}"


def rootfs_lines(rootfs: Rootfs) -> Iterator[str]:
    """How the root is entered and what is hidden in it."""
    yield f"{rootfs.path} becomes / ({rootfs.entered_by}{', read-only' if rootfs.readonly else ''})"
    for path in rootfs.readonly_paths:
        yield f"read-only: {path}"
    for path in rootfs.masked:
        yield f"masked: {path}"


def process_lines(process: Process) -> Iterator[str]:
    """The program, who it runs as, and what it may."""
    yield f"run {_words(process.args)} in {process.cwd}"
    groups = f", groups {','.join(map(str, process.groups))}" if process.groups else ""
    yield f"as user {process.uid}:{process.gid}{groups}"
    yield "on a terminal of its own" if process.terminal else "on the caller's standard input and output"
    yield f"no new privileges: {'yes' if process.no_new_privileges else 'no'}"
    for name in _SET_NAMES:
        held = capabilities.names(getattr(process.capabilities, name))
        yield f"capabilities, {name}: {' '.join(word.removeprefix('CAP_').lower() for word in held) or 'none'}"
    for limit in process.limits:
        yield f"limit {limit.name}: {_amount(limit.soft)}, at most {_amount(limit.hard)}"
    if process.oom_score_adj is not None:
        yield f"oom_score_adj: {process.oom_score_adj}"
    for name in ("apparmor", "selinux"):
        if getattr(process, name):
            yield f"{name}: {getattr(process, name)}"


def _cgroup_lines(plan: Plan) -> Iterator[str]:
    cgroup = plan.cgroup
    for directory in cgroup.directories:
        yield f"make {directory}"
    for write in (*cgroup.before, *cgroup.after):
        yield f"write {write.text()} ({write.why})"
    if cgroup.program is not None:
        yield f"attach a device filter of {len(cgroup.program) // 8} BPF instructions"


def _setting_lines(plan: Plan) -> Iterator[str]:
    for name in ("hostname", "domainname"):
        if getattr(plan, name):
            yield f"{name}: {getattr(plan, name)}"
    for path, value in plan.sysctl:
        yield f"sysctl {path} = {value}"


def _seccomp_lines(plan: Plan) -> Iterator[str]:
    if plan.seccomp is None:
        return
    yield f"default: {_action(plan.seccomp.default_action)}"
    for rule in plan.seccomp.rules:
        count = len(rule.conditions)
        conditions = f", under {count} condition{'s' if count > 1 else ''}" if count else ""
        shown = ", ".join(rule.names[:4]) + (f" and {len(rule.names) - 4} more" if len(rule.names) > 4 else "")
        yield f"{_action(rule.action)}: {shown}{conditions}"


def _hook_lines(plan: Plan, *kinds: str) -> Iterator[str]:
    for kind in kinds:
        for hook in getattr(plan.hooks, kind):
            yield f"{kind}: {hook['path']}"


def _action(number: int) -> str:
    name = _ACTION_NAMES.get(number & _ACTION_MASK, f"{number:#x}")
    data = number & ~_ACTION_MASK
    return f"{name} {data}" if data else name


def _range(first: int, size: int) -> str:
    return str(first) if size == 1 else f"{first}-{first + size - 1}"


def _amount(number: int) -> str:
    return "unlimited" if number == _UNLIMITED else str(number)


def _words(args: Sequence[str]) -> str:
    return " ".join(arg if arg and not set(arg) & set(" \t\n\"'\\") else repr(arg) for arg in args)


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
