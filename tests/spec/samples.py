# SPDX-License-Identifier: Apache-2.0
"""Configurations to test with: what engines write, one with everything in it, and what chance makes of them."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from tests.lifecycle import configs

OFFICIAL = Path(__file__).parents[3] / "shared" / "runtime-spec"
"""The specification's own schemas and examples, where a checkout lies next to them; not part of this repository."""


def minimal() -> Any:
    return {"ociVersion": "1.0.0", "root": {"path": "rootfs"}}


def runc_spec() -> Any:
    """What `runc spec` writes."""
    return configs.base_config("/sample")


def docker(rules: int | None = None) -> Any:
    """Like docker's: its profile, prestart hook, device rules with nothing but -1 for numbers; `rules` cuts the profile."""
    config = runc_spec()
    profile = configs.docker_seccomp()
    profile["syscalls"] = profile["syscalls"][:rules]
    hook = {"path": "/proc/1/exe", "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "id", "controller"]}
    config["hooks"] = {"prestart": [hook]}
    config["linux"]["seccomp"] = profile
    config["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "0"}
    config["linux"]["rootfsPropagation"] = "rslave"
    config["linux"]["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": -1, "access": "rw"},
        ],
        "memory": {"limit": 64 << 20, "swap": -1, "disableOOMKiller": False, "swappiness": (1 << 64) - 1},
        "cpu": {"shares": 0, "quota": 150000, "period": 100000},
        "pids": {},
        "blockIO": {"weight": 0},
    }
    return config


def podman() -> Any:
    """Like rootless podman's: a user namespace, resource limits on the process, ambient capabilities, annotations."""
    config = runc_spec()
    config["process"]["user"] = {"uid": 1000, "gid": 1000, "umask": 18, "additionalGids": [100]}
    config["process"]["capabilities"]["ambient"] = ["CAP_NET_BIND_SERVICE"]
    config["process"]["rlimits"] = [{"type": "RLIMIT_NPROC", "hard": (1 << 64) - 1, "soft": 4096}]
    config["annotations"] = {"io.podman.annotations.autoremove": "FALSE", "org.systemd.property.TimeoutStopUSec": "5"}
    config["linux"]["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
    for name in ("uidMappings", "gidMappings"):
        config["linux"][name] = [
            {"containerID": 0, "hostID": 1000, "size": 1},
            {"containerID": 1, "hostID": 100000, "size": 65536},
        ]
    return config


def complete() -> Any:
    """Every property that means something on Linux, with values that fit together."""
    config = podman()
    process, linux = config["process"], config["linux"]
    hook = {"path": "/bin/hook", "args": ["hook"], "env": ["A=b"], "timeout": 5}
    mappings = [{"containerID": 0, "hostID": 7, "size": 3}]
    throttle = [{"major": 8, "minor": 0, "rate": 600}]
    process.update(
        commandLine="none",
        consoleSize={"height": 24, "width": 80},
        terminal=True,
        apparmorProfile="profile",
        oomScoreAdj=-500,
        scheduler={"policy": "SCHED_DEADLINE", "nice": 0, "priority": 0, "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                   "runtime": 10, "deadline": 20, "period": 30},
        selinuxLabel="label",
        ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 4},
        execCPUAffinity={"initial": "0-1,3", "final": "1"},
    )  # fmt: skip
    process["user"]["username"] = "someone"
    process["capabilities"] = {
        kind: ["CAP_CHOWN"] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
    }
    config["domainname"] = "domain"
    config["hooks"] = {
        name: [copy.deepcopy(hook)]
        for name in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    }
    config["mounts"].append(
        {"destination": "/mapped", "type": "none", "source": "/srv", "options": ["rbind", "ridmap", "rprivate"],
         "uidMappings": mappings, "gidMappings": copy.deepcopy(mappings)}
    )  # fmt: skip
    linux["namespaces"].append({"type": "time", "path": ""})
    linux.update(
        devices=[{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0}],
        netDevices={"eth0": {"name": "inner%d"}, "eth1": {}},
        timeOffsets={"monotonic": {"secs": -5, "nanosecs": 0}, "boottime": {"secs": 7, "nanosecs": 999999999}},
        sysctl={"net.ipv4.ip_forward": "1", "kernel/shmmax": "5", "user.max_mnt_namespaces": "3"},
        cgroupsPath="/a/b",
        rootfsPropagation="slave",
        mountLabel="label",
        intelRdt={"closID": "group", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"],
                  "enableMonitoring": True},
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0-3, 7", "flags": ["MPOL_F_STATIC_NODES"]},
        personality={"domain": "LINUX32", "flags": []},
        seccomp={
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/listener", "listenerMetadata": "data",
            "syscalls": [{"names": ["mknod"], "action": "SCMP_ACT_NOTIFY", "args": [
                {"index": 1, "value": 61440, "valueTwo": 8192, "op": "SCMP_CMP_MASKED_EQ"}]},
                {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
        },
        resources={
            "devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
            "memory": {"limit": 1 << 29, "reservation": 1 << 28, "swap": 1 << 29, "kernel": -1, "kernelTCP": -1,
                       "swappiness": 0, "disableOOMKiller": False, "useHierarchy": True, "checkBeforeUpdate": True},
            "cpu": {"shares": 1024, "quota": 100000, "burst": 1000, "period": 50000, "realtimeRuntime": 95,
                    "realtimePeriod": 100, "cpus": "2-3", "mems": "0-7", "idle": 0},
            "pids": {"limit": -1},
            "blockIO": {"weight": 10, "leafWeight": 10, "throttleReadBpsDevice": throttle,
                        "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                        "throttleWriteBpsDevice": throttle, "throttleReadIOPSDevice": throttle,
                        "throttleWriteIOPSDevice": throttle},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 3}]},
            "rdma": {"mlx5": {"hcaHandles": 3, "hcaObjects": 5}},
            "unified": {"memory.high": "1"},
        },
    )  # fmt: skip
    return copy.deepcopy(config)


