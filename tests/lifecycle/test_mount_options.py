# SPDX-License-Identifier: Apache-2.0
"""Mounts that change others, options for whole trees, and what becomes of the host's mounts without pivot_root."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from .configs import bind, mount, with_user_namespace, without_namespace
from .harness import Container, mounts_below
from .test_mounts import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_SHARED, _libc, host_mount, parse_mountinfo

differs = pytest.mark.differs
MS_NOATIME, MS_RDONLY, MS_STRICTATIME = 1024, 1, 1 << 24


def options_at(container: Container, *points: str) -> list[set[str]]:
    """The options of the topmost mount at each point, in the container."""
    found = {one.point: one.options for one in parse_mountinfo(container.output("cat", "/proc/self/mountinfo"))}
    return [found[point] for point in points]


@pytest.fixture
def volume(container: Container) -> Path:
    path = container.scratch / "volume"
    path.mkdir()
    (path / "file").write_text("from the host\n")
    return path


# remount


@differs(runc="1.1.5 looks for the source of a remount with bind")
def test_remount_changes_the_attributes(container: Container, volume: Path) -> None:
    container.mounts[:] += [
        bind(volume, "/data", "bind", "nosuid"),
        mount("/data", "none", "none", "bind", "remount", "ro", "noexec"),
    ]
    (options,) = options_at(container, "/data")
    assert {"ro", "noexec"} <= options
    (volume / "host").write_text("still writable")


def test_remount_alone_leaves_the_hosts_file_system_writable(container: Container, volume: Path) -> None:
    if container.runtime.name != "pyoci":
        pytest.skip("a runtime that remounts whole file systems would make this machine's read-only")
    container.mounts[:] += [bind(volume, "/data", "bind"), mount("/data", "none", "none", "remount", "ro")]
    assert "ro" in options_at(container, "/data")[0]
    (volume / "host").write_text("still writable")


@differs(runc="1.1.5 looks for the source of a remount with bind")
def test_remount_can_take_back(container: Container) -> None:
    container.mounts[:] += [
        mount("/scratch", "tmpfs", "tmpfs", "noexec", "nosuid"),
        mount("/scratch", "tmpfs", "tmpfs", "remount", "bind", "exec", "nosuid"),
    ]
    (options,) = options_at(container, "/scratch")
    assert "noexec" not in options
    assert "nosuid" in options


def test_remount_with_data_changes_the_file_system(container: Container) -> None:
    container.mounts[:] += [
        mount("/scratch", "tmpfs", "tmpfs", "size=1m"),
        mount("/scratch", "tmpfs", "tmpfs", "remount", "size=2m"),
    ]
    assert container.sh("df -k /scratch | tail -1").split()[1] == "2048"


@pytest.mark.parametrize("destination", ["/etc", "/no/such/place"])
def test_remount_of_what_is_no_mount(container: Container, destination: str) -> None:
    container.mounts.append(mount(destination, "none", "none", "remount", "bind", "ro"))
    container.create().refused(destination)
    container.leaves_nothing()


def test_remount_with_data_that_the_file_system_refuses(container: Container) -> None:
    container.mounts[:] += [
        mount("/scratch", "tmpfs", "tmpfs"),
        mount("/scratch", "tmpfs", "tmpfs", "remount", "nonsense=1"),
    ]
    container.create().refused("/scratch")
    container.leaves_nothing()


# Data for the file system


@pytest.mark.parametrize("options", [["mpol=interleave:0,0", "size=1m"], ["size=1m", "mpol=interleave:0", "0"]])
def test_a_tmpfs_has_commas_within_its_memory_policy(container: Container, options: list[str]) -> None:
    """The kernel takes what begins with a digit for a part of what is before it; docker parts options at each comma."""
    container.mounts.append(mount("/scratch", "tmpfs", "tmpfs", *options))
    line = container.sh("grep ' /scratch ' /proc/self/mountinfo")
    assert {"mpol=interleave:0", "size=1024k"} <= parse_mountinfo(line)[0].super_options


def test_an_overlay_has_commas_in_its_layers(container: Container) -> None:
    layers = [container.scratch / name for name in ("a,b", "c")]
    for layer in layers:
        layer.mkdir()
        (layer / f"of {layer.name}").touch()
    lower = ":".join(str(layer).replace(",", "\\,") for layer in layers)
    container.mounts.append(mount("/data", "overlay", "overlay", f"lowerdir={lower}"))
    assert container.output("ls", "/data").splitlines() == ["of a,b", "of c"]


LONG = "n" * 200


@pytest.mark.parametrize("mapped", [False, pytest.param(True, marks=pytest.mark.needs_user_namespaces)])
def test_more_layers_than_fit_into_one_parameter(container: Container, mapped: bool) -> None:
    """fsconfig(2) takes 255 bytes of each; who mounts by mount(2) has a page for all of them."""
    if mapped:
        with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    layers = [container.scratch / LONG / name for name in ("a", "b")]
    for layer in layers:
        layer.mkdir(parents=True)
        (layer / f"of {layer.name}").touch()
    options = [f"lowerdir={layers[0]}:{layers[1]}", "nosuid"]
    container.mounts.append(mount("/data", "overlay", "overlay", *options))
    assert container.output("ls", "/data").splitlines() == ["of a", "of b"]


@pytest.mark.parametrize("options", [["rw"], ["ro", "noexec"]])
def test_a_long_source(container: Container, options: list[str]) -> None:
    container.mounts.append(mount("/scratch", "tmpfs", LONG * 2, *options))
    line = container.sh("grep ' /scratch ' /proc/self/mountinfo")
    (entry,) = parse_mountinfo(line)
    assert (entry.source, {*options} <= entry.options) == (LONG * 2, True)


def test_more_options_than_the_kernel_takes(container: Container) -> None:
    layers = [f"/{LONG}/{number}" for number in range(30)]
    container.mounts.append(mount("/data", "overlay", "overlay", f"lowerdir={':'.join(layers)}"))
    container.create().refused("/data")
    container.leaves_nothing()


# Attributes of a mount and of its whole tree

ATTRIBUTES = {
    "ro": "rw",
    "nosuid": "suid",
    "nodev": "dev",
    "noexec": "exec",
    "nodiratime": "diratime",
}


def test_every_recursive_attribute_at_once(container: Container, volume: Path) -> None:
    with host_mount(volume / "sub"):
        container.mounts.append(bind(volume, "/data", "rbind", *(f"r{name}" for name in ATTRIBUTES)))
        for options in options_at(container, "/data", "/data/sub"):
            assert set(ATTRIBUTES) <= options


def test_every_recursive_attribute_taken_back(container: Container, volume: Path) -> None:
    with host_mount(volume / "sub", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC):
        container.mounts.append(bind(volume, "/data", "rbind", *(f"r{name}" for name in ATTRIBUTES.values())))
        for options in options_at(container, "/data", "/data/sub"):
            assert not set(ATTRIBUTES) & options


@pytest.mark.parametrize(("whole", "single"), list(itertools.product(["rro", "rrw"], ["ro", "rw"])))
def test_a_tree_and_its_top(container: Container, volume: Path, whole: str, single: str) -> None:
    """What is said of the whole tree comes last, so it holds for the top as well."""
    with host_mount(volume / "sub"):
        container.mounts.append(bind(volume, "/data", "rbind", single, whole))
        top, below = options_at(container, "/data", "/data/sub")
        assert whole[1:] in top
        assert whole[1:] in below


@differs(runc="1.1.5 gives a new file system none of the options for trees")
def test_a_new_file_system_is_a_tree_of_one(container: Container) -> None:
    """It is made read-only when all that the runtime makes in it is there, as with the option for single mounts."""
    (container.rootfs / "covered").mkdir()
    (container.rootfs / "covered" / "file").write_text("of the image\n")
    container.mounts.append(mount("/covered", "tmpfs", "tmpfs", "rro", "tmpcopyup"))
    dev = next(entry for entry in container.mounts if entry["destination"] == "/dev")
    dev["options"] = [*dev["options"], "rro"]
    container.launch("sleep", "1000")
    text = container.exec("cat", "/covered/file", "/proc/self/mountinfo").ok().out
    found = {one.point: one.options for one in parse_mountinfo(text.removeprefix("of the image\n"))}
    assert "ro" in found["/covered"]
    assert "ro" in found["/dev"]
    assert "rw" in found["/dev/shm"]


TIMES = {"relatime": "relatime", "noatime": "noatime", "strictatime": None}


@pytest.mark.parametrize("before", [0, MS_NOATIME, MS_STRICTATIME])
@pytest.mark.parametrize("option", TIMES)
@pytest.mark.parametrize("recursive", [False, True])
def test_access_times_are_one_choice_of_three(
    container: Container, volume: Path, before: int, option: str, recursive: bool
) -> None:
    """The kernel wants the whole field cleared with any change of it (mount_setattr(2))."""
    if container.runtime.name == "runc":
        pytest.xfail("runc 1.1.5 does not clear the field")
    with host_mount(volume, before), host_mount(volume / "sub", before):
        container.mounts.append(bind(volume, "/data", "rbind", f"r{option}" if recursive else option))
        top, below = options_at(container, "/data", "/data/sub")
        for seen in [top, below] if recursive else [top]:
            assert {name for name in ("relatime", "noatime") if name in seen} == set(filter(None, [TIMES[option]]))


def test_of_contradicting_options_the_last_one_counts(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/data", "bind", "ro", "noexec", "rw", "exec", "nosuid", "noexec"))
    (options,) = options_at(container, "/data")
    assert {"rw", "noexec", "nosuid"} <= options


@pytest.mark.needs_user_namespaces
@differs(runc="1.1.5 has its remount refused")
def test_a_flag_that_the_host_has_locked(container: Container, volume: Path) -> None:
    """What is bound into a user namespace keeps the flags that the host's mount has."""
    with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    with host_mount(volume, MS_NOSUID | MS_NOEXEC):
        container.mounts.append(bind(volume, "/data", "bind", "ro"))
        (options,) = options_at(container, "/data")
        assert {"ro", "nosuid", "noexec"} <= options


