# SPDX-License-Identifier: Apache-2.0
"""Rules on the process, the hooks, the root and the names of the container."""

from __future__ import annotations

from pyoci.jsontext import MAX_DIGITS, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.spec.rules import Finding, Rule

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OTHER_PLATFORMS = ("windows", "solaris", "zos", "freebsd")
MAX_NAME = 64
"""Bytes of a host or domain name (__NEW_UTS_LEN)."""

RLIMITS = {
    "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK",
}  # fmt: skip


def for_linux(config: Any) -> bool:
    """Whether the configuration is one for Linux: it has that section, or no other platform's."""
    return "linux" in config or not any(name in config for name in OTHER_PLATFORMS)


def namespaces(config: Any) -> dict[str, str]:
    """The namespaces of a configuration: path by type, empty for a new one."""
    linux = config.get("linux", {})
    return {item["type"]: item.get("path", "") for item in linux.get("namespaces", ())}


def version_unknown(version: Any, _: Any) -> Iterator[Finding]:
    """Within a major version all is compatible; what another one means by the same words, nobody can know."""
    if version.partition(".")[0] not in ("0", "1"):
        yield "", f"pyoci does not know version {version} of the specification", "a version 1"


def root_missing(config: Any, _: Any) -> Iterator[Finding]:
    if "root" not in config and "windows" not in config:
        yield "", 'the property "root" is missing', "it on every platform but Windows"


def cwd_relative(cwd: Any, config: Any) -> Iterator[Finding]:
    if for_linux(config) and not cwd.startswith("/"):
        yield "", f"the working directory {quote(cwd)} must be an absolute path", 'a path that starts with "/"'


def user_ids_missing(user: Any, config: Any) -> Iterator[Finding]:
    # Taken as 0, a forgotten uid would make root of the user.
    if for_linux(config):
        for name in ("uid", "gid"):
            if name not in user:
                yield "", f'the property "{name}" is missing', "a number"


def args_empty(args: Any, config: Any) -> Iterator[Finding]:
    if not args and for_linux(config):
        yield "", "no program to run", "at least one entry"


def env_malformed(env: Any, _: Any) -> Iterator[Finding]:
    for index, entry in enumerate(env):
        if "=" not in entry:
            yield f"/{index}", f'the environment entry {quote(entry)} has no "="', "NAME=VALUE"
        elif entry[0] == "=":
            yield f"/{index}", f"the environment entry {quote(entry)} has no name", "NAME=VALUE"


def rlimit_unknown(limit: Any, config: Any) -> Iterator[Finding]:
    if for_linux(config) and limit["type"] not in RLIMITS:
        yield "/type", f"Linux has no resource limit {quote(limit['type'])}", "a name of getrlimit(2)"


def rlimit_duplicate(limits: Any, _: Any) -> Iterator[Finding]:
    seen = set()
    for index, limit in enumerate(limits):
        if limit["type"] in seen:
            yield f"/{index}/type", f"the resource limit {quote(limit['type'])} stands twice", "each once at most"
        seen.add(limit["type"])


def rlimit_soft_above_hard(limit: Any, _: Any) -> Iterator[Finding]:
    if limit["soft"] > limit["hard"]:
        yield "/soft", f"the soft limit {limit['soft']} is above the hard limit", f"at most {limit['hard']}"


def scheduler_settings(scheduler: Any, _: Any) -> Iterator[Finding]:
    """The combinations that sched_setattr(2) takes."""
    policy, nice, priority = scheduler["policy"], scheduler.get("nice", 0), scheduler.get("priority", 0)
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= nice <= 19:
        yield "/nice", f"{policy} has no nice value {nice}", "a number between -20 and 19"
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            yield "", f"{policy} has no priority {priority}", '"priority" between 1 and 99'
    elif priority:
        yield "/priority", f"{policy} has no priorities", "it only with SCHED_FIFO and SCHED_RR"
    if policy == "SCHED_DEADLINE":
        runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
        if not 0 < runtime <= deadline <= (scheduler.get("period") or deadline):
            yield "", "impossible times for SCHED_DEADLINE", "0 < runtime <= deadline <= period"
    else:
        for name in ("runtime", "deadline", "period"):
            if scheduler.get(name):
                yield f"/{name}", f"{policy} has no {name}", "it only with SCHED_DEADLINE"


