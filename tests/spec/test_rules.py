# SPDX-License-Identifier: Apache-2.0
"""Every rule finds what it is for, at the right place, and nothing in configurations that are right."""

from __future__ import annotations

import random
from typing import Any

import jsonschema
import pytest

from pyoci.plan import mounts as mount_plan
from pyoci.spec import compiled, explain, rules, schemas
from pyoci.spec.rules import advice, mounts, process
from pyoci.spec.rules.linux import sysctl_name
from tests.spec import samples
from tests.spec.samples import GONE

MAPPING = {"containerID": 0, "hostID": 5, "size": 3}
SECCOMP = "/linux/seccomp"
RESOURCES = "/linux/resources"
DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 4}

# The rule; what is changed in the complete sample: places and values; where the fault is seen.
FAULTS: tuple[Any, ...] = (
    ("version-unknown", {"/ociVersion": "2.0.0"}, ["/ociVersion"]),
    ("version-unknown", {"/ociVersion": "1" * 5000 + ".0.0"}, ["/ociVersion"]),
    ("root-missing", {"/root": GONE}, [""]),
    ("cwd-relative", {"/process/cwd": "a/b"}, ["/process/cwd"]),
    ("cwd-relative", {"/process/cwd": ""}, ["/process/cwd"]),
    ("user-ids-missing", {"/process/user": {"username": "me"}}, ["/process/user", "/process/user"]),
    ("args-empty", {"/process/args": []}, ["/process/args"]),
    ("env-malformed", {"/process/env": ["A=b", "C", "=d", "E=", ""]}, [f"/process/env/{n}" for n in (1, 2, 4)]),
    ("rlimit-unknown", {"/process/rlimits/0/type": "RLIMIT_X"}, ["/process/rlimits/0/type"]),
    ("rlimit-duplicate", {"/process/rlimits/-": {"type": "RLIMIT_NPROC", "soft": 1, "hard": 1}},
     ["/process/rlimits/1/type"]),
    ("rlimit-soft-above-hard", {"/process/rlimits/0": {"type": "RLIMIT_CPU", "soft": 2, "hard": 1}},
     ["/process/rlimits/0/soft"]),
    ("scheduler-settings", {"/process/scheduler": {"policy": "SCHED_OTHER", "nice": 20}}, ["/process/scheduler/nice"]),
    ("scheduler-settings", {"/process/scheduler": {"policy": "SCHED_BATCH", "nice": -21, "priority": 1}},
     ["/process/scheduler/nice", "/process/scheduler/priority"]),
    ("scheduler-settings", {"/process/scheduler": {"policy": "SCHED_FIFO"}}, ["/process/scheduler"]),
    ("scheduler-settings", {"/process/scheduler": {"policy": "SCHED_RR", "priority": 100}}, ["/process/scheduler"]),
    ("scheduler-settings", {"/process/scheduler": {"policy": "SCHED_IDLE", "period": 5}}, ["/process/scheduler/period"]),
    ("scheduler-settings", {"/process/scheduler": DEADLINE}, ["/process/scheduler"]),
    ("scheduler-settings", {"/process/scheduler": {**DEADLINE, "deadline": 9, "period": 8}}, ["/process/scheduler"]),
    ("scheduler-before-hooks", {"/process/scheduler/flags": GONE}, ["/process/scheduler"]),
    ("scheduler-before-hooks", {"/process/scheduler/flags": ["SCHED_FLAG_RECLAIM"]}, ["/process/scheduler"]),
    ("cpu-list", {"/process/execCPUAffinity/initial": "0-3-5"}, ["/process/execCPUAffinity/initial"]),
    ("cpu-list", {"/process/execCPUAffinity/final": "3-1"}, ["/process/execCPUAffinity/final"]),
    ("cpu-list", {"/linux/memoryPolicy/nodes": "1 2"}, ["/linux/memoryPolicy/nodes"]),
    ("cpu-list", {"/linux/memoryPolicy/nodes": "1" * 5000}, ["/linux/memoryPolicy/nodes"]),
    ("cpu-list", {"/process/execCPUAffinity/initial": f"0-{'9' * 5000}"}, ["/process/execCPUAffinity/initial"]),
    ("cpu-list", {"/process/execCPUAffinity/final": f"1,{'9' * 5000}-1"}, ["/process/execCPUAffinity/final"]),
    ("hook-path-relative", {"/hooks/createRuntime/0/path": "bin/hook"}, ["/hooks/createRuntime/0/path"]),
    ("uts-name", {"/linux/namespaces/3": {"type": "cgroup"}, "/linux/namespaces/6": {"type": "time"},
                  "/linux/namespaces/7": GONE}, ["/hostname", "/domainname"]),
    ("uts-name", {"/hostname": "h" * 65}, ["/hostname"]),
    ("uts-name", {"/domainname": "\u00e9" * 33}, ["/domainname"]),
    ("mount-on-root", {"/mounts/0/destination": "/a/..//."}, ["/mounts/0/destination"]),
    ("mount-on-root", {"/mounts/0/destination": "."}, ["/mounts/0/destination"]),
    ("bind-with-data", {"/mounts/1/options": ["bind", "size=5", "ro", "x", ""]}, ["/mounts/1/options/1", "/mounts/1/options/3"]),
    ("bind-without-source", {"/mounts/1": {"destination": "/a", "options": ["rbind"]}}, ["/mounts/1"]),
    ("mount-type-bind", {"/mounts/1": {"destination": "/a", "type": "bind", "source": "/b"}}, ["/mounts/1/type"]),
    ("mount-mappings-halved", {"/mounts/1/uidMappings": [MAPPING]}, ["/mounts/1/uidMappings"]),
    ("mount-mappings-halved", {"/mounts/1/gidMappings": [MAPPING]}, ["/mounts/1/gidMappings"]),
    ("idmap-without-mappings", {"/mounts": [{"destination": "/a", "source": "/b", "options": ["bind", "idmap"]}],
                                "/linux": {"namespaces": [{"type": "uts"}]}}, ["/mounts/0"]),
    ("mapping-impossible", {"/mounts/7/uidMappings/-": MAPPING},
     ["/mounts/7/uidMappings/1/containerID", "/mounts/7/uidMappings/0/hostID"]),
    ("mapping-impossible", {"/mounts/7/gidMappings/0/size": (1 << 32) - 1}, ["/mounts/7/gidMappings/0/size"]),
    ("mapping-impossible", {"/linux/uidMappings/1/containerID": 0}, ["/linux/uidMappings/1/containerID"]),
    ("mapping-impossible", {"/linux/gidMappings/1/hostID": 1000}, ["/linux/gidMappings/1/hostID"]),
    ("device-path", {"/linux/devices/0/path": "dev/fuse"}, ["/linux/devices/0/path"]),
    ("device-path", {"/linux/devices/0/path": "/."}, ["/linux/devices/0/path"]),
    ("device-numbers", {"/linux/devices/0": {"type": "u", "path": "/dev/x"}}, ["/linux/devices/0", "/linux/devices/0"]),
    ("device-numbers", {"/linux/devices/0/major": -1}, ["/linux/devices/0/major"]),
    ("device-numbers", {"/linux/devices/0/minor": 1 << 20}, ["/linux/devices/0/minor"]),
    ("device-twice", {"/linux/devices/-": {"type": "c", "path": "/dev//fuse", "major": 1, "minor": 3}},
     ["/linux/devices/1/path"]),
    ("paths-relative", {"/linux/maskedPaths/0": "proc/acpi"}, ["/linux/maskedPaths/0"]),
    ("paths-relative", {"/linux/readonlyPaths/-": ""}, ["/linux/readonlyPaths/5"]),
    ("paths-without-mount-namespace", {"/linux/namespaces/4": GONE}, ["/linux/maskedPaths", "/linux/readonlyPaths"]),
    ("propagation-of-the-host", {"/linux/namespaces/4": GONE}, ["/linux/rootfsPropagation"]),
    ("namespace-twice", {"/linux/namespaces/-": {"type": "pid"}}, ["/linux/namespaces/8/type"]),
    ("namespace-path-relative", {"/linux/namespaces/0/path": "proc/1/ns/pid"}, ["/linux/namespaces/0/path"]),
    ("mappings-without-namespace", {"/linux/namespaces/5": GONE}, ["/linux/uidMappings", "/linux/gidMappings"]),
    ("namespace-without-mappings", {"/linux/uidMappings": [], "/linux/gidMappings": GONE},
     ["/linux/namespaces/5", "/linux/namespaces/5"]),
    ("time-offsets", {"/linux/namespaces/7": GONE}, ["/linux/timeOffsets"]),
    ("time-offsets", {"/linux/namespaces/7/path": "/ns/time"}, ["/linux/timeOffsets"]),
    ("time-offsets", {"/linux/timeOffsets/real~1time": {"secs": 1}}, ["/linux/timeOffsets/real~1time"]),
    ("sysctl-foreign", {"/linux/sysctl": {"kernel.hostname": "a"}}, ["/linux/sysctl/kernel.hostname"]),
    ("sysctl-foreign", {"/linux/sysctl": {"vm.swappiness": "1", "net.ipv4.x": "1", "vm/x": "1"}},
     ["/linux/sysctl/vm.swappiness", "/linux/sysctl/vm~1x"]),
    ("sysctl-foreign", {"/linux/sysctl": {"net/../kernel/panic": "1", "net..x": "1", ".net": "1", "net/./x": ""}},
     ["/linux/sysctl/net~1..~1kernel~1panic", "/linux/sysctl/net..x", "/linux/sysctl/.net", "/linux/sysctl/net~1.~1x"]),
    ("sysctl-foreign", {"/linux/namespaces": [{"type": "mount"}], "/linux/sysctl": {
        "net.a": "", "kernel.sem": "", "fs.mqueue.x": "", "kernel.domainname": "", "user.x": ""}},
     [f"/linux/sysctl/{n}" for n in ("net.a", "kernel.sem", "fs.mqueue.x", "kernel.domainname", "user.x")]),
    ("network-devices", {"/linux/namespaces/1": GONE}, ["/linux/netDevices"]),
    ("network-devices", {"/linux/netDevices": {"e th0": {}, "a": {"name": "sixteen-letters-"}, "b": {"name": "x%d%d"},
                                               "c": {"name": ".."}, "d": {"name": "y"}, "f": {"name": "y"}}},
     ["/linux/netDevices/e th0", *(f"/linux/netDevices/{n}/name" for n in "abc"), "/linux/netDevices/f"]),
    ("clos-id", {"/linux/intelRdt/closID": "a/b"}, ["/linux/intelRdt/closID"]),
    ("clos-id", {"/linux/intelRdt/closID": ".."}, ["/linux/intelRdt/closID"]),
    ("memory-policy-nodes", {"/linux/memoryPolicy/mode": "MPOL_LOCAL"}, ["/linux/memoryPolicy/nodes"]),
    ("memory-policy-nodes", {"/linux/memoryPolicy/nodes": " , "}, ["/linux/memoryPolicy"]),
    ("seccomp-errno", {f"{SECCOMP}/defaultAction": "SCMP_ACT_ALLOW"}, [f"{SECCOMP}/defaultErrnoRet"]),
    ("seccomp-errno", {f"{SECCOMP}/syscalls/0/errnoRet": 1}, [f"{SECCOMP}/syscalls/0/errnoRet"]),
    ("seccomp-errno", {f"{SECCOMP}/defaultErrnoRet": 4096}, [f"{SECCOMP}/defaultErrnoRet"]),
    ("seccomp-errno", {f"{SECCOMP}/syscalls/0": {"names": ["x"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536}},
     [f"{SECCOMP}/syscalls/0/errnoRet"]),
    ("seccomp-notify", {f"{SECCOMP}/listenerPath": ""}, [f"{SECCOMP}/syscalls/0/action", f"{SECCOMP}/listenerMetadata"]),
    ("seccomp-notify", {f"{SECCOMP}/syscalls/0/names": ["read", "write"]}, [f"{SECCOMP}/syscalls/0/names/1"]),
    ("seccomp-notify", {f"{SECCOMP}/defaultAction": "SCMP_ACT_NOTIFY", f"{SECCOMP}/defaultErrnoRet": GONE},
     [f"{SECCOMP}/defaultAction"]),
    ("seccomp-off", {f"{SECCOMP}/defaultAction": "", f"{SECCOMP}/defaultErrnoRet": GONE}, [f"{SECCOMP}/defaultAction"]),
    ("seccomp-argument", {f"{SECCOMP}/syscalls/0/args/0/index": 6}, [f"{SECCOMP}/syscalls/0/args/0/index"]),
    ("device-access-missing", {f"{RESOURCES}/devices/0/access": GONE}, [f"{RESOURCES}/devices/0"]),
    ("swap-without-limit", {f"{RESOURCES}/memory/limit": GONE}, [f"{RESOURCES}/memory/swap"]),
    ("swap-without-limit", {f"{RESOURCES}/memory/swap": 5}, [f"{RESOURCES}/memory/swap"]),
    ("swappiness", {f"{RESOURCES}/memory/swappiness": 101}, [f"{RESOURCES}/memory/swappiness"]),
    ("burst-above-quota", {f"{RESOURCES}/cpu/burst": 100001}, [f"{RESOURCES}/cpu/burst"]),
    ("cpu-idle", {f"{RESOURCES}/cpu/idle": 2}, [f"{RESOURCES}/cpu/idle"]),
    ("weight-missing", {f"{RESOURCES}/blockIO/weightDevice/-": {"major": 1, "minor": 2}},
     [f"{RESOURCES}/blockIO/weightDevice/1"]),
    ("rdma-limit-missing", {f"{RESOURCES}/rdma/x": {}}, [f"{RESOURCES}/rdma/x"]),
    ("unified-file", {f"{RESOURCES}/unified": {"a/b.c": "", "cpu": "", "..": "", "io.max": ""}},
     [f"{RESOURCES}/unified/{n}" for n in ("a~1b.c", "cpu", "..")]),
)  # fmt: skip

WARNINGS: tuple[Any, ...] = (
    ("other-platform", {"/windows": {}, "/vm": {"kernel": {"path": "/k"}}}, ["/windows", "/vm"]),
    ("process-missing", {"/process": GONE}, [""]),
    ("capability-unknown", {"/process/capabilities/effective/-": "CAP_FLY"}, ["/process/capabilities/effective/1"]),
    ("capability-ambient", {"/process/capabilities/inheritable": []}, ["/process/capabilities/ambient/0"]),
    ("env-twice", {"/process/env": ["A=1", "B=1", "A=2"]}, ["/process/env/0"]),
    ("console-without-terminal", {"/process/terminal": False}, ["/process/consoleSize"]),
    ("umask-odd", {"/process/user/umask": 1022}, ["/process/user/umask"]),
    ("mount-relative", {"/mounts/0/destination": "proc"}, ["/mounts/0/destination"]),
    ("mount-mappings-unsaid", {"/mounts/7/options": ["bind"]}, ["/mounts/7/uidMappings"]),
    ("hook-deprecated", {}, ["/hooks/prestart"]),
    ("systemd-property", {"/annotations": {"org.systemd.property.A1b": "1", "org.systemd.property.Abc": "1"}},
     ["/annotations/org.systemd.property.A1b"]),
    ("path-and-mappings", {"/linux/namespaces/5/path": "/ns/user"}, ["/linux/namespaces/5/path"]),
    ("no-mount-namespace", {"/linux/namespaces/4": GONE}, ["/linux/namespaces"]),
    ("personality-flags", {"/linux/personality/flags": ["x"]}, ["/linux/personality/flags"]),
    ("file-mode-odd", {"/linux/devices/0/fileMode": 1 << 26}, ["/linux/devices/0/fileMode"]),
    ("same-device", {"/linux/devices/-": {"type": "u", "path": "/b", "major": 10, "minor": 229}}, ["/linux/devices/1"]),
    ("cgroups-path-up", {"/linux/cgroupsPath": "a/../b"}, ["/linux/cgroupsPath"]),
    ("kernel-memory", {f"{RESOURCES}/memory/kernelTCP": 5}, [f"{RESOURCES}/memory/kernelTCP"]),
    ("reservation-above-limit", {f"{RESOURCES}/memory/reservation": 1 << 30}, [f"{RESOURCES}/memory/reservation"]),
    ("second-value-unused", {f"{SECCOMP}/syscalls/0/args/0/op": "SCMP_CMP_EQ"}, [f"{SECCOMP}/syscalls/0/args/0/valueTwo"]),
)  # fmt: skip


def changed(changes: dict[str, Any]) -> Any:
    config = samples.complete()
    for pointer, value in changes.items():
        if pointer.rpartition("/")[2].isdecimal() and value is GONE:  # an item: the later ones keep their place
            holder: Any = config
            for step in pointer.split("/")[1:-1]:
                holder = holder[step]
            del holder[int(pointer.rpartition("/")[2])]
        else:
            config = samples.changed(config, pointer, value)
    return config


def pointers(table: Any, name: str, config: Any) -> list[str]:
    return [pointer for rule, pointer, _, _ in rules.faults(config, table) if rule[0] == name]


@pytest.mark.parametrize(("name", "changes", "places"), FAULTS)
def test_faults(name: str, changes: Any, places: list[str]) -> None:
    config = changed(changes)
    assert compiled.config(config), "a rule is not for what the schema refuses"
    assert pointers(rules.ERRORS, name, config) == places


@pytest.mark.parametrize(("name", "changes", "places"), WARNINGS)
def test_warnings(name: str, changes: Any, places: list[str]) -> None:
    config = changed(changes)
    assert compiled.config(config)
    assert pointers(advice.RULES, name, config) == places


def test_every_rule_is_tested_and_names_its_section() -> None:
    for table, cases in ((rules.ERRORS, FAULTS), (advice.RULES, WARNINGS)):
        assert {rule[0] for rule in table} == {case[0] for case in cases}
        assert all(rule[3].split(".md, ")[0] in ("config", "config-linux") for rule in table)


@pytest.mark.parametrize("base", [*samples.BASES, samples.docker])
def test_right_configurations_have_no_fault(base: Any) -> None:
    assert list(rules.faults(base())) == []


@pytest.mark.parametrize("changes", [
    {"/hostname": "", "/domainname": GONE, "/linux/namespaces/3/path": "/ns/uts"},
    {"/process/scheduler": {"policy": "SCHED_RR", "priority": 99}},
    {"/process/scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 1}, "/hooks/startContainer": GONE},
    {"/process/scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 1}, "/hooks/startContainer": []},
    {"/process/execCPUAffinity/initial": " 1-1 ,,3,"},
    {"/linux/namespaces/5/path": "/ns/user", "/linux/uidMappings": GONE, "/linux/gidMappings": []},
    {"/linux/sysctl": {"net/ipv4/conf/eth0.5/rp_filter": "1", "kernel/domainname": "a", "fs/mqueue/x": "5"}},
    {"/linux/namespaces/4": {"type": "mount", "path": "/ns/mnt"}},
    {"/linux/namespaces/4": GONE, "/linux/maskedPaths": [], "/linux/readonlyPaths": GONE, "/linux/rootfsPropagation": ""},
    {"/linux/netDevices": {"a": {"name": "x%d"}, "b": {"name": "x%d"}}},
    {"/linux/intelRdt/closID": "/"},
    {"/linux/memoryPolicy": {"mode": "MPOL_PREFERRED"}},
    {"/linux/seccomp": {"defaultAction": ""}},
    {"/linux/devices/0": {"type": "p", "path": "/fifo"}},
    {f"{RESOURCES}/memory": {"swap": -1}},
    {"/mounts/1": {"destination": "/a", "options": ["bind", "remount", "ro"]}},
    {"/hooks/unknown": [1, {"path": "x"}], "/linux/timeOffsets/boottime": {}},
])  # fmt: skip
def test_what_is_right_after_all(changes: Any) -> None:
    config = changed(changes)
    assert compiled.config(config)
    assert list(rules.faults(config)) == []


def test_rules_leave_alone_what_was_refused() -> None:
    config = changed(
        {"/linux/namespaces/-": {"type": "pid"}, "/mounts/0/destination": "/", "/mounts/1/destination": "/"}
    )
    found = {
        pointer for _, pointer, _, _ in rules.faults(config, rejected=["/linux/namespaces/2/type", "/mounts/0/type"])
    }
    assert found == {"/mounts/1/destination"}
    assert list(rules.faults(config, rejected=["/linux", "/mounts"])) == []


def test_rules_bear_whatever_the_schema_refused() -> None:
    chance = random.Random(7)
    validator = explain._validator_class(jsonschema)(schemas.load("config"))
    for number in range(900):
        config = samples.mutate(samples.BASES[number % len(samples.BASES)](), chance)
        errors = ["".join(f"/{step}" for step in error.absolute_path) for error in validator.iter_errors(config)]
        list(rules.faults(config, rules.ERRORS + rules.RUNNABLE + advice.RULES, errors))


def test_a_process_alone_meets_the_rules_on_processes() -> None:
    found = [(rule[0], at) for rule, at, _, _ in rules.faults({"cwd": "x", "args": []}, within="/process")]
    assert found == [("cwd-relative", "/cwd"), ("args-empty", "/args")]


def test_an_update_need_not_name_the_limit_it_leaves() -> None:
    assert list(rules.faults({"memory": {"swap": 5}}, within="/linux/resources")) == []
    (fault,) = rules.faults({"cpu": {"idle": 3}, "memory": {"swap": 5}}, within="/linux/resources")
    assert fault[1] == "/cpu/idle"


def test_what_create_needs() -> None:
    assert rules.check_runnable(samples.minimal()) == []
    config = samples.changed(samples.runc_spec(), "/process/args", GONE)
    assert [fault[1] for fault in rules.check_runnable(config)] == ["/process"]
    assert rules.check_runnable(samples.runc_spec()) == []


def test_options_are_those_that_mounts_are_planned_with() -> None:
    assert sorted(mounts.FLAG_OPTIONS) == mount_plan.option_names()


def test_other_platforms_are_no_ones_business() -> None:
    config = {"ociVersion": "1.0.0", "root": {"path": "r"}, "hostname": "h", "process": {"cwd": "C:\\", "user": {}}}
    assert {fault[0][0] for fault in rules.faults(config)} == {"uts-name", "cwd-relative", "user-ids-missing"}
    assert list(rules.faults({**config, "windows": {}})) == []
    assert process.for_linux({**config, "windows": {}, "linux": {}})


@pytest.mark.parametrize(("key", "name"), [
    ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
    ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
    ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
    ("single", "single"),
])  # fmt: skip
def test_names_of_kernel_parameters(key: str, name: str) -> None:
    assert sysctl_name(key) == name
