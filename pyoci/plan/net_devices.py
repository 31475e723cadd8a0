# SPDX-License-Identifier: Apache-2.0
"""Network devices that change over to the container (config-linux.md, Network devices)."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import SpecError
from pyoci.plan.model import NetDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.host import Host
    from pyoci.plan.model import Namespaces


def plan_net_devices(devices: dict[str, dict[str, str]], namespaces: Namespaces, host: Host) -> tuple[NetDevice, ...]:
    """The devices in the config's order. Raises SpecError where one cannot be moved.

    One that is told by another of its names is still called inside what it is called here, if the config does not say how.
    """
    if devices and not namespaces.has(k.CLONE_NEWNET):
        raise SpecError("network devices can only be moved to a network namespace of the container's own")
    if devices and host.euid != 0:
        raise SpecError("only root can move network devices")
    planned: list[NetDevice] = []
    told: dict[str, str] = {}
    for name, device in devices.items():
        own = host.network_devices.get(name)
        if own is None:
            raise SpecError(f"there is no network device {name} here to be moved into the container")
        if own in told:
            raise SpecError(f"network devices {told[own]} and {name} are the same one")
        told[own] = name
        planned.append(NetDevice(name=own, inside=device.get("name") or own))
    return tuple(planned)
