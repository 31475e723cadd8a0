# SPDX-License-Identifier: Apache-2.0
"""From a validated config and the facts of this host to a plan: pure functions that make nothing and need no root.

`plan()` puts the whole together; each module beside this one decides about one section of the config.
"""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.cgroups.plan import CgroupPlan
from pyoci.cgroups.plan import plan as plan_cgroup
from pyoci.errors import SpecError
from pyoci.host import clean_path
from pyoci.plan.cgroup_view import plan_cgroup_view
from pyoci.plan.devices import plan_devices, plan_links, sets_up_dev
from pyoci.plan.model import Hooks, IntelRdt, Namespaces, NetDevice, Plan, Rootfs
from pyoci.plan.mounts import PROPAGATIONS, plan_mounts, unheeded_words
from pyoci.plan.namespaces import plan_namespaces
from pyoci.plan.process import plan_process, with_environment
from pyoci.plan.sysctl import plan_sysctl
from pyoci.record import Record
from pyoci.seccomp import plan_seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.cgroups.unit import Manager
    from pyoci.host import Host
    from pyoci.plan.model import Mount

_OTHER_PLATFORMS = ("windows", "solaris", "zos", "freebsd")


class Request(Record):
    """What the command line and our environment add to the config. `bundle` is absolute.

    starts: the container is to be started at once, which takes a process; create alone does not (config.md, Process).
    listen_fds, listen_names: the sockets of sd_listen_fds(3). notify: the directory that will hold the program's end of
    sd_notify(3), empty if nobody wants to know.
    """

    id: str
    bundle: str
    starts: bool = False
    pivot: bool = True
    keyring: bool = True
    systemd: Manager | None = None
    cgroups: bool = True
    listen_fds: int = 0
    listen_names: str = ""
    notify: str = ""


def plan(config: dict[str, Any], host: Host, request: Request) -> Plan:
    """Everything that create and start will do. Raises SpecError and CgroupError for what cannot be done on this host."""
    linux = config.get("linux") or {}
    namespaces = plan_namespaces(linux)
    if host.euid != 0 and not namespaces.has(k.CLONE_NEWUSER):
        raise SpecError(
            'an ordinary user can make a container in a user namespace only: add {"type": "user"} to /linux/namespaces, '
            "and mappings (pyoci spec --rootless has an example)"
        )
    map_warnings = _check_joined_maps(linux, namespaces, host)
    notifies = bool(request.notify) and namespaces.has(k.CLONE_NEWNS)
    wanted = config.get("mounts") or ()
    if notifies:
        from pyoci import notify  # few callers want to know when a program is ready

        wanted = [*wanted, {"destination": notify.INSIDE, "source": request.notify, "options": notify.MOUNT_OPTIONS}]
    mounts = plan_mounts(wanted, request.bundle, namespaces, host.euid)
    if request.starts and "process" not in config:
        raise SpecError("config.json has no /process: there is nothing to run")
    own_users = namespaces.has(k.CLONE_NEWUSER)
    process, warnings = plan_process(config.get("process"), linux, host, own_users=own_users, keyring=request.keyring)
    if request.listen_fds:
        names = {"LISTEN_FDNAMES": request.listen_names} if request.listen_names else {}
        process = with_environment(process, {"LISTEN_FDS": str(request.listen_fds), "LISTEN_PID": "1", **names})
    if notifies:
        process = with_environment(process, {"NOTIFY_SOCKET": f"{notify.INSIDE}/{notify.SOCKET}"})
    elif request.notify:
        warnings.append(
            "NOTIFY_SOCKET is not handed on: without a mount namespace, its mount would be made on the host"
        )
    layout = host.cgroups
    if request.cgroups:
        joined_uids = host.joined_maps[0] if host.joined_maps else ()
        cgroup = plan_cgroup(
            config, request.id, layout, systemd=request.systemd, rootless=host.rootless, joined_uids=joined_uids
        )
    else:
        cgroup = _no_cgroup(linux)
    seccomp = plan_seccomp(linux["seccomp"], host.seccomp_flags) if linux.get("seccomp") else None
    set_up_dev = sets_up_dev(mounts)
    own_cgroups = bool(namespaces.new & k.CLONE_NEWCGROUP)
    mixed = layout.mode != "v2" and any(mount.kind == "cgroup" and mount.type == "cgroup2" for mount in mounts)
    _check_lengths(mounts, namespaces)
    return Plan(
        id=request.id,
        bundle=request.bundle,
        oci_version=config["ociVersion"],
        annotations=config.get("annotations") or {},
        namespaces=namespaces,
        cgroup=cgroup,
        rootfs=_plan_rootfs(config, linux, namespaces, host, request),
        mounts=mounts,
        cgroup_view=plan_cgroup_view(cgroup, layout, own_cgroups),
        cgroup2_view=plan_cgroup_view(cgroup, layout, own_cgroups, unified=True) if mixed else None,
        set_up_dev=set_up_dev,
        devices=plan_devices(linux.get("devices") or (), set_up_dev),
        links=plan_links(host.has_kcore) if set_up_dev else (),
        hostname=config.get("hostname") or "",
        domainname=config.get("domainname") or "",
        sysctl=plan_sysctl(linux.get("sysctl") or {}, namespaces, host),
        process=process,
        seccomp=seccomp,
        hooks=plan_hooks(config),
        net_devices=_plan_net_devices(linux, namespaces, host),
        intel_rdt=_plan_intel_rdt(linux, host, request.id),
        listen_fds=request.listen_fds,
        notifies=notifies,
        warnings=(*_left_out(config), *map_warnings, *unheeded_words(wanted), *warnings, *cgroup.notes),
    )


