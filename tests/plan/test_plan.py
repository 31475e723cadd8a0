# SPDX-License-Identifier: Apache-2.0
"""The plan as a whole: from a config and the facts of a host, without either of them at hand."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.cgroups import layout
from pyoci.errors import SpecError
from pyoci.host import HostMount
from pyoci.jsontext import dumps
from pyoci.plan.model import Hooks, Mount
from tests.cgroups import hosts
from tests.plan.hosts import config, host, planned

SLAVE = k.MS_SLAVE | k.MS_REC
ONE_HOOK = {"path": "/bin/true"}
ONE_ID = [{"containerID": 0, "hostID": 1000, "size": 1}]


def refusal(*arguments: Any, **request: Any) -> str:
    with pytest.raises(SpecError) as caught:
        planned(*arguments, **request)
    return caught.value.message


def without(kind: str) -> list[dict[str, str]]:
    return [entry for entry in config()["linux"]["namespaces"] if entry["type"] != kind]


def test_a_small_plan() -> None:
    plan = planned()
    assert (plan.id, plan.bundle, plan.oci_version, plan.annotations) == ("box", "/srv/box", "1.2.0", {})
    assert (plan.hostname, plan.domainname, plan.sysctl, plan.seccomp, plan.warnings) == ("", "", (), None, ())
    assert plan.namespaces.has(k.CLONE_NEWNS) and not plan.namespaces.has(k.CLONE_NEWUSER)
    assert plan.rootfs.path == "/srv/box/rootfs"
    assert plan.cgroup.paths
    assert plan.hooks == Hooks()


def test_the_same_from_the_same() -> None:
    changed = config(
        mounts=[{"destination": "/proc", "type": "proc"}], annotations={"a": "b"}, hooks={"poststop": [ONE_HOOK]}
    )
    assert planned(changed) == planned(changed)
    assert dumps(planned(changed).asdict()) == dumps(planned(changed).asdict())


def test_planning_changes_neither_config_nor_host() -> None:
    changed, on = (
        config(process={"args": ["sh"], "env": ["A=1", "A=2"]}, mounts=[{"destination": "/x", "type": "tmpfs"}]),
        host(),
    )
    before = dumps(changed), dumps(on.asdict())
    planned(changed, on)
    assert (dumps(changed), dumps(on.asdict())) == before


def test_every_plan_can_be_printed_as_json() -> None:
    changed = config(
        hostname="h",
        process={"args": ["sh"], "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}], "terminal": True},
        mounts=[
            {"destination": "/cg", "type": "cgroup"},
            {"destination": "/b", "source": "b", "options": ["bind", "ro"]},
        ],
        hooks={"prestart": [ONE_HOOK]},
        linux={"maskedPaths": ["/proc/keys"], "sysctl": {"net.a": "1"}, "resources": {"pids": {"limit": 5}}},
    )
    assert dumps(planned(changed).asdict(), indent=2).startswith('{\n  "id": "box"')


def test_there_must_be_a_root() -> None:
    changed = config()
    del changed["root"]
    assert "/root" in refusal(changed)


def test_there_must_be_a_process_to_start() -> None:
    changed = config()
    del changed["process"]
    assert planned(changed).process.args == ()
    assert "/process" in refusal(changed, starts=True)


@pytest.mark.parametrize("root", [None, {}, {"path": ""}])
def test_a_root_without_a_path(root: Any) -> None:
    assert "/root/path" in refusal(config(root=root))


@pytest.mark.parametrize(
    ("path", "place"),
    [("rootfs", "/srv/box/rootfs"), ("/other/./root/", "/other/root"), ("../up", "/srv/up"), (".", "/srv/box")],
)
def test_where_the_root_is(path: str, place: str) -> None:
    assert planned(config(root={"path": path})).rootfs.path == place


def test_a_root_that_is_a_link() -> None:
    """What is checked and mounted must be what is entered."""
    on = host(real_paths={"/srv/box/rootfs": "/etc"})
    assert refusal(config(), on) == "/root/path: /srv/box/rootfs is a symlink or lies below one: it leads to /etc"
    assert planned(config(), host(real_paths={"/srv/box/rootfs": "/srv/box/rootfs"}))


@pytest.mark.parametrize(
    ("pivot", "mounts", "how"),
    [(True, True, "pivot"), (False, True, "move"), (True, False, "chroot"), (False, False, "chroot")],
)
def test_how_the_root_is_entered(pivot: bool, mounts: bool, how: str) -> None:
    linux = {} if mounts else {"namespaces": without("mount")}
    assert planned(config(linux=linux), pivot=pivot).rootfs.entered_by == how


@pytest.mark.parametrize(
    ("more", "on_host"),
    [({}, False), ({"root": {"path": "rootfs", "readonly": True}}, True), ({"mounts": [{"destination": "/x"}]}, True)],
)
def test_without_a_mount_namespace_mounts_are_made_on_the_host(more: dict[str, Any], on_host: bool) -> None:
    alone = {"linux": {"namespaces": without("mount")}, "mounts": [], **more}
    assert planned(config(**alone)).rootfs.on_host is on_host
    assert not planned(config(**{**alone, "linux": {}})).rootfs.on_host


def test_a_user_namespace_may_not_mount_on_the_host() -> None:
    both = {"namespaces": [*without("mount"), {"type": "user"}], "uidMappings": ONE_ID, "gidMappings": ONE_ID}
    assert "a user namespace has no right" in refusal(config(linux=both, mounts=[{"destination": "/x"}]))


def test_a_joined_mount_namespace_is_one() -> None:
    linux = {"namespaces": [*without("mount"), {"type": "mount", "path": "/run/mnt"}]}
    assert planned(config(linux=linux)).rootfs.entered_by == "pivot"


@pytest.mark.parametrize(
    ("propagation", "before", "after", "parent"),
    [
        (None, SLAVE, 0, ""),
        ("", SLAVE, 0, ""),
        ("private", k.MS_PRIVATE, 0, "/srv"),
        ("rprivate", k.MS_PRIVATE | k.MS_REC, 0, ""),
        ("slave", k.MS_SLAVE, 0, "/srv"),
        ("rslave", SLAVE, 0, ""),
        ("shared", 0, k.MS_SHARED, "/srv"),
        ("rshared", 0, k.MS_SHARED | k.MS_REC, "/srv"),
        ("unbindable", SLAVE, k.MS_UNBINDABLE, ""),
        ("runbindable", SLAVE, k.MS_UNBINDABLE | k.MS_REC, ""),
    ],
)
def test_propagation_of_the_root(propagation: str | None, before: int, after: int, parent: str) -> None:
    """The mount that the root lies on is made private unless the whole tree is cut off: pivot_root demands it."""
    rootfs = planned(config(linux={"rootfsPropagation": propagation})).rootfs
    assert (rootfs.propagation, rootfs.final_propagation, rootfs.parent_mount) == (before, after, parent)


@pytest.mark.parametrize("propagation", ["private", "rprivate"])
def test_a_private_root_that_is_not_pivoted_to(propagation: str) -> None:
    assert "exclude each other" in refusal(config(linux={"rootfsPropagation": propagation}), pivot=False)


def test_views_of_the_host_matter_without_pivot_only() -> None:
    assert planned().rootfs.host_views == ()
    assert planned(pivot=False).rootfs.host_views == ("/proc",)


def test_closed_paths() -> None:
    linux = {"maskedPaths": ["/b", "/a"], "readonlyPaths": ["/d", "/c"]}
    rootfs = planned(config(linux=linux, root={"path": "r", "readonly": True})).rootfs
    assert (rootfs.masked, rootfs.readonly_paths, rootfs.mount_label) == (("/b", "/a"), ("/d", "/c"), "")
    assert rootfs.readonly


def test_a_mount_label_needs_selinux() -> None:
    labelled = config(linux={"mountLabel": "label"})
    with pytest.raises(SpecError, match=r"mountLabel.*SELinux is not enabled"):
        planned(labelled)
    selinux = HostMount(point="/sys/fs/selinux", root="/", fstype="selinuxfs")
    assert planned(labelled, host(mounts=(*host().mounts, selinux))).rootfs.mount_label == "label"


def test_names_and_annotations() -> None:
    plan = planned(config(hostname="h", domainname="d", annotations={"a": "b"}))
    assert (plan.hostname, plan.domainname, plan.annotations) == ("h", "d", {"a": "b"})


def test_a_dev_of_the_hosts_is_not_filled() -> None:
    whole = planned(
        config(
            mounts=[{"destination": "/dev", "source": "/dev", "options": ["bind"]}],
            linux={"devices": [{"path": "/dev/x", "type": "p"}, {"path": "/etc/x", "type": "p"}]},
        )
    )
    assert (whole.set_up_dev, [device.path for device in whole.devices], whole.links) == (False, ["/etc/x"], ())
    own = planned(
        config(mounts=[{"destination": "/dev", "type": "tmpfs"}], linux={"devices": [{"path": "/dev/x", "type": "p"}]})
    )
    assert own.set_up_dev
    assert [own.devices[-1].path, own.links[-1].path] == ["/dev/x", "/dev/core"]
    assert planned(on=host(has_kcore=False)).links[-1].path == "/dev/ptmx"


def test_the_mounts_of_the_config() -> None:
    entries = [{"destination": "/proc", "type": "proc"}, {"destination": "/cg", "type": "cgroup"}]
    assert planned(config(mounts=entries)).mounts == (
        Mount(destination="/proc", kind="new", type="proc"),
        Mount(destination="/cg", kind="cgroup", type="cgroup"),
    )


def test_hooks() -> None:
    kinds = Hooks._fields
    assert kinds == ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    hooks = {kind: [{"path": f"/{kind}"}, {"path": "/second"}] for kind in kinds}
    plan = planned(config(hooks={**hooks, "fromTheFuture": [ONE_HOOK]}))
    assert {kind: list(getattr(plan.hooks, kind)) for kind in kinds} == hooks
    assert planned(config(hooks={"prestart": None})).hooks == Hooks()


def test_sockets_that_are_handed_on() -> None:
    changed = config(process={"args": ["sh"], "env": ["A=1", "LISTEN_FDS=9"]})
    plan = planned(changed, listen_fds=2)
    assert plan.listen_fds == 2
    assert plan.process.env == ("A=1", "LISTEN_FDS=2", "LISTEN_PID=1")
    assert planned(changed).process.env == ("A=1", "LISTEN_FDS=9")


def test_without_cgroups() -> None:
    """Not even the device rules that every container has otherwise."""
    plan = planned(config(linux={"resources": {"devices": [{"allow": False, "access": "rwm"}]}}), cgroups=False)
    assert (plan.cgroup.paths, plan.cgroup.directories) == ({}, ())
    assert (plan.cgroup.before, plan.cgroup.after, plan.cgroup.program, plan.warnings) == ((), (), None, ())


@pytest.mark.parametrize("found", [(hosts.V1, hosts.V1_SELF), (hosts.V2, hosts.V2_SELF)])
@pytest.mark.parametrize("kinds", [("mount",), ("mount", "cgroup")])
def test_without_cgroups_ours_are_shown(found: tuple[str, str], kinds: tuple[str, ...]) -> None:
    there = layout.parse(*found)
    changed = config(linux={"namespaces": [{"type": kind} for kind in kinds]})
    view = planned(changed, host(cgroups=there), cgroups=False).cgroup_view
    ours = {hierarchy.directory(hierarchy.own) for hierarchy in there.hierarchies.values()}
    assert {hierarchy.ours for hierarchy in view.hierarchies} == ours
    assert {hierarchy.path for hierarchy in view.hierarchies} == {""}


def test_limits_without_cgroups() -> None:
    linux = {"resources": {"pids": {"limit": 5}, "memory": {"limit": 1 << 20}, "cpu": {}, "devices": []}}
    assert planned(config(linux=linux), cgroups=False).warnings == (
        "cgroups are disabled, so /linux/resources is left out: memory, pids",
    )


@pytest.mark.parametrize(("namespaced", "path"), [(True, "/sys/fs/cgroup/box"), (False, "/sys/fs/cgroup")])
def test_the_view_of_the_cgroups(namespaced: bool, path: str) -> None:
    linux: dict[str, Any] = {"cgroupsPath": "/box"}
    if not namespaced:
        linux["namespaces"] = without("cgroup")
    view = planned(config(linux=linux)).cgroup_view
    assert (view.unified, view.namespaced, view.hierarchies[0].path) == (True, namespaced, path)
    assert not planned(config(linux=linux), host(cgroups=layout.parse(hosts.V1, hosts.V1_SELF))).cgroup_view.unified


def test_each_version_of_cgroups_has_its_view() -> None:
    hybrid = host(cgroups=layout.parse(hosts.HYBRID, hosts.HYBRID_SELF))
    first, second = ({"destination": f"/{kind}", "type": kind} for kind in ("cgroup", "cgroup2"))
    plan = planned(config(mounts=[first, second, {**second, "source": "/a", "options": ["bind"]}]), hybrid)
    assert [plan.view_of(mount).unified for mount in plan.mounts[:2]] == [False, True]
    assert planned(config(mounts=[first]), hybrid).cgroup2_view is None
    both = planned(config(mounts=[first, second]))
    assert both.view_of(both.mounts[0]) is both.view_of(both.mounts[1]) is both.cgroup_view


def test_a_filter() -> None:
    plan = planned(config(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}))
    assert plan.seccomp is not None
    assert planned(config(linux={"seccomp": None})).seccomp is None


def test_mappings_beside_a_user_namespace_to_be_joined() -> None:
    users = [{"type": "mount"}, {"type": "user", "path": "/run/users"}]
    lines = [{"containerID": 0, "hostID": 1000, "size": 10}]
    linux = {"namespaces": users, "uidMappings": lines, "gidMappings": lines}
    there = host(joined_maps=(((0, 1000, 10),), ((0, 1000, 10),)))
    (warning,) = planned(config(linux=linux), there).warnings
    assert "/run/users" in warning
    with pytest.raises(SpecError, match=r"/linux/gidMappings .*/run/users"):
        planned(config(linux=linux), host(joined_maps=(((0, 1000, 10),), ((0, 2000, 10),))))


def test_whose_a_cgroup_is_in_a_joined_user_namespace() -> None:
    linux = {"namespaces": [{"type": kind} for kind in ("mount", "cgroup")] + [{"type": "user", "path": "/run/users"}]}
    mounts = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]
    there = host(joined_maps=(((0, 1000, 10),), ()))
    assert planned(config(linux=linux, mounts=mounts), there).cgroup.owner == 1000
    assert planned(config(linux=linux, mounts=mounts)).cgroup.owner == -1


def test_warnings_of_every_part() -> None:
    process = {"args": ["sh"], "capabilities": {"bounding": ["CAP_NO_SUCH"]}}
    linux = {"resources": {"memory": {"kernel": 1 << 20}}}
    warnings = planned(config(process=process, linux=linux)).warnings
    assert "CAP_NO_SUCH" in warnings[0]
    assert any("kernel memory" in warning.lower() or "memory.kernel" in warning for warning in warnings[1:])


def test_what_is_for_other_platforms_is_told_of() -> None:
    process = {"args": ["sh"], "commandLine": "cmd.exe", "user": {"uid": 0, "gid": 0, "username": "me"}}
    others = {name: {"x": 1} for name in ("windows", "solaris", "zos", "freebsd", "vm")}
    others["annotations"] = {"org.example": "y", "run.oci.handler": "krun"}
    assert planned(config(process=process) | others).warnings == (
        "/windows is left out: it is for another platform",
        "/solaris is left out: it is for another platform",
        "/zos is left out: it is for another platform",
        "/freebsd is left out: it is for another platform",
        "/vm is left out: there is no virtual machine",
        "the annotation run.oci.handler is left out: it is a request to crun",
        "/process/commandLine is left out: it is for Windows",
        "/process/user/username is left out: it is for Windows",
    )


def test_capabilities_within_a_user_namespace() -> None:
    process = {"args": ["sh"], "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}
    poor = host(grantable_capabilities=0)
    user = {"namespaces": [*config()["linux"]["namespaces"], {"type": "user"}]}
    assert planned(config(process=process), poor).process.capabilities.bounding == 0
    assert planned(config(process=process, linux=user), poor).process.capabilities.bounding == 1 << 21


def test_without_a_mount_namespace_nothing_is_made_at_once() -> None:
    """Killed meanwhile, it would leave mounts on the host."""
    mounts = [{"destination": "/x", "type": "tmpfs", "source": "x" * 256}]
    assert planned(config(mounts=mounts)).mounts[0].at_once
    changed = config(mounts=mounts, linux={"namespaces": without("mount")})
    assert refusal(changed).startswith("mount /x: without a mount namespace, its source and each of its options")
