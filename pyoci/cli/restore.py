# SPDX-License-Identifier: Apache-2.0
"""`pyoci restore`: a container whose processes come from files."""

from __future__ import annotations

from pyoci.cli import criu
from pyoci.cli.creation import BUNDLE, CONSOLE_SOCKET, NEW_ID, NO_PIVOT, PID_FILE, create_options
from pyoci.cli.options import STRING, Call, Command, Option
from pyoci.cli.settings import settings
from pyoci.container import restore
from pyoci.container.options import RestoreOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="restore",
    summary="Make a container of processes that were saved to files",
    description="""\
Makes the container that the bundle's config.json describes, and has criu(8), found in $PATH, bring back into it the
processes that `pyoci checkpoint` has saved. They go on where they were; process.args is not run.

Standard streams that were pipes are replaced by those of this call. In the foreground it then does what `run` does: it
passes signals on, waits for the container's process, deletes the container, and exits with the process's own exit code.

Of the hooks, prestart and createRuntime are run again. If anything fails, nothing is left; criu's log, restore.log,
tells why.""",
    arguments=(NEW_ID,),
    options=(
        CONSOLE_SOCKET,
        criu.IMAGE_PATH,
        criu.WORK_PATH,
        criu.TCP_ESTABLISHED,
        criu.EXT_UNIX_SK,
        criu.SHELL_JOB,
        criu.FILE_LOCKS,
        criu.MANAGE_CGROUPS_MODE,
        BUNDLE,
        Option(name="detach", short="d", help="Return as soon as the container runs, and do not delete it."),
        PID_FILE,
        Option(name="no-subreaper", help="Do not adopt processes that the container's process leaves behind."),
        NO_PIVOT,
        criu.EMPTY_NS,
        criu.AUTO_DEDUP,
        criu.LAZY_PAGES,
        Option(
            name="lsm-profile",
            kind=STRING,
            metavar="TYPE:NAME",
            help="Restore under this profile of a security module, as in apparmor:web, in place of the one before.",
        ),
        Option(
            name="lsm-mount-context",
            kind=STRING,
            metavar="CONTEXT",
            help="Restore mounts with this SELinux context, in place of the one before.",
        ),
    ),
    examples=(
        ("pyoci restore --detach --image-path /var/tmp/web --bundle /srv/web web", "bring back the container web"),
    ),
    exit_codes=(
        ("0", "with --detach, the container runs"),
        ("1", "failed, and nothing is left of it"),
        ("other", "the exit code of the container's process, or 128 + signal if one killed it"),
    ),
    near_container=True,
)


def run(call: Call, log: Log) -> int:
    options = RestoreOptions(
        **create_options(call).replace(detach=call.flag("detach"), no_subreaper=call.flag("no-subreaper")).__dict__,
        criu=criu.criu_options(call, log).replace(
            lsm_profile=call.text("lsm-profile"), lsm_mount_context=call.text("lsm-mount-context")
        ),
    )
    return restore.restore(settings(call, log), call.argument(0), options)
