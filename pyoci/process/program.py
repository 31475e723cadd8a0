# SPDX-License-Identifier: Apache-2.0
"""The last stretch, which init and joiner share: from root with all rights to the program with its own. Runs inside.

The order:

    home, resource limits           in this order: there may be no descriptor left under them to read a file with
    labels                          before no_new_privs, under which a profile can only be narrowed
    personality, memory policy      before a filter, which may forbid them
    no_new_privs
    bounding set, groups, ids, the working directory, the other capability sets
                                    and CAP_SYS_ADMIN for a filter without no_new_privs: execve(2) takes it away, since
                                    what a program gets does not depend on the permitted set before (capabilities(7))
    the program is looked for       as the user that will run it, so that `create` can say that it is not there
    seccomp                         here if it has a listener, as only the launcher can hand that to its agent
    --- start ---
    seccomp                         last of all: nothing but execve(2) comes after it
"""

from __future__ import annotations

from errno import EACCES, ENOENT, ENOSYS, EPERM

from pyoci import capabilities, seccomp
from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.executable import explain, find_executable
from pyoci.process import channel as messages
from pyoci.process.streams import own_stdio, replace_null_streams
from pyoci.users import home_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.plan.model import Process
    from pyoci.process.channel import Channel

_KEYCTL_JOIN_SESSION_KEYRING, _KEYCTL_SETPERM = 1, 5
# The kernel's default (all for the possessor; view, read and link for the user), and search for the user, or in a user
# namespace for everybody: the program may be any user of the container.
_KEYRING_PERMISSIONS, _KEYRING_PERMISSIONS_MAPPED = 0x3F1B0000, 0x3F130008
_SYS_ADMIN = 1 << capabilities.NUMBERS["CAP_SYS_ADMIN"]
_FIRST_FD, _LAST_FD = 3, 0xFFFFFFFF
_IN_ROOT = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS


