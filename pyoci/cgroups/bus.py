# SPDX-License-Identifier: Apache-2.0
"""A connection to systemd over D-Bus, for a few calls, one after the other.

jeepney writes and reads the messages; the way they take is ours. Its own connections give the user's number when they
introduce themselves, which is another one in a user namespace than for the bus; we let the bus look whom it speaks to.
And where there is no bus, root may speak to systemd's own socket, which has no Hello.

Sources: the D-Bus specification, "Authentication Protocol"; org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from errno import ECONNRESET, EPIPE
from time import monotonic

from pyoci import syscalls as k
from pyoci.errors import CgroupError, reason
from pyoci.thirdparty import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

_SYSTEM_BUS, _SYSTEM_PRIVATE = "/run/dbus/system_bus_socket", "/run/systemd/private"
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")
_SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_PROPERTIES = (*_SYSTEMD[:2], "org.freedesktop.DBus.Properties")
_PATIENCE = 30.0


class BusError(CgroupError):
    """A call that the other side answered with an error; `name` is the D-Bus name of that error."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class Disconnected(CgroupError):
    """The other side has ended the connection. `harmless`: the same may be said once more over another one."""

    def __init__(self, message: str, harmless: bool) -> None:
        super().__init__(message)
        self.harmless = harmless


def converse(user: bool, talk: Callable[[Bus], Any]) -> Any:
    """What `talk` returns, over a connection of its own. Where that is lost and no harm is done, over a second one.

    A bus ends connections when it has too many, or is started anew. Raises CgroupError.
    """
    try:
        with Bus(user) as bus:
            return talk(bus)
    except Disconnected as error:
        if not error.harmless:
            raise
    with Bus(user) as bus:
        return talk(bus)


class Bus:
    """A context: what is open is closed at its end. Raises CgroupError where nobody answers, within 30 s for each step."""

    def __init__(self, user: bool) -> None:
        self._jeepney: Any = load("jeepney")
        self._serial = 0
        self._harmless = True
        self._removed: dict[str, str] = {}
        self._parser = self._jeepney.Parser()
        self._socket, self._path, self._is_bus = _connect(user)
        try:
            self._authenticate()
            if self._is_bus:
                self._call(_BUS, "Hello")
        except BaseException:
            k.close(self._socket)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        k.close(self._socket)

    def systemd(self, method: str, signature: str = "", *arguments: object) -> tuple[Any, ...]:
        """Call a method of systemd's manager. Raises BusError."""
        return self._call(_SYSTEMD, method, signature, *arguments)

    def property(self, name: str) -> Any:
        """A property of systemd's manager. Raises BusError."""
        return self._call(_PROPERTIES, "Get", "ss", _SYSTEMD[2], name)[0][1]

    def subscribe(self) -> None:
        """Be told of jobs that end, before any is started."""
        if self._is_bus:
            rule = f"type='signal',sender='{_SYSTEMD[0]}',interface='{_SYSTEMD[2]}',member='JobRemoved'"
            self._call(_BUS, "AddMatch", "s", rule)
            self.systemd("Subscribe")

    def job(self, method: str, signature: str, *arguments: object) -> str:
        """Call a method that starts a job, and wait for its end; its result, "done" if all went well. Raises BusError."""
        (job,) = self.systemd(method, signature, *arguments)
        deadline = monotonic() + _PATIENCE
        while job not in self._removed:
            self._note(self._receive(deadline, f"wait for the end of {method}"))
        return self._removed[job]

    def _authenticate(self) -> None:
        """Let the other side see by the socket who we are, rather than tell it."""
        step = "authenticate"
        deadline = monotonic() + _PATIENCE
        self._write(b"\0AUTH EXTERNAL\r\nDATA\r\n", step)
        answers = b""
        while answers.count(b"\r\n") < 2:
            answers += self._read(deadline, step)
        if not answers.split(b"\r\n")[1].startswith(b"OK"):
            raise CgroupError(f"{step} to {self._path}: {answers.decode('utf-8', 'replace').strip()}")
        self._write(b"BEGIN\r\n", step)

    def _call(
        self, target: tuple[str, str, str], method: str, signature: str = "", *arguments: object
    ) -> tuple[Any, ...]:
        jeepney = self._jeepney
        name, path, interface = target
        address = jeepney.DBusAddress(path, bus_name=name, interface=interface)
        message = jeepney.new_method_call(address, method, signature or None, arguments)
        self._serial += 1
        self._write(message.serialise(self._serial), method)
        # It may be done even if no answer comes. All that we ask for may be asked for again then, but for this.
        self._harmless = self._harmless and method != "StartTransientUnit"
        deadline = monotonic() + _PATIENCE
        while True:
            reply = self._receive(deadline, method)
            if reply.header.fields.get(jeepney.HeaderFields.reply_serial) == self._serial:
                break
            self._note(reply)
        body: tuple[Any, ...] = reply.body
        if reply.header.message_type == jeepney.MessageType.error:
            self._harmless = self._harmless or method == "StartTransientUnit"
            kind = str(reply.header.fields.get(jeepney.HeaderFields.error_name))
            raise BusError(f"{method}: {body[0] if body else kind}", kind)
        return body

    def _note(self, message: Any) -> None:
        if message.header.fields.get(self._jeepney.HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._removed[job] = result

    def _receive(self, deadline: float, step: str) -> Any:
        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._read(deadline, step))
        return message

    def _read(self, deadline: float, step: str) -> bytes:
        waiting = k.poll()
        waiting.register(self._socket, k.POLLIN)
        if not waiting.poll(max(0.0, deadline - monotonic()) * 1000):
            raise CgroupError(f"{step}: no answer from systemd ({self._path}) within {_PATIENCE:g} s")
        try:
            content = k.read(self._socket, 1 << 16)
        except OSError as error:
            raise self._lost(f"{step}: read from {self._path}: {reason(error)}", error.errno) from None
        if not content:
            raise self._lost(f"{step}: {self._path} has closed the connection")
        return content

    def _write(self, content: bytes, step: str) -> None:
        try:
            while content:
                content = content[k.write(self._socket, content) :]
        except OSError as error:
            raise self._lost(f"{step}: write to {self._path}: {reason(error)}", error.errno) from None

    def _lost(self, message: str, number: int | None = EPIPE) -> CgroupError:
        return Disconnected(message, self._harmless) if number in (EPIPE, ECONNRESET) else CgroupError(message)


