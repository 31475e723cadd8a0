# SPDX-License-Identifier: Apache-2.0
"""`linux.seccomp`: what a profile denies is denied, in the program and in every exec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .configs import docker_seccomp
from .harness import Container, status_field

differs = pytest.mark.differs
pytestmark = pytest.mark.needs_seccomp


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def profile(container: Container, default: str, *rules: dict[str, Any], **more: Any) -> None:
    container.linux["seccomp"] = {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_is_loaded(container: Container, no_new_privileges: bool) -> None:
    container.process["noNewPrivileges"] = no_new_privileges
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat"))
    status = container.output("cat", "/proc/self/status")
    assert (status_field(status, "Seccomp"), status_field(status, "Seccomp_filters")) == ("2", "1")


def test_no_filter_without_a_profile(container: Container) -> None:
    assert status_field(container.output("cat", "/proc/self/status"), "Seccomp") == "0"


def test_a_profile_that_allows_all_is_taken(container: Container) -> None:
    profile(container, "ALLOW")
    container.run().ok()


def test_a_denied_call_fails_with_eperm(container: Container) -> None:
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat"))
    result = container.run(args=["mkdir", "/tmp/x"])
    assert result.status == 1
    assert "Operation not permitted" in result.err


@pytest.mark.parametrize(("number", "text"), [(38, "not implemented"), (95, "not supported"), (0, None)])
def test_a_denied_call_fails_with_the_number_given(container: Container, number: int, text: str | None) -> None:
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat", errnoRet=number))
    result = container.run(args=["mkdir", "/tmp/x"])
    if text is None:
        assert result.ok()
    else:
        assert text in result.err
    assert not (container.rootfs / "tmp" / "x").exists()


@pytest.mark.parametrize("action", ["KILL", "KILL_PROCESS", "KILL_THREAD"])
def test_a_denied_call_kills(container: Container, action: str) -> None:
    profile(container, "ALLOW", rule(action, "mkdir", "mkdirat"))
    container.process["rlimits"].append({"type": "RLIMIT_CORE", "soft": 0, "hard": 0})
    result = container.run(args=["sh", "-c", "mkdir /tmp/x; echo $?"])
    assert result.out.splitlines()[-1:] == ["159"], f"{result}"


def test_an_action_that_sends_a_signal(container: Container) -> None:
    profile(container, "ALLOW", rule("TRAP", "mkdir", "mkdirat"))
    assert container.run(args=["sh", "-c", "mkdir /tmp/x; echo $?"]).ok().out.splitlines()[-1:] == ["159"]


def test_an_action_that_only_takes_note(container: Container) -> None:
    profile(container, "ALLOW", rule("LOG", "mkdir", "mkdirat"))
    container.output("mkdir", "/tmp/x")


def test_an_action_that_asks_a_tracer(container: Container) -> None:
    """There is none, and then the kernel knows no such call."""
    profile(container, "ALLOW", rule("TRACE", "mkdir", "mkdirat", errnoRet=5))
    assert "not implemented" in container.run(args=["mkdir", "/tmp/x"]).err


def test_a_rule_about_all_values_up_to_one(container: Container) -> None:
    profile(container, "ALLOW", rule("ERRNO", "kill", args=[{"index": 1, "value": 17, "op": "SCMP_CMP_LE"}]))
    assert container.sh("kill -17 $$ 2> /dev/null || echo denied; kill -18 $$ && echo allowed") == "denied\nallowed\n"


def test_a_rule_wants_all_its_arguments(container: Container) -> None:
    """Signal 15 to process 1, and neither another signal nor another process."""
    args = [{"index": index, "value": value, "op": "SCMP_CMP_EQ"} for index, value in ((0, 1), (1, 18))]
    profile(container, "ALLOW", rule("ERRNO", "kill", args=args))
    script = "kill -18 1 2> /dev/null || echo denied; kill -0 1 && sleep 9 & kill -18 $! && kill -9 $! && echo allowed"
    assert container.sh(script) == "denied\nallowed\n"


def test_an_allow_list(container: Container) -> None:
    container.linux["seccomp"] = docker_seccomp()
    container.sh("echo hello | cat; ls / > /tmp/list; mkdir /tmp/x; (sleep 0)")
    result = container.run(args=["unshare", "-m", "true"])
    assert result.status == 1
    assert "Operation not permitted" in result.err


def test_the_default_errno_of_an_allow_list(container: Container) -> None:
    container.linux["seccomp"] = docker_seccomp() | {"defaultErrnoRet": 95}
    result = container.run(args=["unshare", "-m", "true"])
    assert "not supported" in result.err


@pytest.mark.parametrize(
    ("operator", "value", "second", "denied"),
    [
        ("EQ", 0o77, 0, True),
        ("EQ", 0o22, 0, False),
        ("NE", 0o22, 0, True),
        ("GT", 0o70, 0, True),
        ("GE", 0o77, 0, True),
        ("LT", 0o77, 0, False),
        ("MASKED_EQ", 0o70, 0o70, True),
        ("MASKED_EQ", 0o700, 0o700, False),
    ],
)
def test_a_rule_about_an_argument(container: Container, operator: str, value: int, second: int, denied: bool) -> None:
    """The shell's umask shows it: a call that is denied changes nothing.  (It reads the mask by setting it to 0.)"""
    args = [{"index": 0, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{operator}"}]
    profile(container, "ALLOW", rule("ERRNO", "umask", args=args))
    script = "umask 077; touch /tmp/x; stat -c %a /tmp/x"
    expected = "644" if denied else "600"
    assert container.sh(script).strip() == expected


def test_an_unknown_call_is_skipped(container: Container) -> None:
    profile(container, "ALLOW", rule("ERRNO", "no_such_call", "mkdir", "mkdirat"))
    assert "not permitted" in container.run(args=["mkdir", "/tmp/x"]).err


def test_calls_newer_than_the_profile_do_not_exist(container: Container) -> None:
    """glibc falls back on ENOSYS, not on EPERM: what a profile cannot have known is answered with ENOSYS.

    The last call this profile names is older than clone3, so that must seem missing; the newest name wins.
    """
    old = docker_seccomp()
    names = {"read", "write", "execve", "exit_group", "exit", "mmap", "mprotect", "brk", "open", "openat", "close", "fstat",
             "stat", "lstat", "newfstatat", "arch_prctl", "set_tid_address", "set_robust_list", "prlimit64", "getuid",
             "geteuid", "getgid", "getegid", "getcwd", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "fork", "vfork", "clone",
             "wait4", "umask", "uname", "getpid", "getppid", "fcntl", "dup2", "dup", "pipe", "pipe2", "ioctl", "access",
             "faccessat", "readlink", "readlinkat", "getrandom", "lseek", "munmap", "futex", "prctl", "capget", "capset",
             "setuid", "setgid", "setgroups", "chdir", "fchdir", "getdents64", "statfs", "fstatfs", "kill", "tgkill",
             "gettid", "nanosleep", "clock_nanosleep", "epoll_ctl", "epoll_pwait", "epoll_create1", "sigaltstack",
             "sched_getaffinity", "sched_yield", "rt_sigsuspend", "madvise", "utimensat", "sendfile", "poll", "getpgrp",
             "setsid", "setpgid", "fchown", "chown", "mkdir", "unlink"}  # fmt: skip
    old["syscalls"] = [rule("ALLOW", *sorted(names))]
    container.linux["seccomp"] = old
    container.sh("true")


def test_a_profile_for_the_native_architecture_alone(container: Container) -> None:
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat"), architectures=[])
    assert "not permitted" in container.run(args=["mkdir", "/tmp/x"]).err


@pytest.mark.parametrize(
    "broken",
    [
        {"defaultAction": "SCMP_ACT_NONSENSE"},
        {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NONSENSE"]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NONSENSE"}]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "NONSENSE"}]}
            ],
        },
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}
            ],
        },
        {"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NONSENSE"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]},
    ],
    ids=["default action", "architecture", "action", "operator", "argument index", "flag"],
)  # fmt: skip
def test_a_broken_profile_is_refused(container: Container, broken: dict[str, Any]) -> None:
    container.linux["seccomp"] = broken
    result = container.create()
    assert result.status == 1, f"{result}"
    assert result.err
    container.leaves_nothing()