def scheduler_before_hooks(scheduler: Any, config: Any) -> Iterator[Finding]:
    """What becomes the program forks the startContainer hooks, and a process with a deadline may not (sched(7))."""
    if scheduler["policy"] == "SCHED_DEADLINE" and config.get("hooks", {}).get("startContainer"):
        if "SCHED_FLAG_RESET_ON_FORK" not in scheduler.get("flags", ()):
            wrong = "SCHED_DEADLINE allows no fork(2), and so none of the startContainer hooks"
            yield "", wrong, 'SCHED_FLAG_RESET_ON_FORK in "flags"'


def cpu_list(text: Any, _: Any) -> Iterator[Finding]:
    """Numbers and ranges; empty elements and blanks around them are allowed."""
    for element in text.split(","):
        first, dash, last = element.strip().partition("-")
        if not dash and not first:
            continue
        if max(len(first), len(last)) > MAX_DIGITS:  # more than int() may take
            yield "", f"an element of {len(element.strip())} characters is no number or range", "a list such as 0-3,7"
        elif not (first.isdecimal() and (not dash or last.isdecimal())) or (dash and int(first) > int(last)):
            yield "", f"{quote(element.strip())} is no number or range", "a list such as 0-3,7"


def hook_path_relative(hook: Any, _: Any) -> Iterator[Finding]:
    if not hook["path"].startswith("/"):
        yield "/path", f"the path {quote(hook['path'])} of a hook is not absolute", 'a path that starts with "/"'


def uts_name(name: Any, config: Any) -> Iterator[Finding]:
    """Without a namespace of its own, the container would rename the host."""
    if not name or not for_linux(config):
        return
    if "uts" not in namespaces(config):
        yield "", "a host or domain name needs a UTS namespace of its own", '"uts" among linux.namespaces'
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        yield "", "a host or domain name that is too long", f"at most {MAX_NAME} bytes"


def args_missing(process: Any, _: Any) -> Iterator[Finding]:
    if "args" not in process:
        yield "", 'the property "args" is missing', "a program to run"


_NAMESPACES = ("/linux/namespaces",)

RULES: tuple[Rule, ...] = (
    ("version-unknown", "/ociVersion", (), "config.md, Specification version", version_unknown),
    ("root-missing", "", ("/root",), "config.md, Root", root_missing),
    ("cwd-relative", "/process/cwd", (), "config.md, Process", cwd_relative),
    ("user-ids-missing", "/process/user", (), "config.md, POSIX-platform User", user_ids_missing),
    ("args-empty", "/process/args", (), "config.md, Process", args_empty),
    ("env-malformed", "/process/env", (), "config.md, Process", env_malformed),
    ("rlimit-unknown", "/process/rlimits/*", (), "config.md, POSIX process", rlimit_unknown),
    ("rlimit-duplicate", "/process/rlimits", (), "config.md, POSIX process", rlimit_duplicate),
    ("rlimit-soft-above-hard", "/process/rlimits/*", (), "config.md, POSIX process", rlimit_soft_above_hard),
    ("scheduler-settings", "/process/scheduler", (), "config.md, Linux Process", scheduler_settings),
    ("scheduler-before-hooks", "/process/scheduler", ("/hooks",), "config.md, Linux Process", scheduler_before_hooks),
    ("cpu-list", "/process/execCPUAffinity/initial", (), "config.md, Linux Process", cpu_list),
    ("cpu-list", "/process/execCPUAffinity/final", (), "config.md, Linux Process", cpu_list),
    *(
        ("hook-path-relative", f"/hooks/{kind}/*", (), "config.md, POSIX-platform Hooks", hook_path_relative)
        for kind in HOOKS
    ),
    ("uts-name", "/hostname", _NAMESPACES, "config.md, Hostname", uts_name),
    ("uts-name", "/domainname", _NAMESPACES, "config.md, Domainname", uts_name),
)

RUNNABLE: tuple[Rule, ...] = (("args-missing", "/process", (), "config.md, Process", args_missing),)
