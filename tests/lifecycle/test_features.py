# SPDX-License-Identifier: Apache-2.0
"""`features` tells the truth: what it names, a container can have."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .configs import Config, bind, mount, namespace, with_user_namespace
from .harness import CGROUP_ROOT, Container, namespace_of, status_field

differs = pytest.mark.differs
KERNEL_NAMES = {"network": "net", "mount": "mnt"}


@pytest.fixture
def features(container: Container) -> Config:
    told: Config = json.loads(container.runtime.call("features").ok().out)
    return told


def test_the_versions_bound_what_is_taken(container: Container, features: Config) -> None:
    for name in ("ociVersionMin", "ociVersionMax"):
        container.config["ociVersion"] = features[name].removesuffix("+dev")
        container.run().ok()


def test_each_hook_runs(container: Container, features: Config) -> None:
    notes = container.scratch / "notes"
    notes.mkdir(mode=0o777)
    (container.rootfs / notes.relative_to("/")).mkdir(parents=True)
    container.mounts.append(bind(notes, str(notes), "bind"))
    container.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo > {notes}/{kind}"], "env": ["PATH=/bin"]}]
        for kind in features["hooks"]
    }
    container.run().ok()
    assert len(features["hooks"]) >= 6
    assert sorted(path.name for path in notes.iterdir()) == sorted(features["hooks"])


@differs(runc="1.1.5 gives `defaults` to the file system, which knows no such option")
def test_each_mount_option_is_taken(container: Container, features: Config) -> None:
    """Each by itself, on a mount that it has a meaning for."""
    volume = container.scratch / "volume"
    volume.mkdir()
    mappings = [{"containerID": 0, "hostID": 1000, "size": 1}]
    for number, option in enumerate(features["mountOptions"]):
        destination = f"/mnt/{number}"
        if option in ("idmap", "ridmap"):
            maps = {"uidMappings": mappings, "gidMappings": mappings}
            container.mounts.append(bind(volume, destination, "rbind", option) | maps)
        elif option == "remount":
            container.mounts[:] += [mount(destination, "tmpfs", "tmpfs"), mount(destination, "tmpfs", "tmpfs", option)]
        elif option in ("bind", "rbind"):
            container.mounts.append(bind(volume, destination, option))
        elif option.startswith("r") and option[1:] in features["mountOptions"]:
            container.mounts.append(bind(volume, destination, "rbind", option))
        else:
            container.mounts.append(mount(destination, "tmpfs", "tmpfs", option))
    assert len(container.mounts) > 50
    container.run().ok()


@pytest.mark.needs_user_namespaces
@pytest.mark.needs_time_namespaces
def test_each_namespace_is_made(container: Container, features: Config) -> None:
    if not namespace(container.config, "user"):
        with_user_namespace(container.config)
    for kind in features["linux"]["namespaces"]:
        if not namespace(container.config, kind):
            container.linux["namespaces"].append({"type": kind})
    container.launch()
    for kind in features["linux"]["namespaces"]:
        name = KERNEL_NAMES.get(kind, kind)
        assert namespace_of(container.pid, name) != namespace_of("self", name)


@pytest.mark.needs_user_namespaces
def test_each_capability_can_be_given(container: Container, features: Config) -> None:
    """In a user namespace, where there is none that we have not got."""
    if not namespace(container.config, "user"):
        with_user_namespace(container.config)
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    names = features["linux"]["capabilities"]
    assert len(names) >= min(last + 1, 41)
    container.process["capabilities"] = {kind: names for kind in ("bounding", "effective", "permitted")}
    given = status_field(container.output("cat", "/proc/self/status"), "CapEff")
    assert int(given, 16) == (1 << min(last + 1, len(names))) - 1


@differs(runc="1.1.5 says nothing of rdma")
def test_the_cgroups_of_this_host_are_among_them(features: Config) -> None:
    cgroup = features["linux"]["cgroup"]
    assert cgroup["v1"] or not (CGROUP_ROOT / "memory").exists()
    assert cgroup["v2"] or not (CGROUP_ROOT / "cgroup.controllers").exists()
    assert cgroup["rdma"]


def filtered(container: Container, **seccomp: Any) -> None:
    container.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **seccomp}


@pytest.mark.needs_seccomp
def test_each_action_is_taken(container: Container, features: Config) -> None:
    """On a system call that nobody makes; that which notifies needs somebody to be notified."""
    calls = ["acct", "swapon", "swapoff", "syslog", "quotactl", "sethostname", "settimeofday", "init_module", "reboot"]
    actions = [name for name in features["linux"]["seccomp"]["actions"] if name != "SCMP_ACT_NOTIFY"]
    assert "SCMP_ACT_ERRNO" in actions
    filtered(container, syscalls=[{"names": [calls[i]], "action": name} for i, name in enumerate(actions)])
    container.run().ok()


@pytest.mark.needs_seccomp
def test_each_operator_is_taken(container: Container, features: Config) -> None:
    filtered(
        container,
        syscalls=[
            {"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": name}]}
            for name in features["linux"]["seccomp"]["operators"]
        ],
    )
    container.run().ok()


@pytest.mark.needs_seccomp
@differs(runc="1.1.5 does not say which one")
def test_each_architecture_is_taken(container: Container, features: Config) -> None:
    """A filter is of one byte order, and those of the other one are refused by their name."""
    native = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}.get(os.uname().machine)
    if native is None:
        pytest.skip("needs a machine whose architectures are known here")
    taken = []
    for name in features["linux"]["seccomp"]["archs"]:
        filtered(container, architectures=[name], syscalls=[{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}])
        result = container.run()
        if result.status == 0:
            taken.append(name)
        else:
            result.refused(name.removeprefix("SCMP_ARCH_"))
    assert {native, "SCMP_ARCH_X86", "SCMP_ARCH_ARM"} <= set(taken)


@pytest.mark.needs_seccomp
def test_each_supported_flag_is_taken(container: Container, features: Config) -> None:
    for flag in features["linux"]["seccomp"].get("supportedFlags", ()):
        if flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
            continue  # means something to those who are notified
        filtered(container, flags=[flag], syscalls=[{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}])
        container.run().ok()


def test_annotations_tell_the_version(container: Container, features: Config) -> None:
    name, _, version = container.runtime.call("--version").ok().out.splitlines()[0].rpartition(" ")
    assert version in features["annotations"].values(), name


@differs(runc="1.1.5 knows no such property")
def test_annotations_that_change_the_host_are_named(features: Config) -> None:
    assert "org.systemd.property." in features["potentiallyUnsafeConfigAnnotations"]
