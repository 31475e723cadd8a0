# SPDX-License-Identifier: Apache-2.0
"""The loopback device of a new network namespace."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from pyoci import network
from pyoci import syscalls as k
from pyoci.errors import PyociError
from tests.forked import in_child

IFF_UP, IFF_LOOPBACK = 1, 8


def flags_of_lo() -> int:
    return int(open("/sys/class/net/lo/flags").read(), 16)


def is_reachable() -> bool:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        return client.connect_ex(server.getsockname()) == 0


@pytest.mark.needs_root
def test_lo_comes_up_and_keeps_its_other_flags() -> None:
    def inside() -> list[Any]:
        k.unshare(k.CLONE_NEWNET | k.CLONE_NEWNS)
        k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)
        k.mount("sysfs", "/sys", "sysfs", 0)
        before, open_before = flags_of_lo(), os.listdir("/proc/self/fd")
        network.bring_up_loopback()
        network.bring_up_loopback()  # once more does no harm
        return [before, flags_of_lo(), is_reachable(), os.listdir("/proc/self/fd") == open_before]

    before, after, reachable, closed = in_child(inside)
    assert (before & IFF_UP, after) == (0, before | IFF_UP)
    assert after & IFF_LOOPBACK
    assert reachable
    assert closed


@pytest.mark.needs_root
def test_without_the_right_to() -> None:
    def inside() -> str:
        k.unshare(k.CLONE_NEWNET)
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(PyociError) as caught:
            network.bring_up_loopback()
        return caught.value.message

    assert in_child(inside) == "bring up the loopback device: operation not permitted"
