# SPDX-License-Identifier: Apache-2.0
"""What every test may ask of the machine, and what happens when the machine cannot give it.

A test marked ``needs_root`` (or one of its siblings below) is skipped, with the reason, where the need is not
met.  With ``PYOCI_CI=1`` in the environment such a skip is a failure instead: a machine that is meant to run
every test must not pass by running none of them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP2_MAGIC = 0x63677270
SO_PASSSEC = 34


def lacks_root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def lacks_ordinary_user() -> str | None:
    return "needs an ordinary user" if os.geteuid() == 0 else None


def lacks_cgroup_v1() -> str | None:
    return None if (CGROUP_ROOT / "memory" / "cgroup.procs").exists() else "needs cgroup v1 hierarchies"


def lacks_cgroup_v2() -> str | None:
    return None if (CGROUP_ROOT / "cgroup.controllers").exists() else "needs cgroup v2 alone"


def lacks_systemd() -> str | None:
    return None if Path("/run/systemd/system").is_dir() else "needs systemd as PID 1 (hack/vm has it)"


def lacks_cgroups() -> str | None:
    return lacks_cgroup_v1() and lacks_cgroup_v2() and "needs cgroups in /sys/fs/cgroup"


def lacks_user_namespaces() -> str | None:
    limit = Path("/proc/sys/user/max_user_namespaces")
    if not limit.exists() or int(limit.read_text()) == 0:
        return "needs user namespaces"
    return None


def lacks_time_namespaces() -> str | None:
    return None if Path("/proc/self/ns/time").exists() else "needs time namespaces"


def lacks_program(name: str) -> Callable[[], str | None]:
    """A probe for the program `name` in PATH."""
    return lambda: None if shutil.which(name) else f"needs the program {name!r}"


def lacks_criu() -> str | None:
    if shutil.which("criu") is None:
        return "needs the program 'criu'"
    checked = subprocess.run(["criu", "check"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    told = checked.stderr.strip()[-200:] or "`criu check` fails, as it does for who is not root"
    return f"needs another kernel or criu: {told}" if checked.returncode else None


def lacks_criu_feature(name: str) -> Callable[[], str | None]:
    """A probe for something that criu can do only with some kernels."""

    def probe() -> str | None:
        if (lacking := lacks_criu()) is not None:
            return lacking
        checked = subprocess.run(["criu", "check", "--feature", name], stdin=subprocess.DEVNULL, capture_output=True)
        return f"needs a kernel and a criu with {name}" if checked.returncode else None

    return probe


def lacks_restored_connections() -> str | None:
    """Before 4.2 criu asks each socket for SO_PASSSEC, which newer kernels have for unix sockets alone."""
    if (lacking := lacks_criu()) is not None:
        return lacking
    with socket.socket() as connection:
        try:
            connection.getsockopt(socket.SOL_SOCKET, SO_PASSSEC)
        except OSError:
            said = subprocess.run(
                ["criu", "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True
            ).stdout
            version = re.search(r"(\d+)\.(\d+)", said)
            if version is None or tuple(map(int, version.groups())) < (4, 2):
                return "needs criu 4.2, with this kernel"
    return None


def lacks_lazy_pages() -> str | None:
    """criu serves pages out of pipes of some MiB, and fails with "Bad file descriptor" where it cannot make them so large."""
    if (lacking := lacks_criu_feature("uffd-noncoop")()) is not None:
        return lacking
    if int(Path("/proc/sys/fs/pipe-max-size").read_text()) >= 4 << 20:
        return None
    return lacks_capability("CAP_SYS_RESOURCE", 24)() and "needs a larger fs.pipe-max-size, say 4194304 (see sysctl(8))"


def lacks_static_busybox() -> str | None:
    busybox = shutil.which("busybox")
    if busybox is None:
        return "needs a static busybox"
    with open(busybox, "rb") as program:
        return "needs a static busybox, not a dynamic one" if b"/ld-linux" in program.read(4096) else None


def lacks_mapped_tmpfs() -> str | None:
    release = tuple(int("".join(filter(str.isdigit, part))) for part in os.uname().release.split("-")[0].split(".")[:2])
    return None if release >= (6, 3) else "needs Linux 6.3, which maps the ids of a tmpfs"


def lacks_seccomp() -> str | None:
    return None if Path("/proc/sys/kernel/seccomp/actions_avail").exists() else "needs a kernel with seccomp filters"


def lacks_capability(name: str, number: int) -> Callable[[], str | None]:
    """A probe for one effective capability of this process."""

    def probe() -> str | None:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("CapEff:") and int(line.split()[1], 16) >> number & 1:
                return None
        return f"needs {name}"

    return probe


def lacks_speed() -> str | None:
    emulated = "QEMU TCG" in Path("/proc/cpuinfo").read_text()
    return "takes hours where the processor is emulated" if emulated else None


NEEDS: dict[str, tuple[str, Callable[[], str | None]]] = {
    "needs_root": ("root in the initial user namespace", lacks_root),
    "needs_ordinary_user": ("a caller who is not root", lacks_ordinary_user),
    "needs_cgroups": ("cgroups of either version", lacks_cgroups),
    "needs_cgroup_v1": ("one cgroup v1 hierarchy for each controller", lacks_cgroup_v1),
    "needs_cgroup_v2": ("cgroup v2 alone at /sys/fs/cgroup", lacks_cgroup_v2),
    "needs_systemd": ("systemd as PID 1", lacks_systemd),
    "needs_user_namespaces": ("user namespaces", lacks_user_namespaces),
    "needs_time_namespaces": ("time namespaces", lacks_time_namespaces),
    "needs_mapped_tmpfs": ("a kernel that maps the ids of a tmpfs", lacks_mapped_tmpfs),
    "needs_seccomp": ("seccomp filters", lacks_seccomp),
    "needs_sys_resource": ("CAP_SYS_RESOURCE", lacks_capability("CAP_SYS_RESOURCE", 24)),
    "needs_runc": ("the distribution's runc", lacks_program("runc")),
    "needs_crun": ("the distribution's crun", lacks_program("crun")),
    "needs_busybox": ("a static busybox", lacks_static_busybox),
    "needs_mke2fs": ("mke2fs of e2fsprogs", lacks_program("mke2fs")),
    "needs_mmdebstrap": ("mmdebstrap", lacks_program("mmdebstrap")),
    "needs_strace": ("strace", lacks_program("strace")),
    "needs_unshare": ("unshare(1) of util-linux", lacks_program("unshare")),
    "needs_ip": ("ip(8) of iproute2", lacks_program("ip")),
    "needs_criu": ("a criu that this kernel is enough for", lacks_criu),
    "needs_dirty_tracking": ("a kernel that tells criu what was written", lacks_criu_feature("mem_dirty_track")),
    "needs_restored_connections": ("a criu that can save sockets on this kernel", lacks_restored_connections),
    "needs_lazy_pages": ("a kernel that lets criu bring pages on demand", lacks_lazy_pages),
    "needs_lxcfs": ("lxcfs", lacks_program("lxcfs")),
    "needs_podman": ("podman", lacks_program("podman")),
    "needs_iptables": ("iptables", lacks_program("iptables")),
    "needs_compiler": ("a C compiler called cc", lacks_program("cc")),
    "needs_speed": ("a processor that is not emulated", lacks_speed),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--runtime",
        action="append",
        metavar="PATH",
        help="run the lifecycle tests against this runtime (may be repeated; the word pyoci means this checkout). "
        "Default: pyoci, and runc where it is installed; or the PATHs of PYOCI_TEST_RUNTIMES, separated by ':'.",
    )
    parser.addoption(
        "--race-seconds", type=float, default=6, metavar="N", help="how long each race is run (default: %(default)s)"
    )
    parser.addoption(
        "--fuzz",
        type=int,
        default=0,
        metavar="N",
        help="try N examples that were not tried before (default: a few known)",
    )
    parser.addoption(
        "--block",
        metavar="ERROR:CALL,...",
        help="have pyoci run in a filter that answers ENOSYS or EPERM to these system calls, as in --block EPERM:clone3",
    )
    parser.addoption("--engines", action="store_true", help="run the tests that drive real engines, too")
    parser.addoption(
        "--engine", action="append", default=[], metavar="NAME", help="run those that drive this one (may be repeated)"
    )
    parser.addoption("--guest", action="store_true", help="run some tests in a guest of hack/vm, too, at the same time")
    parser.addoption(
        "--systemd-cgroup", action="store_true", help="run the lifecycle tests with cgroups that systemd makes"
    )


def pytest_configure(config: pytest.Config) -> None:
    for name, (meaning, _) in NEEDS.items():
        config.addinivalue_line("markers", f"{name}: the test needs {meaning}")
    config.addinivalue_line(
        "markers", "differs(NAME=reason): the named runtime is known to fail this test, for the reason given"
    )


_answers: dict[str, str | None] = {}


def missing(need: str) -> str | None:
    """Why this machine cannot meet `need`, a key of NEEDS; None if it can.  Probed once."""
    if need not in _answers:
        _answers[need] = NEEDS[need][1]()
    return _answers[need]


def skip_or_fail(reason: str) -> None:
    """Skip the running test; with PYOCI_CI=1 fail it, since there every test is meant to run."""
    if os.environ.get("PYOCI_CI") == "1":
        pytest.fail(f"PYOCI_CI=1 allows no skip, but the test {reason}", pytrace=False)
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers():
        # A test for ordinary users and one for root never run together, and few machines that tests run on have been
        # booted by systemd or have cgroup v2 alone, or a kernel and a criu that go together, so these needs, and those
        # that go with them, are never a failure.
        if mark.name in (
            "needs_ordinary_user",
            "needs_systemd",
            "needs_cgroup_v2",
            "needs_podman",
            "needs_criu",
            "needs_dirty_tracking",
            "needs_restored_connections",
            "needs_lazy_pages",
            "needs_iptables",
            "needs_lxcfs",
        ) and missing(mark.name):
            pytest.skip(str(missing(mark.name)))
        if mark.name in NEEDS:
            reason = missing(mark.name)
            if reason is not None:
                skip_or_fail(reason)


@pytest.fixture(scope="session", autouse=True)
def facts_about_the_place(
    request: pytest.FixtureRequest, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Where these tests were run, for those who read their results (--junit-xml), as hack/test-report does."""
    release = Path("/etc/os-release").read_text().splitlines()
    named = next((line.partition("=")[2].strip('"') for line in release if line.startswith("PRETTY_NAME=")), "")
    systemd = "none"
    if not missing("needs_systemd"):
        told = subprocess.run(["systemctl", "--version"], check=True, capture_output=True, text=True)
        systemd = told.stdout.split()[1]
    chosen = [(flag, request.config.getoption(option)) for flag, option in (("-m", "markexpr"), ("-k", "keyword"))]
    facts = {
        "tests": " ".join(request.config.args),
        "of them": ", ".join(f"{flag} '{expression}'" for flag, expression in chosen if expression) or "all",
        "system": named,
        "kernel": os.uname().release,
        "Python": ".".join(map(str, sys.version_info[:3])),
        "systemd": systemd,
        "cgroup": "v1" if not missing("needs_cgroup_v1") else "none" if missing("needs_cgroup_v2") else "v2",
        "user": "root" if os.geteuid() == 0 else "ordinary",
    }
    for name, fact in facts.items():
        record_testsuite_property(name, fact)


PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture(scope="session")
def subreaper() -> None:
    """Make this process inherit the orphans of its children, as every container engine does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER): {errno.errorcode[number]}")
