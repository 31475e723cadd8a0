# SPDX-License-Identifier: Apache-2.0
"""The logs of the system as places for messages: `--log journald:NAME` and `--log syslog:NAME`, which crun has, too.

Each message is a datagram to a socket that the system's logger listens at. It is never waited for: a logger that has
fallen behind must not hold up a container.
"""

from __future__ import annotations

from pyoci.record import Record
from pyoci.syscalls import connect_datagram, getpid, set_blocking

JOURNAL, SYSLOG = "/run/systemd/journal/socket", "/dev/log"

_SOCKETS = {"journald": JOURNAL, "syslog": SYSLOG}
_SEVERITIES = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_USER = 1 << 3  # the facility of programs that are no daemons of the system (syslog(3), LOG_USER)
_NAME = "pyoci"
_LIMIT = 60_000  # characters; what does not fit into the socket's buffer is lost as a whole


class Logger(Record):
    """One of the system's loggers, and the name that messages get there. `fd` is the socket."""

    kind: str
    name: str
    fd: int

    def datagram(self, level: str, message: str, container: str) -> bytes:
        """A message as this logger wants it. `container` is the id of the one that the call is about, or empty."""
        severity = _SEVERITIES[level]
        if self.kind == "syslog":
            return _bytes(f"<{_USER | severity}>{self.name or container or _NAME}[{getpid()}]: {message[:_LIMIT]}")
        fields = {
            "PRIORITY": str(severity),
            "SYSLOG_IDENTIFIER": self.name or _NAME,
            "SYSLOG_PID": str(getpid()),
            "ID": container,
            "MESSAGE": message[:_LIMIT],
        }
        return b"".join(_field(name, _bytes(value)) for name, value in fields.items() if value)


def connect(destination: str) -> Logger:
    """The logger that `journald:NAME` or `syslog:NAME` stands for. Raises OSError if nobody listens there."""
    kind, _, name = destination.partition(":")
    fd = connect_datagram(_SOCKETS[kind])
    set_blocking(fd, False)
    return Logger(kind=kind, name=name, fd=fd)


def _field(name: str, value: bytes) -> bytes:
    """A field of the journal's protocol (systemd, JOURNAL_NATIVE_PROTOCOL): with a newline in it, its length comes first."""
    if b"\n" not in value:
        return b"%s=%s\n" % (name.encode(), value)
    return b"%s\n%s%s\n" % (name.encode(), len(value).to_bytes(8, "little"), value)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
