# SPDX-License-Identifier: Apache-2.0
"""Which network devices change over, and what they are called then."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.errors import SpecError
from pyoci.plan.model import NetDevice
from pyoci.plan.net_devices import plan_net_devices

from .hosts import config, host, planned

HERE = {"eth0": "eth0", "dummy0": "dummy0", "lan": "eth0"}


def devices(**told: dict[str, str]) -> tuple[NetDevice, ...]:
    return planned(config(linux={"netDevices": told}), host(network_devices=HERE)).net_devices


def test_they_keep_their_names_and_their_order() -> None:
    assert devices(eth0={}, dummy0={"name": ""}) == (
        NetDevice(name="eth0", inside="eth0"),
        NetDevice(name="dummy0", inside="dummy0"),
    )


def test_another_name() -> None:
    assert devices(eth0={"name": "net%d"}) == (NetDevice(name="eth0", inside="net%d"),)


def test_one_that_is_told_by_another_of_its_names() -> None:
    assert devices(lan={}) == (NetDevice(name="eth0", inside="eth0"),)
    assert devices(lan={"name": "x"}) == (NetDevice(name="eth0", inside="x"),)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"eth1": {}}, "there is no network device eth1 here"),
        ({"lan": {"name": "a"}, "eth0": {"name": "b"}}, "network devices lan and eth0 are the same one"),
    ],
)
def test_what_cannot_be(told: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        devices(**told)


def test_it_takes_root() -> None:
    with pytest.raises(SpecError, match="only root can move network devices"):
        plan_net_devices({"eth0": {}}, planned().namespaces, host(network_devices=HERE, euid=1000))
