# SPDX-License-Identifier: Apache-2.0
"""The options that `checkpoint` and `restore` have in common, and what they come to."""

from __future__ import annotations

from pyoci.cli.options import REPEAT, STRING, Call, Option
from pyoci.cli.settings import absolute, absolute_or_none
from pyoci.criu.options import CriuOptions
from pyoci.errors import UsageError
from pyoci.kernel.basic import geteuid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.log import Log

IMAGE_PATH = Option(
    name="image-path",
    kind=STRING,
    metavar="DIR",
    default="./checkpoint",
    completes="directory",
    help="The directory of criu's image files.",
)
WORK_PATH = Option(
    name="work-path",
    kind=STRING,
    metavar="DIR",
    completes="directory",
    help="The directory of criu's log (dump.log, restore.log), if not that of the images.",
)
TCP_ESTABLISHED = Option(name="tcp-established", help="Save and restore open TCP connections, too.")
EXT_UNIX_SK = Option(name="ext-unix-sk", help="Accept unix sockets that lead out of the container.")
SHELL_JOB = Option(name="shell-job", help="Accept a session and a terminal of the caller's.")
FILE_LOCKS = Option(name="file-locks", help="Save and restore file locks, too.")
MANAGE_CGROUPS_MODE = Option(
    name="manage-cgroups-mode",
    kind=STRING,
    metavar="MODE",
    choices=("soft", "full", "strict", "ignore"),
    help="What criu does about the cgroups that the container has made in its own: see criu(8). The default is soft.",
)
EMPTY_NS = Option(
    name="empty-ns",
    kind=REPEAT,
    metavar="NAMESPACE",
    help="Make this namespace without its content. It is always so for network, the only one that can be named.",
)
AUTO_DEDUP = Option(name="auto-dedup", help="Free the memory in images before that newer ones hold as well.")
LAZY_PAGES = Option(name="lazy-pages", help="Move memory on demand, by userfaultfd(2).")


def criu_options(call: Call, log: Log) -> CriuOptions:
    """What the call asks for of what both commands have. Raises UsageError."""
    for namespace in call.texts("empty-ns"):
        if namespace != "network":
            raise UsageError(f'namespace "{namespace}" is not supported by --empty-ns')
    if geteuid() != 0:
        log.warning(f"{call.command.name} has not been seen to work for an ordinary user")
    return CriuOptions(
        image_path=absolute(call.text("image-path") or IMAGE_PATH.default),
        work_path=absolute_or_none(call.text("work-path")),
        tcp_established=call.flag("tcp-established"),
        ext_unix_sk=call.flag("ext-unix-sk"),
        shell_job=call.flag("shell-job"),
        file_locks=call.flag("file-locks"),
        manage_cgroups_mode=call.text("manage-cgroups-mode"),
        auto_dedup=call.flag("auto-dedup"),
        lazy_pages=call.flag("lazy-pages"),
    )
