# SPDX-License-Identifier: Apache-2.0
"""The `process` object: what the program finds when it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .configs import PATH, with_user_namespace
from .harness import Container, status_field

differs = pytest.mark.differs

CAPABILITIES = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETPCAP": 8, "CAP_NET_BIND_SERVICE": 10, "CAP_SYS_CHROOT": 18}


def mask(*names: str) -> str:
    return f"{sum(1 << CAPABILITIES[name] for name in names):016x}"


def own_status(container: Container) -> str:
    return container.output("cat", "/proc/self/status")


# Identity


def test_user_and_group(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 2000}
    status = own_status(container)
    assert status_field(status, "Uid").split() == ["1000"] * 4
    assert status_field(status, "Gid").split() == ["2000"] * 4


def test_additional_groups(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 6, 70000]}
    assert status_field(own_status(container), "Groups").split() == ["5", "6", "70000"]


def test_the_callers_groups_are_dropped(container: Container) -> None:
    status = container.run(args=["cat", "/proc/self/status"], extra_groups=[4, 24, 27]).ok().out
    assert status_field(status, "Groups") in ("", "0")


@pytest.mark.parametrize("value", [0, 0o22, 0o77, 0o777, 2**32 - 1])
def test_umask(container: Container, value: int) -> None:
    container.process["user"]["umask"] = value
    assert container.output("sh", "-c", "umask") == f"{value & 0o777:04o}\n"


def test_umask_is_022_when_not_given(container: Container) -> None:
    assert container.run(args=["sh", "-c", "umask"], umask=0o77).ok().out == "0022\n"


def test_oom_score(container: Container) -> None:
    container.process["oomScoreAdj"] = 500
    assert container.output("cat", "/proc/self/oom_score_adj") == "500\n"


def test_an_oom_score_of_zero_is_a_value(container: Container) -> None:
    mine = Path("/proc/self/oom_score_adj")
    before = mine.read_text()
    mine.write_text("300")
    try:
        assert container.output("cat", "/proc/self/oom_score_adj") == "300\n"
        container.process["oomScoreAdj"] = 0
        # Lowering it below what was inherited needs CAP_SYS_RESOURCE only below the lowest ever set.
        assert container.output("cat", "/proc/self/oom_score_adj") == "0\n"
    finally:
        mine.write_text(before)


# Environment


def test_the_environment_is_exactly_that_of_the_config(container: Container) -> None:
    container.process["env"] = [PATH, "A=1", "B=with = signs", "EMPTY=", "HOME=/somewhere"]
    assert sorted(container.output("env").splitlines()) == sorted(container.process["env"])


def test_the_last_of_two_equal_names_wins(container: Container) -> None:
    container.process["env"] = [PATH, "A=1", "A=2"]
    assert container.sh("echo $A") == "2\n"


@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (4242, "/")])
def test_home_comes_from_the_containers_passwd(container: Container, uid: int, home: str) -> None:
    container.process["user"] = {"uid": uid, "gid": 0}
    assert container.sh("echo $HOME") == f"{home}\n"


@pytest.mark.parametrize("mapped", [False, True], ids=["host users", "own users"])
def test_home_is_found_with_hardly_a_descriptor_to_have(container: Container, mapped: bool) -> None:
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 7, "hard": 7}]
    if mapped:
        with_user_namespace(container.config)
    container.create(args=["sh", "-c", "echo $HOME; sleep 1000"]).ok()
    container.start().ok()
    container.prints("/root\n")
    if os.geteuid() == 0:  # an ordinary user's exec has one more at that point
        assert container.exec("sh", "-c", "echo $HOME").ok().out == "/root\n"


def test_home_is_the_root_without_a_passwd(container: Container) -> None:
    (container.rootfs / "etc" / "passwd").unlink()
    assert container.sh("echo $HOME") == "/\n"


def test_home_of_the_config_stays(container: Container) -> None:
    container.process["env"].append("HOME=/mine")
    assert container.sh("echo $HOME") == "/mine\n"


def test_an_empty_home_is_replaced(container: Container) -> None:
    container.process["env"].append("HOME=")
    assert container.sh("echo $HOME") == "/root\n"


@differs(runc="1.1.5 sets an empty HOME")
def test_a_broken_passwd_does_no_harm(container: Container) -> None:
    (container.rootfs / "etc" / "passwd").write_bytes(
        b"\xff\xfe:::\nroot\n:::::\nroot:x:zero:0::/bad:\n\0\n" + b"x" * 5000
    )
    assert container.sh("echo $HOME") == "/\n"


def test_names_outside_ascii_arrive_whole(container: Container) -> None:
    container.process["env"].append("GREETING=grüß dich ☺")
    container.process["args"] = ["sh", "-c", 'echo "$1 $GREETING"', "sh", "Ω"]
    assert container.run(env={"PATH": os.environ["PATH"], "LC_ALL": "C"}).ok().out == "Ω grüß dich ☺\n"


@pytest.mark.parametrize("entry", ["NO_SIGN", "=value", ""])
def test_an_environment_entry_needs_a_name(container: Container, entry: str) -> None:
    container.process["env"].append(entry)
    result = container.run(args=["true"])
    if container.runtime.name == "runc":
        pytest.xfail("runc 1.1.5 drops such entries without a word, or passes them on")
    assert result.status == 1, f"{result}"


# Working directory


def test_the_working_directory(container: Container) -> None:
    container.process["cwd"] = "/etc"
    assert container.output("pwd") == "/etc\n"


def test_a_missing_working_directory_is_made(container: Container) -> None:
    container.process["cwd"] = "/made/for/this"
    assert container.output("pwd") == "/made/for/this\n"
    made = (container.rootfs / "made/for/this").stat()
    assert made.st_mode & 0o777 == 0o755


def test_a_working_directory_is_made_in_what_is_to_be_readonly(container: Container) -> None:
    container.config["root"]["readonly"] = True
    container.mounts.append({"destination": "/srv", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})
    for directory in ("/made/for/this", "/srv/made"):
        container.process["cwd"] = directory
        assert container.output("sh", "-c", "pwd; touch here 2> /dev/null || echo read-only").split() == [
            directory,
            "read-only",
        ]


def test_a_working_directory_that_only_the_user_may_enter(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["cwd"] = "/private"
    (container.rootfs / "private").mkdir(mode=0o700)
    os.chown(container.rootfs / "private", 1000, 1000)
    assert container.output("pwd") == "/private\n"


def test_a_working_directory_the_user_may_not_enter_is_entered_for_him(container: Container) -> None:
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["cwd"] = "/private"
    (container.rootfs / "private").mkdir(mode=0o700)
    container.run(args=["true"]).ok()


def test_a_relative_working_directory_is_refused(container: Container) -> None:
    container.process["cwd"] = "etc"
    container.run(args=["true"]).refused("must be an absolute path")


def test_a_working_directory_that_is_a_file_is_refused(container: Container) -> None:
    container.process["cwd"] = "/etc/passwd"
    container.run(args=["true"]).refused("not a directory")


# Finding the program


def test_the_program_is_found_in_the_containers_path(container: Container) -> None:
    (container.rootfs / "own").mkdir()
    os.symlink("/bin/busybox", container.rootfs / "own" / "env")
    container.process["env"] = ["PATH=/nowhere:/own"]
    assert "PATH=/nowhere:/own\n" in container.output("env")


def test_a_program_without_path_variable_is_not_found(container: Container) -> None:
    container.process["env"] = []
    container.run(args=["true"]).refused("executable file not found")


def test_a_program_may_be_relative_to_the_working_directory(container: Container) -> None:
    container.process["cwd"] = "/bin"
    assert container.output("./echo", "here") == "here\n"


def test_arguments_arrive_as_they_are(container: Container) -> None:
    container.process["args"] = [
        "sh",
        "-c",
        'for a in "$@"; do echo "[$a]"; done',
        "sh",
        "a b",
        "",
        "-x",
        "$HOME",
        "\\",
    ]
    assert container.run().ok().out.splitlines() == ["[a b]", "[]", "[-x]", "[$HOME]", "[\\]"]


def test_a_program_that_is_in_no_directory(container: Container) -> None:
    container.create(args=["no-such-program"]).refused('exec: "no-such-program": executable file not found in $PATH')


def test_a_path_that_does_not_exist(container: Container) -> None:
    container.create(args=["/no/such/program"]).refused(
        'exec: "/no/such/program": stat /no/such/program: no such file or directory'
    )


def test_a_program_that_is_not_executable(container: Container) -> None:
    container.create(args=["/etc/passwd"]).refused('exec: "/etc/passwd": permission denied')


def test_a_directory_is_no_program(container: Container) -> None:
    container.create(args=["/etc"]).refused('exec: "/etc": ', "permission denied")


def test_an_empty_program_name(container: Container) -> None:
    container.create(args=[""]).refused("")


def test_a_script_with_an_interpreter(container: Container) -> None:
    script = container.rootfs / "script"
    script.write_text("#!/bin/sh\necho from a script $1\n")
    script.chmod(0o755)
    assert container.output("/script", "x") == "from a script x\n"


def test_a_script_whose_interpreter_is_missing(container: Container) -> None:
    """The error can come no earlier than execve, and by then create has long returned."""
    script = container.rootfs / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    container.create(args=["/script"]).ok()
    result = container.start()
    assert container.wait() != 0
    assert container.status == "stopped"
    if container.runtime.name == "pyoci":
        result.refused("exec /script: no such file or directory", '"/no/such/interpreter" is not in the container')


def test_a_failure_that_cannot_be_explained_is_told_all_the_same(container: Container) -> None:
    """The program's filter is in force by then, and may be the end of whoever looks at a file."""
    script = container.rootfs / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    names = ["stat", "newfstatat", "statx", "fstatat64", "open", "openat"]
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": names, "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    container.create(args=["/script"]).ok()
    result = container.start()
    assert container.wait() != 0
    if container.runtime.name == "pyoci":
        result.refused("exec /script: no such file or directory")


