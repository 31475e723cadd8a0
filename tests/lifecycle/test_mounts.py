# SPDX-License-Identifier: Apache-2.0
"""`mounts`: every type and option, where they may be put, and what they leave of the host alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .configs import bind, mount
from .harness import Container, mounts_below

differs = pytest.mark.differs
_libc = ctypes.CDLL(None, use_errno=True)

MS_BIND, MS_REMOUNT, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY = 4096, 32, 4, 8, 2, 1
MS_SHARED, MS_PRIVATE, MS_REC = 1 << 20, 1 << 18, 16384


@dataclass
class Mounted:
    """One line of a /proc/PID/mountinfo."""

    point: str
    options: set[str]
    propagation: list[str]
    kind: str
    source: str
    super_options: set[str]


def parse_mountinfo(text: str) -> list[Mounted]:
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        kind, source, super_options = after.split(" ", 2)
        mounts.append(
            Mounted(fields[4], set(fields[5].split(",")), fields[6:], kind, source, set(super_options.split(",")))
        )
    return mounts


def mounted(container: Container, point: str) -> Mounted:
    """The topmost mount at `point`, as seen inside a container that has the config's mounts."""
    found = [one for one in parse_mountinfo(container.output("cat", "/proc/self/mountinfo")) if one.point == point]
    assert found, f"nothing is mounted at {point}"
    return found[-1]


@pytest.fixture
def volume(container: Container) -> Path:
    """A directory of the host with one file in it, which is no mount of its own."""
    path = container.scratch / "volume"
    path.mkdir()
    (path / "file").write_text("from the host\n")
    return path


@contextlib.contextmanager
def host_mount(path: Path, flags: int = 0) -> Iterator[None]:
    """A tmpfs of the host at `path`, private, with the given flags."""
    path.mkdir(exist_ok=True)
    assert _libc.mount(b"tmpfs", os.fsencode(path), b"tmpfs", flags, None) == 0
    assert _libc.mount(None, os.fsencode(path), None, MS_PRIVATE, None) == 0
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(path), 2)


# Kinds of file systems


def test_tmpfs(container: Container) -> None:
    container.mounts.append(
        mount("/scratch", "tmpfs", "tmpfs", "nosuid", "nodev", "size=1m", "mode=707", "uid=5", "gid=6")
    )
    seen = container.sh(
        "echo x > /scratch/x; stat -c '%a %u %g' /scratch; df -k /scratch | tail -1; grep ' /scratch ' /proc/self/mountinfo"
    )
    mode, usage, line = seen.splitlines()
    assert mode == "707 5 6"
    assert usage.split()[1] == "1024"
    (entry,) = parse_mountinfo(line)
    assert {"nosuid", "nodev", "rw"} <= entry.options
    assert entry.kind == "tmpfs"
    assert not (container.rootfs / "scratch" / "x").exists()


@pytest.mark.parametrize("mode", [0o1777, 0o750, 0o755])
def test_tmpfs_takes_the_mode_of_the_directory_it_covers(container: Container, mode: int) -> None:
    (container.rootfs / "covered").mkdir()
    (container.rootfs / "covered").chmod(mode)
    container.mounts.append(mount("/covered", "tmpfs", "tmpfs"))
    assert container.output("stat", "-c", "%a", "/covered") == f"{mode:o}\n"


def test_tmpfs_read_only(container: Container) -> None:
    container.mounts.append(mount("/scratch", "tmpfs", "tmpfs", "ro"))
    assert "ro" in mounted(container, "/scratch").options


@pytest.mark.needs_mke2fs
@pytest.mark.parametrize("what", ["the mount", "the disk"])
def test_a_disk_read_only(container: Container, what: str) -> None:
    """It is opened for reading: nothing is written to it, not even by the file system itself, and it may be read-only."""
    image = container.scratch / "image"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext2", image], check=True)
    command = ["losetup", "--find", "--show", *(["--read-only"] if what == "the disk" else []), image]
    disk = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    try:
        container.mounts.append(mount("/data", "ext2", disk, "ro"))
        found = mounted(container, "/data")
        assert "ro" in found.options
        assert "ro" in found.super_options
    finally:
        subprocess.run(["losetup", "--detach", disk], check=True)


