# SPDX-License-Identifier: Apache-2.0
"""Namespaces: made new, inherited, joined; id mappings; sysctls, which belong to namespaces."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .configs import bind, mount, namespace, with_user_namespace, without_namespace
from .harness import Container, eventually, mounts_below, namespace_of

differs = pytest.mark.differs
Containers = Callable[[], Container]

KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup", "user": "user"}


def want(container: Container, kind: str, path: str | None = None) -> None:
    """Ask for a namespace in place of whatever the config says about it."""
    without_namespace(container.config, kind)
    entry = {"type": kind}
    if path is not None:
        entry["path"] = path
    container.linux["namespaces"].append(entry)


def drop(container: Container, kind: str) -> None:
    """Leave a namespace out, and what cannot be had without it."""
    without_namespace(container.config, kind)
    if kind == "uts":
        del container.config["hostname"]
    if kind == "ipc":
        container.mounts[:] = [entry for entry in container.mounts if entry["type"] != "mqueue"]
    if kind == "network":
        container.mounts[:] = [entry for entry in container.mounts if entry["type"] != "sysfs"]


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process of the host in new namespaces of most kinds, to be joined by path."""
    process = subprocess.Popen(
        [
            "unshare",
            "--uts",
            "--ipc",
            "--net",
            "--cgroup",
            "sh",
            "-c",
            "hostname stranger; echo ready; exec sleep 1000",
        ],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    yield process.pid
    process.kill()
    process.communicate()


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "cgroup"])
def test_a_new_namespace(container: Container, kind: str) -> None:
    want(container, kind)
    container.create().ok()
    assert namespace_of(container.pid, KINDS[kind]) != namespace_of("self", KINDS[kind])


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "user"])
def test_an_absent_namespace_is_inherited(container: Container, kind: str) -> None:
    drop(container, kind)
    container.create().ok()
    assert namespace_of(container.pid, KINDS[kind]) == namespace_of("self", KINDS[kind])


@pytest.mark.needs_unshare
@pytest.mark.parametrize("kind", ["network", "ipc", "uts"])
def test_a_namespace_joined_by_path(container: Container, stranger: int, kind: str) -> None:
    del container.config["hostname"]
    want(container, kind, f"/proc/{stranger}/ns/{KINDS[kind]}")
    container.create().ok()
    assert namespace_of(container.pid, KINDS[kind]) == namespace_of(stranger, KINDS[kind])


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts"])
def test_a_namespace_of_another_container(containers: Containers, kind: str) -> None:
    first, second = containers(), containers()
    first.launch()
    del second.config["hostname"]
    want(second, kind, f"/proc/{first.pid}/ns/{KINDS[kind]}")
    second.create().ok()
    assert namespace_of(second.pid, KINDS[kind]) == namespace_of(first.pid, KINDS[kind])


def test_a_pod(containers: Containers) -> None:
    """Containers that share all but their files and cgroups, as Kubernetes has them."""
    pause, worker = containers(), containers()
    pause.config["hostname"] = "pod"
    pause.launch()
    del worker.config["hostname"]
    for kind in ("pid", "network", "ipc", "uts"):
        want(worker, kind, f"/proc/{pause.pid}/ns/{KINDS[kind]}")
    worker.launch("sh", "-c", "hostname; echo $$; exec sleep 1000")
    worker.prints("pod\n")
    assert worker.status == "running"
    assert worker.exec("cat", "/proc/1/comm").ok().out == "sleep\n"
    worker.delete("--force").ok()
    assert pause.status == "running"


def test_the_mount_namespace_of_another_container_cannot_be_joined_with_a_rootfs(containers: Containers) -> None:
    first, second = containers(), containers()
    first.launch()
    want(second, "mount", f"/proc/{first.pid}/ns/mnt")
    result = second.create()
    second.clean_up()
    assert first.exec("ls", "/").ok().out == first.exec("ls", "/proc/1/root/").ok().out, f"{result}"


def test_a_path_of_another_kind_is_refused(container: Container) -> None:
    want(container, "network", "/proc/self/ns/uts")
    assert container.create().status == 1
    container.leaves_nothing()


@pytest.mark.parametrize("path", ["/no/such/namespace", "/etc/passwd", "/etc"])
def test_a_path_that_is_no_namespace_is_refused(container: Container, path: str) -> None:
    want(container, "network", path)
    assert container.create().status == 1
    container.leaves_nothing()