@differs(runc="cuts it to 16 bits")
@pytest.mark.parametrize(("action", "number"), [("ERRNO", 4096), ("ERRNO", 65536), ("TRACE", 65536)])
def test_a_number_that_an_action_cannot_give(container: Container, action: str, number: int) -> None:
    """Cut to its size, 65536 is 0: the call does nothing, and seems to have worked."""
    profile(container, "ALLOW", rule(action, "mkdir", "mkdirat", errnoRet=number))
    container.create().refused("/linux/seccomp/syscalls/0/errnoRet", str(number))
    profile(container, action, rule("ALLOW", "execve"), defaultErrnoRet=number)
    container.create().refused("/linux/seccomp/defaultErrnoRet", str(number))
    container.leaves_nothing()


@differs(runc="1.1.5 supports no flags")
@pytest.mark.parametrize(
    "flag", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]
)
def test_a_flag(container: Container, flag: str) -> None:
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat"), flags=[flag])
    assert "not permitted" in container.run(args=["mkdir", "/tmp/x"]).err


@pytest.mark.parametrize(
    "no_new_privileges", [True, pytest.param(False, marks=differs(runc="loads the filter early without it"))]
)
def test_a_profile_that_forbids_what_only_the_runtime_needs(container: Container, no_new_privileges: bool) -> None:
    """The filter comes last, so capabilities, users and all of the waiting may be out of bounds for the program."""
    container.process["noNewPrivileges"] = no_new_privileges
    forbidden = "capset setresuid setresgid setgroups mount pivot_root unshare chdir fchdir getcwd"
    profile(container, "ALLOW", rule("ERRNO", *forbidden.split()))
    container.run(args=["true"]).ok()
    container.launch()
    container.exec("true").ok()


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_filter_costs_no_capability_and_gives_none(container: Container, uid: int) -> None:
    """Without noNewPrivileges loading takes CAP_SYS_ADMIN, which is not the program's."""
    container.process["noNewPrivileges"] = False
    container.process["user"] = {"uid": uid, "gid": uid}
    container.process["capabilities"] = {
        name: ["CAP_KILL"] for name in ("bounding", "permitted", "effective", "inheritable", "ambient")
    }
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat"))
    container.launch("sleep", "1000")
    for status in (
        Path(f"/proc/{container.pid}/status").read_text(),
        container.exec("cat", "/proc/self/status", options=("--user", f"{uid}:{uid}")).ok().out,
    ):
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status_field(status, name), 16) == 1 << 5, name


def test_a_filter_stays_for_an_unprivileged_user(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["noNewPrivileges"] = False
    profile(container, "ALLOW", rule("ERRNO", "mkdir", "mkdirat"))
    assert "not permitted" in container.run(args=["mkdir", "/tmp/x"]).err
