# SPDX-License-Identifier: Apache-2.0
"""Readiness, told by a program in a container to whoever waits for our caller: sd_notify(3) across the border.

The program has a socket of its own, bind-mounted at /run/notify, and its NOTIFY_SOCKET says so. Of all that it may send
there one thing is passed on: that it is ready. The rest is not for a container to say: systemd would take any process of
the host for the main one, or keep descriptors, if it were asked to.
"""

from __future__ import annotations

from errno import EAGAIN, ENOENT

from pyoci import syscalls as k
from pyoci.errors import PyociError, describe, failed

INSIDE = "/run/notify"
DIRECTORY, SOCKET = "notify", "notify.sock"
MOUNT_OPTIONS = ["bind", "nosuid", "noexec", "nodev", "ro"]

_READY = b"READY=1"
_LIMIT = 4096
_AT_A_TIME = 64
_BARRIER_PATIENCE = 30_000  # milliseconds


def host_socket() -> str:
    """The socket that our caller gives us to tell on, empty for none. One of a virtual machine's host is not for us."""
    name = k.environ.get(b"NOTIFY_SOCKET", b"").decode("utf-8", "surrogateescape")
    return name if name.startswith(("/", "@")) else ""


def make_directory(path: str) -> None:
    """Where the socket is going to be, which is what the container sees. Raises PyociError."""
    mask = k.umask(0o022)  # whoever the program runs as may go there
    try:
        k.mkdir(path, 0o755)
    except OSError as error:
        raise failed(f"make {path} for NOTIFY_SOCKET", error) from None
    finally:
        k.umask(mask)


class Proxy:
    """Between the container's socket in `directory`, made here, and the host's. Raises PyociError."""

    def __init__(self, host: str, directory: str) -> None:
        self.host, self.path = host, f"{directory}/{SOCKET}"
        try:
            self.client = k.connect_datagram(host)
        except OSError as error:
            raise PyociError(f"connect to NOTIFY_SOCKET {describe(error)}") from None
        mask = k.umask(0)  # whoever the program runs as may write to it
        try:
            _remove(self.path)  # of a start that failed
            self.fd = k.bind_datagram(directory, SOCKET)
        except OSError as error:
            raise failed(f"make the socket {self.path} for NOTIFY_SOCKET", error) from None
        finally:
            k.umask(mask)

    def serve(self, main_pid: int) -> bool:
        """Take what has come in; True as soon as the program is ready, and the host knows. Raises PyociError.

        No more than a few messages at a time, as a program may send faster than we read, and our caller has more to do.
        """
        for _ in range(_AT_A_TIME):
            try:
                message = k.read(self.fd, _LIMIT)
            except OSError as error:
                if error.errno == EAGAIN:
                    return False
                raise failed(f"read from {self.path}", error) from None
            if _READY in message.split(b"\n"):
                self._tell(_READY, b"MAINPID=%d" % main_pid)
                return True
        return False

    def await_ready(self, pid: int, pidfd: int) -> None:
        """Wait until the program is ready, or ended, for a caller that ends before it; then for the host to have taken note.

        Raises PyociError.
        """
        waiting = k.poll()
        waiting.register(self.fd, k.POLLIN)
        waiting.register(pidfd, k.POLLIN)
        while True:
            ended = any(fd == pidfd for fd, _ in waiting.poll())
            if self.serve(pid):
                self._await_barrier()
                break
            if ended:
                break
        self.close()

    def close(self) -> None:
        """Let go of both sockets: what the program says from now on is refused, rather than piled up."""
        k.close(self.client)
        k.close(self.fd)
        _remove(self.path)

    def _tell(self, *messages: bytes) -> None:
        try:
            for message in messages:
                k.write(self.client, message + b"\n")
        except OSError as error:
            raise failed(f"write to NOTIFY_SOCKET {self.host}", error) from None

    def _await_barrier(self) -> None:
        """systemd looks a sender up while it is there. When it closes the pipe, it has come to this message."""
        reading, writing = k.pipe2(k.O_CLOEXEC)
        try:
            try:
                k.send_fd(self.client, b"BARRIER=1", writing)
            finally:
                k.close(writing)
            waiting = k.poll()
            waiting.register(reading, 0)  # POLLHUP alone, which is always told
            waiting.poll(_BARRIER_PATIENCE)  # a host that does not know of barriers keeps it open
        except OSError as error:
            raise failed(f"write to NOTIFY_SOCKET {self.host}", error) from None
        finally:
            k.close(reading)


def _remove(path: str) -> None:
    try:
        k.unlink(path)
    except OSError as error:
        if error.errno != ENOENT:
            raise failed(f"remove {path}", error) from None
