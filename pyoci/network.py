# SPDX-License-Identifier: Apache-2.0
"""The network of a container, as far as it is a runtime's business."""

from __future__ import annotations

from _struct import Struct

from pyoci import syscalls as k
from pyoci.errors import failed

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_ifreq = Struct("=16sh22x")


def bring_up_loopback() -> None:
    """`lo` up, by ioctl (netdevice(7)): netlink by way of a library takes a hundred times as long. Runs inside."""
    try:
        fd = k.inet_socket()
        try:
            name, flags = _ifreq.unpack(k.ioctl(fd, _SIOCGIFFLAGS, _ifreq.pack(b"lo", 0)))
            k.ioctl(fd, _SIOCSIFFLAGS, _ifreq.pack(name, flags | _IFF_UP))
        finally:
            k.close(fd)
    except OSError as error:
        raise failed("bring up the loopback device", error) from None