class Program:
    """A program on its way to be executed."""

    image: k.ExecImage
    env: list[str]
    encoded_env: list[bytes]
    refused = 0
    """The errno with which the kernel has refused to execute it."""

    def __init__(self, process: Process, filter_program: bytes, filter_flags: int, in_user_namespace: bool) -> None:
        """To be called before the clone: it loads what only some programs need."""
        self.process, self.in_user_namespace = process, in_user_namespace
        self.filter = seccomp.Filter(filter_program, filter_flags) if filter_program else None
        self.remarks: list[str] = []
        if process.terminal:
            from pyoci import terminal  # engines ask for one only where somebody sits

            self._terminal = terminal
        if process.scheduling:
            from pyoci.process import scheduling  # few programs ask for any of it

            self._scheduling = scheduling
        if self.filter and self.filter.listens:
            from pyoci.process.listener import hand_over  # few profiles have a listener

            self._hand_over = hand_over

    def join_keyring(self, name: str, proc: int, new: bool) -> None:
        """A session keyring: a `new` one, or that of the container. Raises PyociError.

        A kernel without keyrings, or a filter around us that forbids them, is no error.
        """
        label = self.process.selinux
        if label:
            _label_keys(proc, label)
        try:
            ring = k.keyctl(_KEYCTL_JOIN_SESSION_KEYRING, k.encode(name))
            if new:
                permissions = _KEYRING_PERMISSIONS_MAPPED if self.in_user_namespace else _KEYRING_PERMISSIONS
                k.keyctl(_KEYCTL_SETPERM, ring, permissions)
        except OSError as error:
            if error.errno not in (ENOSYS, EPERM):
                raise failed(f"join the session keyring {name}", error) from None
        if label:
            _label_keys(proc, "")  # those to come get what the policy has for them

    def set_up_streams(self, root_fd: int, proc: int, console: int, on_console: bool) -> None:
        """A terminal of its own, if it is to have one: its master goes over `console`. Or else no device of the host's in the
        place of the container's. Raises PyociError.
        """
        if self.process.terminal:
            self._terminal.set_up(root_fd, self.process.console_size, console, on_console)
        else:
            replace_null_streams(root_fd, proc)

    def find_home(self, root_fd: int, proc: int) -> None:
        """Complete the environment with what the container's /etc/passwd gives for HOME. Raises PyociError."""
        env = [k.encode(entry) for entry in self.process.env]
        if not any(entry.startswith(b"HOME=") and len(entry) > 5 for entry in env):
            try:
                home = home_directory(root_fd, self.process.uid, proc)
            except OSError as error:
                raise failed("look for the user's home in /etc/passwd", error) from None
            env = [*(entry for entry in env if not entry.startswith(b"HOME=")), b"HOME=" + home]
        self.encoded_env = env

    def set_limits(self, ask: Callable[[bytes], None]) -> None:
        """The resource limits and priorities. Root of a user namespace has no right to: he asks. Raises PyociError."""
        scheduling = self.process.scheduling
        prioritised = scheduling and (scheduling.scheduler or scheduling.io_priority)
        if not self.in_user_namespace:
            set_limits(0, self.process)
            if scheduling and prioritised:
                self._scheduling.set_priorities(0, scheduling)
        elif self.process.limits or prioritised:
            ask(messages.LIMITS)

    def prepare(
        self, root_fd: int, preserve_fds: int, proc: int, channel: Channel, needed: tuple[int, ...] = ()
    ) -> None:
        """Everything up to the moment when only the start is missing. Raises PyociError.

        All descriptors are closed but those that are handed on, the channel's, and what is `needed` still. execve(2) would do
        that, too, but goes its way to the program first: a link of the image may lead through a descriptor, and from the
        host's /proc to any process of the same user (CVE-2024-21626).
        """
        process = self.process
        self.channel = channel
        set_labels(process, proc)
        own_stdio(process.uid, process.terminal)
        try:
            k.close_range(_FIRST_FD + preserve_fds, _LAST_FD, k.CLOSE_RANGE_CLOEXEC)
            for fd in range(_FIRST_FD, _FIRST_FD + preserve_fds):
                k.set_inheritable(fd, True)
        except OSError as error:
            raise failed("mark descriptors as not to be inherited", error) from None
        if process.scheduling:
            self._scheduling.set_surroundings(process.scheduling)
        if process.no_new_privileges:
            k.prctl(k.PR_SET_NO_NEW_PRIVS, 1)
        self._become_user(root_fd)
        k.close_all_but(_FIRST_FD + preserve_fds, (channel.fd, *needed))
        self.env = [entry.decode("utf-8", "surrogateescape") for entry in self.encoded_env]
        if process.args:  # a container without a process waits, and `start` refuses to let it go on
            search = next((entry[5:] for entry in process.env if entry.startswith("PATH=")), None)
            path = find_executable(process.args[0], search)
            self.image = k.ExecImage(
                k.encode(path), [k.encode(argument) for argument in process.args], self.encoded_env
            )
        if self.filter and self.filter.listens:
            self._load_filter(self.filter)

    def execute(self) -> None:
        """Become the program. Returns only by raising OSError or PyociError."""
        k.reset_signals()
        if self.filter and not self.filter.listens:
            self._load_filter(self.filter)
        try:
            self.image.execute()
        except OSError as error:
            self.refused = error.errno or 0
            raise failed(f"exec {self.process.args[0]}", error) from None

    def explanation(self) -> str:
        """What to add to the failure of `execute` when that has been told: the program's filter may end us for this."""
        more = explain(self.image.path.decode("utf-8", "surrogateescape"), self.refused) if self.refused else ""
        return f": {more}" if more else ""

    @property
    def confined(self) -> bool:
        """Whether what is still to be done before the program's start has to get along with its filter."""
        return self.filter is not None and self.filter.listens

    def _load_filter(self, filter: seccomp.Filter) -> None:
        listener = filter.load()
        if listener >= 0:
            self._hand_over(self.channel, listener)

    def _become_user(self, root_fd: int) -> None:
        process = self.process
        capabilities.before_user_change(process.capabilities)
        entered = _enter(root_fd, process.cwd, tolerate=EACCES)
        k.umask(process.umask)
        set_user(process)
        if not entered:
            _enter(root_fd, process.cwd, tolerate=0)
        _check_cwd()
        for_filter = _SYS_ADMIN if self.filter and not process.no_new_privileges else 0
        refused = capabilities.after_user_change(process.capabilities, for_filter)
        if refused:
            self.remarks.append(f"the kernel refuses as ambient capabilities: {', '.join(refused)}")
        k.prctl(k.PR_SET_DUMPABLE, 0)  # a change of ids may have set it