def test_a_namespace_given_twice_is_refused(container: Container) -> None:
    container.linux["namespaces"].append({"type": "pid"})
    result = container.create()
    assert result.status == 1, f"{result}"
    assert "pid" in result.err


def test_an_unknown_namespace_is_refused(container: Container) -> None:
    container.linux["namespaces"].append({"type": "nonsense"})
    container.create().refused("nonsense")


@differs(runc="1.1.5 leaves the mounts behind, and does not lead an exec into the root file system")
class TestWithoutAMountNamespace:
    """Its mounts are the host's, as long as there is the container."""

    @pytest.fixture
    def sharing(self, container: Container) -> Container:
        without_namespace(container.config, "mount")
        for key in ("maskedPaths", "readonlyPaths"):
            container.linux.pop(key, None)
        return container

    def test_it_is_our_own(self, sharing: Container) -> None:
        sharing.launch()
        assert namespace_of(sharing.pid, "mnt") == namespace_of("self", "mnt")
        assert "proc" in sharing.exec("ls", "/").ok().out.split()
        assert sharing.exec("cat", "/proc/1/comm").ok().out == "sleep\n"
        assert str(sharing.rootfs / "proc") in mounts_below(sharing.rootfs)
        sharing.delete("--force").ok()
        sharing.leaves_nothing()

    @differs(runc="1.1.5 leaves the propagation of such a root as it is, without a word")
    @pytest.mark.parametrize("propagation", ["slave", "rshared"])
    def test_its_root_has_no_propagation_of_its_own(self, sharing: Container, propagation: str) -> None:
        sharing.linux["rootfsPropagation"] = propagation
        sharing.create().refused("rootfsPropagation", "mount namespace")
        sharing.leaves_nothing()

    def test_options_longer_than_most_are_refused(self, sharing: Container) -> None:
        sharing.mounts.append(mount("/scratch", "tmpfs", "long" * 100, "nosuid"))
        sharing.create().refused("/scratch", "255 bytes", "mount namespace")
        sharing.leaves_nothing()

    def test_delete_takes_the_mounts_away(self, sharing: Container) -> None:
        volume = sharing.scratch / "volume"
        volume.mkdir()
        (volume / "file").write_text("kept")
        sharing.mounts.append(bind(volume, "/data", "rbind", "ro"))
        sharing.config["root"]["readonly"] = True
        sharing.launch("sh", "-c", "cat /data/file; touch /x /data/x 2>&1; exec sleep 1000")
        eventually("both refusals", lambda: sharing.output_file.read_text().count("Read-only file system") == 2)
        sharing.delete("--force").ok()
        sharing.leaves_nothing()
        assert (volume / "file").read_text() == "kept"

    def test_a_create_that_fails_takes_the_mounts_away(self, sharing: Container) -> None:
        sharing.process["args"] = ["/no/such/program"]
        sharing.create().refused("no such file")
        sharing.leaves_nothing()


def test_masks_need_a_mount_namespace(container: Container) -> None:
    without_namespace(container.config, "mount")
    assert container.create().status == 1
    container.leaves_nothing()


def test_the_loopback_interface_is_up(container: Container) -> None:
    assert "LOOPBACK,UP" in container.output("ip", "link", "show", "lo")


def test_a_network_that_was_joined_is_left_as_it_is(container: Container) -> None:
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        want(container, "network", f"/proc/{process.pid}/ns/net")
        assert "UP" not in container.output("ip", "link", "show", "lo").split(">")[0]
    finally:
        process.kill()
        process.communicate()


def test_the_cgroup_namespace_starts_at_the_containers_cgroup(container: Container) -> None:
    want(container, "cgroup")
    lines = container.output("cat", "/proc/self/cgroup").splitlines()
    assert all(line.endswith(":/") for line in lines if line.split(":")[1] in ("pids", "memory", "freezer", "devices"))


@pytest.mark.needs_time_namespaces
@differs(runc="1.1.5 knows no time namespace")
def test_a_time_namespace_with_offsets(container: Container) -> None:
    want(container, "time")
    container.linux["timeOffsets"] = {"monotonic": {"secs": 7200}, "boottime": {"secs": 1_000_000, "nanosecs": 5}}
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert float(container.output("cat", "/proc/uptime").split()[0]) >= uptime + 1_000_000


# User namespaces


@pytest.fixture
def mapped(container: Container) -> Container:
    with_user_namespace(container.config)
    return container


pytestmark = pytest.mark.needs_user_namespaces