@pytest.mark.needs_user_namespaces
@differs(runc="1.1.5 has its remount refused")
@pytest.mark.parametrize(("option", "flag"), [("exec", "noexec"), ("suid", "nosuid"), ("rw", "ro")])
def test_root_may_unlock_a_flag_of_the_hosts(container: Container, volume: Path, option: str, flag: str) -> None:
    """It is not passed over in silence; test_rootless.py has what becomes of an ordinary user's."""
    with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    with host_mount(volume, MS_NOSUID | MS_NOEXEC | MS_RDONLY):
        container.mounts.append(bind(volume, "/data", "bind", option))
        (options,) = options_at(container, "/data")
        assert options & {"noexec", "nosuid", "ro"} == {"noexec", "nosuid", "ro"} - {flag}


@pytest.mark.needs_user_namespaces
@differs(runc="1.1.5 looks for the source of a remount with bind")
@pytest.mark.parametrize("option", ["ro", "nodev", "noatime"])
def test_a_remount_keeps_what_the_host_has_locked(container: Container, volume: Path, option: str) -> None:
    with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    with host_mount(volume, MS_NOSUID | MS_NOEXEC):
        container.mounts[:] += [bind(volume, "/data", "bind"), bind("none", "/data", "bind", "remount", option)]
        (options,) = options_at(container, "/data")
        assert {option, "nosuid", "noexec"} <= options


