# SPDX-License-Identifier: Apache-2.0
"""What pyoci has to say, to the log file that an engine reads and to the person at stderr.

The contract that engines rely on: containerd takes the last line of level `error` of a JSON log; podman parses the
whole JSON log as one object, so without --debug nothing but the error goes there; conmon passes stderr on. And the stderr
of create, run and exec is that of the container: what is written there without need, its user takes for output of the
program.
Without a log file stderr is the log, in the format asked for. What --debug adds there has runc's form, so that a program's
own lines can be told from it.

                    JSON file       text file, system's log     stderr
    error           always          always                      always
    warning         with --debug    always                      when there is no log
    info, debug     with --debug    with --debug                with --debug, when there is no log

Nothing of a Log raises: a full disk must not hide the failure that is being reported. A process inside a container never
logs; what it has to report goes through its channel.
"""

from __future__ import annotations

import time

from pyoci.errors import describe
from pyoci.jsontext import dumps, quote
from pyoci.kernel.basic import O_APPEND, O_CLOEXEC, O_CREAT, O_NOCTTY, O_WRONLY, POLLOUT, open, poll, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.system_log import Logger

_STDERR = 2
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


class Log:
    """Where messages go. Levels are those of runc's log: error, warning, info, debug.

    `container` is the id of the one that the call is about, as far as it is known.
    """

    def __init__(self) -> None:
        self.fd = -1
        self.json = False
        self.verbose = False
        self.container = ""
        self.logger: Logger | None = None

    def open(self, destination: str) -> None:
        """Write to a log from now on: a file, made with mode 0644 if it is missing, or `journald:NAME` or `syslog:NAME`.

        Raises OSError if the file cannot be had. That a logger cannot is a warning: containers are to live through its
        being restarted.
        """
        if destination.startswith(("journald:", "syslog:")):
            self._open_logger(destination)
        else:
            path = destination.removeprefix("file:")
            self.fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0o644)

    def _open_logger(self, destination: str) -> None:
        from pyoci.system_log import connect  # engines want a file

        try:
            self.logger = connect(destination)
        except OSError as error:
            self.warning(f"--log {destination}: {describe(error)}: messages go to standard error alone")
        else:
            self.fd, self.json = self.logger.fd, False

    def error(self, message: str, **details: object) -> None:
        """The reason why the call fails. `details` become further keys of a JSON entry (plain data)."""
        self._write_file("error", message, details)
        if self.fd < 0 and self.json:
            _put(_STDERR, _json_line("error", message, details))
        else:
            _put(_STDERR, f"pyoci: {printable(message)}\n")

    def warning(self, message: str) -> None:
        """Something that the caller should know, though the call goes on."""
        if self.verbose or not self.json or self.fd < 0:
            self._write("warning", message)

    def info(self, message: str) -> None:
        """A step on the way, told with --debug only."""
        self._trace("info", message)

    def debug(self, message: str) -> None:
        """A detail on the way, told with --debug only."""
        self._trace("debug", message)

    def _trace(self, level: str, message: str) -> None:
        if self.verbose:
            self._write(level, message)

    def _write(self, level: str, message: str) -> None:
        if self.fd >= 0:
            self._write_file(level, message)
        elif self.json:
            _put(_STDERR, _json_line(level, message, {}))
        elif level == "warning":
            _put(_STDERR, f"pyoci: warning: {printable(message)}\n")
        else:
            _put(_STDERR, _text_line(level, message))

    def _write_file(self, level: str, message: str, details: dict[str, object] | None = None) -> None:
        if self.fd < 0:
            return
        if self.logger:
            _put(self.fd, self.logger.datagram(level, message, self.container))
        elif self.json:
            _put(self.fd, _json_line(level, message, details or {}))
        else:
            _put(self.fd, _text_line(level, message))


def timestamp() -> str:
    """The present time as RFC 3339 writes it, in UTC, to the second."""
    now = time.gmtime()
    return f"{now[0]}-{now[1]:02}-{now[2]:02}T{now[3]:02}:{now[4]:02}:{now[5]:02}Z"


def printable(text: str) -> str:
    """The text with its control characters spelled out: a file's name or a hook's output may hold terminal commands."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def _json_line(level: str, message: str, details: dict[str, object]) -> str:
    return dumps({"level": level, "msg": message, "time": timestamp(), **details}) + "\n"


def _text_line(level: str, message: str) -> str:
    return f'time="{timestamp()}" level={level} msg={quote(message)}\n'


def write_whole(fd: int, data: bytes) -> None:
    """Write everything to a standard stream. Raises OSError.

    Some callers (node, asyncio) leave us one that is non-blocking: that its reader lags is then told as a failure.
    """
    while data:
        try:
            data = data[write(fd, data) :]
        except BlockingIOError:
            ready = poll()
            ready.register(fd, POLLOUT)
            ready.poll()


def _put(fd: int, text: str | bytes) -> None:
    data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    try:
        if fd == _STDERR:
            write_whole(fd, data)
        else:
            while data:
                data = data[write(fd, data) :]
    except OSError:
        return
