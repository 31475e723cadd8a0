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
    """The devices in the config's order. Raises SpecError where one cannot be moved."""
    if devices and not namespaces.has(k.CLONE_NEWNET):
        raise SpecError("network devices can only be moved to a network namespace of the container's own")
    if devices and host.euid != 0:
        raise SpecError("only root can move network devices")
    for name in devices:
        if name not in host.network_devices:
            raise SpecError(f"there is no network device {name} here to be moved into the container")
    return tuple(NetDevice(name=name, inside=device.get("name") or name) for name, device in devices.items())
