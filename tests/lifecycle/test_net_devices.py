# SPDX-License-Identifier: Apache-2.0
"""`linux.netDevices`: devices of the host that change over to the container's network."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .configs import namespace, with_user_namespace, without_namespace
from .harness import Container

pytestmark = [pytest.mark.needs_ip, pytest.mark.differs(runc="1.1.5 knows no netDevices")]


def ip(*words: str) -> list[dict[str, Any]]:
    """What ip(8) says, as data."""
    done = subprocess.run(["ip", "-json", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout) if done.stdout.strip() else []


def link(name: str) -> dict[str, Any] | None:
    found = [one for one in ip("address", "show") if one["ifname"] == name]
    return found[0] if found else None


def addresses(entry: dict[str, Any]) -> set[str]:
    return {f"{one['local']}/{one['prefixlen']}" for one in entry["addr_info"] if one["scope"] == "global"}


class Pair:
    """Two ends of a virtual cable, in this network namespace."""

    def __init__(self) -> None:
        self.one, self.other = f"pt{os.getpid() % 100000}a", f"pt{os.getpid() % 100000}b"
        ip("link", "add", self.one, "type", "veth", "peer", "name", self.other)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    for name in (made.one, made.other):  # the end of one is the end of both
        subprocess.run(["ip", "link", "delete", name], stderr=subprocess.DEVNULL)


def inside(container: Container) -> dict[str, dict[str, Any]]:
    """The network devices of a running container by name."""
    words = ["nsenter", "--net", "--target", str(container.pid), "ip", "-json", "address", "show"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return {entry["ifname"]: entry for entry in json.loads(done.stdout)}


def give(container: Container, **devices: str) -> None:
    container.linux["netDevices"] = {name: {"name": new} if new else {} for name, new in devices.items()}


def test_a_device_is_moved_and_up(container: Container, pair: Pair) -> None:
    give(container, **{pair.one: ""})
    container.launch()
    assert link(pair.one) is None
    assert "UP" in inside(container)[pair.one]["flags"]


def test_it_gets_another_name(container: Container, pair: Pair) -> None:
    give(container, **{pair.one: "eth0"})
    container.launch()
    devices = inside(container)
    assert set(devices) >= {"lo", "eth0"}
    assert pair.one not in devices
    assert "UP" in devices["eth0"]["flags"]


def test_one_that_is_told_by_another_of_its_names(container: Container, pair: Pair) -> None:
    """altname, ip-link(8)."""
    other = f"{pair.one}-alt"
    ip("link", "property", "add", "dev", pair.one, "altname", other)
    give(container, **{other: "eth0"})
    container.launch()
    assert "UP" in inside(container)["eth0"]["flags"]


def test_the_kernel_makes_a_name_from_a_template(container: Container, pair: Pair) -> None:
    give(container, **{pair.one: "net%d", pair.other: "net%d"})
    container.launch()
    devices = inside(container)
    assert {"net0", "net1"} <= set(devices)
    assert all("UP" in devices[name]["flags"] for name in ("net0", "net1"))


def test_its_lasting_global_addresses_go_along(container: Container, pair: Pair) -> None:
    ip("address", "add", "192.0.2.5/24", "broadcast", "192.0.2.255", "dev", pair.one)
    ip("address", "add", "192.0.2.6/25", "dev", pair.one)
    ip("address", "add", "198.51.100.1", "peer", "198.51.100.2/32", "dev", pair.one)
    ip("address", "add", "2001:db8::5/64", "dev", pair.one)
    ip("address", "add", "2001:db8::6/64", "dev", pair.one, "valid_lft", "1000", "preferred_lft", "900")
    ip("address", "add", "169.254.7.7/16", "scope", "link", "dev", pair.one)
    ip("link", "set", pair.one, "up")
    give(container, **{pair.one: "eth0"})
    container.launch()
    entry = inside(container)["eth0"]
    assert {"192.0.2.5/24", "192.0.2.6/25", "198.51.100.1/32"} <= addresses(entry)
    by_address = {one["local"]: one for one in entry["addr_info"]}
    assert by_address["192.0.2.5"]["broadcast"] == "192.0.2.255"
    assert by_address["198.51.100.1"]["address"] == "198.51.100.2"
    assert "169.254.7.7" not in by_address
    assert "2001:db8::6" not in by_address


def test_a_lasting_global_address_of_version_6(container: Container, pair: Pair) -> None:
    ip("address", "add", "2001:db8::5/64", "dev", pair.one, "nodad")
    ip("address", "add", "2001:db8::6/64", "dev", pair.one, "valid_lft", "1000", "preferred_lft", "900")
    give(container, **{pair.one: ""})
    container.launch()
    entry = inside(container)[pair.one]
    assert "2001:db8::5/64" in addresses(entry)
    assert "2001:db8::6/64" not in addresses(entry)


def test_what_else_it_is_stays(container: Container, pair: Pair) -> None:
    ip("link", "set", pair.one, "mtu", "1400", "address", "02:00:5e:00:53:01")
    give(container, **{pair.one: "eth0"})
    container.launch()
    entry = inside(container)["eth0"]
    assert (entry["mtu"], entry["address"]) == (1400, "02:00:5e:00:53:01")


def test_kernel_parameters_of_a_moved_device(container: Container, pair: Pair) -> None:
    give(container, **{pair.one: "eth0"})
    container.linux["sysctl"] = {"net.ipv4.conf.eth0.forwarding": "1"}
    assert container.output("cat", "/proc/sys/net/ipv4/conf/eth0/forwarding") == "1\n"


def test_hooks_find_it_there(container: Container, pair: Pair) -> None:
    script = f"cd {container.bundle}; nsenter --net --target $(cat pid.hook) ip link show eth0 > seen"
    take = "sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' > " + str(container.bundle / "pid.hook")
    container.config["hooks"] = {
        "createRuntime": [
            {"path": "/bin/sh", "args": ["sh", "-c", f"{take}; {script}"], "env": [f"PATH={os.environ['PATH']}"]}
        ]
    }
    give(container, **{pair.one: "eth0"})
    container.run().ok()
    assert "eth0" in (container.bundle / "seen").read_text()


def test_a_network_that_was_there_before(container: Container, pair: Pair) -> None:
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        entry = namespace(container.config, "network")
        assert entry is not None
        entry["path"] = f"/proc/{process.pid}/ns/net"
        give(container, **{pair.one: "eth0"})
        container.launch()
        assert "UP" in inside(container)["eth0"]["flags"]
    finally:
        process.kill()
        process.communicate()


def test_with_a_user_namespace(container: Container, pair: Pair) -> None:
    with_user_namespace(container.config)
    give(container, **{pair.one: "eth0"})
    container.launch()
    assert "UP" in inside(container)["eth0"]["flags"]


def test_the_namespace_is_let_go_of(container: Container, pair: Pair) -> None:
    """A virtual device ends with the last process of its namespace, and with it the other end, here."""
    give(container, **{pair.one: "eth0"})
    container.run().ok()
    from .harness import eventually

    eventually("the end of the other end", lambda: link(pair.other) is None)


# What cannot be


def test_a_device_that_is_not_there(container: Container) -> None:
    give(container, nosuchdevice="")
    container.create().refused("nosuchdevice")
    container.leaves_nothing()


def test_a_name_that_is_taken(container: Container, pair: Pair) -> None:
    ip("address", "add", "192.0.2.5/24", "dev", pair.one)
    ip("link", "set", pair.one, "up")
    give(container, **{pair.one: "lo"})
    container.create().refused(pair.one, "lo", "file exists")
    container.leaves_nothing()
    entry = link(pair.one)
    assert entry is not None
    assert "UP" in entry["flags"]
    assert addresses(entry) == {"192.0.2.5/24"}


def test_one_that_may_not_go_keeps_its_routes(container: Container, pair: Pair) -> None:
    """Which the kernel forgets when a device is set down."""
    ip("address", "add", "192.0.2.5/24", "dev", pair.one)
    ip("link", "set", pair.one, "up")
    ip("link", "set", pair.other, "up")
    ip("route", "add", "203.0.113.0/24", "via", "192.0.2.1", "dev", pair.one)
    give(container, **{pair.one: "lo"})
    container.create().refused(pair.one, "lo", "file exists")
    assert {"203.0.113.0/24", "192.0.2.0/24"} <= {route["dst"] for route in ip("route", "show", "dev", pair.one)}


def test_a_create_that_fails_later_brings_it_back(container: Container, pair: Pair) -> None:
    ip("address", "add", "192.0.2.5/24", "dev", pair.one)
    ip("address", "add", "2001:db8::5/64", "dev", pair.one)
    ip("link", "set", pair.one, "up")
    give(container, **{pair.one: "eth0", pair.other: ""})
    script = f"ip link > {container.bundle}/seen; exit 1"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": [f"PATH={os.environ['PATH']}"]}
    container.config["hooks"] = {"createRuntime": [hook]}
    container.create().refused("hook")
    container.leaves_nothing()
    assert pair.one not in (container.bundle / "seen").read_text()
    entry, other = link(pair.one), link(pair.other)
    assert entry is not None
    assert other is not None
    assert "UP" in entry["flags"]
    assert "UP" not in other["flags"]
    assert addresses(entry) >= {"192.0.2.5/24", "2001:db8::5/64"}


def test_a_run_whose_program_cannot_be_executed_brings_it_back(container: Container, pair: Pair) -> None:
    (container.rootfs / "nonsense").write_text("no program")
    (container.rootfs / "nonsense").chmod(0o755)
    container.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    give(container, **{pair.one: "eth0"})
    assert container.run(args=["/nonsense"]).status == 1
    if container.runtime.name != "pyoci":
        pytest.xfail("it has not been moved in the first place")
    assert link(pair.one) is not None
    container.leaves_nothing()


def test_a_name_that_is_taken_meanwhile(container: Container, pair: Pair) -> None:
    """The kernel moves first and renames then: two devices that want one name."""
    give(container, **{pair.one: "net%d", pair.other: "net0"})
    container.create().refused(pair.other, "net0", "file exists")
    assert link(pair.one) is not None
    assert link(pair.other) is not None


def test_without_a_network_namespace(container: Container, pair: Pair) -> None:
    without_namespace(container.config, "network")
    give(container, **{pair.one: ""})
    container.create().refused("network")
    assert link(pair.one) is not None


def test_an_impossible_name(container: Container, pair: Pair) -> None:
    give(container, **{pair.one: "a/b"})
    container.create().refused("a/b")
    assert link(pair.one) is not None


@pytest.mark.parametrize("words", [["plan"], ["features"]])
def test_it_is_told_of(container: Container, pair: Pair, words: list[str]) -> None:
    if words == ["features"]:
        assert json.loads(container.call("features").ok().out)["linux"]["netDevices"] == {"enabled": True}
        return
    give(container, **{pair.one: "eth0"})
    container.write_config()
    told = container.call("plan", "--bundle", str(container.bundle), container.id).ok().out
    assert f"{pair.one} as eth0" in told
    assert Path(f"/sys/class/net/{pair.one}").exists()
