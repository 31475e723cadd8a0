# SPDX-License-Identifier: Apache-2.0
"""What every command is told, and a container as it finds it."""

from __future__ import annotations

from pyoci import state as states
from pyoci.cgroups.freezer import is_frozen
from pyoci.errors import InvalidOperation, failed
from pyoci.record import Record
from pyoci.state import CREATED, CREATING, PAUSED, RUNNING, STOPPED, UNFINISHED, RuntimeState, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.log import Log


class Settings(Record):
    """What the global options say. `root` is absolute; `rootless` None leaves it to us to find out."""

    root: str
    log: Log
    debug: bool = False
    systemd_cgroup: bool = False
    rootless: bool | None = None
    cgroup_manager: str = "cgroupfs"


class Container:
    """A container that has a record. Raises ContainerNotFound, StateError."""

    def __init__(self, settings: Settings, container_id: str) -> None:
        self.settings = settings
        self.directory = StateDir(settings.root, container_id)
        self.state: RuntimeState = self.directory.load()

    def status(self) -> str:
        """Where it stands now. A record without a live init is stopped, also that of a create which died on its way."""
        try:
            if not states.had_init(self.state):
                if states.has_creator(self.state):
                    return CREATING
                self.state = self.directory.load()  # it may have finished since we read, and gone its way
            if not states.is_alive(self.state):
                return STOPPED
            if is_frozen(self.state.cgroup_paths):
                return PAUSED
        except OSError as error:
            raise failed(f"find out the status of container {self.state.id}", error) from None
        unfinished = self.directory.has(UNFINISHED)  # looked for first: as it goes, the fifo is there, until the start
        if self.directory.has_fifo():
            return CREATED
        return CREATING if unfinished else RUNNING

    def open_init(self) -> int:
        """A pidfd of init. Raises InvalidOperation if it has ended."""
        pidfd = states.open_init(self.state)
        if pidfd < 0:
            raise InvalidOperation("container not running")
        return pidfd

    def describe(self) -> dict[str, Any]:
        """The state as runtime.md has it, with what runc adds to it: rootfs, created and owner."""
        status = self.status()
        described: dict[str, Any] = {
            "ociVersion": self.state.oci_version,
            "id": self.state.id,
            "pid": 0 if status == STOPPED else self.state.init_process_pid,
            "status": status,
            "bundle": self.state.bundle,
            "rootfs": self.state.rootfs,
            "created": self.state.created,
        }
        if self.state.annotations:
            described["annotations"] = self.state.annotations
        described["owner"] = ""
        return described


def hook_state(state: RuntimeState) -> dict[str, object]:
    """What every hook is told, less status and pid (runtime.md, State)."""
    told: dict[str, object] = {"ociVersion": state.oci_version, "id": state.id, "bundle": state.bundle}
    if state.annotations:
        told["annotations"] = state.annotations
    return told
