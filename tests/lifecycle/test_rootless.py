# SPDX-License-Identifier: Apache-2.0
"""Containers of an ordinary user: alone in his user namespace, or with the ids that /etc/subuid gives him."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .configs import bind, mount, namespace
from .harness import Container, Result, eventually
from .test_mounts import MS_NOEXEC, MS_NOSUID, host_mount, parse_mountinfo

pytestmark = [pytest.mark.needs_user_namespaces, pytest.mark.needs_unshare]

USER = 65534
"""Somebody who is on every host, and on none with privileges."""
SUBIDS = 300_000

# In a mount namespace of its own, so that the host's files stay as they are.
BECOME_USER = f"""
mount --bind "$1" /etc/subuid
mount --bind "$1" /etc/subgid
shift
exec setpriv --reuid {USER} --regid {USER} --clear-groups "$@"
"""


class Box:
    """One container of an ordinary user."""

    def __init__(self, container: Container) -> None:
        self.container, self.path = container, os.environ["PATH"]
        home = container.scratch / "home"
        home.mkdir(mode=0o700)
        self.subids = container.scratch / "subids"
        self.subids.write_text(f"{USER}:{SUBIDS}:65536\n")
        os.chown(home, USER, USER)
        words = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
        subprocess.run(
            [*words, container.runtime.path, "spec", "--rootless"], cwd=home, check=True, env=self.environment
        )
        container.config = json.loads((home / "config.json").read_text())
        container.config["process"] |= {"terminal": False}
        container.root = home / "state"
        self.give(container.bundle)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": self.path, "XDG_RUNTIME_DIR": str(self.container.scratch / "home")}

    @staticmethod
    def give(path: Path) -> None:
        """Make it the user's."""
        for one in (path, *path.rglob("*")):
            os.chown(one, USER, USER, follow_symlinks=False)

    def how(self) -> dict[str, Any]:
        return {
            "wrapper": ["unshare", "--mount", "sh", "-ec", BECOME_USER, "sh", str(self.subids)],
            "env": self.environment,
        }

    def run(self, *args: str) -> Result:
        return self.container.run(args=list(args), **self.how())

    def create(self, *args: str) -> Result:
        return self.container.create(args=list(args), **self.how())

    def call(self, *arguments: str) -> Result:
        return self.container.call(*arguments, **self.how())

    def with_subids(self) -> None:
        """More ids than one's own: 0 is the user, what follows comes from /etc/subuid."""
        for name in ("uidMappings", "gidMappings"):
            self.container.linux[name] = [
                {"containerID": 0, "hostID": USER, "size": 1},
                {"containerID": 1, "hostID": SUBIDS, "size": 65536},
            ]


@pytest.fixture
def box(container: Container) -> Box:
    return Box(container)


def test_the_bundle_that_spec_writes(box: Box) -> None:
    seen = box.run("sh", "-ec", "id -u; cat /proc/self/uid_map; hostname; echo $$").ok().out.split()
    assert seen == ["0", "0", str(USER), "1", box.container.config["hostname"], "1"]


@pytest.mark.needs_time_namespaces
@pytest.mark.parametrize("subids", [False, True])
@pytest.mark.differs(runc="1.1.5 knows no time namespace")
def test_clocks_of_ones_own(box: Box, subids: bool) -> None:
    """They belong to the user namespace, in which he is root."""
    if subids:
        box.with_subids()
    box.container.linux["namespaces"].append({"type": "time"})
    box.container.linux["timeOffsets"] = {"boottime": {"secs": 1_000_000}}
    assert float(box.run("cat", "/proc/uptime").ok().out.split()[0]) > 1_000_000


