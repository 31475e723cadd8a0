# SPDX-License-Identifier: Apache-2.0
"""How the listener of a filter with SCMP_ACT_NOTIFY gets out of the container, and to the agent that is to answer.

Whoever loads such a filter is under it from then on: each further call may wait for an agent that has no descriptor yet.
So the number of the descriptor goes out in a single write(2), which profiles may not have notified, and the launcher takes
a copy with pidfd_getfd(2). Where it may not (an ordinary user's launcher), it asks for the descriptor itself.
"""

from __future__ import annotations

from errno import EPERM

from pyoci import SPEC_VERSION, jsontext
from pyoci import syscalls as k
from pyoci.errors import PyociError, StageFailed, failed
from pyoci.process import channel as messages
from pyoci.seccomp import NOTIFY, send_listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.process.channel import Channel
    from pyoci.seccomp import SeccompPlan

_OTHER_WAY = ("read", "getsockname", "getsockopt", "sendmsg", "socketcall")
"""What `hand_over` calls to give the listener away by itself; socketcall(2) is how some architectures have the last three."""


def hand_over(channel: Channel, listener: int) -> None:
    """Give the listener to the launcher, and let go of it. Runs inside. Raises OSError, PyociError."""
    channel.send(messages.LISTENER, b"%d" % listener)
    kind, _ = channel.receive()
    if kind == messages.LISTENER:
        k.send_fd(channel.fd, messages.LISTENER, listener)
        kind, _ = channel.receive()
    if kind != messages.GO:
        k._exit(1)  # the launcher is gone, or could do nothing with it
    k.close(listener)


class Agent:
    """The launcher's side. `state` is the container's, as in state.json of the specification, without a pid."""

    def __init__(self, plan: SeccompPlan, state: dict[str, object]) -> None:
        self.plan, self.state = plan, state

    def introduce(self, channel: Channel, number: bytes, pid: int, pidfd: int, init_pid: int) -> None:
        """Take the listener of process `pid` and send it to the agent (config-linux.md, Container Process State).

        The process goes on once the agent has it: what nobody would answer for does not run. Should the process be notified
        on its way there, it waits for the agent, and not for us. Raises StageFailed, PyociError.
        """
        listener = self._take(channel, int(number), pidfd)
        try:
            described: dict[str, object] = {"ociVersion": SPEC_VERSION, "fds": ["seccompFd"], "pid": pid}
            if self.plan.listener_metadata:
                described["metadata"] = self.plan.listener_metadata
            described["state"] = {**self.state, "pid": init_pid}
            send_listener(self.plan.listener_path, jsontext.dumps(described).encode(), listener)
            channel.answer(messages.GO)
        finally:
            k.close(listener)

    def _take(self, channel: Channel, number: int, pidfd: int) -> int:
        try:
            return k.pidfd_getfd(pidfd, number)
        except OSError as error:
            if error.errno != EPERM:
                raise failed("take the seccomp listener from the container's process", error) from None
        notified = {name for rule in self.plan.rules if rule.action == NOTIFY for name in rule.names}
        if closing := [name for name in _OTHER_WAY if name in notified]:
            raise PyociError(
                "take the seccomp listener from the container's process: pidfd_getfd(2) takes CAP_SYS_PTRACE, and the other "
                f"way is closed by SCMP_ACT_NOTIFY for {' and '.join(closing)}"
            )
        channel.send(messages.LISTENER)
        _, listener = k.receive_fd(channel.fd)
        if listener < 0:
            raise StageFailed("the container's process ended before it gave its seccomp listener away")
        return listener
