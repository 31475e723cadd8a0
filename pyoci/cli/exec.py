# SPDX-License-Identifier: Apache-2.0
"""`pyoci exec`: one more process in a running container."""

from __future__ import annotations

from pyoci.cli.options import CONTAINER_ID, INT, REPEAT, STRING, Argument, Call, Command, Option
from pyoci.cli.settings import absolute_or_none, settings, socket_or_none
from pyoci.container import exec as joining
from pyoci.container.options import ExecOptions
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="exec",
    summary="Run one more process in a container",
    description="""\
Runs a process inside a container that is created or running: in its namespaces and its cgroup, with its capabilities,
seccomp filter and limits.

The process is described by a file (--process) that holds an object as config.json has it in "process", or else by the
container's own config.json with a command and options in place of what stands there. With --process, options that
describe the process are ignored.

Options end at the container's id: what follows belongs to the command.""",
    arguments=(
        CONTAINER_ID,
        Argument(
            metavar="command",
            help="The command and its arguments, unless --process is given.",
            required=False,
            repeats=True,
        ),
    ),
    options=(
        Option(
            name="process",
            short="p",
            kind=STRING,
            metavar="FILE",
            completes="file",
            help="Take the whole description of the process from FILE, which may be a pipe.",
        ),
        Option(name="detach", short="d", help="Return as soon as the process is started."),
        Option(name="tty", short="t", help="Give the process a terminal."),
        Option(
            name="console-socket",
            kind=STRING,
            metavar="PATH",
            completes="file",
            help="Send the master end of the terminal to the unix stream socket at PATH, or to that of an abstract"
            " name (unix(7)) if it begins with @. Needed with --detach and a terminal; refused otherwise.",
        ),
        Option(
            name="pid-file",
            kind=STRING,
            metavar="FILE",
            completes="file",
            help="Write the host's pid of the process to FILE: digits only, whole at once, before the command returns.",
        ),
        Option(
            name="pidfd-socket",
            kind=STRING,
            metavar="PATH",
            completes="file",
            help="Send a pidfd of the process to the unix stream socket at PATH, or to that of an abstract name (unix(7))"
            " if it begins with @.",
        ),
        Option(
            name="cwd",
            kind=STRING,
            metavar="DIR",
            help="Start the process in DIR, a directory in the container.",
        ),
        Option(
            name="env",
            short="e",
            kind=REPEAT,
            metavar="NAME=VALUE",
            help="Set a variable besides those in config.json; of two with one name, the last counts.",
        ),
        Option(
            name="user",
            short="u",
            kind=STRING,
            metavar="UID[:GID]",
            help="Run as this user and group, both numbers of the container's user namespace.",
        ),
        Option(
            name="additional-gids",
            short="g",
            kind=REPEAT,
            metavar="GID",
            help="Add a supplementary group, besides those in config.json.",
        ),
        Option(
            name="cap",
            short="c",
            kind=REPEAT,
            metavar="CAPABILITY",
            completes="capability",
            help="Add a capability to the bounding, effective and permitted sets; to the ambient set only if the"
            " process has inheritable ones already.",
        ),
        Option(name="no-new-privs", help="Set or, with =false, clear no_new_privs for the process."),
        Option(
            name="apparmor",
            kind=STRING,
            metavar="PROFILE",
            help="Confine the process by this AppArmor profile.",
        ),
        Option(
            name="process-label",
            kind=STRING,
            metavar="LABEL",
            help="Run the process with this SELinux label.",
        ),
        Option(
            name="cgroup",
            kind=REPEAT,
            metavar="[CONTROLLER[,...]:]PATH",
            help="Put the process in a cgroup below that of the container. With cgroup v1, name the controllers.",
        ),
        Option(
            name="preserve-fds",
            kind=INT,
            metavar="N",
            help="Pass on N more open file descriptors, counted from 3.",
        ),
        Option(
            name="ignore-paused",
            help="Do not refuse if the container is paused; the process starts when it goes on.",
        ),
    ),
    examples=(
        ("pyoci exec web ps -ef", "run ps in the container web"),
        ("pyoci exec --tty --user 1000:1000 web sh", "a shell, as an ordinary user"),
        ("pyoci exec --process ps.json --detach --pid-file ps.pid web", "a process as described in a file"),
    ),
    exit_codes=(
        ("0", "with --detach, the process is started"),
        ("255", "the process could not be started"),
        ("other", "the exit code of the process, or 128 + signal if one killed it"),
    ),
    passes_on=True,
    near_container=True,
    failure=255,
)

_MAX_ID = (1 << 32) - 2
"""The largest user or group id; the one after it stands for "no change" in system calls."""


def run(call: Call, log: Log) -> int:
    return joining.exec_(settings(call, log), call.argument(0), exec_options(call))


def exec_options(call: Call) -> ExecOptions:
    """What the call asks for. Raises UsageError."""
    process_file = call.text("process")
    args = tuple(call.arguments[1:])
    if not args and not process_file:
        raise UsageError("exec: a command is missing: give one after the container's id, or a file with --process")
    _check_environment(call.texts("env"))
    _check_user(call.text("user"))
    _check_cgroups(call.texts("cgroup"))
    return ExecOptions(
        process_file=absolute_or_none(process_file),
        args=args,
        cwd=call.text("cwd"),
        env=call.texts("env"),
        tty=call.flag("tty"),
        user=call.text("user"),
        additional_gids=tuple(_id_number("--additional-gids", gid) for gid in call.texts("additional-gids")),
        detach=call.flag("detach"),
        pid_file=absolute_or_none(call.text("pid-file")),
        console_socket=socket_or_none(call.text("console-socket")),
        caps=call.texts("cap"),
        no_new_privs=call.flag("no-new-privs") if call.given("no-new-privs") else None,
        apparmor=call.text("apparmor"),
        process_label=call.text("process-label"),
        preserve_fds=call.number("preserve-fds"),
        cgroup=call.texts("cgroup"),
        ignore_paused=call.flag("ignore-paused"),
        pidfd_socket=socket_or_none(call.text("pidfd-socket")),
    )


def _check_environment(entries: tuple[str, ...]) -> None:
    """As in config.json, where a rule says so."""
    for entry in entries:
        name, equals, _ = entry.partition("=")
        if not (name and equals):
            raise UsageError(f"exec: --env: {entry!r} has no {'name' if equals else '='} (expected NAME=VALUE)")


def _check_user(user: str) -> None:
    uid, colon, gid = user.partition(":")
    if user:
        _id_number("--user: uid", uid)
    if colon:
        _id_number("--user: gid", gid)


def _id_number(what: str, text: str) -> int:
    """A user or group id. The whole text has to be one: half of it read would be another user, maybe root."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID):
        raise UsageError(f"exec: {what} is {text!r}, and not a number from 0 to {_MAX_ID}")
    return int(text)


def _check_cgroups(cgroups: tuple[str, ...]) -> None:
    """One path without controllers (cgroup v2), or paths that each name theirs (v1)."""
    seen: set[str] = set()
    for cgroup in cgroups:
        controllers, colon, _ = cgroup.partition(":")
        if not colon:
            if len(cgroups) > 1:
                raise UsageError(f"exec: --cgroup {cgroup}: of several paths, each needs its CONTROLLER: in front")
            continue
        for controller in controllers.split(","):
            if not controller:
                raise UsageError(f"exec: --cgroup {cgroup}: the name of a controller is missing")
            if controller in seen:
                raise UsageError(f"exec: --cgroup {cgroup}: the controller {controller} has a path already")
            seen.add(controller)