@pytest.mark.differs(runc="1.1.5 has to cover what its caller cannot get at")
def test_no_pivot_beside_a_proc_out_of_reach(box: Box) -> None:
    """What the caller cannot get at, nobody in his container can, and so it may stay."""
    place = box.container.scratch / "closed" / "proc"
    place.mkdir(parents=True)
    place.parent.chmod(0o700)
    subprocess.run(["mount", "-t", "proc", "proc", str(place)], check=True)
    try:
        assert box.container.run("--no-pivot", args=["pwd"], **box.how()).ok().out == "/\n"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_whole_life(box: Box) -> None:
    box.create("sleep", "1000").ok()
    name = box.container.id
    assert json.loads(box.call("state", name).ok().out)["status"] == "created"
    box.call("start", name).ok()
    assert name in box.call("list", "--quiet").ok().out
    assert box.call("exec", name, "id", "-u").ok().out == "0\n"
    assert box.call("exec", "--cwd", "/tmp", "--env", "A=b", name, "sh", "-c", "pwd; echo $A").ok().out == "/tmp\nb\n"
    box.call("kill", name, "KILL").ok()
    eventually("its end", lambda: json.loads(box.call("state", name).ok().out)["status"] == "stopped")
    box.call("delete", name).ok()
    box.container.leaves_nothing()


def test_its_processes_are_the_users(box: Box) -> None:
    box.create("sleep", "1000").ok()
    box.call("start", box.container.id).ok()
    lines = Path(f"/proc/{box.container.pid}/status").read_text().splitlines()
    assert [line.split()[1:] for line in lines if line.startswith("Uid:")] == [[str(USER)] * 4]


def test_devices_are_the_hosts(box: Box) -> None:
    script = "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; readlink /dev/ptmx"
    assert box.run("sh", "-ec", script).ok().out.split() == ["3", "5", "pts/ptmx"]


def test_no_privilege_over_the_host(box: Box) -> None:
    secret = box.container.scratch / "secret"
    secret.write_text("")
    secret.chmod(0o600)
    box.container.mounts.append(bind(secret, "/tmp/secret", "bind"))
    assert box.run("sh", "-ec", "! cat /tmp/secret 2>/dev/null; ! mknod /tmp/node b 8 0 2>/dev/null").status == 0


def test_a_hook_and_a_mount_of_the_users(box: Box) -> None:
    volume = box.container.scratch / "home" / "volume"
    volume.mkdir()
    Box.give(volume)
    box.container.mounts.append(bind(volume, "/data", "rbind", "rw"))
    box.container.config["hooks"] = {
        "createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", f"id -u > {volume}/hook"], "env": [f"PATH={box.path}"]}
        ]
    }
    assert box.run("sh", "-ec", "cat /data/hook; touch /data/made").ok().out == f"{USER}\n"
    assert (volume / "made").stat().st_uid == USER


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("ro", marks=pytest.mark.differs(runc="1.1.5 has its remount refused")),
        pytest.param("nodev", marks=pytest.mark.differs(runc="1.1.5 has its remount refused")),
        "private",
    ],
)
def test_flags_that_the_host_has_locked_stay(box: Box, option: str) -> None:
    volume = box.container.scratch / "volume"
    with host_mount(volume, MS_NOSUID | MS_NOEXEC):
        box.container.mounts.append(bind(volume, "/data", "rbind", option))
        text = box.run("cat", "/proc/self/mountinfo").ok().out
        (options,) = (one.options for one in parse_mountinfo(text) if one.point == "/data")
        assert {"nosuid", "noexec"} <= options
        assert (option in options) == (option != "private")


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("exec", marks=pytest.mark.differs(runc="1.1.5 does nothing to clear a flag")),
        pytest.param("suid", marks=pytest.mark.differs(runc="1.1.5 does nothing to clear a flag")),
        "noatime",
    ],
)
def test_flags_that_the_host_has_locked_cannot_be_had_otherwise(box: Box, option: str) -> None:
    """What cannot be done is an error, and not passed over."""
    volume = box.container.scratch / "volume"
    with host_mount(volume, MS_NOSUID | MS_NOEXEC):
        box.container.mounts.append(bind(volume, "/data", "rbind", option))
        box.run("true").refused("/data", "operation not permitted")
        box.container.leaves_nothing()


