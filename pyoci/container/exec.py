# SPDX-License-Identifier: Apache-2.0
"""exec: one more process in a container that runs or waits to be started."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.cgroups.join import Doors, join_beside
from pyoci.confinement import gather_confinement
from pyoci.container.handover import connect_pidfd_socket, find_inherited, send_pidfd, write_pid_file
from pyoci.container.record import Container, hook_state
from pyoci.errors import InvalidOperation, UsageError, failed
from pyoci.foreground import Foreground
from pyoci.plan.namespaces import FLAGS, host_id, plan_namespaces
from pyoci.plan.process import plan_process
from pyoci.process.joiner import Join, launch
from pyoci.process.outside import end_for
from pyoci.seccomp import FLAG_NEW_LISTENER
from pyoci.state import CREATING, PAUSED, STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.container.options import ExecOptions
    from pyoci.container.record import Settings
    from pyoci.process.joiner import Launched
    from pyoci.process.listener import Agent

_CAPABILITY_SETS = ("bounding", "effective", "permitted")
_FROM_CONTAINER = (
    "apparmorProfile",
    "execCPUAffinity",
    "ioPriority",
    "oomScoreAdj",
    "rlimits",
    "scheduler",
    "selinuxLabel",
)
"""What a process that does not say otherwise has in common with the container's own, as with runc; but no capabilities."""
_NEVER_EMPTY = ("apparmorProfile", "rlimits", "selinuxLabel")
"""Of these an empty one in a process file is none, and no wish to be rid of the container's: runc tells them not apart."""


def exec_(settings: Settings, container_id: str, options: ExecOptions) -> int:
    """Run a process in a container: 0 once it runs if detached, else its exit code. Raises SpecError, PyociError."""
    if options.detach:
        _launch(settings, container_id, options, None)
        return 0
    foreground = Foreground(settings.log.warning)
    try:
        launched = _launch(settings, container_id, options, foreground)
        return foreground.wait(launched.pid, launched.pidfd)
    finally:
        foreground.close()


def _launch(settings: Settings, container_id: str, options: ExecOptions, foreground: Foreground | None) -> Launched:
    inherited = find_inherited(options.preserve_fds, settings.log.fd, 0)
    container = Container(settings, container_id)
    status = _check_status(container, options)
    config = container.directory.config()
    linux = config.get("linux") or {}
    process = _process(config, options)
    if foreground:
        foreground.prepare()
    namespaces = sum(FLAGS[name] for name in {item["type"] for item in linux.get("namespaces") or ()})
    planned, warnings = plan_process(
        process,
        linux,
        gather_confinement(process),
        own_users=bool(namespaces & k.CLONE_NEWUSER),
        keyring=container.state.new_keyring,
        default_umask=((config.get("process") or {}).get("user") or {}).get("umask"),
    )
    for warning in warnings:
        settings.log.warning(warning)
    flags = container.state.seccomp_flags
    ours, console = _open_console(planned.terminal, options)
    # Before the program runs: see Foreground.attach.
    attach = (lambda: foreground.receive(ours)) if foreground and ours >= 0 else None
    receiver = connect_pidfd_socket(options.pidfd_socket)
    inherited.close_others()
    paths = _paths(container.state.cgroup_paths, options.cgroup)
    init = container.open_init()
    join = Join(
        process=planned,
        pidfd=init,
        namespaces=namespaces,
        root=-1 if namespaces & k.CLONE_NEWNS else _open_root(container.state.init_process_pid, init),
        seccomp=b"" if flags < 0 else container.directory.filter(),
        seccomp_flags=max(flags, 0),
        console=console,
        preserve_fds=inherited.count,
        keyring=f"_ses.{container_id}" if planned.keyring else "",
        agent=_agent(linux, container, status),
        init_pid=container.state.init_process_pid,
        inherits_score=container.state.rootless,
        doors=None if _unit(container) else Doors(paths),
    )
    try:
        if foreground and not planned.terminal:
            foreground.divert(lambda: _root_ids(linux))
        launched = launch(join, lambda pid, entered: _place(container, paths, pid, entered), attach)
    finally:
        if foreground:
            foreground.give_back()
    for remark in launched.remarks:
        settings.log.debug(remark)
    try:
        if receiver >= 0:
            send_pidfd(receiver, launched.pidfd, b"setns")
        if options.pid_file:
            write_pid_file(options.pid_file, launched.pid)
    except BaseException as error:
        end_for(error, launched.pid, launched.pidfd)  # our caller could not find it
        raise
    return launched


def _root_ids(linux: dict[str, Any]) -> tuple[int, int]:
    """The host's ids of the container's root."""
    planned = plan_namespaces(linux)
    return host_id(planned.uid_map, 0) or 0, host_id(planned.gid_map, 0) or 0


def _agent(linux: dict[str, Any], container: Container, status: str) -> Agent | None:
    if container.state.seccomp_flags < 0 or not container.state.seccomp_flags & FLAG_NEW_LISTENER:
        return None
    from pyoci.process.listener import Agent  # few profiles have a listener
    from pyoci.seccomp import plan_seccomp, supported_flags  # neither is its plan needed again

    seccomp = plan_seccomp(linux["seccomp"], supported_flags())
    return None if seccomp is None else Agent(seccomp, {**hook_state(container.state), "status": status})