# Limits


def test_rlimits(container: Container) -> None:
    container.process["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 2 << 20},
    ]
    limits = {
        line[:26].strip(): line[26:].split() for line in container.output("cat", "/proc/self/limits").splitlines()
    }
    assert limits["Max open files"][:2] == ["100", "200"]
    assert limits["Max core file size"][:2] == ["0", "0"]
    assert limits["Max stack size"][:2] == [str(1 << 20), str(2 << 20)]


def test_rlimits_not_named_are_inherited(container: Container) -> None:
    del container.process["rlimits"]
    assert container.output("cat", "/proc/self/limits") == Path("/proc/self/limits").read_text()


def test_an_unknown_rlimit_is_refused(container: Container) -> None:
    container.process["rlimits"] = [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]
    container.create().refused("RLIMIT_NONSENSE")
    container.leaves_nothing()


@differs(runc="1.1.5 lets the last one win")
def test_an_rlimit_given_twice_is_refused(container: Container) -> None:
    container.process["rlimits"] *= 2
    container.create().refused("RLIMIT_NOFILE")


def test_a_soft_limit_above_the_hard_one_is_refused(container: Container) -> None:
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]
    container.create().refused("")
    container.leaves_nothing()


# Privileges


def test_capability_sets(container: Container) -> None:
    container.process["capabilities"] = {
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"],
        "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "ambient": ["CAP_NET_BIND_SERVICE"],
    }
    # Root gets the whole bounding set at execve, so the sets can be seen only as another user.
    container.process["user"] = {"uid": 1000, "gid": 1000}
    status = own_status(container)
    assert status_field(status, "CapBnd") == mask("CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT")
    assert status_field(status, "CapInh") == mask("CAP_KILL", "CAP_NET_BIND_SERVICE")
    assert status_field(status, "CapPrm") == mask("CAP_NET_BIND_SERVICE")
    assert status_field(status, "CapEff") == mask("CAP_NET_BIND_SERVICE")
    assert status_field(status, "CapAmb") == mask("CAP_NET_BIND_SERVICE")