def _connect(user: bool) -> tuple[int, str, bool]:
    """A socket, its path, and whether a bus is at its other end: the first of what there is. Raises CgroupError.

    The path is as it is to be shown: an abstract name has an @ before it.
    """
    failures = []
    for path, is_bus in _user_sockets() if user else ((_SYSTEM_BUS, True), (_SYSTEM_PRIVATE, False)):
        try:
            return k.connect_unix(path), _shown(path), is_bus
        except OSError as error:
            failures.append(f"{_shown(path)}: {reason(error)}")
    hint = " (is there a session of systemd's? DBUS_SESSION_BUS_ADDRESS and XDG_RUNTIME_DIR lead to it)" if user else ""
    raise CgroupError(f"connect to systemd: {'; '.join(failures) or 'no D-Bus address is known'}{hint}")


def _user_sockets() -> list[tuple[str, bool]]:
    """The ways to the user's own systemd."""
    addresses = k.environ.get(b"DBUS_SESSION_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
    found = [(path, True) for address in addresses.split(";") if (path := socket_of(address))]
    runtime = k.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    return [*found, (f"{runtime}/bus", True), (f"{runtime}/systemd/private", False)] if runtime else found


def socket_of(address: str) -> str:
    """The path in a D-Bus address such as `unix:path=/run/user/1000/bus,guid=...`; "" if it has none, or is no address.

    An abstract name (`unix:abstract=/tmp/dbus-x`) has a NUL before it.
    """
    transport, _, pairs = address.partition(":")
    for pair in pairs.split(",") if transport == "unix" else ():
        key, _, value = pair.partition("=")
        if key in ("path", "abstract"):
            name = _unescaped(value)
            if key == "path":
                return "" if "\0" in name else name
            return f"\0{name}" if name else ""
    return ""


def _unescaped(value: str) -> str:
    """Bytes that would mean something to an address are written as %XX, as may be any other; "" if one is not."""
    first, *escapes = value.encode("utf-8", "surrogateescape").split(b"%")
    content = first
    for escape in escapes:
        digits = escape[:2].decode("latin-1")
        if len(digits) < 2 or digits.strip("0123456789abcdefABCDEF"):
            return ""
        content += bytes((int(digits, 16),)) + escape[2:]
    return content.decode("utf-8", "surrogateescape")


def _shown(path: str) -> str:
    return path.replace("\0", "@", 1)