def test_tmpfs_that_starts_with_what_it_covers(container: Container) -> None:
    covered = container.rootfs / "covered"
    (covered / "sub").mkdir(parents=True)
    (covered / "file").write_text("content\n")
    (covered / "file").chmod(0o646)
    os.chown(covered / "file", 7, 8)
    os.symlink("file", covered / "link")
    (covered / "sub" / "deep").write_text("deep\n")
    container.mounts.append(mount("/covered", "tmpfs", "tmpfs", "tmpcopyup"))
    seen = container.sh("cd /covered; cat file link sub/deep; stat -c '%a %u %g' file; readlink link; echo new > file")
    assert seen.splitlines() == ["content", "content", "deep", "646 7 8", "file"]
    assert (covered / "file").read_text() == "content\n"


@differs(runc="1.1.5 reads what lies there first")
def test_tmpfs_starts_with_nothing_that_it_may_not_cover(container: Container) -> None:
    """Where a link of the image leads is known before anything is read there."""
    (container.rootfs / "covered").symlink_to("/proc")
    container.mounts.append(mount("/covered", "tmpfs", "tmpfs", "tmpcopyup"))
    container.create().refused("inside /proc")
    container.leaves_nothing()


def test_proc_shows_the_containers_processes(container: Container) -> None:
    assert mounted(container, "/proc").kind == "proc"


def test_sysfs(container: Container) -> None:
    seen = mounted(container, "/sys")
    assert (seen.kind, "ro" in seen.options) == ("sysfs", True)


def test_devpts_is_the_containers_own(container: Container) -> None:
    seen = container.sh(
        "ls /dev/pts; stat -c %a /dev/pts/ptmx; readlink /dev/ptmx; grep ' /dev/pts ' /proc/self/mountinfo"
    )
    *listing, mode, link, line = seen.splitlines()
    assert listing == ["ptmx"]
    assert (mode, link) == ("666", "pts/ptmx")
    assert {"gid=5", "mode=620", "ptmxmode=666"} <= parse_mountinfo(line)[0].super_options


def test_mqueue(container: Container) -> None:
    assert mounted(container, "/dev/mqueue").kind == "mqueue"


@pytest.mark.needs_cgroup_v1
def test_cgroup_shows_the_containers_own_part(container: Container) -> None:
    container.create(args=["sleep", "1000"]).ok()
    text = container.exec("cat", "/proc/self/mountinfo").ok().out
    points = {entry.point: entry for entry in parse_mountinfo(text)}
    assert points["/sys/fs/cgroup"].kind == "tmpfs"
    for controller in ("cpu", "memory", "pids", "devices", "freezer"):
        entry = points[f"/sys/fs/cgroup/{controller}"]
        assert entry.kind == "cgroup"
        assert {"ro", "nosuid", "nodev", "noexec"} <= entry.options
        assert container.exec("cat", f"/sys/fs/cgroup/{controller}/cgroup.procs").ok().out.split()[0] == "1"


def test_an_unknown_file_system_is_refused(container: Container) -> None:
    container.mounts.append(mount("/x", "nosuchfs", "none"))
    container.create().refused("no such device")
    container.leaves_nothing()


def test_an_option_no_file_system_knows_is_refused(container: Container) -> None:
    container.mounts.append(mount("/x", "tmpfs", "tmpfs", "nonsense=1"))
    container.create().refused("/x", "invalid argument")
    container.leaves_nothing()


def test_mounts_are_made_in_the_order_given(container: Container, volume: Path) -> None:
    container.mounts[:] += [
        mount("/a", "tmpfs", "tmpfs"),
        bind(volume, "/a/b", "bind"),
        mount("/a/b/c", "tmpfs", "tmpfs"),
    ]
    (volume / "c").mkdir()
    points = [one.point for one in parse_mountinfo(container.output("cat", "/proc/self/mountinfo"))]
    assert [point for point in points if point.startswith("/a")] == ["/a", "/a/b", "/a/b/c"]


# Binds


def test_bind_of_a_directory(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/data", "bind"))
    assert container.sh("cat /data/file; echo new > /data/new") == "from the host\n"
    assert (volume / "new").read_text() == "new\n"


def test_bind_of_a_file(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume / "file", "/etc/deep/er/file", "bind"))
    assert container.output("cat", "/etc/deep/er/file") == "from the host\n"
    target = container.rootfs / "etc/deep/er/file"
    assert target.read_bytes() == b""
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o755


def test_bind_over_a_file(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume / "file", "/etc/passwd", "bind"))
    assert container.output("cat", "/etc/passwd") == "from the host\n"
    assert (container.rootfs / "etc/passwd").read_text().startswith("root:")


