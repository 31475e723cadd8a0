# SPDX-License-Identifier: Apache-2.0
"""Configs that are wrong: create refuses each, and takes the same config where it is right.

That one is tried first, so that a refusal for another reason proves nothing: a test whose right config cannot be had on
this host is skipped.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from tests.lifecycle.harness import console_socket

from ..box import Box
from ..suite import Skipped, each

Where = str
"""Where in the config: names and numbers with dots between them."""

ABSENT = object()

MAPPED = {
    "linux.namespaces.+": {"type": "user"},
    "linux.uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65_536}],
    "linux.gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 65_536}],
}
HOOK = {"hooks": {"poststop": [{"path": "/bin/true", "timeout": 5}]}}
RULE = {
    "linux.seccomp": {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {
                "names": ["kcmp"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}],
            }
        ],
    }
}
DEVICE = {"linux.devices": [{"path": "/node", "type": "c", "major": 1, "minor": 3}]}
THROTTLE = {"major": 7, "minor": 0, "rate": 1000}
IO = "linux.resources.blockIO"
PRIORITIES = {"linux.resources.network": {"priorities": [{"name": "lo", "priority": 5}]}}
LIMIT = {"process.rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]}
RDT = "linux.intelRdt"

Case = tuple[dict[Where, Any], dict[Where, Any]]
"""What makes the base config the right one, and what makes that wrong."""


def missing(right: dict[Where, Any], path: Where) -> Case:
    return right, {path: ABSENT}


REQUIRED: dict[str, Case] = {
    "version-required": missing({}, "ociVersion"),
    "root-required": missing({}, "root"),
    "root-path-required": missing({}, "root.path"),
    "mounts-destination": missing({}, "mounts.3.destination"),
    "cwd-required": missing({}, "process.cwd"),
    "args-required absent": missing({}, "process.args"),
    "args-required empty": ({}, {"process.args": []}),
    "rlimit-type-required": missing(LIMIT, "process.rlimits.0.type"),
    "rlimit-soft-required": missing(LIMIT, "process.rlimits.0.soft"),
    "rlimit-hard-required": missing(LIMIT, "process.rlimits.0.hard"),
    "scheduler-policy-required": missing({"process.scheduler": {"policy": "SCHED_OTHER"}}, "process.scheduler.policy"),
    "io-priority-required class": missing(
        {"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}, "process.ioPriority.class"
    ),
    "io-priority-required priority": missing(
        {"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}, "process.ioPriority.priority"
    ),
    "user-required uid": missing({}, "process.user.uid"),
    "user-required gid": missing({}, "process.user.gid"),
    "hook-path-required": missing(HOOK, "hooks.poststop.0.path"),
    "namespace-type-required": missing({}, "linux.namespaces.2.type"),
    "mapping-required container": missing(MAPPED, "linux.uidMappings.0.containerID"),
    "mapping-required host": missing(MAPPED, "linux.uidMappings.0.hostID"),
    "mapping-required size": missing(MAPPED, "linux.gidMappings.0.size"),
    "device-type-required": missing(DEVICE, "linux.devices.0.type"),
    "device-path-required": missing(DEVICE, "linux.devices.0.path"),
    "device-numbers-required major": missing(DEVICE, "linux.devices.0.major"),
    "device-numbers-required minor": missing(DEVICE, "linux.devices.0.minor"),
    "device-rule-allow-required": missing({}, "linux.resources.devices.0.allow"),
    "block-io-required weight": missing({IO: {"weightDevice": [{"major": 7, "minor": 0, "weight": 20}]}}, f"{IO}.weightDevice.0.major"),
    "block-io-required bytes": missing({IO: {"throttleReadBpsDevice": [THROTTLE]}}, f"{IO}.throttleReadBpsDevice.0.minor"),
    "block-io-required rate": missing({IO: {"throttleWriteBpsDevice": [THROTTLE]}}, f"{IO}.throttleWriteBpsDevice.0.rate"),
    "block-io-required operations": missing({IO: {"throttleReadIOPSDevice": [THROTTLE]}}, f"{IO}.throttleReadIOPSDevice.0.major"),
    "block-io-required operations' rate": missing({IO: {"throttleWriteIOPSDevice": [THROTTLE]}}, f"{IO}.throttleWriteIOPSDevice.0.rate"),
    "huge-pages-required size": missing(
        {"linux.resources.hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}, "linux.resources.hugepageLimits.0.pageSize"
    ),
    "huge-pages-required limit": missing(
        {"linux.resources.hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}, "linux.resources.hugepageLimits.0.limit"
    ),
    "network-required name": missing(PRIORITIES, "linux.resources.network.priorities.0.name"),
    "network-required priority": missing(PRIORITIES, "linux.resources.network.priorities.0.priority"),
    "memory-policy-mode-required": missing({"linux.memoryPolicy": {"mode": "MPOL_DEFAULT"}}, "linux.memoryPolicy.mode"),
    "seccomp-default-required": missing(RULE, "linux.seccomp.defaultAction"),
    "seccomp-names-required absent": missing(RULE, "linux.seccomp.syscalls.0.names"),
    "seccomp-names-required empty": (RULE, {"linux.seccomp.syscalls.0.names": []}),
    "seccomp-action-required": missing(RULE, "linux.seccomp.syscalls.0.action"),
    "seccomp-args-required index": missing(RULE, "linux.seccomp.syscalls.0.args.0.index"),
    "seccomp-args-required value": missing(RULE, "linux.seccomp.syscalls.0.args.0.value"),
    "seccomp-args-required op": missing(RULE, "linux.seccomp.syscalls.0.args.0.op"),
    "personality-domain-required": missing({"linux.personality": {"domain": "LINUX"}}, "linux.personality.domain"),
}  # fmt: skip

VALUES: dict[str, Case] = {
    "version-semver two": ({}, {"ociVersion": "1.0"}),
    "version-semver word": ({}, {"ociVersion": "latest"}),
    "root-exists missing": ({}, {"root.path": "no-such-directory"}),
    "root-exists file": ({}, {"root.path": "config.json"}),
    "cwd-absolute": ({}, {"process.cwd": "tmp"}),
    "rlimit-unknown": (LIMIT, {"process.rlimits.0.type": "RLIMIT_NO_SUCH"}),
    "rlimit-twice": (LIMIT, {"process.rlimits.+": {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}}),
    "hook-path-absolute": (HOOK, {"hooks.poststop.0.path": "bin/true"}),
    "hook-timeout zero": (HOOK, {"hooks.poststop.0.timeout": 0}),
    "hook-timeout negative": (HOOK, {"hooks.poststop.0.timeout": -1}),
    "annotations-map": ({"annotations": {"a": "b"}}, {"annotations": ["a", "b"]}),
    "annotations-empty": ({"annotations": {"a": "b"}}, {"annotations": {"": "b"}}),
    "annotations-values": ({"annotations": {"a": "b"}}, {"annotations": {"a": 1}}),
    "invalid-values host name": ({}, {"hostname": 5}),
    "invalid-values environment": ({}, {"process.env": "PATH=/"}),
    "invalid-values flag": ({}, {"root.readonly": "yes"}),
    "invalid-values user": ({}, {"process.user.uid": -1}),
    "invalid-values propagation": ({}, {"linux.rootfsPropagation": "sideways"}),
    "invalid-values priority": (
        {"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}, {"process.ioPriority.class": "IOPRIO_CLASS_NONE_SUCH"},
    ),
    "invalid-values policy": ({"process.scheduler": {"policy": "SCHED_OTHER"}}, {"process.scheduler.policy": "SCHED_NONE_SUCH"}),
    "invalid-values personality": ({"linux.personality": {"domain": "LINUX"}}, {"linux.personality.domain": "PLAN9"}),
    "invalid-values action": (RULE, {"linux.seccomp.syscalls.0.action": "SCMP_ACT_NONE_SUCH"}),
    "invalid-values operator": (RULE, {"linux.seccomp.syscalls.0.args.0.op": "SCMP_CMP_NONE_SUCH"}),
    "invalid-values device": (DEVICE, {"linux.devices.0.type": "x"}),
    "namespace-path-absolute": ({}, {"linux.namespaces.2.path": "proc/self/ns/ipc"}),
    "namespace-twice": ({}, {"linux.namespaces.+": {"type": "ipc"}}),
    "invalid-values namespace": ({}, {"linux.namespaces.2.type": "icp"}),
    "masked-absolute": ({}, {"linux.maskedPaths.+": "proc/kcore"}),
    "readonly-absolute": ({}, {"linux.readonlyPaths.+": "proc/sys"}),
    "seccomp-metadata": (RULE, {"linux.seccomp.listenerMetadata": "x"}),
    "rdt-mb-form start": ({RDT: {"memBwSchema": "MB:0=20"}}, {f"{RDT}.memBwSchema": "L3:0=f"}),
    "rdt-mb-form lines": ({RDT: {"memBwSchema": "MB:0=20"}}, {f"{RDT}.memBwSchema": "MB:0=20\nMB:1=20"}),
    "rdt-schemata-form": ({RDT: {"schemata": ["MB:0=20"]}}, {f"{RDT}.schemata": ["MB:0=20\nMB:1=20"]}),
}  # fmt: skip


def changed(config: dict[str, Any], changes: dict[Where, Any]) -> dict[str, Any]:
    """A copy with other values; those that are ABSENT are taken out, those at + appended."""
    result = copy.deepcopy(config)
    for path, value in changes.items():
        *way, last = path.split(".")
        place: Any = result
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        key: Any = int(last) if isinstance(place, list) and last != "+" else last
        if value is ABSENT:
            del place[key]
        elif last == "+":
            place.append(copy.deepcopy(value))
        else:
            place[key] = copy.deepcopy(value)
    return result


def right_first(box: Box, case: Case) -> None:
    right, wrong = case
    box.config = changed(box.config, right)
    result = box.create()
    if result.status != 0:
        raise Skipped(f"it cannot have the right one here, either: {result.err.strip()}")
    box.kill("KILL").ok()
    box.wait()
    box.delete().ok()
    box.config = changed(box.config, wrong)
    box.refused()


@each(REQUIRED, "{}", "invalid-values")
def something_missing(box: Box, case: Case) -> None:
    right_first(box, case)


@each(VALUES, "{}", newer={"invalid-values priority": "1.1", "invalid-values policy": "1.1"})
def something_wrong(box: Box, case: Case) -> None:
    right_first(box, case)


@each({"height": "height", "width": "width"}, "console-size-required", "invalid-values")
def half_a_console_size(box: Box, name: str) -> None:
    box.process["terminal"] = True
    box.process["consoleSize"] = {"height": 25, "width": 80}
    with console_socket(box.scratch) as (path, _):
        box.create("--console-socket", path).ok()
        box.kill("KILL").ok()
        box.wait()
        box.delete().ok()
        del box.process["consoleSize"][name]
        result = box.create("--console-socket", path)
    assert result.status != 0, f"create should fail: {result}"


@each({"missing": {}}, "rdt-missing")
def resctrl(box: Box, rdt: dict[str, Any]) -> None:
    if " resctrl " in Path("/proc/self/mountinfo").read_text():
        raise Skipped("the host has resctrl")
    box.linux["intelRdt"] = rdt
    box.refuses()