def set_limits(pid: int, process: Process) -> None:
    """Set the resource limits of a process, 0 for this one. Raises PyociError."""
    for limit in process.limits:
        try:
            k.prlimit(pid, limit.number, limit.soft, limit.hard)
        except OSError as error:
            raise failed(f"set {limit.name} to {limit.soft} (soft) and {limit.hard} (hard)", error) from None


def set_user(process: Process) -> None:
    """Groups, group, user, in this order: each is the right to do the next. Raises PyociError."""
    step = "set additional groups"
    try:
        try:
            k.setgroups(list(process.groups))
        except PermissionError:
            if process.groups:
                raise
        step = f"become group {process.gid}"
        k.setresgid(process.gid, process.gid, process.gid)
        step = f"become user {process.uid}"
        k.setresuid(process.uid, process.uid, process.uid)
    except OSError as error:
        raise failed(step, error) from None


def set_labels(process: Process, proc: int) -> None:
    """The security labels that the program gets at its execve(2). A label that cannot be set is an error (runtime.md)."""
    for label, paths, text in (
        (process.apparmor, ("self/attr/apparmor/exec", "self/attr/exec"), f"exec {process.apparmor}"),
        (process.selinux, ("self/attr/exec",), process.selinux),
    ):
        if not label:
            continue
        for path in paths:
            try:
                _put(proc, path, text)
                break
            except OSError as error:
                # The general file belongs to whichever module came first: it is meant only where there is no other.
                if error.errno != ENOENT or path == paths[-1]:
                    raise failed(f"set the security label `{label}` (write `/proc/{path}`)", error) from None


def _label_keys(proc: int, label: str) -> None:
    """The SELinux label of keys that are made from now on."""
    try:
        _put(proc, "self/attr/keycreate", label)
    except OSError as error:
        raise failed(
            f"set the label of the session keyring to `{label}` (write `/proc/self/attr/keycreate`)", error
        ) from None


def _put(proc: int, path: str, text: str) -> None:
    fd = k.openat2(proc, path, k.O_WRONLY, resolve=k.RESOLVE_BENEATH)
    try:
        k.write(fd, text.encode())
    finally:
        k.close(fd)


def _enter(root_fd: int, directory: str, tolerate: int) -> bool:
    """Make a directory of the container's ours, without going through a descriptor (/proc/self/fd): those are not its."""
    try:
        fd = k.openat2(root_fd, directory, k.O_PATH | k.O_DIRECTORY, resolve=_IN_ROOT)
        try:
            k.fchdir(fd)
        finally:
            k.close(fd)
    except OSError as error:
        if error.errno == tolerate:
            return False
        raise failed(f"chdir to cwd (/process/cwd) {directory}", error) from None
    return True


def _check_cwd() -> None:
    """A working directory that is not below the root was reached through a descriptor of the host's (CVE-2024-21626)."""
    try:
        path = k.getcwd()
    except OSError:
        path = ""
    if not path.startswith("/"):
        raise PyociError(
            "current working directory is outside of container mount namespace root -- possible container breakout detected"
        )
