# SPDX-License-Identifier: Apache-2.0
"""Init's side of the exec fifo. Runs inside; the other side is in exec_fifo.py."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.process.confine import said
from pyoci.process.exec_fifo import HOOK_FAILED, NOT_EXECUTED, OPENED
from pyoci.rootfs.mounts import new_filesystem


class Waiting:
    """Init, done with all but its program.

    The fifo is at hand as an O_PATH descriptor, and only a procfs can open that for writing: one of our own making, of this
    pid namespace, as the host's must not lie around in a process that may wait for days in sight of others, and the
    container's is not to be trusted.
    """

    fd = -1

    def __init__(self, fifo: int, host_proc: int) -> None:
        self.fifo = fifo
        try:
            self.proc = new_filesystem("proc", "proc", [("subset", "pid")], k.MOUNT_ATTR_RDONLY)
        except (OSError, PyociError):  # a user namespace that does not own its pid namespace may not have one
            self.proc = host_proc

    def check(self) -> None:
        """As much of `wait` as can be done at once, as long as there is somebody to hear that it fails. Raises PyociError."""
        k.close(self._open(k.O_PATH))

    def wait(self) -> None:
        """Wait for a reader, and say that we are there. Raises OSError, PyociError."""
        self.fd = self._open(k.O_WRONLY)
        k.close(self.proc)
        k.write(self.fd, OPENED)

    def _open(self, flags: int) -> int:
        try:
            return k.open(f"self/fd/{self.fifo}", flags | k.O_CLOEXEC, dir_fd=self.proc)
        except OSError as error:
            raise failed("open the exec fifo to wait for the start", error) from None

    def fail(self, error: BaseException) -> None:
        """Tell why the program cannot be executed."""
        k.write(self.fd, NOT_EXECUTED + said(error))

    def add(self, text: str) -> None:
        """Add to that."""
        k.write(self.fd, text.encode("utf-8", "backslashreplace"))

    def fail_hook(self, text: str) -> None:
        """Tell which hook has failed."""
        k.write(self.fd, HOOK_FAILED + text.encode("utf-8", "backslashreplace"))
