# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: plain values, in the order in which they are carried out.

Everything here is decided before a process is made. The launcher and init read these records and decide nothing; what
`pyoci plan` prints is these records too.
"""

from __future__ import annotations

from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.capabilities import CapabilityPlan
    from pyoci.cgroups.plan import CgroupPlan
    from pyoci.plan.scheduling import Scheduling
    from pyoci.seccomp import SeccompPlan


class Join(Record):
    """A namespace that exists already: its type as the spec has it, its path, its CLONE_NEW* flag."""

    type: str
    path: str
    flag: int


class IdMap(Record):
    """One line of uid_map or gid_map (user_namespaces(7))."""

    container: int
    host: int
    size: int


class Namespaces(Record):
    """New namespaces as CLONE_NEW* flags, and those to be joined, in the order of joining."""

    new: int
    join: tuple[Join, ...] = ()
    uid_map: tuple[IdMap, ...] = ()
    gid_map: tuple[IdMap, ...] = ()
    time_offsets: tuple[tuple[str, int, int], ...] = ()

    def has(self, flag: int) -> bool:
        """Whether the container gets a namespace of this kind other than ours, new or joined."""
        return bool(self.new & flag) or any(join.flag == flag for join in self.join)


class Mapping(Record):
    """Whose files a mount shows as whose (mount_setattr(2), MOUNT_ATTR_IDMAP), of the whole tree if `recursive`.

    The maps count like those of a user namespace; `user_namespace` is the path of one whose maps are taken instead.
    """

    uid_map: tuple[IdMap, ...] = ()
    gid_map: tuple[IdMap, ...] = ()
    user_namespace: str = ""
    recursive: bool = False


class Mount(Record):
    """One mount. `kind` is "bind", "new" (a file system of `type`), "cgroup" or "remount".

    attr_set and attr_clear are MOUNT_ATTR_* of the mount itself, rec_set and rec_clear those of the whole tree.
    `parameters` go to fsconfig(2): (key, value), or (key, None) for a flag. `propagation` holds MS_* flags. at_once: a new file
    system has a source or an option that is too long for that, and is made by mount(2).
    """

    destination: str
    kind: str
    type: str = ""
    source: str = ""
    recursive: bool = False
    attr_set: int = 0
    attr_clear: int = 0
    rec_set: int = 0
    rec_clear: int = 0
    parameters: tuple[tuple[str, str | None], ...] = ()
    propagation: tuple[int, ...] = ()
    copy_up: bool = False
    mapping: Mapping | None = None
    at_once: bool = False
    options: tuple[str, ...] = ()


class Link(Record):
    """A symbolic link in /dev."""

    path: str
    target: str


class CgroupHierarchy(Record):
    """A hierarchy as it is to be seen: the directory's name, the options to mount it, what is shown where it is bound.

    `path` is empty if the container has no cgroup there. `ours` is the cgroup of whoever calls us, shown read-only where the
    container could not be given one; "" if unknown.
    """

    name: str
    parameters: tuple[tuple[str, str | None], ...]
    path: str
    ours: str = ""


class CgroupView(Record):
    """What mounts of type cgroup or cgroup2 show. `links` go beside the hierarchies (cpu -> cpu,cpuacct)."""

    unified: bool
    namespaced: bool
    hierarchies: tuple[CgroupHierarchy, ...]
    links: tuple[Link, ...] = ()


class Rootfs(Record):
    """The root: where it is, how it is entered ("pivot", "move" or "chroot"), what becomes of it.

    on_host: without a mount namespace there are mounts to be made, so it becomes a mount among the host's until `delete`.
    """

    path: str
    entered_by: str
    readonly: bool
    propagation: int
    final_propagation: int = 0
    parent_mount: str = ""
    masked: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    host_views: tuple[str, ...] = ()
    on_host: bool = False


class Device(Record):
    """A device node: `type` is b, c or p; `mode` without the type bits."""

    path: str
    type: str
    major: int = 0
    minor: int = 0
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


class NetDevice(Record):
    """A network device of the host's to be moved into the container; `inside` may be a template such as eth%d."""

    name: str
    inside: str


class IntelRdt(Record):
    """A class of service: a directory of the resctrl file system, and what its schemata are set to.

    `own`: it is named after the container and removed with it if it was made for it. `compared` are lines that a group
    which was there before has to have. `monitoring` is the directory of the container's monitoring group, or "".
    """

    group: str
    own: bool
    made_if_missing: bool
    schemata: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()
    monitoring: str = ""


class Limit(Record):
    """A resource limit; `number` is the kernel's RLIMIT_*."""

    name: str
    number: int
    soft: int
    hard: int


class Process(Record):
    """The program and all that it is given."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    terminal: bool
    console_size: tuple[int, int]
    no_new_privileges: bool
    capabilities: CapabilityPlan
    limits: tuple[Limit, ...]
    oom_score_adj: int | None
    apparmor: str
    selinux: str
    keyring: bool
    scheduling: Scheduling | None = None


class Hooks(Record):
    """The hooks by kind, each as config.json has it."""

    prestart: tuple[dict[str, object], ...] = ()
    createRuntime: tuple[dict[str, object], ...] = ()
    createContainer: tuple[dict[str, object], ...] = ()
    startContainer: tuple[dict[str, object], ...] = ()
    poststart: tuple[dict[str, object], ...] = ()
    poststop: tuple[dict[str, object], ...] = ()


class Plan(Record):
    """Everything that create and start will do, in order.

    cgroup2_view: what mounts of type cgroup2 show, if that is something else than those of type cgroup do.
    """

    id: str
    bundle: str
    oci_version: str
    annotations: dict[str, str]
    namespaces: Namespaces
    cgroup: CgroupPlan
    rootfs: Rootfs
    mounts: tuple[Mount, ...]
    cgroup_view: CgroupView
    cgroup2_view: CgroupView | None = None
    set_up_dev: bool
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    hostname: str
    domainname: str
    sysctl: tuple[tuple[str, str], ...]
    process: Process
    seccomp: SeccompPlan | None
    hooks: Hooks
    net_devices: tuple[NetDevice, ...] = ()
    intel_rdt: IntelRdt | None = None
    listen_fds: int = 0
    notifies: bool = False
    warnings: tuple[str, ...] = ()

    def view_of(self, mount: Mount) -> CgroupView:
        """What a cgroup mount shows."""
        return self.cgroup2_view if mount.type == "cgroup2" and self.cgroup2_view else self.cgroup_view
