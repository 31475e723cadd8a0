# SPDX-License-Identifier: Apache-2.0
"""One `criu swrk`: criu as a child of ours that serves us alone, over a socket.

It answers each request with one message. While it dumps or restores it stops now and then to notify us, and goes on when we
have answered; if we answer with a failure, or are gone, it undoes what it has done and fails.
"""

from __future__ import annotations

from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyoci import syscalls as k
from pyoci.criu import rpc
from pyoci.criu.options import OLDEST, SERVICE_FD
from pyoci.errors import PyociError, failed
from pyoci.executable import NotExecutable, find_executable
from pyoci.process.channel import FAILED, REMARK, Channel, pair
from pyoci.process.confine import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Notified = Callable[[dict[str, Any], int], None]
    """Told of a notification: what it says, and the descriptor that came with it (-1: none), which is the callee's."""

    Prepare = Callable[[Channel], None]
    """Done in criu's process before it becomes criu. What it sends arrives in `Service.prepared`."""

_USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LIMIT = 64 << 10
_HIGH = 64
_PATIENCE = 10_000  # milliseconds for criu to undo what it has done


class CriuFailed(PyociError):
    """criu has failed; `told` is what it said itself of why, which may be nothing. Whoever knows its log says more."""

    def __init__(self, told: str) -> None:
        super().__init__(told or "criu has ended without an answer")
        self.told = told


class Service:
    """A running criu. `close` must be called, and leaves no process."""

    def __init__(
        self,
        directories: tuple[str, str],
        *,
        keep_streams: bool = False,
        namespaces: Sequence[int] = (),
        prepare: Prepare | None = None,
    ) -> None:
        """Start it. Raises PyociError.

        directories: of the images and of the log, which it finds as IMAGES_FD and WORK_FD.
        keep_streams: it gets our standard streams, for a container to inherit, and else /dev/null.
        namespaces: descriptors that it finds from NAMESPACES_FD on.
        """
        environment = {**k.environ}
        environment.setdefault(b"PATH", _USUAL_PATH.encode())  # criu looks for ip, tar and iptables-restore
        try:
            program = find_executable("criu", environment[b"PATH"].decode("utf-8", "surrogateescape"))
        except NotExecutable as error:
            raise PyociError(f"{error.message}: criu(8) is what saves and restores processes; install it") from None
        image = k.ExecImage(
            k.encode(program),
            [b"criu", b"swrk", b"%d" % SERVICE_FD],
            [name + b"=" + value for name, value in environment.items()],
        )
        self.socket = self.watched = -1
        channel, its = pair()
        self.pid = k.fork()
        if self.pid == 0:
            try:
                channel.close()
                _become(image, its, directories, namespaces, keep_streams, prepare)
            finally:
                k._exit(127)
        self.pidfd = k.pidfd_open(self.pid)
        its.close()
        try:
            self.prepared = self._listen(channel)
        except BaseException:
            self.close()
            raise
        finally:
            channel.close()

    def check_version(self) -> None:
        """Raises PyociError if this criu is too old."""
        version = self.ask(rpc.VERSION, keep_open=True).get("version", {})
        major, minor, sublevel = (version.get(part, 0) for part in ("major_number", "minor_number", "sublevel"))
        if (major * 100 + minor) * 100 + sublevel < OLDEST:
            raise PyociError(
                f"criu is too old: its version is {major}.{minor}, and it takes {OLDEST // 10000}.{OLDEST // 100 % 100}"
            )

    def check_feature(self, name: str, option: str) -> None:
        """Raises PyociError if the kernel lacks what criu needs for an option."""
        answer = self.ask(rpc.FEATURE_CHECK, features={name: True}, keep_open=True)
        if not answer.get("features", {}).get(name):
            raise PyociError(f"{option} cannot be had: this kernel does not give criu what it needs for {name}")

    def ask(self, kind: int, **request: Any) -> dict[str, Any]:
        """Make a request that raises no notifications; the answer. Raises CriuFailed, PyociError."""
        return self.converse(kind, request, lambda _, fd: _close(fd))

    def converse(self, kind: int, request: Mapping[str, Any], notified: Notified) -> dict[str, Any]:
        """Make a request and answer notifications until it is done; the answer.

        What `notified` raises is raised when criu has undone what it did. Raises CriuFailed, PyociError.
        """
        failure: BaseException | None = None
        self._send({"type": kind, **request})
        while True:
            response, fd = self._receive(failure)
            if response.get("type") != rpc.NOTIFY:
                break
            try:
                notified(response.get("notify", {}), fd)
            except (PyociError, OSError) as error:
                failure = failure or error
            self._send({"type": rpc.NOTIFY, "notify_success": failure is None})
        _close(fd)
        if failure:
            raise failure
        if not response.get("success"):
            raise CriuFailed(response.get("cr_errmsg", ""))
        if response.get("type") != kind:
            raise PyociError(f"criu has answered what it was not asked: {response}")
        return response

    def give_up_after(self, pidfd: int) -> None:
        """Wait for no answer that comes long after the end of this process, which criu itself may bring about."""
        self.watched = pidfd

    def close(self) -> None:
        """End the conversation, and criu: what it is still at, it undoes, or is killed if that takes too long."""
        if self.pidfd < 0:
            return
        _close(self.socket)
        waiting = k.poll()
        waiting.register(self.pidfd, k.POLLIN)
        if not waiting.poll(_PATIENCE):
            k.pidfd_send_signal(self.pidfd, k.SIGKILL)
        k.waitpid(self.pid, 0)
        k.close(self.pidfd)
        self.socket = self.pidfd = -1

    def _listen(self, channel: Channel) -> list[bytes]:
        """All that the child says until it is criu; last comes our end of the conversation. Raises PyociError if it fails."""
        said: list[bytes] = []
        while True:
            message, fd = k.receive_fd(channel.fd, _LIMIT)
            if fd >= 0:
                self.socket = fd
            elif message[:1] == FAILED:
                raise PyociError(message[1:].decode("utf-8", "replace"))
            elif message:
                said.append(message[1:])
            else:
                return said

    def _has_answered(self) -> bool:
        waiting = k.poll()
        waiting.register(self.socket, k.POLLIN)
        waiting.register(self.watched, k.POLLIN)
        if all(fd == self.watched for fd, _ in waiting.poll()):
            waiting.unregister(self.watched)
            return bool(waiting.poll(_PATIENCE))
        return True

    def _send(self, message: dict[str, Any]) -> None:
        try:
            k.write(self.socket, rpc.encode(rpc.REQUEST, message))
        except BrokenPipeError:
            pass  # it will be missed when its answer is
        except OSError as error:
            raise failed("send a request to criu", error) from None

    def _receive(self, failure: BaseException | None) -> tuple[dict[str, Any], int]:
        try:
            if self.watched >= 0 and not self._has_answered():
                raise failure or PyociError("criu is still at it, but the container has ended")
            content, fd = k.receive_fd(self.socket, _LIMIT)
        except OSError as error:
            raise failed("receive an answer of criu", error) from None
        if not content:
            raise failure or CriuFailed("")
        try:
            return rpc.decode(rpc.RESPONSE, content), fd
        except ValueError as error:
            _close(fd)
            raise PyociError(f"criu has answered with {error}") from None


