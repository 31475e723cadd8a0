# SPDX-License-Identifier: Apache-2.0
"""The options that `create`, `run` and `plan` have in common, and what they come to."""

from __future__ import annotations

from pyoci.cli.options import INT, STRING, Argument, Call, Option
from pyoci.cli.settings import absolute, absolute_or_none, socket_or_none
from pyoci.container.options import CreateOptions

NEW_ID = Argument(
    metavar="<container-id>",
    help="The name of the new container. No other one below the same root may have it. It is made of letters, digits,"
    " and the characters _ + - .",
)
BUNDLE = Option(
    name="bundle",
    short="b",
    kind=STRING,
    metavar="DIR",
    default=".",
    completes="directory",
    help="The bundle: the directory that holds config.json, and from which relative paths in it count.",
)
CONFIG = Option(
    name="config",
    short="f",
    kind=STRING,
    metavar="FILE",
    completes="file",
    help="Read FILE in place of the bundle's config.json.",
)
CONSOLE_SOCKET = Option(
    name="console-socket",
    kind=STRING,
    metavar="PATH",
    completes="file",
    help="Send the master end of the container's terminal to the unix stream socket at PATH, or to that of an"
    " abstract name (unix(7)) if it begins with @, as one message with one file descriptor. Needed if process.terminal is true and pyoci does not stay in the foreground; refused otherwise.",
)
PID_FILE = Option(
    name="pid-file",
    kind=STRING,
    metavar="FILE",
    completes="file",
    help="Write the host's pid of the container's process to FILE: digits only, whole at once, before the command"
    " returns.",
)
PIDFD_SOCKET = Option(
    name="pidfd-socket",
    kind=STRING,
    metavar="PATH",
    completes="file",
    help="Send a pidfd of the container's process to the unix stream socket at PATH, or to that of an abstract name"
    " (unix(7)) if it begins with @.",
)
NO_PIVOT = Option(
    name="no-pivot",
    help="Enter the root filesystem by moving its mount over / instead of by pivot_root. For hosts whose own root is"
    " the initramfs; weaker, so for nothing else.",
)
NO_NEW_KEYRING = Option(
    name="no-new-keyring",
    help="Leave the container in the caller's session keyring, instead of giving it a fresh one.",
)
PRESERVE_FDS = Option(
    name="preserve-fds",
    kind=INT,
    metavar="N",
    help="Pass on N more open file descriptors, counted from 3 + $LISTEN_FDS.",
)
OPTIONS = (BUNDLE, CONFIG, CONSOLE_SOCKET, PID_FILE, PIDFD_SOCKET, NO_PIVOT, NO_NEW_KEYRING, PRESERVE_FDS)


def create_options(call: Call) -> CreateOptions:
    """What the call asks for. Paths are made absolute here, where they mean what the caller meant."""
    return CreateOptions(
        bundle=absolute(call.text("bundle") or "."),
        config=absolute(call.text("config")) if call.text("config") else "config.json",
        console_socket=socket_or_none(call.text("console-socket")),
        pid_file=absolute_or_none(call.text("pid-file")),
        pidfd_socket=socket_or_none(call.text("pidfd-socket")),
        no_pivot=call.flag("no-pivot"),
        no_new_keyring=call.flag("no-new-keyring"),
        preserve_fds=call.number("preserve-fds"),
    )