def _check_lengths(mounts: tuple[Mount, ...], namespaces: Namespaces) -> None:
    """What is made at once is made below a mount over the root. On the host that would be left if we were killed."""
    for mount in mounts:
        if mount.at_once and not namespaces.has(k.CLONE_NEWNS):
            raise SpecError(
                f"mount {mount.destination}: without a mount namespace, its source and each of its options can have no more "
                f"than {k.FSCONFIG_LONGEST} bytes"
            )


def _check_joined_maps(linux: dict[str, Any], namespaces: Namespaces, host: Host) -> list[str]:
    if not any(join.flag == k.CLONE_NEWUSER for join in namespaces.join):
        return []
    from pyoci.plan.joined_maps import check_joined_maps  # few containers join one

    return check_joined_maps(linux, host.joined_maps)


def _left_out(config: dict[str, Any]) -> list[str]:
    """What says nothing to a runtime for Linux, or to this one, in words."""
    notes = [f"/{name} is left out: it is for another platform" for name in _OTHER_PLATFORMS if config.get(name)]
    if config.get("vm"):
        notes.append("/vm is left out: there is no virtual machine")
    theirs = [name for name in config.get("annotations") or {} if name.startswith("run.oci.")]
    return [*notes, *(f"the annotation {name} is left out: it is a request to crun" for name in theirs)]


def _plan_net_devices(linux: dict[str, Any], namespaces: Namespaces, host: Host) -> tuple[NetDevice, ...]:
    if not linux.get("netDevices"):
        return ()
    from pyoci.plan.net_devices import plan_net_devices  # few containers have any

    return plan_net_devices(linux["netDevices"], namespaces, host)


def _plan_intel_rdt(linux: dict[str, Any], host: Host, container_id: str) -> IntelRdt | None:
    if "intelRdt" not in linux:
        return None
    from pyoci.plan.intel_rdt import plan_intel_rdt  # few hosts have it

    mount_point = next((mount.point for mount in host.mounts if mount.fstype == "resctrl"), "")
    return plan_intel_rdt(linux["intelRdt"], container_id, mount_point)


def _no_cgroup(linux: dict[str, Any]) -> CgroupPlan:
    """--cgroup-manager disabled: the container stays in our own cgroups, under our own limits."""
    asked = sorted(name for name, value in (linux.get("resources") or {}).items() if value and name != "devices")
    notes = (f"cgroups are disabled, so /linux/resources is left out: {', '.join(asked)}",) if asked else ()
    return CgroupPlan(mode="none", paths={}, directories=(), mount_points={}, notes=notes)


def plan_hooks(config: dict[str, Any]) -> Hooks:
    """The hooks of a config; kinds that we do not know have been warned of by then."""
    hooks = config.get("hooks") or {}
    return Hooks(**{kind: tuple(hooks.get(kind) or ()) for kind in Hooks._fields})


def _plan_rootfs(
    config: dict[str, Any], linux: dict[str, Any], namespaces: Namespaces, host: Host, request: Request
) -> Rootfs:
    root = config.get("root") or {}
    if not root.get("path"):
        raise SpecError("config.json has no /root/path: there is no root file system to enter")
    path = root["path"] if root["path"].startswith("/") else f"{request.bundle}/{root['path']}"
    path = clean_path(path)
    if host.real_paths.get(path, path) != path:
        raise SpecError(f"/root/path: {path} is a symlink or lies below one: it leads to {host.real_paths[path]}")
    if linux.get("mountLabel") and not any(mount.fstype == "selinuxfs" for mount in host.mounts):
        raise SpecError(
            f"/linux/mountLabel: cannot label mounts as {linux['mountLabel']!r}: SELinux is not enabled on this host"
        )
    own_mounts = namespaces.has(k.CLONE_NEWNS)
    readonly = bool(root.get("readonly"))
    on_host = not own_mounts and bool(config.get("mounts") or readonly)
    if on_host and namespaces.has(k.CLONE_NEWUSER):
        raise SpecError(
            "without a mount namespace, mounts and a read-only root are made on the host, for which a user namespace has "
            'no right: add {"type": "mount"} to /linux/namespaces'
        )
    wanted = PROPAGATIONS.get(linux.get("rootfsPropagation") or "", 0)
    kind = wanted & ~k.MS_REC
    if not request.pivot and kind == k.MS_PRIVATE:
        raise SpecError(
            "--no-pivot and rootfsPropagation private exclude each other: without pivot_root the host's mounts stay"
        )
    if kind in (k.MS_SHARED, k.MS_UNBINDABLE):
        # Either would keep pivot_root from working, so they come last; until then the host's propagation is left alone
        # where mounts are to be shared with it.
        before = 0 if kind == k.MS_SHARED else k.MS_SLAVE | k.MS_REC
    else:
        before = wanted or k.MS_SLAVE | k.MS_REC
    return Rootfs(
        path=path,
        entered_by="chroot" if not own_mounts else "pivot" if request.pivot else "move",
        readonly=readonly,
        propagation=before,
        final_propagation=wanted if kind in (k.MS_SHARED, k.MS_UNBINDABLE) else 0,
        # pivot_root(2) takes neither a shared root nor one that lies on a shared mount.
        parent_mount="" if before & k.MS_REC else host.mount_point_of(path),
        masked=tuple(linux.get("maskedPaths") or ()),
        readonly_paths=tuple(linux.get("readonlyPaths") or ()),
        mount_label=linux.get("mountLabel") or "",
        host_views=() if request.pivot else host.whole_views(path),
        on_host=on_host,
    )