def others() -> Any:
    """The sections of other platforms, which nothing but the schema looks at."""
    config = minimal()
    config["freebsd"] = {"devices": [{"path": "pf", "mode": 448}], "jail": {"vnet": "new", "allow": {"mlock": True}}}
    config["solaris"] = {"milestone": "m", "cappedCPU": {"ncpus": "8"}, "anet": [{"linkname": "net0"}]}
    config["vm"] = {"kernel": {"path": "/k"}, "image": {"path": "/i", "format": "raw"}, "hwConfig": {"irqs": [1]}}
    config["windows"] = {"layerFolders": ["C:\\x"], "resources": {"cpu": {"shares": 5, "affinity": [{"mask": 1}]}}}
    config["zos"] = {"namespaces": [{"type": "pid"}]}
    return config


BASES = (minimal, runc_spec, lambda: docker(3), podman, complete, others)

ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 8, 511, 512, 65535, 65536, 999999999, 10**9, -1000, -1001, 1001,
    (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, -(1 << 63), -(1 << 63) - 1,
    (1 << 64) - 1, 1 << 64, 1.0, 0.5, 1e300, "", "a", "a\0", "MB:\n", "MB:0=1", "RLIMIT_CPU", "RLIMIT_CPU\n", "2MB",
    "02MB", "rw", "rwx", "0-3,7", "0-3;7", "1.2.3", "1.2.3-rc.1+b", "1.2", "c", "pid", "rshared", "new", "disable",
    "SCMP_ACT_ALLOW", "SCMP_CMP_EQ", "LINUX", [], [None], [1], ["a"], [{}], {}, {"": ""}, {"a": "b"}, {"a": 1}, {"a": {}},
)  # fmt: skip


GONE = object()
"""As a value: take the property away."""


def changed(config: Any, pointer: str, value: Any) -> Any:
    """A copy with another value at one place, given as a JSON pointer; `-` is for one more item of a list."""
    config = copy.deepcopy(config)
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
    holder = config
    for step in steps:
        holder = holder[int(step) if isinstance(holder, list) else step]
    if last == "-":
        holder.append(value)
    elif value is GONE:
        del holder[last]
    else:
        holder[int(last) if isinstance(holder, list) else last] = value
    return config


def mutate(config: Any, chance: random.Random) -> Any:
    """A copy with one to three places changed: another value, a missing property, one too many, an item repeated."""
    mutant = copy.deepcopy(config)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        holder, step = chance.choice(list(places(mutant)))
        kind = chance.random()
        if kind < 0.15:
            del holder[step]
        elif kind < 0.2 and isinstance(holder, dict):
            holder[chance.choice(("", "x", "name\0", "path"))] = copy.deepcopy(chance.choice(ODD_VALUES))
        elif kind < 0.25 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[step]))
        else:
            holder[step] = copy.deepcopy(chance.choice(ODD_VALUES))
        if not mutant:
            return mutant
    return mutant


def places(node: Any) -> Any:
    """Every (container, key or index) within a value."""
    for step, item in node.items() if isinstance(node, dict) else enumerate(node):
        yield node, step
        if isinstance(item, (dict, list)):
            yield from places(item)


def text_of(config: Any) -> str:
    return json.dumps(config, indent=4)
