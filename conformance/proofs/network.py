# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Network Devices."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from typing import Any

from ..box import CLONE_NEWNET, Box, unshare
from ..suite import Skipped, each, proves


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def devices() -> set[str]:
    return {line.split(":")[1].strip().partition("@")[0] for line in ip("-o", "link", "show").splitlines()}


def cable(box: Box, name: str = "", given: str = "one") -> None:
    """Give the container one end of a virtual cable, in a network that is this test's own."""
    if shutil.which("ip") is None:
        raise Skipped("needs ip(8)")
    unshare(CLONE_NEWNET)
    ip("link", "add", "one", "type", "veth", "peer", "name", "two")
    box.linux["netDevices"] = {given: {"name": name} if name else {}}


@proves("net-device-available", "net-device-up", "net-device-possible")
def a_device_of_the_host(box: Box) -> None:
    cable(box)
    report = box.hold()
    assert set(report["devices"]) - {""} == {"lo", "one"}
    assert report["devices"]["one"]["up"]
    assert "one" not in devices()


@each({"another": ("eth0", "eth0"), "template": ("eth%d", "eth0")}, "net-device-available", "net-device-template")
def a_device_with_another_name(box: Box, case: tuple[str, str]) -> None:
    name, expected = case
    cable(box, name)
    report = box.hold()
    assert set(report["devices"]) - {""} == {"lo", expected}
    assert report["devices"][expected]["up"]


@proves("net-device-attributes")
def what_a_device_keeps(box: Box) -> None:
    cable(box)
    ip("link", "set", "one", "mtu", "1234", "address", "02:00:00:00:12:34")
    ip("address", "add", "192.0.2.7/24", "dev", "one")
    addresses = {"192.0.2.7"}
    with suppress(AssertionError):  # where there is no version 6
        ip("address", "add", "2001:db8::7/64", "dev", "one", "nodad")
        addresses.add("2001:db8::7")
    found = box.hold()["devices"]["one"]
    assert (found["mtu"], found["mac"]) == (1234, "02:00:00:00:12:34")
    assert addresses <= set(found["addresses"])


@proves("net-device-taken")
def a_name_that_is_taken(box: Box) -> None:
    cable(box, "lo")
    box.refuses()


@proves("error-leaves-nothing", since="1.3")
def a_device_whose_name_is_taken(box: Box) -> None:
    cable(box, "lo")
    box.refuses()
    assert devices() == {"lo", "one", "two"}


@each({"missing": {"given": "none"}, "host network": {}}, "net-device-possible", "error-leaves-nothing")
def a_device_that_cannot_be_moved(box: Box, more: dict[str, Any]) -> None:
    cable(box, **more)
    if not more:
        box.linux["namespaces"] = [entry for entry in box.linux["namespaces"] if entry["type"] != "network"]
    box.refuses()
    assert devices() == {"lo", "one", "two"}


@proves("net-device-not-moved-back", "net-device-left-alone")
def a_device_in_the_network_of_another(box: Box) -> None:
    """It stays there when the container that brought it is deleted."""
    owner = box.another()
    owner.hold()
    cable(box)
    (entry,) = [entry for entry in box.linux["namespaces"] if entry["type"] == "network"]
    entry["path"] = f"/proc/{owner.pid}/ns/net"
    box.hold()
    box.end()
    assert devices() == {"lo", "two"}
    listed = subprocess.run(
        ["nsenter", "--net", "--target", str(owner.pid), "ip", "-o", "link", "show", "one"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "UP" in listed.stdout
    owner.end()