def test_bind_by_option_alone(container: Container, volume: Path) -> None:
    """The type plays no part: `bind` or `rbind` among the options is what makes a bind mount."""
    container.mounts.append(mount("/data", "none", str(volume), "rbind"))
    assert container.output("cat", "/data/file") == "from the host\n"


def test_bind_of_a_source_relative_to_the_bundle(container: Container) -> None:
    (container.bundle / "near").mkdir()
    (container.bundle / "near" / "file").write_text("near\n")
    container.mounts.append(bind("near", "/data", "bind"))
    assert container.output("cat", "/data/file") == "near\n"


def test_bind_of_a_socket(container: Container) -> None:
    import socket

    path = container.scratch / "sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        container.mounts.append(bind(path, "/run/sock", "bind"))
        assert container.output("stat", "-c", "%F", "/run/sock") == "socket\n"


def test_bind_follows_a_symlink_of_the_host(container: Container, volume: Path) -> None:
    link = container.scratch / "link"
    link.symlink_to(volume)
    container.mounts.append(bind(link, "/data", "bind"))
    assert container.output("cat", "/data/file") == "from the host\n"


def test_bind_leaves_submounts_out(container: Container, volume: Path) -> None:
    with host_mount(volume / "sub"):
        (volume / "sub" / "below").write_text("")
        container.mounts.append(bind(volume, "/data", "bind"))
        assert container.output("ls", "/data/sub") == ""


def test_rbind_takes_submounts_along(container: Container, volume: Path) -> None:
    with host_mount(volume / "sub"):
        (volume / "sub" / "below").write_text("")
        container.mounts.append(bind(volume, "/data", "rbind"))
        assert container.output("ls", "/data/sub") == "below\n"


@pytest.mark.parametrize(
    "option", ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "relatime", "nosymfollow"]
)
def test_bind_with_a_flag(container: Container, volume: Path, option: str) -> None:
    if container.runtime.name == "runc" and option == "nosymfollow":
        pytest.xfail("runc 1.1.5 knows no nosymfollow")
    container.mounts.append(bind(volume, "/data", "bind", option))
    assert option in mounted(container, "/data").options


def test_bind_with_many_flags(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/data", "rbind", "ro", "nosuid", "nodev", "noexec", "rprivate"))
    assert {"ro", "nosuid", "nodev", "noexec"} <= mounted(container, "/data").options


def test_bind_with_an_empty_option(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/data", "rbind", "", "ro"))
    assert "ro" in mounted(container, "/data").options


def test_ro_is_for_this_mount_alone(container: Container, volume: Path) -> None:
    """A remount without MS_BIND would make the whole file system of the host read-only."""
    container.mounts.append(bind(volume, "/data", "bind", "ro"))
    container.sh("! touch /data/x 2> /dev/null")
    (volume / "host").write_text("still writable")


def test_the_hosts_mount_keeps_its_own_flags(container: Container, volume: Path) -> None:
    with host_mount(volume, MS_NOSUID | MS_NODEV | MS_NOEXEC):
        container.mounts.append(bind(volume, "/data", "rbind", "ro"))
        assert "ro" in mounted(container, "/data").options
        (host,) = [one for one in parse_mountinfo(Path("/proc/self/mountinfo").read_text()) if one.point == str(volume)]
        assert {"rw", "nosuid", "nodev", "noexec"} <= host.options


def test_ro_leaves_submounts_writable(container: Container, volume: Path) -> None:
    with host_mount(volume / "sub"):
        container.mounts.append(bind(volume, "/data", "rbind", "ro"))
        container.sh("touch /data/sub/x; ! touch /data/x 2> /dev/null")


@pytest.mark.parametrize("option", ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime"])
def test_recursive_flags_reach_submounts(container: Container, volume: Path, option: str) -> None:
    with host_mount(volume / "sub"):
        container.mounts.append(bind(volume, "/data", "rbind", option))
        flag = option[1:]
        entries = {one.point: one for one in parse_mountinfo(container.output("cat", "/proc/self/mountinfo"))}
        assert flag in entries["/data"].options
        assert flag in entries["/data/sub"].options


def test_a_recursive_flag_can_clear(container: Container, volume: Path) -> None:
    with host_mount(volume / "sub", MS_NOEXEC):
        container.mounts.append(bind(volume, "/data", "rbind", "rexec"))
        assert "noexec" not in mounted(container, "/data/sub").options


@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("rprivate", []),
        ("private", []),
        ("rshared", ["shared"]),
        ("shared", ["shared"]),
        ("rslave", ["master"]),
        ("slave", ["master"]),
        ("unbindable", ["unbindable"]),
        ("runbindable", ["unbindable"]),
    ],
)
def test_bind_propagation(container: Container, volume: Path, option: str, shown: list[str]) -> None:
    container.linux["rootfsPropagation"] = "rslave"
    with host_mount(volume):
        assert _libc.mount(None, os.fsencode(volume), None, MS_SHARED, None) == 0
        container.mounts.append(bind(volume, "/data", "rbind", option))
        # Once shared anew, a slave is both: the container's own mounts go no further than the container.
        seen = [name.partition(":")[0] for name in mounted(container, "/data").propagation]
        assert [name for name in seen if name != "master" or shown != ["shared"]] == shown


def test_a_slave_sees_later_mounts_of_the_host(container: Container, volume: Path) -> None:
    with host_mount(volume):
        assert _libc.mount(None, os.fsencode(volume), None, MS_SHARED, None) == 0
        (volume / "sub").mkdir()
        container.mounts.append(bind(volume, "/data", "rbind", "rslave"))
        container.launch()
        with host_mount(volume / "sub"):
            (volume / "sub" / "late").write_text("")
            assert container.exec("ls", "/data/sub").ok().out == "late\n"


def test_bind_of_a_missing_source(container: Container) -> None:
    container.mounts.append(bind("/no/such/source", "/data", "bind"))
    container.create().refused("/no/such/source", "no such file or directory")
    container.leaves_nothing()


def test_bind_of_a_file_over_a_directory(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume / "file", "/etc", "bind"))
    container.create().refused("/etc", "not a directory")
    container.leaves_nothing()