# Two mounts at one place


@pytest.mark.parametrize("mapped", [False, True])
def test_two_mounts_at_one_place(container: Container, volume: Path, mapped: bool) -> None:
    other = container.scratch / "other"
    other.mkdir()
    (other / "file").write_text("from the other\n")
    if mapped:
        with_user_namespace(container.config)
    (container.rootfs / "data").mkdir()
    container.mounts[:] += [bind(volume, "/data", "bind"), bind(other, "/data", "bind")]
    assert container.output("cat", "/data/file") == "from the other\n"


# Labels


@pytest.mark.skipif(Path("/sys/fs/selinux/enforce").exists(), reason="needs a host without SELinux")
def test_a_mount_label_without_selinux(container: Container) -> None:
    container.linux["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    result = container.create()
    assert result.status == 1, f"{result}"
    if container.runtime.name == "pyoci":
        result.refused("/linux/mountLabel", "SELinux")
    container.leaves_nothing()


# Kernel file systems in a user namespace


@pytest.mark.needs_user_namespaces
@differs(runc="1.1.5 leaves that to its caller")
def test_sysfs_of_a_network_that_is_the_hosts(container: Container) -> None:
    with_user_namespace(container.config)
    without_namespace(container.config, "network")
    text = container.output("cat", "/proc/self/mountinfo")
    below = [one for one in parse_mountinfo(text) if f"{one.point}/".startswith("/sys/") and one.kind != "tmpfs"]
    assert (below[0].point, below[0].kind) == ("/sys", "sysfs")
    assert all({"ro", "nosuid", "nodev", "noexec"} <= one.options for one in below), text


@pytest.mark.needs_user_namespaces
@pytest.mark.parametrize(("kind", "fstype"), [("pid", "proc"), ("ipc", "mqueue")])
def test_what_belongs_to_a_namespace_of_the_hosts(container: Container, kind: str, fstype: str) -> None:
    with_user_namespace(container.config)
    without_namespace(container.config, kind)
    result = container.create()
    result.refused("operation not permitted")
    if container.runtime.name == "pyoci":
        result.refused(f"mount {fstype}", f"{kind} namespace")
    container.leaves_nothing()


# --no-pivot


def test_no_pivot_takes_the_hosts_kernel_file_systems_away(container: Container) -> None:
    """From a chroot alone there may be a way back to whole views of /proc and /sys that nothing masks."""
    container.run("--no-pivot", args=["cat", "/proc/self/mountinfo"]).ok()
    seen = parse_mountinfo((container.output_file).read_text())
    whole = [one for one in seen if one.kind in ("proc", "sysfs") and one.point in ("/proc", "/sys")]
    assert len({(one.kind, one.point) for one in whole}) == len(whole)


def test_no_pivot_leaves_the_host_alone(container: Container, volume: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    container.mounts.append(bind(volume, "/data", "rbind"))
    assert container.run("--no-pivot", args=["cat", "/data/file"]).ok().out == "from the host\n"
    assert Path("/proc/self/mountinfo").read_text() == before


def test_no_pivot_with_masks_and_a_readonly_root(container: Container) -> None:
    container.config["root"]["readonly"] = True
    container.linux["maskedPaths"] = ["/etc/passwd"]
    script = "! touch /x 2> /dev/null; cat /etc/passwd; cd /..; ls bin > /dev/null; pwd"
    assert container.run("--no-pivot", args=["sh", "-ec", script]).ok().out == "/\n"


@pytest.mark.needs_user_namespaces
def test_no_pivot_in_a_user_namespace(container: Container) -> None:
    """The host's mounts are locked there, so they are covered instead."""
    with_user_namespace(container.config)
    assert container.run("--no-pivot", args=["id", "-u"]).ok().out == "0\n"


def test_no_pivot_and_exec(container: Container) -> None:
    container.create("--no-pivot", args=["sleep", "1000"]).ok()
    container.start().ok()
    assert container.exec("ls", "/").ok().out.split() == sorted(os.listdir(container.rootfs))


# rootfsPropagation


@pytest.mark.parametrize("propagation", ["unbindable", "runbindable"])
@differs(runc="1.1.5 loses it in pivot_root")
def test_an_unbindable_root(container: Container, propagation: str) -> None:
    container.linux["rootfsPropagation"] = propagation
    text = container.output("cat", "/proc/self/mountinfo")
    (root,) = [one for one in parse_mountinfo(text) if one.point == "/"]
    assert root.propagation == ["unbindable"]


def test_a_shared_root_shares_with_the_host(container: Container, volume: Path) -> None:
    """What is mounted later by the host below a shared volume is seen inside."""
    with host_mount(volume):
        assert _libc.mount(None, os.fsencode(volume), None, MS_SHARED, None) == 0
        (volume / "sub").mkdir()
        container.linux["rootfsPropagation"] = "rshared"
        container.mounts.append(bind(volume, "/data", "rbind", "rshared"))
        container.launch()
        with host_mount(volume / "sub"):
            (volume / "sub" / "late").write_text("")
            assert container.exec("ls", "/data/sub").ok().out == "late\n"
        container.delete("--force").ok()
    assert mounts_below(container.rootfs) == []
