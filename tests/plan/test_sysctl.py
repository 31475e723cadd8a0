# SPDX-License-Identifier: Apache-2.0
"""Kernel parameters: which are the container's own, and which would be the host's."""

from __future__ import annotations

import pytest

from pyoci import syscalls as k
from pyoci.errors import SpecError
from pyoci.plan.model import Join, Namespaces
from pyoci.plan.sysctl import path_of, plan_sysctl
from tests.plan.hosts import host

ALL_NEW = Namespaces(new=k.CLONE_NEWIPC | k.CLONE_NEWNET | k.CLONE_NEWUTS | k.CLONE_NEWUSER)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.arp_filter", "net/ipv4/conf/eth0.100/arp_filter"),
        ("net/ipv4/conf/eth0.100/arp_filter", "net/ipv4/conf/eth0.100/arp_filter"),
        ("kernel", "kernel"),
        ("", ""),
    ],
)
def test_dots_and_slashes(key: str, path: str) -> None:
    assert path_of(key) == path


def test_in_the_order_of_the_config() -> None:
    values = {"net.b": "1", "kernel.shmmax": "2", "net.a": "3"}
    assert plan_sysctl(values, ALL_NEW, host()) == (("net/b", "1"), ("kernel/shmmax", "2"), ("net/a", "3"))
    assert plan_sysctl({}, Namespaces(new=0), host()) == ()


@pytest.mark.parametrize(
    ("key", "flag"),
    [
        ("kernel.msgmax", k.CLONE_NEWIPC),
        ("kernel.sem", k.CLONE_NEWIPC),
        ("kernel/shm_rmid_forced", k.CLONE_NEWIPC),
        ("kernel.sem_next_id", k.CLONE_NEWIPC),
        ("fs.mqueue.msg_max", k.CLONE_NEWIPC),
        ("net.core.somaxconn", k.CLONE_NEWNET),
        ("kernel.domainname", k.CLONE_NEWUTS),
        ("user.max_user_namespaces", k.CLONE_NEWUSER),
    ],
)
def test_each_needs_its_namespace(key: str, flag: int) -> None:
    assert plan_sysctl({key: "1"}, Namespaces(new=flag), host())[0][0] == path_of(key)
    joined = Namespaces(new=0, join=(Join(type="x", path="/run/ns", flag=flag),))
    assert plan_sysctl({key: "1"}, joined, host())
    others = k.CLONE_NEWIPC | k.CLONE_NEWNET | k.CLONE_NEWUTS | k.CLONE_NEWUSER | k.CLONE_NEWPID
    with pytest.raises(SpecError, match="namespace of the container's own"):
        plan_sysctl({key: "1"}, Namespaces(new=others & ~flag), host())


@pytest.mark.parametrize(
    "key",
    [
        "kernel.panic",
        "vm.swappiness",
        "fs.file-max",
        "kernel.msgmaxx",
        "fs.mqueuex",
        "fs.mqueue",
        "kernel",
        "netx.a",
        "",
    ],
)
def test_those_of_the_whole_host(key: str) -> None:
    with pytest.raises(SpecError, match="would be set for the whole host"):
        plan_sysctl({key: "1"}, ALL_NEW, host())


@pytest.mark.parametrize(
    "key",
    ["net/../kernel/panic", "net/ipv4/../../kernel/panic", "/net/a", "net//a", "net..a", "..", "net.//.kernel"],
)
def test_paths_that_lead_elsewhere(key: str) -> None:
    with pytest.raises(SpecError):
        plan_sysctl({key: "1"}, ALL_NEW, host())


def test_the_host_name_has_its_own_property() -> None:
    with pytest.raises(SpecError, match=r'use "hostname" in config\.json instead'):
        plan_sysctl({"kernel.hostname": "x"}, ALL_NEW, host())


def test_a_network_that_is_joined_but_the_hosts_own() -> None:
    joined = Namespaces(new=0, join=(Join(type="network", path="/proc/1/ns/net", flag=k.CLONE_NEWNET),))
    assert plan_sysctl({"net.a": "1"}, joined, host(own_namespaces={"net:/proc/1/ns/net": False}))
    with pytest.raises(SpecError, match="the host's own, which is not changed"):
        plan_sysctl({"net.a": "1"}, joined, host(own_namespaces={"net:/proc/1/ns/net": True}))