def _place(container: Container, paths: dict[str, str], pid: int, entered: list[str]) -> None:
    """Put a process into those of the container's cgroups that it has not entered and, if it has one, its class of service."""
    state = container.state
    if state.intel_rdt_path:
        from pyoci.process.intel_rdt import enter  # few hosts have it

        enter(pid, state.intel_rdt_path, state.intel_rdt_mon_path)
    join_beside(paths, pid, state.init_process_pid, _unit(container), entered)


def _check_status(container: Container, options: ExecOptions) -> str:
    status = container.status()
    if status == STOPPED:
        raise InvalidOperation("cannot exec in a stopped container")
    if status == CREATING:  # its mounts may still be the host's
        raise InvalidOperation("cannot exec in a container that is being created")
    if status == PAUSED and not options.ignore_paused:
        raise InvalidOperation("cannot exec in a paused container (use --ignore-paused to override)")
    return status


def _process(config: dict[str, Any], options: ExecOptions) -> dict[str, Any]:
    """The process to run: that of the file, or the container's own with what the options put in its place."""
    own: dict[str, Any] = config.get("process") or {}
    if options.process_file:
        given = _read_process(options.process_file)
        said = {name: value for name, value in given.items() if value or name not in _NEVER_EMPTY}
        return {**{name: own[name] for name in _FROM_CONTAINER if name in own}, **said}
    process = {**own}
    process["args"] = list(options.args)
    process["terminal"] = options.tty
    process["env"] = [*(process.get("env") or ()), *options.env]
    if options.cwd:
        if not options.cwd.startswith("/"):
            raise UsageError(f"the working directory {options.cwd!r} (--cwd) must be an absolute path")
        process["cwd"] = options.cwd
    if options.apparmor:
        process["apparmorProfile"] = options.apparmor
    if options.process_label:
        process["selinuxLabel"] = options.process_label
    if options.no_new_privs is not None:
        process["noNewPrivileges"] = options.no_new_privs
    if options.caps:
        process["capabilities"] = _with_capabilities(process.get("capabilities") or {}, options.caps)
    user = {**(process.get("user") or {})}
    if options.user:
        uid, _, gid = options.user.partition(":")
        user = {**user, "uid": int(uid), **({"gid": int(gid)} if gid else {})}
    if options.additional_gids:
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *options.additional_gids]
    process["user"] = user
    return process


def _read_process(path: str) -> dict[str, Any]:
    from pyoci.bundle import read_config  # the options need no validation
    from pyoci.spec.validate import load_process  # likewise

    return load_process(read_config(path, path, may_be_pipe=True), path.rpartition("/")[2])


def _with_capabilities(present: dict[str, Any], more: tuple[str, ...]) -> dict[str, Any]:
    """More capabilities for one process. Never inheritable ones (CVE-2022-29162); ambient where they are inheritable."""
    inheritable = present.get("inheritable") or ()
    extended = {name: [*(present.get(name) or ()), *more] for name in _CAPABILITY_SETS}
    ambient = [*(present.get("ambient") or ()), *(name for name in more if name in inheritable)]
    return {**present, **extended, "ambient": ambient}


def _open_console(terminal: bool, options: ExecOptions) -> tuple[int, int]:
    """Our end of the terminal's way, if it is we who receive the master, and the joiner's end; -1 for none."""
    if options.console_socket and not (terminal and options.detach):
        raise UsageError("cannot use console socket if pyoci will not detach or allocate tty")
    if not terminal:
        return -1, -1
    if not options.detach:
        return k.stream_pair()
    if not options.console_socket:
        raise UsageError("cannot allocate tty if pyoci will detach without setting console socket")
    from pyoci.terminal import connect_console_socket  # for this alone

    return -1, connect_console_socket(options.console_socket)


def _open_root(pid: int, pidfd: int) -> int:
    """The root of the container's init, which `pidfd` stands for: as long as that is there, its number is nobody else's."""
    try:
        root = k.open(f"/proc/{pid}/root", k.O_PATH | k.O_DIRECTORY | k.O_CLOEXEC)
        k.pidfd_send_signal(pidfd, 0)
    except OSError as error:
        raise failed("open the container's root", error) from None
    return root


def _unit(container: Container) -> str:
    """The unit that only systemd may put processes into: an ordinary user's, as they come from another of his sessions."""
    return container.state.systemd_unit if container.state.rootless else ""


def _paths(paths: dict[str, str], chosen: tuple[str, ...]) -> dict[str, str]:
    """The cgroups to join: the container's, or below them as --cgroup has it, `[controller[,controller]:]path`."""
    for choice in chosen:
        from pyoci.cgroups.plan import below  # an option that engines do not use

        named, colon, path = choice.partition(":")  # as the command line has checked it; the path may have more of them
        paths = below(paths, path, named.split(",")) if colon else below(paths, choice)
    return paths
