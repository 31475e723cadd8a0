# SPDX-License-Identifier: Apache-2.0
"""The `process` of a config, or the one that exec was given (config.md, Process)."""

from __future__ import annotations

from pyoci.capabilities import ALL, plan_capabilities
from pyoci.errors import SpecError
from pyoci.plan.model import Limit, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pyoci.confinement import Confinement
    from pyoci.plan.scheduling import Scheduling

# The kernel's numbers (asm-generic/resource.h; getrlimit(2)).
RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}

# runc gives the first process this umask when the config is silent, and images have come to rely on it.
DEFAULT_UMASK = 0o022
_UMASK_BITS = 0o777
_MOST_GROUPS = 65536  # NGROUPS_MAX of linux/limits.h


def plan_process(
    process: dict[str, Any] | None,
    linux: dict[str, Any],
    host: Confinement,
    *,
    own_users: bool,
    keyring: bool,
    default_umask: int | None = None,
) -> tuple[Process, list[str]]:
    """The program with all that it is given, and warnings. Raises SpecError where there is nothing to run.

    process: None in a config without one. Then nothing will run, and the waiting init has no more than root's bare id.
    linux: the container's, for what it has to say of each process in it. own_users: the container has a user namespace of
    its own, and with it all capabilities, within it. default_umask: of a process that has none of its own, if not 022.
    """
    if process is None:
        process = {}
    elif not process.get("args"):
        raise SpecError("config.json names no program to run: /process/args is missing or empty")
    user = process.get("user") or {}
    size = process.get("consoleSize") or {}
    grantable = ALL if own_users else host.grantable_capabilities
    capabilities = plan_capabilities(process.get("capabilities"), host.last_capability, grantable)
    warnings = [f"capability {name} is unknown to this kernel and left out" for name in capabilities.unknown]
    warnings += [f"capability {name} is not ours to give and left out" for name in capabilities.ungranted]
    if (linux.get("personality") or {}).get("flags"):
        warnings.append("/linux/personality/flags: the specification has none, they are left out")
    for pointer, value in (("commandLine", process.get("commandLine")), ("user/username", user.get("username"))):
        if value:
            warnings.append(f"/process/{pointer} is left out: it is for Windows")
    _check_labels(process, host)
    groups = tuple(user.get("additionalGids") or ())
    if len(groups) > _MOST_GROUPS:
        raise SpecError(
            f"/process/user/additionalGids: {len(groups)} groups are more than a process can have, which is {_MOST_GROUPS}"
        )
    umasks = (user.get("umask"), default_umask, DEFAULT_UMASK)
    return Process(
        args=tuple(process.get("args") or ()),
        env=_last_of_each(process.get("env") or ()),
        cwd=process.get("cwd") or "/",
        uid=user.get("uid") or 0,
        gid=user.get("gid") or 0,
        groups=groups,
        umask=next(umask for umask in umasks if umask is not None) & _UMASK_BITS,  # umask(2) passes over the others
        terminal=bool(process.get("terminal")),
        console_size=(size.get("height") or 0, size.get("width") or 0),
        no_new_privileges=bool(process.get("noNewPrivileges")),
        capabilities=capabilities,
        limits=tuple(
            Limit(name=item["type"], number=RLIMITS[item["type"]], soft=item["soft"], hard=item["hard"])
            for item in process.get("rlimits") or ()
        ),
        oom_score_adj=process.get("oomScoreAdj"),
        apparmor=process.get("apparmorProfile") or "",
        selinux=process.get("selinuxLabel") or "",
        keyring=keyring,
        scheduling=_scheduling(process, linux),
    ), warnings


def _scheduling(process: dict[str, Any], linux: dict[str, Any]) -> Scheduling | None:
    asked = ("scheduler", "ioPriority", "execCPUAffinity"), ("memoryPolicy", "personality")
    if not any(section.get(name) for section, names in zip((process, linux), asked, strict=True) for name in names):
        return None
    from pyoci.plan.scheduling import plan_scheduling  # few configs ask for any of it

    return plan_scheduling(process, linux)


def _check_labels(process: dict[str, Any], host: Confinement) -> None:
    """A label that nobody would heed leaves a program less confined than its author thinks (CVE-2019-19921)."""
    for name, module, present in (
        ("apparmorProfile", "AppArmor", host.apparmor),
        ("selinuxLabel", "SELinux", host.selinux),
    ):
        if process.get(name) and not present:
            raise SpecError(
                f"/process/{name}: cannot confine the process as {process[name]!r}: {module} is not enabled on this host"
            )


def with_environment(process: Process, more: dict[str, str]) -> Process:
    """A process with these variables, in place of any of the same names."""
    return process.replace(env=_last_of_each((*process.env, *(f"{name}={value}" for name, value in more.items()))))


def _last_of_each(env: Sequence[str]) -> tuple[str, ...]:
    """The environment without repetitions: of several values for one name the last one counts."""
    held: dict[str, str] = {}
    for entry in env:
        name = entry.partition("=")[0]
        held.pop(name, None)
        held[name] = entry
    return tuple(held.values())
