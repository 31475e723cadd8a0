# SPDX-License-Identifier: Apache-2.0
"""A plan as text for people: what will be done, in the order in which it will be done.

It is written from the records that the launcher and init carry out, and from nothing else. Loaded only by `pyoci plan`.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.capabilities import names as capability_names
from pyoci.log import printable
from pyoci.plan.namespaces import FLAGS
from pyoci.seccomp import FLAG_NEW_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyoci.cgroups.plan import CgroupPlan
    from pyoci.plan.model import CgroupView, IntelRdt, Mapping, Mount, Plan, Process, Rootfs
    from pyoci.plan.scheduling import Scheduling

_MOUNT_ATTRIBUTES = (
    (k.MOUNT_ATTR_RDONLY, "ro"),
    (k.MOUNT_ATTR_NOSUID, "nosuid"),
    (k.MOUNT_ATTR_NODEV, "nodev"),
    (k.MOUNT_ATTR_NOEXEC, "noexec"),
    (k.MOUNT_ATTR_NOATIME, "noatime"),
    (k.MOUNT_ATTR_STRICTATIME, "strictatime"),
    (k.MOUNT_ATTR_NODIRATIME, "nodiratime"),
    (k.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow"),
)
_PROPAGATIONS = (
    (k.MS_PRIVATE, "private"),
    (k.MS_SLAVE, "slave"),
    (k.MS_SHARED, "shared"),
    (k.MS_UNBINDABLE, "unbindable"),
)
_ENTERED = {
    "pivot": "pivot_root into it, let go of the host's mounts",
    "move": "move it over /, chroot into it (--no-pivot: the host's mounts stay behind it)",
    "chroot": "chroot into it (no mount namespace)",
}


def render(plan: Plan) -> str:
    """The whole plan, a heading for each section, numbered in order; sections with nothing to do are left out."""
    sections = [(title, list(lines)) for title, lines in _sections(plan)]
    text = [printable(f"plan for container {plan.id}, bundle {plan.bundle}")]
    for number, (title, lines) in enumerate((item for item in sections if item[1]), 1):
        text += ["", f"{number}. {title}", *(f"   {printable(line)}" for line in lines)]
    return "\n".join(text) + "\n"


def _sections(plan: Plan) -> Iterator[tuple[str, Iterable[str]]]:
    yield "warnings", plan.warnings
    made = (
        "cgroup: made by systemd, with the process in it" if plan.cgroup.unit else "cgroup: made before the process is"
    )
    yield made, _cgroup_before(plan.cgroup)
    yield "namespaces", _namespaces(plan)
    yield "host name", _host_names(plan)
    yield "class of service (Intel RDT)", _intel_rdt(plan.intel_rdt)
    yield "network devices, moved into the container", [f"{one.name} as {one.inside}" for one in plan.net_devices]
    yield "root", _root(plan.rootfs)
    yield "mounts, in this order", _columns(_mount(mount) for mount in plan.mounts)
    yield "what the cgroup mount shows", _cgroup_views(plan)
    yield "devices", _columns(_devices(plan))
    yield "cgroup: set when the root is complete", _cgroup_after(plan.cgroup)
    yield "hooks, before the root is entered", _hooks(plan, "prestart", "createRuntime", "createContainer")
    yield "entering the root", _entering(plan)
    yield "kernel parameters, below /proc/sys", [f"{path} = {value}" for path, value in plan.sysctl]
    yield "closing paths", _closing(plan.rootfs)
    yield "process", _process(plan.process)
    yield "seccomp", _seccomp(plan)
    yield "then, at `pyoci start`", _start(plan)
    yield "after the end, at `pyoci delete`", _hooks(plan, "poststop")


def _namespaces(plan: Plan) -> Iterator[str]:
    namespaces = plan.namespaces
    inherited = []
    for name, flag in FLAGS.items():
        joined = next((join for join in namespaces.join if join.flag == flag), None)
        if namespaces.new & flag:
            yield f"{name:8} new"
        elif joined:
            yield f"{name:8} join {joined.path}"
        else:
            inherited.append(name)
    if inherited:
        yield f"{'(host)':8} {', '.join(inherited)}"
    for kind, id_map in (("uid", namespaces.uid_map), ("gid", namespaces.gid_map)):
        for line in id_map:
            yield f"{kind} map: {line.container} in the container is {line.host} on the host, for {line.size}"
    for clock, seconds, nanoseconds in namespaces.time_offsets:
        yield f"clock {clock}: {seconds} s and {nanoseconds} ns ahead"


def _cgroup_before(cgroup: CgroupPlan) -> Iterator[str]:
    if cgroup.unit is not None:
        yield f"systemd starts the unit {cgroup.unit.name}"
        yield from (f"    {each.text()}" for each in cgroup.unit.properties)
    for directory in cgroup.directories:
        yield f"mkdir {directory}" if cgroup.unit is None else f"    in {directory}"
    yield from (write.text() for write in cgroup.before)


def _cgroup_after(cgroup: CgroupPlan) -> Iterator[str]:
    if cgroup.unit is not None:
        yield from (f"{each.text()}    (property of {cgroup.unit.name})" for each in cgroup.unit.limits)
    yield from (f"{write.text()}    ({write.why})" for write in cgroup.after)
    if cgroup.owner >= 0:
        yield f"given to user {cgroup.owner} of the host, limits excepted"
    if cgroup.program is not None:
        yield f"devices: an eBPF program of {len(cgroup.program) // 8} instructions"


def _host_names(plan: Plan) -> Iterator[str]:
    if plan.hostname:
        yield f"host name {plan.hostname}"
    if plan.domainname:
        yield f"domain name {plan.domainname}"
    if plan.namespaces.new & k.CLONE_NEWNET:
        yield "lo up"


def _intel_rdt(rdt: IntelRdt | None) -> Iterator[str]:
    if rdt:
        yield f"{'make, if it is missing,' if rdt.made_if_missing else 'enter'} {rdt.group}"
        yield from rdt.schemata
        if rdt.monitoring:
            yield f"monitored as {rdt.monitoring}"


def _root(rootfs: Rootfs) -> Iterator[str]:
    yield f"{rootfs.path}, as a mount of its own"
    if rootfs.propagation:
        yield f"the host's mounts become {_propagation(rootfs.propagation)} in here"
    if rootfs.parent_mount:
        kind = "a slave" if rootfs.propagation == k.MS_SLAVE else "private"
        yield f"{rootfs.parent_mount} becomes {kind} in here, the rest stays shared with the host"
    if rootfs.mount_label:
        yield f"mounts get the SELinux label {rootfs.mount_label}"


def _mount(mount: Mount) -> tuple[str, ...]:
    if mount.kind == "bind":
        what = f"{'rbind' if mount.recursive else 'bind'} {mount.source}"
    elif mount.kind == "remount":
        what = "remount"
    else:
        what = mount.type
    options = list(_attributes(mount.attr_set, mount.attr_clear))
    options += [f"{option} (recursive)" for option in _attributes(mount.rec_set, mount.rec_clear)]
    options += [key if value is None else f"{key}={value}" for key, value in mount.parameters]
    options += [_propagation(flags) for flags in mount.propagation]
    if mount.copy_up:
        options.append("with what the image has there")
    if mount.mapping:
        options += _mapping(mount.mapping)
    if mount.at_once:
        options.append("all at once (mount(2): too long for fsconfig(2))")
    return mount.destination, what, ", ".join(options)


def _mapping(mapping: Mapping) -> Iterator[str]:
    tree = " (recursive)" if mapping.recursive else ""
    if mapping.user_namespace:
        yield f"ids mapped as in {mapping.user_namespace}{tree}"
    for kind, lines in (("uids", mapping.uid_map), ("gids", mapping.gid_map)):
        for line in lines:
            yield f"{kind} {line.container}+{line.size} shown as {line.host}+{line.size}{tree}"


def _attributes(present: int, absent: int) -> Iterator[str]:
    for bit, name in _MOUNT_ATTRIBUTES:
        if present & bit:
            yield name
        elif absent & bit and bit & ~k.MOUNT_ATTR__ATIME:
            yield f"not {name}"


def _propagation(flags: int) -> str:
    kind = next((name for bit, name in _PROPAGATIONS if flags & bit), "unchanged")
    return ("r" if flags & k.MS_REC else "") + kind


def _cgroup_views(plan: Plan) -> Iterator[str]:
    shown: list[CgroupView] = []
    for mount in plan.mounts:
        if mount.kind == "cgroup" and (view := plan.view_of(mount)) not in shown:
            shown.append(view)
            yield from _cgroup_view(view)


def _cgroup_view(view: CgroupView) -> Iterator[str]:
    whose = "of a cgroup namespace of its own" if view.namespaced else "bound from the host's"
    for hierarchy in view.hierarchies:
        yield f"{hierarchy.name or 'the unified hierarchy'}, {whose}: {hierarchy.path or f'{hierarchy.ours} (read-only)'}"
    yield from (f"{link.path} -> {link.target}" for link in view.links)


def _devices(plan: Plan) -> Iterator[tuple[str, ...]]:
    if not plan.set_up_dev:
        yield "/dev", "as it is bound", "nothing is made in it"
    for device in plan.devices:
        number = "" if device.type == "p" else f"{device.major}:{device.minor}"
        yield device.path, f"{device.type} {number}", f"mode {device.mode:04o}, owner {device.uid}:{device.gid}"
    for link in plan.links:
        yield link.path, f"-> {link.target}", ""


def _entering(plan: Plan) -> Iterator[str]:
    yield from (f"take away the host's {place}" for place in plan.rootfs.host_views)
    if plan.rootfs.on_host:
        yield "mount it over itself among the host's mounts, and all others below it, until delete"
    yield _ENTERED[plan.rootfs.entered_by]
    if plan.rootfs.final_propagation:
        yield f"the root becomes {_propagation(plan.rootfs.final_propagation)}"
    if plan.process.terminal:
        height, width = plan.process.console_size
        yield "a terminal from /dev/pts" + (f", {height} lines of {width} columns" if height and width else "")


def _closing(rootfs: Rootfs) -> Iterator[str]:
    if rootfs.readonly:
        yield "/ read-only"
    yield from (f"{path} read-only" for path in rootfs.readonly_paths)
    yield from (f"{path} hidden" for path in rootfs.masked)


def _process(process: Process) -> Iterator[str]:
    yield f"user {process.uid}, group {process.gid}" + (
        f", additional groups {', '.join(map(str, process.groups))}" if process.groups else ""
    )
    yield f"working directory {process.cwd}"
    yield f"umask {process.umask:04o}"
    for name in ("bounding", "effective", "permitted", "inheritable", "ambient"):
        held = capability_names(getattr(process.capabilities, name))
        yield f"capabilities, {name}: {' '.join(held) or 'none'}"
    if process.no_new_privileges:
        yield "no new privileges"
    if process.oom_score_adj is not None:
        yield f"oom_score_adj {process.oom_score_adj}"
    for limit in process.limits:
        yield f"{limit.name} {limit.soft} (soft), {limit.hard} (hard)"
    for label, name in ((process.apparmor, "AppArmor profile"), (process.selinux, "SELinux label")):
        if label:
            yield f"{name} {label}"
    if process.keyring:
        yield "a session keyring of its own"
    if process.scheduling:
        yield from _scheduling(process.scheduling)
    yield from (f"env {entry}" for entry in process.env)


def _scheduling(scheduling: Scheduling) -> Iterator[str]:
    from pyoci.plan.scheduling import ranges  # few plans have any of it

    scheduler, priority, policy = scheduling.scheduler, scheduling.io_priority, scheduling.memory_policy
    if scheduler:
        details = [f"flags {scheduler.flags:#x}"] if scheduler.flags else []
        details += [f"{name} {value}" for name in ("nice", "priority") if (value := getattr(scheduler, name))]
        times = ((name, getattr(scheduler, name)) for name in ("runtime", "deadline", "period"))
        details += [f"{name} {value} ns" for name, value in times if value]
        yield ", ".join((f"scheduler {scheduler.name}", *details))
    if priority:
        yield f"I/O priority {priority.name}, level {priority.level}"
    if scheduling.personality is not None:
        yield f"personality {scheduling.personality:#06x}"
    if policy:
        yield f"memory policy {policy.name}" + (f", nodes {ranges(policy.nodes)}" if policy.nodes else "")
    if scheduling.affinity:
        sets = (("at first", scheduling.affinity.initial), ("in the cgroup", scheduling.affinity.final))
        told = ", ".join(f"{ranges(cpus)} {when}" for when, cpus in sets if cpus)
        yield f"CPUs of each `pyoci exec`: {told}"


def _seccomp(plan: Plan) -> Iterator[str]:
    if plan.seccomp is None:
        return
    from pyoci.seccomp_compiler import compile_filter  # loads libseccomp

    compiled = compile_filter(plan.seccomp)
    calls = sum(len(rule.names) for rule in plan.seccomp.rules)
    yield f"{len(plan.seccomp.rules)} rules for {calls} system calls: a program of {len(compiled.instructions) // 8} instructions"
    if plan.seccomp.flags & FLAG_NEW_LISTENER:
        yield f"its listener goes to the agent at {plan.seccomp.listener_path}"
    if compiled.skipped:
        yield f"unknown to libseccomp and left out: {', '.join(compiled.skipped)}"


def _hooks(plan: Plan, *kinds: str) -> Iterator[str]:
    for kind in kinds:
        for hook in getattr(plan.hooks, kind):
            arguments = " ".join(hook.get("args") or [hook["path"]])
            limit = f", at most {hook['timeout']} s" if hook.get("timeout") else ""
            yield f"{kind}: {hook['path']} ({arguments}){limit}"


def _start(plan: Plan) -> Iterator[str]:
    if not plan.process.args:
        yield "an error, as there is no process"
        return
    yield from _hooks(plan, "startContainer")
    if plan.listen_fds:
        yield f"hand on {plan.listen_fds} listening sockets, from descriptor 3 on"
    if plan.notifies:
        yield "pass on what it says over its notify socket"
    yield "execute " + " ".join(_quoted(argument) for argument in plan.process.args)
    yield from _hooks(plan, "poststart")


def _quoted(argument: str) -> str:
    from shlex import quote  # for people only

    return quote(argument)


def _columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    held = list(rows)
    widths = [max(len(row[column]) for row in held) for column in range(len(held[0]))] if held else []
    for row in held:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