def test_a_user_namespace_maps_ids(mapped: Container) -> None:
    seen = mapped.sh("id -u; id -g; cat /proc/self/uid_map; cat /proc/self/gid_map").split()
    assert seen == ["0", "0", "0", "100000", "65536", "0", "100000", "65536"]


def test_root_inside_is_nobody_outside(mapped: Container) -> None:
    mapped.create().ok()
    status = Path(f"/proc/{mapped.pid}").stat()
    mapped.start().ok()
    assert status.st_uid in (0, 100_000)  # a process that may not be dumped belongs to root
    lines = Path(f"/proc/{mapped.pid}/status").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("Uid:")] == ["100000"]


def test_another_user_inside(mapped: Container) -> None:
    mapped.process["user"] = {"uid": 1000, "gid": 2000, "additionalGids": [3000]}
    assert mapped.output("id", "-G").split() == ["2000", "3000"]


def test_several_mappings(container: Container) -> None:
    with_user_namespace(container.config)
    container.linux["uidMappings"] = [
        {"containerID": 0, "hostID": 100_000, "size": 10},
        {"containerID": 10, "hostID": 200_000, "size": 100},
    ]
    lines = container.output("cat", "/proc/self/uid_map").splitlines()
    assert [line.split() for line in lines] == [["0", "100000", "10"], ["10", "200000", "100"]]


def test_devices_of_a_user_namespace_work(mapped: Container) -> None:
    assert mapped.sh("echo x > /dev/null; head -c 3 /dev/zero | wc -c; readlink /dev/ptmx").split() == ["3", "pts/ptmx"]


@differs(runc="1.1.5 binds the host's FIFO of that name in a user namespace")
def test_a_fifo_of_a_user_namespace(mapped: Container) -> None:
    """It is the container's own: the host needs to have none, and one that it has is not shared."""
    mapped.linux["devices"] = [{"path": "/dev/pipe", "type": "p", "fileMode": 0o640, "uid": 7, "gid": 8}]
    assert mapped.output("stat", "-c", "%F %a %u:%g", "/dev/pipe") == "fifo 640 7:8\n"


def test_the_program_may_not_act_as_the_hosts_root(mapped: Container) -> None:
    (mapped.rootfs / "roots").mkdir(mode=0o700)
    mapped.sh("! touch /roots/x 2> /dev/null; [ $(stat -c %u /roots) = 65534 ]")


def test_tmpfs_ids_are_those_of_the_container(mapped: Container) -> None:
    (mapped.rootfs / "scratch").mkdir()
    mapped.mounts.append(mount("/scratch", "tmpfs", "tmpfs", "uid=5", "gid=6"))
    assert mapped.output("stat", "-c", "%u:%g", "/scratch") == "5:6\n"


def test_exec_as_a_mapped_user(mapped: Container) -> None:
    mapped.launch()
    assert mapped.exec("id", "-u", options=("--user", "1000")).ok().out == "1000\n"


def test_a_user_without_a_mapping_is_refused(mapped: Container) -> None:
    mapped.process["user"] = {"uid": 70_000, "gid": 0}
    assert mapped.create().status == 1
    mapped.leaves_nothing()


@differs(runc="1.1.5 leaves them unused without a word")
def test_mappings_without_a_user_namespace_are_refused(mapped: Container) -> None:
    without_namespace(mapped.config, "user")
    assert mapped.create().status == 1
    mapped.leaves_nothing()


def test_a_user_namespace_without_mappings_is_refused(mapped: Container) -> None:
    del mapped.linux["uidMappings"], mapped.linux["gidMappings"]
    assert mapped.create().status == 1
    mapped.leaves_nothing()


def test_mappings_the_kernel_refuses(mapped: Container) -> None:
    mapped.linux["uidMappings"] *= 2
    assert mapped.create().status == 1
    mapped.leaves_nothing()


def test_a_user_namespace_of_another_container(containers: Containers) -> None:
    first, second = containers(), containers()
    with_user_namespace(first.config)
    first.launch()
    with_user_namespace(second.config)
    user = namespace(second.config, "user")
    assert user is not None
    user["path"] = f"/proc/{first.pid}/ns/user"
    del second.linux["uidMappings"], second.linux["gidMappings"]
    result = second.create()
    if result.status == 0:
        assert namespace_of(second.pid, "user") == namespace_of(first.pid, "user")
    else:
        # runc 1.1.5 wants the mappings repeated.
        assert second.runtime.name == "runc", f"{result}"


