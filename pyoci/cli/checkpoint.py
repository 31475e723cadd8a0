# SPDX-License-Identifier: Apache-2.0
"""`pyoci checkpoint`: the processes of a container, as files."""

from __future__ import annotations

from pyoci.cli import criu
from pyoci.cli.options import CONTAINER_ID, INT, STRING, Call, Command, Option
from pyoci.cli.settings import settings
from pyoci.container import checkpoint
from pyoci.criu.options import page_server
from pyoci.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

COMMAND = Command(
    name="checkpoint",
    summary="Save the processes of a container to files",
    description="""\
Has criu(8), found in $PATH, save all processes of a running or paused container to image files, from which `pyoci
restore` brings them back, here or on another host with the same files. Then the container is deleted, unless it is to go
on (--leave-running, --pre-dump).

What is outside of the container is not saved: the files of its bundle, volumes, its network devices. If anything fails,
the container goes on as if nothing had happened; criu's log, dump.log, tells why.

What criu itself is to be told can be put into /etc/criu/pyoci.conf or /etc/criu/runc.conf, or into the file that the
annotation org.criu.config names.""",
    arguments=(CONTAINER_ID,),
    options=(
        criu.IMAGE_PATH,
        criu.WORK_PATH,
        Option(
            name="parent-path",
            kind=STRING,
            metavar="DIR",
            help="Where the images of the --pre-dump before are, as a path from --image-path on: save what has changed since.",
        ),
        Option(name="leave-running", help="Let the container go on."),
        criu.TCP_ESTABLISHED,
        Option(name="tcp-skip-in-flight", help="Leave out TCP connections that are just being made."),
        Option(name="link-remap", help="Save open files that have been removed by linking them back, where possible."),
        criu.EXT_UNIX_SK,
        criu.SHELL_JOB,
        criu.LAZY_PAGES,
        Option(
            name="status-fd",
            kind=INT,
            metavar="FD",
            default="-1",
            help="Write a zero byte to this open file descriptor when lazy pages are being served; -1 is none.",
        ),
        Option(
            name="page-server",
            kind=STRING,
            metavar="ADDRESS:PORT",
            help="Send the memory to the page server there; with --lazy-pages, serve it there.",
        ),
        criu.FILE_LOCKS,
        Option(
            name="pre-dump",
            help="Save the memory only, and let the container go on: the checkpoint with --parent-path then is faster.",
        ),
        criu.MANAGE_CGROUPS_MODE,
        criu.EMPTY_NS,
        criu.AUTO_DEDUP,
    ),
    examples=(
        ("pyoci checkpoint --image-path /var/tmp/web web", "save the container web, and delete it"),
        ("pyoci checkpoint --pre-dump --image-path /var/tmp/web.1 web", "save its memory ahead"),
        (
            "pyoci checkpoint --parent-path ../web.1 --image-path /var/tmp/web.2 web",
            "save the rest",
        ),
    ),
)


def run(call: Call, log: Log) -> int:
    parent = call.text("parent-path")
    if parent.startswith("/"):
        raise UsageError("--parent-path must be relative")
    options = criu.criu_options(call, log).replace(
        parent_path=parent,
        leave_running=call.flag("leave-running"),
        pre_dump=call.flag("pre-dump"),
        tcp_skip_in_flight=call.flag("tcp-skip-in-flight"),
        link_remap=call.flag("link-remap"),
        page_server=page_server(call.text("page-server")) if call.text("page-server") else None,
        status_fd=call.number("status-fd"),
    )
    checkpoint.checkpoint(settings(call, log), call.argument(0), options)
    return 0
