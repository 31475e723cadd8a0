# SPDX-License-Identifier: Apache-2.0
"""`exec`: another process in a running container."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from .configs import PATH
from .harness import (
    Container,
    eventually,
    exit_code,
    is_gone_or_zombie,
    namespace_of,
    placed,
    process_state,
    status_field,
)

differs = pytest.mark.differs

NO_CAPABILITIES = "0" * 16


@pytest.fixture
def running(container: Container) -> Container:
    container.launch()
    return container


def process_file(container: Container, *args: str, **changes: Any) -> str:
    """A file with a whole process object, as containerd, conmon and CRI-O give one."""
    process = container.process | {"args": list(args)} | changes
    path = container.bundle / "process.json"
    path.write_text(json.dumps(process))
    return str(path)


def test_exec_prints(running: Container) -> None:
    result = running.exec("sh", "-c", "echo out; echo err >&2").ok()
    assert (result.out, result.err) == ("out\n", "err\n")


@pytest.mark.parametrize("code", [0, 1, 42, 254])
def test_exec_exits_as_the_program_does(running: Container, code: int) -> None:
    assert running.exec("sh", "-c", f"exit {code}").status == code


def test_exec_shows_death_by_a_signal(running: Container) -> None:
    assert running.exec("sh", "-c", "kill -KILL $$").status == 137


def test_exec_forwards_signals(running: Container) -> None:
    process = running.background(
        "exec", running.id, "sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    )
    running.output_file = running.bundle / f"stdout.{running.calls}"
    running.prints("ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 7


def test_exec_reads_standard_input(running: Container) -> None:
    assert running.exec("cat", stdin="fed\n").ok().out == "fed\n"


def test_exec_needs_no_separator(running: Container) -> None:
    """Options stop at the id: what follows belongs to the program."""
    assert running.exec("echo", "-n", "--tty").ok().out == "--tty"


def test_exec_works_in_a_created_container(container: Container) -> None:
    container.create().ok()
    assert container.exec("echo", "early").ok().out == "early\n"
    assert container.status == "created"


# What cannot be run


def test_exec_of_a_missing_program(running: Container) -> None:
    running.exec("no-such-program").refused("no-such-program", "executable file not found in $PATH", status=255)


def test_exec_of_a_missing_path(running: Container) -> None:
    running.exec("/no/such/program").refused("/no/such/program", "no such file or directory", status=255)


def test_exec_of_a_file_that_is_not_executable(running: Container) -> None:
    running.exec("/etc/passwd").refused("/etc/passwd", "permission denied", status=255)


def test_exec_of_a_directory(running: Container) -> None:
    assert running.exec("/etc").refused("/etc", status=255)


def test_exec_without_a_program(running: Container) -> None:
    result = running.exec()
    assert result.status in (1, 255)
    assert result.err


def test_exec_with_a_missing_process_file(running: Container) -> None:
    running.exec(options=("--process", "/no/such/file")).refused("/no/such/file", status=255)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"args": "no list"}', '{"cwd": "/"}'])
def test_exec_with_a_bad_process_file(running: Container, text: str) -> None:
    path = running.bundle / "process.json"
    path.write_text(text)
    result = running.exec(options=("--process", str(path)))
    assert result.status != 0
    assert result.err
    assert running.status == "running"


# It is confined like init


@pytest.mark.parametrize("kind", ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup"])
def test_exec_joins_the_namespace(running: Container, kind: str) -> None:
    assert running.exec("readlink", f"/proc/self/ns/{kind}").ok().out.strip() == namespace_of(running.pid, kind)


def test_exec_joins_a_user_namespace(container: Container) -> None:
    from .configs import with_user_namespace

    with_user_namespace(container.config)
    container.launch()
    result = container.exec("sh", "-c", "readlink /proc/self/ns/user; id -u; cat /proc/self/uid_map").ok().out.split()
    assert result == [namespace_of(container.pid, "user"), "0", "0", "100000", "65536"]


def test_exec_joins_every_cgroup(running: Container) -> None:
    mine = running.exec("cat", "/proc/self/cgroup").ok().out.splitlines()
    theirs = Path(f"/proc/{running.pid}/cgroup").read_text().splitlines()
    assert sorted(mine) == sorted(theirs)
    assert any(line.endswith(running.id) for line in mine)


def test_exec_has_the_capabilities_of_the_config(running: Container) -> None:
    status = running.exec("cat", "/proc/self/status").ok().out
    ours = (Path(f"/proc/{running.pid}/status")).read_text()
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp"):
        assert status_field(status, name) == status_field(ours, name), name


def test_exec_has_the_seccomp_filter_of_the_config(container: Container) -> None:
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    }
    container.launch()
    result = container.exec("mkdir", "/tmp/x")
    assert result.status == 1
    assert "not supported" in result.err


def test_exec_has_the_rlimits_of_the_config(running: Container) -> None:
    assert running.exec("sh", "-c", "ulimit -n").ok().out == "1024\n"


def test_exec_leaves_no_process_behind(running: Container) -> None:
    running.exec("true").ok()
    pids = json.loads(running.call("ps", "-f", "json", running.id).ok().out)
    assert pids == [running.pid]


# Options


def test_exec_in_another_directory(running: Container) -> None:
    assert running.exec("pwd", options=("--cwd", "/etc")).ok().out == "/etc\n"


def test_exec_in_the_directory_of_the_config(container: Container) -> None:
    container.process["cwd"] = "/tmp"
    container.launch()
    assert container.exec("pwd").ok().out == "/tmp\n"


def test_exec_in_a_directory_that_is_not_there(running: Container) -> None:
    """It is made for init alone: here it may be a slip."""
    result = running.exec("true", options=("--cwd", "/no/such"))
    result.refused("chdir to cwd", "/no/such", "no such file or directory", status=255)
    assert not (running.rootfs / "no").exists()


@pytest.mark.parametrize(
    ("user", "answer"),
    [
        ("1000", "1000 0"),
        ("1000:2000", "1000 2000"),
        ("0:7", "0 7"),
        pytest.param("4000000000", "4000000000 0", marks=differs(runc="1.1.5 stops at 2147483647")),
    ],
)
def test_exec_as_another_user(running: Container, user: str, answer: str) -> None:
    assert running.exec("sh", "-c", "echo $(id -u) $(id -g)", options=("--user", user)).ok().out.strip() == answer


@pytest.mark.parametrize(
    "wrong", ["root", "1x", "x1", "1000:x", "1:2:3", ":", "0x10", "99999999999", "-1", "1.0", " 1"]
)
def test_exec_refuses_what_is_no_user(running: Container, wrong: str) -> None:
    if running.runtime.name == "runc" and wrong in ("99999999999", "-1"):
        pytest.xfail("runc 1.1.5 takes any integer")
    result = running.exec("id", options=(f"--user={wrong}",))
    assert result.status != 0, f"{result}"
    assert result.err
    assert "uid=" not in result.out


def test_exec_with_more_groups(running: Container) -> None:
    options = ("--user", "1000", "-g", "2000", "-g", "3000")
    groups = status_field(running.exec("cat", "/proc/self/status", options=options).ok().out, "Groups")
    assert groups.split() == ["2000", "3000"]


def test_exec_environment_is_appended(running: Container) -> None:
    options = ("--env", "A=1", "--env", "B=2=3", "--env=TERM=dumb")
    env = running.exec("env", options=options).ok().out.splitlines()
    assert {"A=1", "B=2=3", "TERM=dumb", PATH} <= set(env)
    assert "TERM=xterm" not in env


@pytest.mark.parametrize("entry", ["NO_SIGN", "=value", ""])
def test_an_entry_of_exec_needs_a_name(running: Container, entry: str) -> None:
    running.exec("env", options=("--env", entry)).refused(status=255)


def test_exec_does_not_see_the_callers_environment(running: Container) -> None:
    running.runtime.environment = {"PATH": os.environ["PATH"], "HOST_SECRET": "hidden"}
    assert "HOST_SECRET" not in running.exec("env").ok().out


def test_exec_sets_home_for_the_user_given(running: Container) -> None:
    assert running.exec("sh", "-c", "echo $HOME", options=("--user", "1000")).ok().out == "/home/user\n"
    assert running.exec("sh", "-c", "echo $HOME").ok().out == "/root\n"


def test_exec_with_one_capability_more(running: Container) -> None:
    """It comes into the permitted, effective and bounding sets, and never into those a program hands on."""
    before = running.exec("cat", "/proc/self/status").ok().out
    after = running.exec("cat", "/proc/self/status", options=("--cap", "CAP_SYS_CHROOT")).ok().out
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status_field(after, name), 16) == int(status_field(before, name), 16) | 1 << 18, name
    assert int(status_field(after, "CapInh"), 16) & 1 << 18 == 0
    assert int(status_field(after, "CapAmb"), 16) & 1 << 18 == 0


def test_exec_without_new_privileges(container: Container) -> None:
    container.process["noNewPrivileges"] = False
    container.launch()
    assert status_field(container.exec("cat", "/proc/self/status").ok().out, "NoNewPrivs") == "0"
    after = container.exec("cat", "/proc/self/status", options=("--no-new-privs",)).ok().out
    assert status_field(after, "NoNewPrivs") == "1"


def test_exec_detached(running: Container) -> None:
    pid_file = running.bundle / "exec.pid"
    running.exec("sh", "-c", "echo $$; exec sleep 1000", options=("--detach", "--pid-file", str(pid_file))).ok()
    pid = int(pid_file.read_bytes().decode("ascii"))
    assert not is_gone_or_zombie(pid)
    assert namespace_of(pid, "pid") == namespace_of(running.pid, "pid")
    assert pid in running.reap(), "the process is not our own child"
    os.kill(pid, signal.SIGKILL)
    assert exit_code(os.waitpid(pid, 0)[1]) == 137


def test_exec_detached_reports_a_missing_program(running: Container) -> None:
    pid_file = running.bundle / "exec.pid"
    running.exec("no-such-program", options=("--detach", "--pid-file", str(pid_file))).refused(
        "executable file not found in $PATH", status=255
    )


def test_exec_of_a_script_whose_interpreter_is_missing(running: Container) -> None:
    script = running.rootfs / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    result = running.exec("/script")
    if running.runtime.name == "pyoci":
        result.refused('interpreter "/no/such/interpreter" is not in the container', status=255)
    assert result.status
    assert "exec /script: no such file or directory" in result.err


def test_exec_of_a_process_file(running: Container) -> None:
    path = process_file(
        running, "sh", "-c", "pwd; id -u; id -g; echo $X", cwd="/tmp", user={"uid": 1000, "gid": 2000},
        env=[PATH, "X=from the file"], capabilities={},
    )  # fmt: skip
    options = ("--process", path)
    assert running.exec(options=options).ok().out.splitlines() == ["/tmp", "1000", "2000", "from the file"]


@differs(runc="1.1.5 sets 0022 whatever the file says")
def test_exec_of_a_process_file_has_its_own_umask(running: Container) -> None:
    path = process_file(running, "sh", "-c", "umask", user={"uid": 0, "gid": 0, "umask": 0o27})
    assert running.exec(options=("--process", path)).ok().out == "0027\n"


def test_exec_of_a_process_file_has_its_own_capabilities(running: Container) -> None:
    path = process_file(running, "cat", "/proc/self/status", capabilities={"bounding": ["CAP_KILL"], "permitted": [],
                                                                          "effective": []})  # fmt: skip
    status = running.exec(options=("-p", path)).ok().out
    assert int(status_field(status, "CapBnd"), 16) == 1 << 5
    assert status_field(status, "CapEff") == NO_CAPABILITIES


def test_exec_of_a_process_file_without_capabilities_has_none(running: Container) -> None:
    process = {key: value for key, value in running.process.items() if key != "capabilities"}
    path = running.bundle / "process.json"
    path.write_text(json.dumps(process | {"args": ["cat", "/proc/self/status"]}))
    status = running.exec(options=("--process", str(path))).ok().out
    if running.runtime.name == "runc":
        assert int(status_field(status, "CapEff"), 16) != 0  # 1.1.5 falls back to the sets of the container
    else:
        assert status_field(status, "CapEff") == NO_CAPABILITIES


def test_exec_of_a_process_file_has_its_own_rlimits(running: Container) -> None:
    path = process_file(
        running, "cat", "/proc/self/limits", rlimits=[{"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 2 << 20}]
    )
    limits = running.exec(options=("--process", path)).ok().out
    (stack,) = [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max stack size")]
    assert stack == [str(1 << 20), str(2 << 20)]


@differs(runc="1.1.5 races with Go's runtime, which raises the soft limit of open files", always=False)
def test_exec_of_a_process_file_has_its_own_limit_of_open_files(running: Container) -> None:
    path = process_file(running, "sh", "-c", "ulimit -n", rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}])
    assert running.exec(options=("--process", path)).ok().out == "100\n"


@differs(runc="1.1.5 takes the one of the container")
def test_exec_of_a_process_file_has_its_own_oom_score(running: Container) -> None:
    path = process_file(running, "cat", "/proc/self/oom_score_adj", oomScoreAdj=700)
    assert running.exec(options=("--process", path)).ok().out == "700\n"


def test_exec_passes_descriptors_on(running: Container) -> None:
    source = running.bundle / "source"
    source.write_text("through a descriptor")
    with source.open("rb") as file, placed({3: file.fileno()}):
        result = running.exec("sh", "-c", "cat <&3", options=("--preserve-fds", "1"), pass_fds=(3,))
    assert result.ok().out == "through a descriptor"


def test_exec_in_a_paused_container_if_told_to(running: Container) -> None:
    """The new process is frozen with the others, and runs when they do."""
    running.call("pause", running.id).ok()
    process = running.background("exec", "--ignore-paused", running.id, "echo", "thawed")
    output = running.bundle / f"stdout.{running.calls}"
    eventually("a frozen process", lambda: len(json.loads(running.call("ps", "-f", "json", running.id).ok().out)) > 1)
    assert process.poll() is None
    running.call("resume", running.id).ok()
    assert process.wait(30) == 0
    assert output.read_text() == "thawed\n"


@pytest.mark.needs_cgroup_v1
def test_exec_in_a_cgroup_below_that_of_the_container(container: Container) -> None:
    container.mounts[-1]["options"] = ["nosuid", "noexec", "nodev"]
    container.launch()
    container.exec("mkdir", "/sys/fs/cgroup/pids/sub").ok()
    groups = container.exec("cat", "/proc/self/cgroup", options=("--cgroup", "pids:sub")).ok().out
    assert f"pids:/{container.id}/sub" in groups
    assert f"freezer:/{container.id}\n" in groups


@pytest.mark.parametrize("wrong", ["pids:../..", "pids:no-such", "no-such:/"])
def test_exec_refuses_a_cgroup_elsewhere(running: Container, wrong: str) -> None:
    result = running.exec("true", options=("--cgroup", wrong))
    assert result.status == 255, f"{result}"
    assert result.err


def test_exec_ends_with_the_container(running: Container) -> None:
    process = running.background("exec", running.id, "sh", "-c", "echo ready; exec sleep 1000")
    running.output_file = running.bundle / f"stdout.{running.calls}"
    running.prints("ready")
    assert len(json.loads(running.call("ps", "-f", "json", running.id).ok().out)) == 2
    running.kill("KILL").ok()
    assert process.wait(30) == 137


def test_many_execs_at_once(running: Container) -> None:
    processes = [running.background("exec", running.id, "sh", "-c", f"exit {number}") for number in range(10)]
    assert [process.wait(30) for process in processes] == list(range(10))
    eventually("init at rest", lambda: process_state(running.pid) == "S")
