# SPDX-License-Identifier: Apache-2.0
"""Who a process is and what it may do: neither the image nor a second process in a container has a say in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from ..lifecycle.configs import ENGINE_CAPABILITIES, bind
from ..lifecycle.harness import Container, has_controller, status_field
from .blocking import compiled
from .conftest import Canary

EXECS = 25
SECRET = "the-hosts-own-word-4711"

# Users


@pytest.mark.parametrize(
    ("user", "uid", "gid"), [("1000", 1000, 0), ("1", 1, 0), ("1:7", 1, 7), ("4294967294", 4294967294, 0)]
)
def test_numeric_users(container: Container, user: str, uid: int, gid: int) -> None:
    """CVE-2016-3697, CVE-2026-30892: digits are a number, though the image has users of these names who are root."""
    (container.rootfs / "etc" / "passwd").write_text(
        "1000:x:0:0:root:/root:/bin/sh\n1:x:0:0:root:/root:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n"
    )
    container.launch()
    result = container.exec("cat", "/proc/self/status", options=("--user", user)).ok()
    assert status_field(result.out, "Uid").split() == [str(uid)] * 4
    assert status_field(result.out, "Gid").split() == [str(gid)] * 4


@pytest.mark.parametrize(
    "user", ["-1", "4294967296", "18446744073709551616", "1x", "0x1", "1:1x", "1:", ":1", "1:-1", "٣", " 1", "root"]
)
def test_what_is_no_number_is_no_user(container: Container, user: str) -> None:
    container.launch()
    result = container.exec("id", options=("--user", user))
    assert (result.status, result.out) == (255, ""), f"{result}"


# Capabilities


def capability_masks(status: str) -> dict[str, int]:
    return {name: int(status_field(status, f"Cap{name}"), 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}


def test_inheritable_caps(container: Container) -> None:
    """CVE-2022-29162, CVE-2022-27650, CVE-2025-27612: one more for exec is in none of the two sets that go on by themselves."""
    kill = 1 << 5
    container.process["capabilities"] = {
        kind: ["CAP_CHOWN", "CAP_KILL"] for kind in ("bounding", "effective", "permitted")
    }
    container.process["noNewPrivileges"] = False
    container.launch()
    for options in ((), ("--cap", "CAP_KILL"), ("--user", "1000", "--cap", "CAP_KILL")):
        masks = capability_masks(container.exec("cat", "/proc/self/status", options=options).ok().out)
        assert (masks["Inh"], masks["Amb"]) == (0, 0), f"{options}: {masks}"
        if options:
            assert masks["Bnd"] & kill


def test_exec_is_as_confined_as_run(container: Container) -> None:
    """All that confines init confines who comes later: namespaces, cgroups, mounts, filter, capabilities, privileges."""
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 93}],
    }
    container.linux["namespaces"].append({"type": "cgroup"})
    show = (
        "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid|Groups)' /proc/self/status; cat /proc/self/mountinfo /proc/self/cgroup;"
        " for f in /proc/self/ns/*; do readlink $f; done; head -c 1 /proc/keys; mkdir /tmp/made; echo $? > /proc/sys/kernel/x;"
        " grep -vE 'processes|pending' /proc/self/limits; umask; cat /proc/self/oom_score_adj"
    )
    container.launch("sh", "-c", f"({show}) > /tmp/shown 2>&1; echo ready; exec sleep 1000")
    container.prints("ready")
    later = container.exec("sh", "-c", f"({show}) 2>&1").out
    assert later == (container.rootfs / "tmp" / "shown").read_text()
    assert "Seccomp:\t2" in later and not (container.rootfs / "tmp" / "made").exists()


# What the kernel is told


@pytest.mark.parametrize("count", [2, 300, 340, 341, 5000, 70_000])
def test_many_id_mappings(container: Container, count: int) -> None:
    """CVE-2021-43784: as many as the kernel takes arrive, more are refused, and never does a long list cut off what follows."""
    container.linux["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        container.linux[kind] = [{"containerID": n, "hostID": 100_000 + 2 * n, "size": 1} for n in range(count)]
    container.mounts[:] = [one for one in container.mounts if one["destination"] in ("/proc", "/dev")]
    os.chown(container.rootfs, 100_000, 100_000)
    result = container.create(args=["sleep", "1000"])
    if result.status:
        assert count > 300 and len(result.err.splitlines()) == 1 and len(result.err) < 300, f"{result}"
        container.leaves_nothing()
        return
    for name in ("uid_map", "gid_map"):
        lines = Path(f"/proc/{container.pid}/{name}").read_text().splitlines()
        assert [line.split() for line in lines] == [[str(n), str(100_000 + 2 * n), "1"] for n in range(count)]
    for kind in ("user", "pid", "mnt", "net", "ipc", "uts"):
        assert not os.path.samefile(f"/proc/{container.pid}/ns/{kind}", f"/proc/self/ns/{kind}")


# What is put into the image


def test_nothing_of_ours_is_put_into_the_image_by_links(container: Container, canary: Canary) -> None:
    """CVE-2025-24965: /run/notify, where a program says that it is ready, is made in the root or not at all."""
    (container.rootfs / "run").rmdir()
    (container.rootfs / "run").symlink_to(canary.path)
    (container.rootfs / "etc" / "passwd").unlink()
    (container.rootfs / "etc" / "passwd").symlink_to(canary.secret)
    container.run(args=["true"], env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(container.scratch / "socket")})
    canary.is_untouched()


def test_a_working_directory_is_not_made_by_links(container: Container, canary: Canary) -> None:
    (container.rootfs / "link").symlink_to(canary.path)
    container.process["cwd"] = "/link/new"
    container.run(args=["pwd"])
    canary.is_untouched()


# Who joins


@pytest.mark.needs_compiler
def test_who_joins_is_out_of_reach(container: Container) -> None:
    """CVE-2016-9962: root inside, with the usual rights, looks at each process on its way in and gets nothing out of it."""
    shutil.copy(compiled("spy", container.scratch), container.rootfs / "bin" / "spy")
    (container.scratch / SECRET).write_text("")
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind] = ENGINE_CAPABILITIES
    container.launch("spy", SECRET)
    container.prints("got ready")
    held = os.open(container.scratch, os.O_RDONLY | os.O_DIRECTORY)
    how: dict[str, Any] = {"pass_fds": [held], "env": {"PATH": os.environ["PATH"], "WORD": SECRET}}
    try:
        for _ in range(EXECS):
            container.exec("true", cwd=container.scratch, **how).ok()
    finally:
        os.close(held)
    container.kill("KILL").ok()
    container.wait()
    told = container.printed().splitlines()
    assert any(line.startswith("got sight") for line in told), "it has seen nobody"
    assert {line.split()[1] for line in told} <= {"ready", "sight"}, told


@pytest.mark.parametrize("limit", [1, 2])
def test_an_exec_takes_no_process_beside_itself(container: Container, limit: int) -> None:
    """What we are made of must not count: with one process allowed, init runs, and one more can be executed."""
    if not has_controller("pids"):
        pytest.skip("needs the pids controller")
    container.resources["pids"] = {"limit": limit}
    container.launch()
    assert container.exec("sh", "-c", "echo inside").ok().out == "inside\n"


def test_there_is_one_thread(container: Container) -> None:
    """A lock held by another would never be released in a fork, and namespaces are not joined by many."""
    container.create(args=["sleep", "1000"]).ok()
    assert len(os.listdir(f"/proc/{container.pid}/task")) == 1


@pytest.mark.needs_strace
@pytest.mark.parametrize("how", ["run", "exec"])
def test_no_temporary_files(container: Container, how: str) -> None:
    """In directories that anybody may write to: nothing is made there, under whatever name."""
    trace = container.bundle / "trace"
    wrapper = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(trace),
        "-e",
        "trace=open,openat,mkdir,mkdirat,symlinkat,linkat,mknodat",
    ]
    container.mounts[:] = [one for one in container.mounts if one["destination"] != "/dev/shm"]
    if how == "exec":
        container.launch()
        container.exec("true", wrapper=wrapper).ok()
    else:
        container.process["args"] = ["true"]
        container.write_config()
        container.call("run", "--bundle", str(container.bundle), container.id, wrapper=wrapper).ok()
    lines = trace.read_text().splitlines()
    assert lines
    made = [line for line in lines if "O_CREAT" in line or " open" not in line]
    anybodys = [line for line in made if any(f'"{path}/' in line for path in ("/tmp", "/var/tmp", "/dev/shm"))]
    assert [line for line in anybodys if str(container.scratch) not in line] == []


def test_a_bind_over_a_link_in_etc(container: Container, canary: Canary, volume: Path) -> None:
    """What engines bind into each container, /etc/hosts and the like: the image's link there leads nowhere outside."""
    (container.rootfs / "etc" / "hosts").symlink_to(canary.secret)
    container.mounts.append(bind(volume / "marker", "/etc/hosts", "bind"))
    result = container.run(args=["cat", "/etc/hosts"])
    canary.is_untouched()
    assert result.err or result.out == "volume\n", f"{result}"