def test_root_has_what_the_bounding_set_allows(container: Container) -> None:
    container.process["capabilities"] = {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    status = own_status(container)
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert status_field(status, name) == mask("CAP_KILL"), name
    assert status_field(status, "CapInh") == mask()


def test_empty_capability_sets_are_empty(container: Container) -> None:
    container.process["capabilities"] = {}
    status = own_status(container)
    for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert status_field(status, name) == mask(), name


def test_no_capabilities_object_means_no_capabilities(container: Container) -> None:
    del container.process["capabilities"]
    status = own_status(container)
    for name in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb"):
        assert status_field(status, name) == mask(), name


def test_an_unknown_capability_is_only_a_warning(container: Container) -> None:
    container.process["capabilities"]["bounding"].append("CAP_FROM_THE_FUTURE")
    result = container.run(args=["true"]).ok()
    assert "CAP_FROM_THE_FUTURE" in result.err


@pytest.mark.parametrize("wanted", [True, False])
def test_no_new_privileges(container: Container, wanted: bool) -> None:
    container.process["noNewPrivileges"] = wanted
    assert status_field(own_status(container), "NoNewPrivs") == str(int(wanted))


def test_a_program_without_privileges_stays_so(container: Container) -> None:
    """noNewPrivileges makes the set-user-id bit powerless."""
    suid = container.rootfs / "bin" / "busybox-suid"
    suid.write_bytes((container.rootfs / "bin" / "busybox").read_bytes())
    suid.chmod(0o4755)
    container.process["user"] = {"uid": 1000, "gid": 1000}
    assert status_field(container.output("/bin/busybox-suid", "cat", "/proc/self/status"), "Uid").split()[1] == "1000"


def test_a_new_session_leads_the_program(container: Container) -> None:
    fields = container.output("cat", "/proc/self/stat").rpartition(")")[2].split()
    group, session = fields[2], fields[3]
    assert (group, session) == ("1", "1")


@pytest.mark.parametrize("field", ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"])
def test_signals_start_at_their_defaults(container: Container, field: str) -> None:
    """A runtime that ignores SIGPIPE for itself must not hand that on."""
    container.create(args=["sleep", "1000"]).ok()
    container.start().ok()
    status = container.exec("cat", "/proc/1/status").ok().out
    assert status_field(status, field) == "0" * 16


def test_the_program_is_pid_one(container: Container) -> None:
    assert container.sh("echo $$") == "1\n"


def test_no_other_process_is_in_the_container(container: Container) -> None:
    assert container.sh("ls -d /proc/[0-9]*").split() == ["/proc/1"]


# Names


def test_hostname(container: Container) -> None:
    container.config["hostname"] = "quokka"
    assert container.output("hostname") == "quokka\n"


def test_hostname_needs_its_own_uts_namespace(container: Container) -> None:
    container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "uts"]
    before = os.uname().nodename
    container.create().refused("UTS")
    assert os.uname().nodename == before


@differs(runc="1.1.5 knows no domainname")
def test_domainname(container: Container) -> None:
    container.config["domainname"] = "example.org"
    assert container.output("cat", "/proc/sys/kernel/domainname") == "example.org\n"


def test_a_config_without_a_hostname_keeps_the_hosts(container: Container) -> None:
    del container.config["hostname"]
    assert container.output("hostname").strip() == os.uname().nodename
