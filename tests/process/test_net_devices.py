# SPDX-License-Identifier: Apache-2.0
"""How network devices are found. What becomes of them is for tests/lifecycle to show."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from pyoci import syscalls as k
from pyoci.process.net_devices import NetDevices
from tests.forked import in_child

pytestmark = [pytest.mark.needs_ip, pytest.mark.needs_root]


def test_one_is_found_where_others_come_and_go() -> None:
    """As on a host with many containers: the kernel tells whoever lists devices that something changed meanwhile."""

    def ip(*lines: str) -> None:
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, stderr=subprocess.DEVNULL)

    def churn(over: threading.Event) -> None:
        while not over.is_set():
            ip(*["link add coming type veth peer name going", "link delete coming"] * 8)

    def inside() -> int:
        k.unshare(k.CLONE_NEWNET)
        ip(*(f"link add d{number} type veth peer name e{number}" for number in range(30)))
        devices = NetDevices(k.open("/proc/self/ns/net", k.O_RDONLY | k.O_CLOEXEC))
        over = threading.Event()
        churning = threading.Thread(target=churn, args=(over,))
        churning.start()
        try:
            deadline = time.monotonic() + 1.5
            looks = 0
            while time.monotonic() < deadline or looks <= 50:
                assert devices._look_up("d29").name == "d29"
                looks += 1
            return looks
        finally:
            over.set()
            churning.join()

    assert in_child(inside) > 50
