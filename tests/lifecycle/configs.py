# SPDX-License-Identifier: Apache-2.0
"""Configurations to start from: the one `spec` prints, and what podman and docker hand to a runtime."""

from __future__ import annotations

import copy
import json
import os
import pwd
from pathlib import Path
from typing import Any

Config = dict[str, Any]

FIXTURES = Path(__file__).parent.parent / "fixtures"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
ENGINE_CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",
    "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip

MASKED_PATHS = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
]  # fmt: skip
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def mount(destination: str, kind: str, source: str, *options: str) -> Config:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


def bind(source: Path | str, destination: str, *options: str) -> Config:
    return mount(destination, "bind", str(source), *(options or ("rbind", "rw")))


def device_rule(allow: bool, access: str, kind: str | None = None, major: int = -1, minor: int = -1) -> Config:
    rule: Config = {"allow": allow, "access": access}
    if kind is not None:
        rule["type"] = kind
    for name, number in (("major", major), ("minor", minor)):
        if number >= 0:
            rule[name] = number
    return rule


def base_config(cgroups_path: str | None = None) -> Config:
    """What `spec` prints, without a terminal and with a rootfs that may be written to.

    For an ordinary user it has a user namespace, and no path: his cgroups can be beside his own only.
    """
    config: Config = {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                kind: list(DEFAULT_CAPABILITIES) for kind in ("bounding", "effective", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": False},
        "hostname": "pyoci-test",
        "mounts": [
            mount("/proc", "proc", "proc"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/dev/pts", "devpts", "devpts",
                  "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
        ],
        "linux": {
            "resources": {"devices": [device_rule(False, "rwm")]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }  # fmt: skip
    if os.geteuid() != 0:
        _make_rootless(config)
    elif cgroups_path is not None:
        config["linux"]["cgroupsPath"] = cgroups_path
    return config


def _make_rootless(config: Config) -> None:
    """A user namespace whose root is the caller, the others being the ids that /etc/subuid and /etc/subgid give him."""
    config["linux"]["namespaces"].append({"type": "user"})
    for name, own, file in (("uidMappings", os.geteuid(), "subuid"), ("gidMappings", os.getegid(), "subgid")):
        first, count = subordinate_ids(file) or (0, 0)
        config["linux"][name] = [
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": first, "size": min(count, 65_535)},
        ]


def subordinate_ids(file: str) -> tuple[int, int] | None:
    """The first range that /etc/`file` gives the caller: where it starts and how long it is."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    for line in Path("/etc", file).read_text().splitlines():
        name, first, count = line.split(":")
        if name in (user, str(os.geteuid())):
            return int(first), int(count)
    return None


def docker_seccomp() -> Config:
    """docker's default profile, as it reaches the runtime for a container with the default capabilities."""
    profile: Config = json.loads((FIXTURES / "docker-seccomp.json").read_text())
    return profile


def docker_config(bundle: Path, cgroups_path: str | None = None) -> Config:
    """What dockerd gives for `docker run -m 64m --pids-limit 100 --cpus 1.5 -e A=b -v volume:/data IMAGE`."""
    config = base_config(cgroups_path)
    volume = bundle / "volume"
    volume.mkdir(exist_ok=True)
    for name in ("resolv.conf", "hostname", "hosts"):
        (bundle / name).write_text(f"# {name} of this container\n")
    process = config["process"]
    process["capabilities"] = {
        kind: [*ENGINE_CAPABILITIES, "CAP_MKNOD", "CAP_NET_RAW", "CAP_AUDIT_WRITE"]
        for kind in ("bounding", "effective", "permitted")
    }
    process["env"] = [PATH, "HOSTNAME=3f4e1c2b5a69", "A=b"]
    process["oomScoreAdj"] = 100
    process["user"]["additionalGids"] = [0, 1, 2, 3, 4, 6, 10, 11, 20, 26, 27]
    process["noNewPrivileges"] = False
    del process["rlimits"]
    config["hostname"] = "3f4e1c2b5a69"
    config["mounts"] = [
        mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/dev/pts", "devpts", "devpts",
              "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=67108864"),
        bind(volume, "/data", "rbind"),
        bind(bundle / "resolv.conf", "/etc/resolv.conf", "rbind", "rprivate"),
        bind(bundle / "hostname", "/etc/hostname", "rbind", "rprivate"),
        bind(bundle / "hosts", "/etc/hosts", "rbind", "rprivate"),
    ]  # fmt: skip
    linux = config["linux"]
    linux["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    linux["resources"] = {
        "devices": [
            device_rule(False, "rwm"),
            *(device_rule(True, "rwm", "c", major, minor)
              for major, minor in ((1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1))),
            device_rule(False, "rwm", "c", 10, 229),
        ],
        "memory": {"limit": 64 << 20},
        "cpu": {"shares": 0, "quota": 150000, "period": 100000},
        "pids": {"limit": 100},
        "blockIO": {"weight": 0},
    }  # fmt: skip
    linux["seccomp"] = docker_seccomp()
    linux["maskedPaths"] = [*MASKED_PATHS, "/sys/devices/virtual/powercap"]
    return config


def podman_config(bundle: Path, cgroups_path: str | None = None) -> Config:
    """What podman gives for a root container with volumes, secrets, tmpfs, ulimits and a non-root user."""
    config = base_config(cgroups_path)
    shared = bundle / "userdata"
    shared.mkdir(exist_ok=True)
    (shared / "shm").mkdir(exist_ok=True)
    files = ["resolv.conf", "hosts", "hostname", "run-containerenv", "run-secrets"]
    for name in files:
        (shared / name).write_text(f"# {name}\n")
    volumes = [f"volume-{number}" for number in range(6)]
    for name in volumes:
        (shared / name).mkdir(exist_ok=True)
        (shared / name / "name").write_text(name)
    process = config["process"]
    process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [1000, 100], "umask": 0o22}
    process["capabilities"] = {
        **{kind: list(ENGINE_CAPABILITIES) for kind in ("bounding",)},
        **{kind: ["CAP_NET_BIND_SERVICE"] for kind in ("effective", "inheritable", "permitted", "ambient")},
    }
    process["env"] = [PATH, "TERM=xterm", "container=podman", "HOSTNAME=0c5f2f2c5a11", "HOME=/home/user"]
    process["cwd"] = "/home/user"
    process["oomScoreAdj"] = 0
    process["noNewPrivileges"] = False
    process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024},
                          {"type": "RLIMIT_NPROC", "hard": 4096, "soft": 4096}]  # fmt: skip
    config["hostname"] = "0c5f2f2c5a11"
    config["annotations"] = {
        "io.container.manager": "libpod",
        "io.podman.annotations.autoremove": "FALSE",
        "org.opencontainers.image.stopSignal": "15",
    }
    config["mounts"] = [
        mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/dev/pts", "devpts", "devpts",
              "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        bind(shared / "resolv.conf", "/etc/resolv.conf", "bind", "rprivate"),
        bind(shared / "hosts", "/etc/hosts", "bind", "rprivate"),
        bind(shared / "shm", "/dev/shm", "bind", "rprivate", "nosuid", "noexec", "nodev"),
        bind(shared / "hostname", "/etc/hostname", "bind", "rprivate"),
        bind(shared / "run-containerenv", "/run/.containerenv", "bind", "rprivate"),
        bind(shared / "run-secrets", "/run/secrets/token", "bind", "rprivate", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", "rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"),
        mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777", "size=1m", "rprivate"),
        mount("/run/lock", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "rprivate"),
        bind(shared / volumes[0], "/srv/plain", "rbind", "rw", "rprivate"),
        bind(shared / volumes[1], "/srv/readonly", "rbind", "ro", "rprivate"),
        bind(shared / volumes[2], "/srv/noexec", "rbind", "rw", "noexec", "nosuid", "nodev", "rprivate"),
        bind(shared / volumes[3], "/srv/slave", "rbind", "rw", "rslave"),
        bind(shared / volumes[4], "/srv/deep/er/still", "rbind", "rw", "rprivate"),
        bind(shared / volumes[5], "/home/user", "bind", "rw", "rprivate"),
    ]  # fmt: skip
    linux = config["linux"]
    linux["namespaces"].append({"type": "cgroup"})
    linux["sysctl"] = {"net.ipv4.ping_group_range": "0 0"}
    linux["resources"] = {
        "devices": [device_rule(False, "rwm"), device_rule(True, "rwm", "c", 10, 229)],
        "memory": {"limit": 128 << 20, "reservation": 64 << 20},
        "cpu": {"shares": 512},
        "pids": {"limit": 2048},
    }
    linux["seccomp"] = docker_seccomp()
    linux["rootfsPropagation"] = "rslave"
    linux["maskedPaths"] = [*MASKED_PATHS, "/sys/devices/virtual/powercap"]
    return config


def namespace(config: Config, kind: str) -> Config | None:
    """The entry for the namespace `kind`, if the config asks for one."""
    return next((entry for entry in config["linux"]["namespaces"] if entry["type"] == kind), None)


def without_namespace(config: Config, *kinds: str) -> None:
    config["linux"]["namespaces"] = [entry for entry in config["linux"]["namespaces"] if entry["type"] not in kinds]


def with_user_namespace(config: Config, host_id: int = 100_000, size: int = 65_536) -> None:
    """Give the container a user namespace whose root is `host_id` outside."""
    config["linux"]["namespaces"].append({"type": "user"})
    for name in ("uidMappings", "gidMappings"):
        config["linux"][name] = [{"containerID": 0, "hostID": host_id, "size": size}]


def duplicate(config: Config) -> Config:
    return copy.deepcopy(config)
