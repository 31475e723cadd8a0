# SPDX-License-Identifier: Apache-2.0
"""The kernel's own file systems: nothing goes over them, and they go nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..lifecycle.configs import bind, mount
from ..lifecycle.harness import Container

ALLOWED = ["cpuinfo", "diskstats", "loadavg", "meminfo", "stat", "swaps", "uptime"]
"""Files of /proc that lxcfs and its like cover, so that a container sees its own limits."""


@pytest.mark.parametrize(
    "destination",
    [
        "/proc",
        "/proc/",
        "/./proc//self",
        "/proc/self/attr",
        "/proc/self/attr/exec",
        "/proc/sys",
        "/proc/sys/kernel",
        "/proc/1",
        "/tmp/../proc/self",
        "/link/self/attr",
        "/deep/link/sys",
        "/proc/thread-self/attr",
        "/proc/kcore",
        "/proc/cmdline",
    ],
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_mount_over_proc(container: Container, volume: Path, destination: str, kind: str) -> None:
    """CVE-2019-16884, CVE-2019-19921: what is written to /proc in there must reach the kernel."""
    (container.rootfs / "link").symlink_to("proc")
    (container.rootfs / "deep").mkdir()
    (container.rootfs / "deep" / "link").symlink_to("/proc")
    source = volume if not destination.endswith(("exec", "kcore", "cmdline")) else volume / "marker"
    entry = bind(source, destination, "bind") if kind == "bind" else mount(destination, "tmpfs", "tmpfs")
    container.mounts.append(entry)
    result = container.create()
    assert result.status == 1, f"{result}"
    container.leaves_nothing()


@pytest.mark.parametrize("name", ALLOWED)
def test_files_that_lxcfs_covers(container: Container, volume: Path, name: str) -> None:
    container.mounts.append(bind(volume / "marker", f"/proc/{name}", "bind"))
    assert container.output("cat", f"/proc/{name}") == "volume\n"


@pytest.mark.parametrize("name", ALLOWED[:3])
def test_but_not_by_way_of_a_name_that_starts_alike(container: Container, volume: Path, name: str) -> None:
    container.mounts.append(bind(volume / "marker", f"/proc/{name}/../sysrq-trigger", "bind"))
    result = container.create()
    if result.status == 0:  # the dots are taken out of the text first: then it is another path
        raise AssertionError("/proc/sysrq-trigger was covered")


def test_a_procfs_over_proc_may_come_from_the_host(container: Container) -> None:
    """As a pod has it that shares the host's processes."""
    container.mounts[:] = [one for one in container.mounts if one["destination"] != "/proc"]
    container.mounts.insert(0, bind("/proc", "/proc", "rbind"))
    assert container.output("cat", "/proc/sys/kernel/ostype") == "Linux\n"


@pytest.mark.parametrize("target", ["/elsewhere", "elsewhere", "/var/../elsewhere", "/volume/inside"])
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_or_sys_is_symlink(container: Container, volume: Path, name: str, target: str) -> None:
    """CVE-2023-27561, CVE-2025-54867: masks would be put over /proc, and the procfs be somewhere else."""
    (volume / "inside").mkdir()
    (container.rootfs / "elsewhere").mkdir()
    (container.rootfs / name).rmdir()
    (container.rootfs / name).symlink_to(target)
    container.mounts.insert(0, bind(volume, "/volume", "bind"))
    container.create().refused(name)
    container.leaves_nothing()


def test_a_directory_on_the_way_to_proc_is_a_link(container: Container) -> None:
    (container.rootfs / "real").mkdir()
    (container.rootfs / "link").symlink_to("real")
    container.mounts.append(mount("/link/proc", "proc", "proc"))
    result = container.create()
    if container.runtime.name == "pyoci":
        result.refused("/link/proc")


# The kernel's parameters

PARAMETERS = ("kernel/core_pattern", "kernel/panic", "vm/overcommit_memory")
TRICKS = [
    "kernel.core_pattern",
    "kernel/core_pattern",
    "kernel.domainname/../core_pattern",
    "net.ipv4/../../kernel/core_pattern",
    "net/../kernel/core_pattern",
    "net/ipv4/../../kernel/core_pattern",
    "net..kernel.core_pattern",
    "/kernel/core_pattern",
    "//kernel/core_pattern",
    "fs.mqueue./../../kernel/core_pattern",
    "kernel.shm_rmid_forced/../core_pattern",
    "kernel.msgmax\n",
    "vm.overcommit_memory",
    "kernel.panic",
]


@pytest.fixture
def watched() -> Iterator[dict[Path, str]]:
    """Parameters of the host with their values, which they have again afterwards, whatever a runtime has done."""
    before = {path: path.read_text() for path in (Path("/proc/sys") / name for name in PARAMETERS)}
    yield before
    for path, value in before.items():
        if path.read_text() != value:
            path.write_text(value)


@pytest.mark.parametrize("name", TRICKS)
def test_host_sysctl_refused(container: Container, watched: dict[Path, str], name: str) -> None:
    """CVE-2025-52881: a parameter of the whole host, by whatever spelling."""
    pattern = watched[Path("/proc/sys/kernel/core_pattern")].strip()
    container.linux["sysctl"] = {name: pattern if "core_pattern" in name else "1"}
    result = container.create()
    assert {path: path.read_text() for path in watched} == watched
    assert result.status == 1, f"{result}"
    container.leaves_nothing()


def test_a_covered_proc_gets_no_parameters(container: Container) -> None:
    """What is set goes through the host's procfs, wherever the container's own has been covered, or is none."""
    container.mounts[:] = [one for one in container.mounts if one["destination"] != "/proc"]
    container.linux["maskedPaths"] = container.linux["readonlyPaths"] = []
    files = container.rootfs / "proc" / "sys" / "net" / "ipv4"
    files.mkdir(parents=True)
    (files / "target").write_text("the image's own\n")
    (files / "ip_forward").symlink_to("target")
    (files / "ip_default_ttl").write_text("the image's own\n")
    container.linux["sysctl"] = {"net.ipv4.ip_default_ttl": "77", "net.ipv4.ip_forward": "1"}
    container.run()
    assert {file.read_text() for file in files.iterdir()} == {"the image's own\n"}


# Cgroups


@pytest.mark.parametrize("namespaced", [False, True], ids=["no cgroup namespace", "cgroup namespace"])
def test_cgroup_mount_readonly(container: Container, namespaced: bool) -> None:
    """CVE-2023-25809: `ro` holds for each hierarchy, not for the directory above them alone."""
    if namespaced:
        container.linux["namespaces"].append({"type": "cgroup"})
    container.mounts.append(mount("/tmp", "tmpfs", "tmpfs"))
    container.process["capabilities"] = {
        kind: ["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")
    }
    script = (
        "cd /sys/fs/cgroup; find . -follow -maxdepth 2 -name cgroup.procs > /tmp/all; wc -l < /tmp/all;"
        " for file in $(cat /tmp/all); do (echo 0 > $file) 2>/dev/null && echo wrote $file; done;"
        # With the container's name in it, whoever it is made for is removed with the container.
        f" for dir in . *; do mkdir $dir/{container.id}-made 2>/dev/null && echo made $dir; done; true"
    )
    count, *others = container.sh(script).splitlines()
    assert int(count) > 0
    assert others == []