# Sysctls


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel.msgmax", "4096"),
        ("kernel.shm_rmid_forced", "1"),
        ("fs.mqueue.msg_max", "20"),
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ping_group_range", "0 5"),
        ("net/ipv4/ip_unprivileged_port_start", "80"),
    ],
)
def test_a_sysctl_of_a_namespace(container: Container, name: str, value: str) -> None:
    path = Path("/proc/sys") / name.replace(".", "/")
    before = path.read_text() if path.exists() else None
    container.linux["sysctl"] = {name: value}
    assert container.output("cat", str(path)).split() == value.split()
    assert (path.read_text() if path.exists() else None) == before


@differs(runc="1.1.5 writes an empty value as nothing, and leaves what was there")
def test_an_empty_sysctl(containers: Containers) -> None:
    """In a namespace that is joined: a pod's, in which another container has set it."""
    first, second = containers(), containers()
    path = "/proc/sys/net/ipv4/ip_local_reserved_ports"
    first.linux["sysctl"] = {"net.ipv4.ip_local_reserved_ports": "8080,9000-9002"}
    first.launch()
    assert first.exec("cat", path).ok().out == "8080,9000-9002\n"
    want(second, "network", f"/proc/{first.pid}/ns/net")
    second.mounts[:] = [entry for entry in second.mounts if entry["type"] != "sysfs"]
    second.linux["sysctl"] = {"net.ipv4.ip_local_reserved_ports": ""}
    assert second.output("cat", path) == "\n"


@differs(runc="1.1.5 takes every dot for a separator")
def test_a_sysctl_with_a_dot_in_a_name(container: Container) -> None:
    """With slashes as separators a dot is part of a name: an interface may be called lo.1."""
    container.linux["sysctl"] = {"net/ipv4/conf/no.such/forwarding": "1"}
    container.create().refused("no.such")


@pytest.mark.parametrize(
    "name",
    ["kernel.hostname", "vm.swappiness", "kernel.sysrq", "fs.file-max", "kernel.core_pattern", "../../etc/passwd"],
)
def test_a_sysctl_of_the_host_is_refused(container: Container, name: str) -> None:
    container.linux["sysctl"] = {name: "1"}
    container.create().refused(name.split(".")[-1])
    container.leaves_nothing()


@pytest.mark.parametrize(("name", "kind"), [("net.ipv4.ip_forward", "network"), ("kernel.msgmax", "ipc")])
def test_a_sysctl_without_its_namespace_is_refused(container: Container, name: str, kind: str) -> None:
    before = (Path("/proc/sys") / name.replace(".", "/")).read_text()
    drop(container, kind)
    container.linux["sysctl"] = {name: before.strip()}
    container.create().refused(name)
    container.leaves_nothing()


def test_a_sysctl_of_the_hosts_network_by_path_is_refused(container: Container) -> None:
    want(container, "network", f"/proc/{os.getpid()}/ns/net")
    container.mounts[:] = [entry for entry in container.mounts if entry["type"] != "sysfs"]
    container.linux["sysctl"] = {"net.ipv4.ip_forward": Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()}
    container.create().refused("net.ipv4.ip_forward")
    container.leaves_nothing()


def test_a_sysctl_the_kernel_does_not_know(container: Container) -> None:
    container.linux["sysctl"] = {"net.ipv4.no_such_thing": "1"}
    container.create().refused("no_such_thing")
    container.leaves_nothing()


def test_a_sysctl_value_the_kernel_refuses(container: Container) -> None:
    container.linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "banana"}
    container.create().refused("ip_unprivileged_port_start", "invalid argument")
    container.leaves_nothing()


@pytest.mark.needs_unshare
def test_rootless_in_a_user_namespace_of_the_caller(container: Container) -> None:
    """podman runs the runtime as root of a user namespace, without cgroups to delegate."""
    container.call("spec", "--rootless", cwd=container.bundle).ok()
    import json

    config = json.loads((container.bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", "id -u; hostname"]}
    (container.bundle / "config.json").write_text(json.dumps(config))
    for path in (container.scratch, container.bundle, container.rootfs):
        os.chown(path, 65534, 65534)
    for path in container.rootfs.rglob("*"):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    text = json.dumps(config).replace('"hostID": 0', '"hostID": 65534')
    (container.bundle / "config.json").write_text(text)
    result = container.call(
        "--rootless", "true", "run", "--bundle", str(container.bundle), container.id,
        user=65534, group=65534, extra_groups=[], env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(container.scratch)},
    )  # fmt: skip
    assert result.ok().out.split()[0] == "0"
    eventually("clean state", lambda: not list((container.root).iterdir()))
