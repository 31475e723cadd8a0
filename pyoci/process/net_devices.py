# SPDX-License-Identifier: Apache-2.0
"""Moves network devices into a container's network (config-linux.md, Network devices; rtnetlink(7)).

A device leaves its addresses behind when it changes its namespace: those that are permanent and of global scope are given
back to it. What a container does with its devices is its own business afterwards, and the kernel's when the namespace
ends; only if the container comes to nothing do they come back from here.

Loads pyroute2, and so is loaded only if there are devices to be moved.
"""

from __future__ import annotations

from errno import EEXIST, ENODEV

from pyoci import syscalls as k
from pyoci import thirdparty
from pyoci.errors import PyociError, failed
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.plan.model import NetDevice

pyroute2: Any = thirdparty.load("pyroute2")
_REFUSED = (pyroute2.NetlinkError, OSError)

_TRIES = 200  # on a busy machine, more than ten is nothing unusual where devices come and go all the time
_IFF_UP = 1
_PERMANENT, _UNIVERSE = 0x80, 0  # IFA_F_PERMANENT, RT_SCOPE_UNIVERSE
_KEPT_FLAGS = 0x02 | 0x10 | 0x100 | 0x200 | 0x400  # no DAD, home address, temporary ones, no prefix route, auto-join


class _Before(Record):
    """What a device was before it was moved: what it takes to restore it."""

    index: int
    name: str
    up: bool
    addresses: tuple[dict[str, object], ...]


class NetDevices:
    """The network devices of one container, and the way back for them. `namespace` is its network namespace, opened."""

    def __init__(self, namespace: int) -> None:
        self.namespace = namespace
        self.own = k.open("/proc/self/ns/net", k.O_RDONLY | k.O_CLOEXEC)
        self.moved: list[tuple[_Before, int]] = []
        self.outside = pyroute2.IPRoute()
        try:
            k.setns(namespace, k.CLONE_NEWNET)
            try:
                self.inside = pyroute2.IPRoute()  # a socket stays in the namespace that it was made in
            finally:
                k.setns(self.own, k.CLONE_NEWNET)
        except OSError as error:
            raise failed("enter the container's network namespace", error) from None

    def move(self, device: NetDevice) -> None:
        """Move one device, under the name that it is to have, and bring it up. Raises PyociError."""
        wanted = f" as {device.inside}" if device.inside != device.name else ""
        try:
            before = self._look_up(device.name)
            self.moved.append((before, before.index))
            index = self._change(before, device.inside)
            self.moved[-1] = (before, index)
            _settle(self.inside, index, before.replace(up=True))
        except _REFUSED as error:
            raise _failed(f"move the network device {device.name} into the container{wanted}", error) from None

    def restore(self) -> None:
        """Bring back what was moved, as it was. Raises PyociError for what will not come."""
        while self.moved:
            before, index = self.moved.pop()
            try:
                if not self._is_outside(before):
                    self.inside.link("set", index=index, state="down")
                    self.inside.link("set", index=index, ifname=before.name, net_ns_fd=self.own)
                _settle(self.outside, self._look_up(before.name).index, before)
            except _REFUSED as error:
                raise _failed(f"move the network device {before.name} back", error) from None

    def close(self) -> None:
        """Let go of the namespace."""
        self.outside.close()
        self.inside.close()
        k.close(self.own)
        k.close(self.namespace)

    def _look_up(self, name: str) -> _Before:
        link = self.outside.link("get", ifname=name)[0]
        index = link["index"]
        addresses = _dump(lambda: self.outside.get_addr(index=index))
        return _Before(
            index=index,
            name=name,
            up=bool(link["flags"] & _IFF_UP),
            addresses=tuple(_address(one) for one in addresses if _is_lasting(one)),
        )

    def _is_outside(self, before: _Before) -> bool:
        try:
            return bool(self.outside.link("get", ifname=before.name))
        except pyroute2.NetlinkError as error:
            if error.code != ENODEV:
                raise
            return False

    def _change(self, before: _Before, name: str) -> int:
        """Namespace and name in one: there is no moment with a wrong name. The index inside.

        The kernel changes the namespace first, so a name that is taken has to be found before. It keeps the index if it is
        free there; if not, what was not there before is it. A device that is up is set down by the kernel, on its way: by
        us it would be too early, for then one that may not go has lost its routes all the same.
        """
        there = {link["index"]: link.get_attr("IFLA_IFNAME") for link in _dump(self.inside.get_links)}
        if name in there.values():
            raise FileExistsError(EEXIST, "")
        self.outside.link("set", index=before.index, ifname=name, net_ns_fd=self.namespace)
        if before.index not in there:
            return before.index
        new = [link["index"] for link in _dump(self.inside.get_links) if link["index"] not in there]
        named = new if len(new) == 1 else self.inside.link_lookup(ifname=name)
        return int(named[0])


def _settle(network: Any, index: int, before: _Before) -> None:
    """Give a device back its addresses, and bring it up if it was."""
    for address in before.addresses:
        try:
            network.addr("add", index=index, **address)
        except pyroute2.NetlinkError as error:
            if error.code != EEXIST:
                raise
    if before.up:
        network.link("set", index=index, state="up")


def _is_lasting(address: Any) -> bool:
    return bool(_flags(address) & _PERMANENT) and address["scope"] == _UNIVERSE


def _address(address: Any) -> dict[str, object]:
    told = {"family": address["family"], "prefixlen": address["prefixlen"], "IFA_FLAGS": _flags(address) & _KEPT_FLAGS}
    for name in ("address", "local", "broadcast"):
        value = address.get_attr(f"IFA_{name.upper()}")
        if value is not None:
            told[name] = value
    return told


def _flags(address: Any) -> int:
    flags = address.get_attr("IFA_FLAGS")  # all of them; the message's own field has room for eight
    return int(address["flags"] if flags is None else flags)


def _dump(ask: Callable[[], Any]) -> list[Any]:
    """The whole of an answer: the kernel tells when something changed while it was listing."""
    for _ in range(_TRIES):
        try:
            return list(ask())
        except pyroute2.netlink.exceptions.NetlinkDumpInterrupted:
            pass
    raise PyociError("the network devices of this host change too fast to be listed")


def _failed(step: str, error: Exception) -> PyociError:
    return failed(step, error if isinstance(error, OSError) else OSError(error.code, ""))  # type: ignore[attr-defined]