def _become(
    image: k.ExecImage,
    channel: Channel,
    directories: tuple[str, str],
    namespaces: Sequence[int],
    keep_streams: bool,
    prepare: Prepare | None,
) -> None:
    """The child's part: become criu, or tell why not.

    criu takes the descriptors of directories for those of whoever has made its socket, and its own place for that of its
    log. So both are made here: in its mount namespace, and by the process that it is.
    """
    try:
        k.reset_signals()
        if prepare:
            prepare(channel)
        ours, socket = k.seqpacket_pair()
        opened = [k.open(path, k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC) for path in directories]
        k.send_fd(channel.fd, REMARK, ours)
        if not keep_streams:
            null = k.open("/dev/null", k.O_RDWR | k.O_CLOEXEC)
            for stream in range(3):
                k.dup2(null, stream)
            k.setsid()  # what is typed at our terminal must not end it half-way
        high = [fcntl(fd, F_DUPFD_CLOEXEC, _HIGH) for fd in (channel.fd, socket, *opened, *namespaces)]
        channel.fd = high[0]
        for number, fd in enumerate(high[1:], SERVICE_FD):
            k.dup2(fd, number)
        k.close_range(SERVICE_FD + len(high) - 1, 0xFFFFFFFF, k.CLOSE_RANGE_CLOEXEC)
        image.execute()
    except BaseException as error:
        channel.send(FAILED, text_of(error).encode("utf-8", "backslashreplace"))


def _close(fd: int) -> None:
    if fd >= 0:
        k.close(fd)