def test_bind_of_a_directory_over_a_file(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/etc/passwd", "bind"))
    container.create().refused("/etc/passwd", "not a directory")
    container.leaves_nothing()


def test_bind_without_the_option(container: Container, volume: Path) -> None:
    container.mounts.append({"destination": "/data", "type": "bind", "source": str(volume)})
    result = container.create()
    if container.runtime.name == "runc":
        result.refused("no such device")
    else:
        result.refused("bind")
    container.leaves_nothing()


def test_what_is_mounted_is_not_seen_outside(container: Container, volume: Path) -> None:
    container.mounts[:] += [bind(volume, "/data", "bind"), mount("/scratch", "tmpfs", "tmpfs")]
    container.launch()
    assert mounts_below(container.scratch) == []


def test_the_host_keeps_its_mounts(container: Container) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    container.run().ok()
    assert Path("/proc/self/mountinfo").read_text() == before


# Destinations


def test_a_missing_destination_is_made(container: Container) -> None:
    container.mounts.append(mount("/made/for/this", "tmpfs", "tmpfs"))
    container.run().ok()
    assert stat.S_IMODE((container.rootfs / "made/for").stat().st_mode) == 0o755


def test_a_destination_with_dots_stays_inside(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/../../../data", "bind"))
    assert container.output("cat", "/data/file") == "from the host\n"


@pytest.mark.parametrize("target", ["/outside", "../../../../../../../../../outside", "//outside/../outside"])
def test_a_symlink_leads_nowhere_but_inside(container: Container, volume: Path, target: str) -> None:
    """An absolute link of the image starts at the container's root; dots end there."""
    (container.rootfs / "link").symlink_to(target)
    (container.rootfs / "outside").mkdir()
    container.mounts.append(bind(volume, "/link/data", "bind"))
    assert container.output("cat", "/outside/data/file") == "from the host\n"
    assert not Path("/outside").exists()


def test_a_symlink_to_a_missing_directory_is_followed_inside(container: Container, volume: Path) -> None:
    canary = container.scratch / "canary"
    canary.mkdir()
    (container.rootfs / "link").symlink_to(f"{canary}/made")
    container.mounts.append(bind(volume, "/link", "bind"))
    result = container.run(args=["ls", "/link"])
    assert list(canary.iterdir()) == []
    if result.status == 0:
        assert result.out == "file\n"


@pytest.mark.parametrize("link", ["/run/lock", "../run/lock"])
def test_a_symlink_into_an_empty_tmpfs(container: Container, volume: Path, link: str) -> None:
    """Debian's /var/lock, with `--tmpfs /run`: what it leads to is made in the tmpfs."""
    (container.rootfs / "var").mkdir(exist_ok=True)
    (container.rootfs / "var" / "lock").symlink_to(link)
    container.mounts.append(mount("/run", "tmpfs", "tmpfs"))
    container.mounts.append(bind(volume, "/var/lock/volume", "bind"))
    container.mounts.append(bind(volume / "file", "/var/lock/one/file", "bind"))
    told = container.output("cat", "/run/lock/volume/file", "/run/lock/one/file", "/var/lock/volume/file")
    assert told == "from the host\n" * 3


def test_a_symlink_chain_without_end(container: Container, volume: Path) -> None:
    (container.rootfs / "one").symlink_to("two")
    (container.rootfs / "two").symlink_to("one")
    container.mounts.append(bind(volume, "/one", "bind"))
    result = container.create()
    assert result.status == 1, f"{result}"
    container.leaves_nothing()


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_must_be_real_directories(container: Container, name: str) -> None:
    (container.rootfs / name).rmdir()
    (container.rootfs / "elsewhere").mkdir()
    (container.rootfs / name).symlink_to("/elsewhere")
    container.create().refused(f"{name}")
    container.leaves_nothing()


@differs(runc="1.1.5 makes the nodes through the link, on the host")
def test_dev_as_a_symlink_reaches_nothing_of_the_host(container: Container) -> None:
    canary = container.scratch / "canary"
    canary.mkdir()
    (container.rootfs / "dev").rmdir()
    (container.rootfs / "dev").symlink_to(canary)
    container.mounts[:] = [entry for entry in container.mounts if not entry["destination"].startswith("/dev")]
    container.run()
    assert list(canary.iterdir()) == []


@pytest.mark.parametrize("destination", ["/proc", "/proc/sys", "/proc/self/attr"])
def test_nothing_but_proc_goes_over_proc(container: Container, volume: Path, destination: str) -> None:
    container.mounts.append(bind(volume, destination, "bind"))
    container.create().refused("/proc")
    container.leaves_nothing()


def test_some_files_of_proc_may_be_covered(container: Container, volume: Path) -> None:
    """lxcfs does so."""
    container.mounts.append(bind(volume / "file", "/proc/meminfo", "bind"))
    assert container.output("cat", "/proc/meminfo") == "from the host\n"


def test_a_symlink_does_not_hide_that_proc_is_covered(container: Container, volume: Path) -> None:
    (container.rootfs / "link").symlink_to("proc")
    container.mounts.append(bind(volume, "/link/sys", "bind"))
    container.create().refused("/proc")
    container.leaves_nothing()


def test_nothing_is_mounted_on_the_root(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "/", "bind"))
    assert container.create().status == 1


def test_a_relative_destination_is_taken_from_the_root(container: Container, volume: Path) -> None:
    container.mounts.append(bind(volume, "data", "bind"))
    assert container.output("cat", "/data/file") == "from the host\n"


# The root filesystem


def test_a_readonly_root(container: Container) -> None:
    container.config["root"]["readonly"] = True
    container.sh("! touch /x 2> /dev/null; touch /dev/shm/x")
    (container.rootfs / "outside").write_text("the host still writes")


def test_a_root_on_a_nosuid_mount_made_readonly(containers: Callable[[], Container]) -> None:
    container = containers()
    host = container.scratch / "host"
    with host_mount(host, MS_NOSUID | MS_NODEV):
        container.fill(host / "rootfs")
        container.config["root"] = {"path": str(host / "rootfs"), "readonly": True}
        assert "ro" in mounted(container, "/").options


@pytest.fixture(autouse=True)
def link_of_busybox_may_cross_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rootfs is filled by hard links; on another file system they are copies."""
    original = os.link

    def link(source: Path, target: Path) -> None:
        import shutil

        try:
            original(source, target)
        except OSError:
            shutil.copy(source, target)

    monkeypatch.setattr(os, "link", link)


def test_an_absolute_root_path(container: Container) -> None:
    container.config["root"]["path"] = str(container.rootfs)
    assert container.output("echo", "hello") == "hello\n"


@pytest.mark.parametrize(
    ("path", "text"), [("missing", "no such file or directory"), ("config.json", "not a directory")]
)
def test_a_root_that_is_no_directory(container: Container, path: str, text: str) -> None:
    container.config["root"]["path"] = path
    result = container.create()
    assert result.status == 1, f"{result}"
    assert text in result.err or "does not exist" in result.err, f"{result}"
    container.leaves_nothing()


def test_a_symlinked_root_is_refused_or_followed(container: Container) -> None:
    """runc refuses it; what must not be is a container on half of it."""
    (container.bundle / "link").symlink_to("rootfs")
    container.config["root"]["path"] = "link"
    result = container.run(args=["cat", "/etc/passwd"])
    if result.status == 0:
        assert result.out == (container.rootfs / "etc" / "passwd").read_text()
    else:
        result.refused("link")


@pytest.mark.parametrize(
    ("propagation", "shown"),
    [
        (None, ["master"]),
        ("slave", ["master"]),
        ("rslave", ["master"]),
        ("private", []),
        ("rprivate", []),
        pytest.param("shared", ["shared"], marks=differs(runc="1.1.5 loses it in pivot_root")),
        pytest.param("rshared", ["shared"], marks=differs(runc="1.1.5 loses it in pivot_root")),
    ],
)
def test_rootfs_propagation(container: Container, propagation: str | None, shown: list[str]) -> None:
    if propagation is not None:
        container.linux["rootfsPropagation"] = propagation
    host = container.scratch / "host"
    with host_mount(host):
        assert _libc.mount(None, os.fsencode(host), None, MS_SHARED, None) == 0
        container.fill(host / "rootfs")
        container.config["root"]["path"] = str(host / "rootfs")
        line = mounted(container, "/").propagation
        kinds = [name.partition(":")[0] for name in line]
        if shown == ["shared"]:
            assert "shared" in kinds
        elif shown == []:
            assert kinds == []
        else:
            assert "shared" not in kinds


def test_the_old_root_is_gone(container: Container) -> None:
    text = container.output("cat", "/proc/self/mountinfo")
    points = [one.point for one in parse_mountinfo(text)]
    assert points.count("/") == 1
    assert str(container.scratch) not in container.sh("cat /proc/self/mounts")


def test_without_pivot_root(container: Container) -> None:
    seen = container.run("--no-pivot", args=["sh", "-c", "ls /; ls /.. | wc -l; ls / | wc -l"]).ok().out.splitlines()
    assert "bin" in seen
    assert seen[-1] == seen[-2]


def test_without_pivot_root_when_propagation_is_private(container: Container) -> None:
    container.linux["rootfsPropagation"] = "private"
    container.run("--no-pivot", args=["true"]).refused("rootfsPropagation", "pivot_root")


# Masks


def masked(container: Container, path: str) -> None:
    container.linux["maskedPaths"] = [path]


def test_a_masked_file_is_empty(container: Container) -> None:
    masked(container, "/etc/passwd")
    assert container.sh("cat /etc/passwd; stat -c %F /etc/passwd") == "character special file\n"


@pytest.mark.parametrize("path", ["/proc/../etc/passwd", "/sys/kernel/../../etc/passwd", "/etc/../etc/passwd"])
def test_a_masked_file_by_way_of_dots(container: Container, path: str) -> None:
    masked(container, path)
    container.linux["readonlyPaths"] = ["/proc/../etc"]
    seen = container.sh("cat /etc/passwd; stat -c %F /etc/passwd; ! touch /etc/x 2> /dev/null")
    assert seen == "character special file\n"


def test_a_masked_directory_is_empty_and_readonly(container: Container) -> None:
    masked(container, "/etc")
    assert container.sh("ls /etc; ! touch /etc/x 2> /dev/null") == ""


def test_a_masked_path_that_does_not_exist_is_no_error(container: Container) -> None:
    container.linux["maskedPaths"] = ["/no/such/path", "/etc/nothing"]
    container.linux["readonlyPaths"] = ["/no/such/path"]
    container.run().ok()


def test_masks_of_proc(container: Container) -> None:
    script = "cat /proc/keys /proc/timer_list | wc -c; ls /sys/firmware /proc/acpi 2> /dev/null | grep -v : | wc -w"
    assert container.sh(script).split() == ["0", "0"]


def test_a_readonly_path(container: Container) -> None:
    container.linux["readonlyPaths"] = ["/etc", "/etc/passwd"]
    container.sh("! touch /etc/x 2> /dev/null; ! sh -c 'echo >> /etc/passwd' 2> /dev/null; touch /x")
    (container.rootfs / "etc" / "host").write_text("the host still writes")


def test_readonly_paths_of_proc(container: Container) -> None:
    container.process["capabilities"] = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
    container.sh("! sh -c 'echo 1 > /proc/sys/kernel/domainname' 2> /dev/null")


def test_a_mask_through_a_symlink_stays_inside(container: Container) -> None:
    canary = container.scratch / "canary"
    canary.write_text("host\n")
    (container.rootfs / "link").symlink_to(canary)
    masked(container, "/link")
    container.run().ok()
    assert canary.read_text() == "host\n"
