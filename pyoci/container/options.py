# SPDX-License-Identifier: Apache-2.0
"""What the commands are told that put processes into containers."""

from __future__ import annotations

from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.criu.options import CriuOptions


class CreateOptions(Record):
    """The options of create and run. Paths of files are absolute, as the bundle becomes the working directory.

    That of a socket may be an abstract name, which starts with NUL.
    """

    bundle: str = "."
    config: str = "config.json"
    console_socket: str = ""
    pid_file: str = ""
    pidfd_socket: str = ""
    no_pivot: bool = False
    no_new_keyring: bool = False
    preserve_fds: int = 0
    detach: bool = False
    keep: bool = False
    no_subreaper: bool = False


class RestoreOptions(CreateOptions):
    """The options of restore: those of run, and criu's."""

    criu: CriuOptions


class ExecOptions(Record):
    """The options of exec. With `process_file` the others about the process do not count."""

    process_file: str = ""
    args: tuple[str, ...] = ()
    cwd: str = ""
    env: tuple[str, ...] = ()
    tty: bool = False
    user: str = ""
    additional_gids: tuple[int, ...] = ()
    detach: bool = False
    pid_file: str = ""
    console_socket: str = ""
    caps: tuple[str, ...] = ()
    no_new_privs: bool | None = None
    apparmor: str = ""
    process_label: str = ""
    preserve_fds: int = 0
    cgroup: tuple[str, ...] = ()
    ignore_paused: bool = False
    pidfd_socket: str = ""