def test_cgroup_mounts_are_readonly(box: Box) -> None:
    """CVE-2023-25809: what an ordinary user's container sees of cgroups is not for it to write to."""
    script = "cd /sys/fs/cgroup; ls */cgroup.procs cgroup.procs 2>/dev/null > /tmp/all; cat /tmp/all"
    script += "; for file in $(cat /tmp/all); do (: >> $file) 2>/dev/null && echo $file was written to; done; ! mkdir */x x 2>&-"
    box.container.mounts.append(mount("/tmp", "tmpfs", "tmpfs"))
    seen = box.run("sh", "-c", script).ok().out
    assert "cgroup.procs" in seen
    assert "written" not in seen


@pytest.mark.differs(runc="1.1.5 leaves that to its caller")
def test_a_sysfs_that_cannot_be_mounted_is_bound(box: Box) -> None:
    box.container.mounts[:] = [one for one in box.container.mounts if one["destination"] != "/sys"]
    box.container.mounts.insert(1, mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"))
    text = box.run("cat", "/proc/self/mountinfo").ok().out
    below = [one for one in parse_mountinfo(text) if f"{one.point}/".startswith("/sys/") and one.source != "tmpfs"]
    assert (below[0].point, below[0].kind) == ("/sys", "sysfs")
    assert all({"ro", "nosuid", "noexec", "nodev"} <= one.options for one in below), text


# More ids


@pytest.fixture
def many(box: Box) -> Box:
    for program in ("newuidmap", "newgidmap"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    box.with_subids()
    return box


def test_ids_of_his_own(many: Box) -> None:
    lines = many.run("cat", "/proc/self/uid_map", "/proc/self/gid_map").ok().out.splitlines()
    assert [line.split() for line in lines] == [["0", str(USER), "1"], ["1", str(SUBIDS), "65536"]] * 2


def test_another_user_of_the_container(many: Box) -> None:
    many.container.process["user"] = {"uid": 1000, "gid": 1000}
    many.create("sleep", "1000").ok()
    many.call("start", many.container.id).ok()
    lines = Path(f"/proc/{many.container.pid}/status").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Uid:")] == [str(SUBIDS + 999)]
    assert many.call("exec", "--user", "7:8", many.container.id, "id", "-G").ok().out == "8\n"


def test_more_ids_than_he_was_given(many: Box) -> None:
    many.container.linux["uidMappings"][1]["size"] = 65537
    many.create("true").refused("newuidmap")
    many.container.leaves_nothing()


@pytest.mark.differs(runc="1.1.5 does not say which program it means")
def test_without_the_helpers(many: Box, tmp_path: Path) -> None:
    for name in ("sh", "setpriv", "mount", "unshare", "cat"):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    tmp_path.chmod(0o755)
    many.path = str(tmp_path)
    many.create("true").refused("newuidmap", "PATH")
    many.container.leaves_nothing()


# What takes a root


def test_a_user_namespace_it_must_be(box: Box) -> None:
    user = namespace(box.container.config, "user")
    box.container.linux["namespaces"].remove(user)
    del box.container.linux["uidMappings"], box.container.linux["gidMappings"]
    box.create("true").refused("user namespace" if box.container.runtime.name == "pyoci" else "user namespaces")
    box.container.leaves_nothing()


def test_somebody_else_to_be(box: Box) -> None:
    box.container.linux["uidMappings"][0]["hostID"] = 0
    assert box.create("true").status == 1
    box.container.leaves_nothing()


@pytest.mark.differs(runc="1.1.5 knows neither")
@pytest.mark.parametrize("what", ["idmap", "netDevices"])
def test_what_only_root_can(box: Box, what: str) -> None:
    container = box.container
    if what == "idmap":
        container.mounts.append(bind(container.rootfs / "etc", "/mnt", "bind", "idmap"))
    else:
        container.linux["namespaces"].append({"type": "network"})
        container.linux["netDevices"] = {"lo": {}}
    box.create("true").refused("only root")
    container.leaves_nothing()


def test_a_limit_that_no_cgroup_can_hold(box: Box) -> None:
    """Without delegation there is no cgroup, which is fine until something is asked of it."""
    box.container.linux["resources"] = {"pids": {"limit": 5}}
    box.create("true").refused("cgroup")
    box.container.leaves_nothing()
