# SPDX-License-Identifier: Apache-2.0
"""The global options, and what they and the environment settle for every command: above all, where state is kept."""

from __future__ import annotations

from pyoci.cli.options import STRING, Argument, Call, Command, Option, truth
from pyoci.errors import UsageError, failed
from pyoci.kernel.basic import (
    O_CLOEXEC,
    O_DIRECTORY,
    O_RDONLY,
    PROC_USER_INIT_INO,
    close,
    environ,
    fchmod,
    getcwd,
    geteuid,
    open,
    stat,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.record import Settings
    from pyoci.log import Log

SYSTEM_ROOT = "/run/pyoci"

GLOBAL = Command(
    name="",
    summary="Open Container Initiative runtime",
    description="""\
pyoci creates and runs containers as the OCI runtime specification describes them. It takes the calls that runc takes,
and can stand in its place below containerd, docker, podman, CRI-O and buildah.

A container is made from a bundle: a directory with a config.json and the root filesystem that it names. `pyoci spec`
writes a config.json to begin with, `pyoci validate` finds all that is wrong with one, and `pyoci plan` shows what would
be done for it here, without doing it.

pyoci is no daemon. `create` and `run --detach` leave the container's process behind as an orphan for the caller's
subreaper to adopt, and what is known about it in a directory below --root.""",
    arguments=(
        Argument(metavar="<command>", help="What to do; `pyoci help COMMAND` tells all about it."),
        Argument(metavar="arguments", help="", required=False, repeats=True),
    ),
    options=(
        Option(
            name="root",
            kind=STRING,
            metavar="DIR",
            completes="directory",
            help="Keep the state of containers below DIR, which should be on a tmpfs. The default is /run/pyoci, and"
            " $XDG_RUNTIME_DIR/pyoci for an ordinary user and for root in a user's namespace.",
        ),
        Option(
            name="log",
            kind=STRING,
            metavar="FILE",
            completes="file",
            help="Append messages to FILE, which is made if missing, or send them to the system's log with journald:NAME"
            " or syslog:NAME. The error of a failed call is written there and to standard error.",
        ),
        Option(
            name="log-format",
            kind=STRING,
            metavar="FORMAT",
            default="text",
            choices=("text", "json"),
            help="Write the log as text or as JSON, one object with the keys level, msg and time for each message.",
        ),
        Option(name="debug", help="Tell in the log what is done, step by step."),
        Option(
            name="systemd-cgroup",
            help='Let systemd make the cgroup. cgroupsPath then has the form "slice:prefix:name", as in'
            ' "system.slice:pyoci:434234".',
        ),
        Option(
            name="cgroup-manager",
            kind=STRING,
            metavar="MANAGER",
            choices=("cgroupfs", "systemd", "disabled"),
            help="Who makes the cgroup: pyoci in cgroupfs, systemd, or nobody. Overrides --systemd-cgroup.",
        ),
        Option(
            name="rootless",
            kind=STRING,
            metavar="WHEN",
            default="auto",
            choices=("auto", "true", "false"),
            help="Whether to go on without limits if the cgroup may not be written. With auto, that is so for an"
            " ordinary user and inside a user namespace.",
        ),
        Option(
            name="criu",
            kind=STRING,
            metavar="PATH",
            completes="file",
            hidden=True,
            help="Ignored: criu is looked for in $PATH.",
        ),
        Option(name="version", short="v", help="Show the version, and that of the specification."),
    ),
    examples=(
        (
            "pyoci run --bundle /srv/web web",
            "create the container web from a bundle, run it, and wait for it",
        ),
        ("pyoci list", "show all containers"),
        ("pyoci --root /run/containerd/runc/k8s.io list", "show those kept below another root"),
    ),
    exit_codes=(
        ("0", "done"),
        ("1", "failed; the reason is on stderr and in the log"),
        ("255", "`exec` failed"),
        (
            "other",
            "of `run` and `exec` in the foreground, the exit code of the container's process, or 128 + signal",
        ),
    ),
)


def settings(call: Call, log: Log) -> Settings:
    """What the call's global options say, as pyoci.container wants it. Raises UsageError, PyociError."""
    from pyoci.container.record import Settings  # here, for help texts come without it

    outer = call.outer
    assert outer is not None, "a command is called with global options"
    manager = outer.text("cgroup-manager") or ("systemd" if outer.flag("systemd-cgroup") else "cgroupfs")
    return Settings(
        root=state_root(outer.text("root") if outer.given("root") else None),
        log=log,
        debug=outer.flag("debug"),
        systemd_cgroup=manager == "systemd",
        rootless=None if outer.text("rootless") in ("", "auto") else truth(outer.text("rootless")),
        cgroup_manager=manager,
    )


def state_root(given: str | None) -> str:
    """The absolute path of the directory that holds the state of all containers. Raises UsageError, PyociError.

    The default below $XDG_RUNTIME_DIR is made here, with that directory if need be, as by runc, and sticky, so that nobody
    tidies it away (XDG base directory specification, "user-specific runtime files").
    """
    if given is not None:
        root = absolute(given)
        if root == "/":
            raise UsageError(f"--root is {given!r}, which is the directory /: state needs one of its own")
        return root
    runtime_dir = environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if not runtime_dir.startswith("/") or not _is_ordinary_user():
        return SYSTEM_ROOT
    from pyoci.state import make_directories  # root has no use for it here

    root = absolute(runtime_dir + "/pyoci")
    try:
        make_directories(root, 0o700, 0o700)
        fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        fchmod(fd, 0o1700)
        close(fd)
    except OSError as error:
        raise failed(f"keep state in {root} (from $XDG_RUNTIME_DIR)", error) from error
    return root


def _is_ordinary_user() -> bool:
    """Not root, or root only inside a user namespace, unless $USER says that he is root there, too (as runc has it)."""
    if geteuid() != 0:
        return True
    return stat("/proc/self/ns/user").st_ino != PROC_USER_INIT_INO and environ.get(b"USER") != b"root"


def absolute(path: str) -> str:
    """The path from the root directory on, without `.`, `..` and doubled slashes; links are not looked at. Raises
    PyociError.
    """
    kept: list[str] = []
    try:
        whole = path if path.startswith("/") else f"{getcwd()}/{path}"
    except OSError as error:
        raise failed(f"find the current directory, which {path!r} is relative to", error) from None
    for part in whole.split("/"):
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept)


def absolute_or_none(path: str) -> str:
    """The path made absolute; an empty one stays empty, which stands for no path."""
    return absolute(path) if path else ""


def socket_or_none(path: str) -> str:
    """The same for the path of a socket, which may be an abstract name: `@web`, as Go writes it, is NUL and `web` (unix(7))."""
    return f"\0{path[1:]}" if path.startswith("@") else absolute_or_none(path)
