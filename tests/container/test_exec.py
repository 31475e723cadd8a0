# SPDX-License-Identifier: Apache-2.0
"""exec: which process comes of options, file and config, and where it runs."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pyoci import terminal as terminals
from pyoci.container import exec as execs
from pyoci.container.control import pause, resume
from pyoci.container.options import ExecOptions
from pyoci.errors import PyociError, SpecError, UsageError
from tests.container.boxes import Box, Failed

OWN: dict[str, Any] = {
    "args": ["init"],
    "cwd": "/srv",
    "env": ["A=1"],
    "user": {"uid": 5, "gid": 6, "additionalGids": [7], "umask": 0o27},
    "terminal": True,
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"]},
    "apparmorProfile": "own",
    "selinuxLabel": "a:b:c",
    "noNewPrivileges": True,
    "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
    "oomScoreAdj": 10,
}


def made(**options: Any) -> dict[str, Any]:
    """The process of a container whose own is OWN, with these options."""
    return execs._process({"process": OWN}, ExecOptions(**{"args": ("sh",), **options}))


def test_without_options_it_is_the_containers_own() -> None:
    process = made()
    assert process == {**OWN, "args": ["sh"], "terminal": False, "user": OWN["user"]}
    assert OWN["args"] == ["init"], "the config itself stays as it is"


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"cwd": "/other"}, {"cwd": "/other"}),
        ({"env": ("B=2", "A=3")}, {"env": ["A=1", "B=2", "A=3"]}),
        ({"tty": True}, {"terminal": True}),
        ({"apparmor": "p"}, {"apparmorProfile": "p"}),
        ({"process_label": "l"}, {"selinuxLabel": "l"}),
        ({"no_new_privs": False}, {"noNewPrivileges": False}),
        ({"no_new_privs": True}, {"noNewPrivileges": True}),
        ({"user": "8"}, {"user": {**OWN["user"], "uid": 8}}),
        ({"user": "8:9"}, {"user": {**OWN["user"], "uid": 8, "gid": 9}}),
        ({"additional_gids": (8, 9)}, {"user": {**OWN["user"], "additionalGids": [7, 8, 9]}}),
    ],
)
def test_options_take_the_place_of_what_the_container_has(options: dict[str, Any], changes: dict[str, Any]) -> None:
    assert made(**options) == {**made(), **changes}


def test_more_capabilities_are_never_inheritable() -> None:
    """CVE-2022-29162; they are ambient where they could be inherited anyway."""
    assert made(caps=("CAP_SYS_ADMIN", "CAP_CHOWN"))["capabilities"] == {
        "bounding": ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_CHOWN"],
        "effective": ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_CHOWN"],
        "permitted": ["CAP_SYS_ADMIN", "CAP_CHOWN"],
        "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    }


def test_a_relative_directory() -> None:
    with pytest.raises(UsageError, match="must be an absolute path"):
        made(cwd="relative")


def test_a_process_file(tmp_path: Path) -> None:
    """It says it all, but for what runc takes from the container where it is silent; never capabilities."""
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"args": ["sh"], "cwd": "/", "user": {"uid": 1, "gid": 1}, "oomScoreAdj": 3}))
    process = made(process_file=str(path), env=("IGNORED=1",))
    assert (process["args"], process["cwd"], process["oomScoreAdj"]) == (["sh"], "/", 3)
    assert (process["apparmorProfile"], process["selinuxLabel"]) == ("own", "a:b:c")
    assert process["rlimits"] == OWN["rlimits"]
    assert not {"capabilities", "env", "noNewPrivileges", "terminal"} & set(process)


def test_what_is_empty_in_it_does_not_take_the_containers_off(tmp_path: Path) -> None:
    path = tmp_path / "process.json"
    labels = {"apparmorProfile": "", "selinuxLabel": "", "rlimits": []}
    path.write_text(json.dumps({"args": ["sh"], "cwd": "/", "user": {"uid": 1, "gid": 1}, **labels}))
    process = made(process_file=str(path))
    assert (process["apparmorProfile"], process["selinuxLabel"]) == ("own", "a:b:c")
    assert process["rlimits"] == OWN["rlimits"]
    path.write_text(path.read_text().replace('"selinuxLabel": ""', '"selinuxLabel": "d:e:f"'))
    assert made(process_file=str(path))["selinuxLabel"] == "d:e:f"
    assert not set(labels) & set(execs._process({}, ExecOptions(process_file=str(path), args=()))) - {"selinuxLabel"}


@pytest.mark.parametrize(("content", "error"), [("{", SpecError), ("[]", SpecError), ('{"args": "sh"}', SpecError)])
def test_a_process_file_that_is_none(tmp_path: Path, content: str, error: type[PyociError]) -> None:
    path = tmp_path / "process.json"
    path.write_text(content)
    with pytest.raises(error):
        made(process_file=str(path))
    with pytest.raises(PyociError, match="no such file"):
        made(process_file=f"{tmp_path}/none")


@pytest.mark.parametrize(
    ("terminal", "options", "message"),
    [
        (False, {"console_socket": "/s", "detach": True}, "cannot use console socket"),
        (True, {"console_socket": "/s", "detach": False}, "cannot use console socket"),
        (True, {"detach": True}, "without setting console socket"),
    ],
)
def test_consoles_that_do_not_fit(terminal: bool, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        execs._open_console(terminal, ExecOptions(**options))


def test_consoles_that_do() -> None:
    assert execs._open_console(False, ExecOptions()) == (-1, -1)
    ours, theirs = execs._open_console(True, ExecOptions())
    os.close(theirs)
    assert os.read(ours, 1) == b""
    os.close(ours)


@pytest.mark.parametrize(
    ("chosen", "paths"),
    [
        ((), {"memory": "/m/box", "cpu": "/c/box"}),
        (("/sub",), {"memory": "/m/box/sub", "cpu": "/c/box/sub"}),
        (("memory:/sub",), {"memory": "/m/box/sub", "cpu": "/c/box"}),
        (("memory:/a", "cpu:/b"), {"memory": "/m/box/a", "cpu": "/c/box/b"}),
        (("memory:/a:b", "cpu:c:"), {"memory": "/m/box/a:b", "cpu": "/c/box/c:"}),
        (("memory,cpu:a:b:c",), {"memory": "/m/box/a:b:c", "cpu": "/c/box/a:b:c"}),
    ],
)
def test_cgroups_below_the_containers(chosen: tuple[str, ...], paths: dict[str, str]) -> None:
    assert execs._paths({"memory": "/m/box", "cpu": "/c/box"}, chosen) == paths


# For real

real = [pytest.mark.needs_root, pytest.mark.needs_busybox, pytest.mark.needs_cgroups]


def ran(box: Box, *args: str, **options: Any) -> int:
    wanted = ExecOptions(args=args, **options)
    code: int = box.apart(lambda: execs.exec_(box.settings(), box.id, wanted))
    return code


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Box:
    box: Box = request.getfixturevalue("box")
    box.run("sleep", "1000")
    return box


class TestForReal:
    pytestmark = real

    @pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
    def test_the_exit_code_is_the_programs(self, running: Box, script: str, code: int) -> None:
        assert ran(running, "sh", "-c", script) == code
        assert running.status() == "running"

    def test_it_is_in_the_containers_cgroup_and_environment(self, running: Box) -> None:
        script = "cat /proc/self/cgroup > /cgroup; echo $A-$B > /env; pwd >> /env"
        assert ran(running, "sh", "-c", script, env=("A=1", "B=2"), cwd="/bin") == 0
        assert f"/{running.id}" in (running.rootfs / "cgroup").read_text()
        assert (running.rootfs / "env").read_text() == "1-2\n/bin\n"

    def test_detached(self, running: Box) -> None:
        pid_file = running.bundle / "exec.pid"
        assert ran(running, "sh", "-c", "sleep 0.1; exit 7", detach=True, pid_file=str(pid_file)) == 0
        assert os.waitstatus_to_exitcode(os.waitpid(int(pid_file.read_text()), 0)[1]) == 7

    def test_who_cannot_be_told_of_is_ended(self, running: Box) -> None:
        with pytest.raises(Failed, match="write the pid file"):
            ran(running, "sleep", "1000", detach=True, pid_file="/no/such/directory/pid")
        with pytest.raises(ChildProcessError):
            while True:  # of ours there is but init
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    raise ChildProcessError
        procs = next(iter(Path("/sys/fs/cgroup").glob(f"*/{running.id}/cgroup.procs")))
        assert procs.read_text().split() == [str(running.pid)]

    def test_its_terminal_is_ours_before_it_runs(self, running: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        """Or its first lines would come out otherwise than the rest."""
        seen: list[bool] = []
        real = terminals.receive_master

        def receive(connection: int) -> int:
            master = real(connection)
            time.sleep(0.2)
            seen.append((running.rootfs / "proof").exists())
            return master

        monkeypatch.setattr(terminals, "receive_master", receive)
        wanted = ExecOptions(args=("touch", "/proof"), tty=True)
        assert running.apart(lambda: [execs.exec_(running.settings(), running.id, wanted), seen]) == [0, [False]]

    def test_a_program_that_there_is_not(self, running: Box) -> None:
        with pytest.raises(Failed, match=r'exec: "none": executable file not found in \$PATH') as caught:
            ran(running, "none")
        assert caught.value.kind == "StageFailed"

    def test_before_the_start(self, box: Box) -> None:
        box.create()
        assert ran(box, "touch", "/proof") == 0
        assert (box.rootfs / "proof").exists()
        assert box.status() == "created"

    def test_not_after_the_end(self, running: Box) -> None:
        os.kill(running.pid, signal.SIGKILL)
        running.end()
        with pytest.raises(Failed, match="cannot exec in a stopped container") as caught:
            ran(running, "true")
        assert caught.value.kind == "InvalidOperation"

    def test_not_while_it_is_paused(self, running: Box) -> None:
        running.apart(lambda: pause(running.settings(), running.id))
        try:
            with pytest.raises(Failed, match="--ignore-paused"):
                ran(running, "true")
        finally:
            running.apart(lambda: resume(running.settings(), running.id))

    def test_without_a_mount_namespace_it_has_the_containers_root(self, box: Box) -> None:
        box.config["linux"]["namespaces"] = [{"type": "pid"}]
        box.config["mounts"] = []
        box.run("sleep", "1000")
        assert ran(box, "touch", "/proof") == 0
        assert (box.rootfs / "proof").exists()
