# SPDX-License-Identifier: Apache-2.0
"""What each call form of the engines comes to: the one function of pyoci.container that it ends in, with what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from pyoci import cli
from pyoci.cli.events import _tell
from pyoci.cli.kill import signal_number
from pyoci.cli.options import Call, check_arguments, parse
from pyoci.cli.settings import GLOBAL
from pyoci.container.options import CreateOptions, ExecOptions
from pyoci.container.record import Settings
from pyoci.criu.options import CriuOptions
from pyoci.errors import UsageError
from pyoci.log import Log

ID = "d" * 64
FUNCTIONS = (
    *("create.create", "run.run", "start.start", "delete.delete", "exec.exec_"),
    *("control.kill", "control.pause", "control.resume", "update.update", "events.follow"),
)
Calls = list[tuple[str, tuple[Any, ...]]]
Invoke = Callable[..., Any]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What pyoci.container is asked to do; it does nothing."""
    asked: Calls = []

    def record(name: str) -> Callable[..., int]:
        def function(settings: Settings, *arguments: Any) -> int:
            asked.append((name, arguments))
            return 0

        return function

    for path in FUNCTIONS:
        monkeypatch.setattr(f"pyoci.container.{path}", record(path.partition(".")[2]))
    return asked


def invoke(*words: str) -> int:
    """The command line from the first word of the global options on, without main's error boundary."""
    outer = parse(Call(GLOBAL), list(words), first_only=True)
    module = cli.load(outer.rest[0])
    call = parse(Call(module.COMMAND, outer), outer.rest[1:])
    check_arguments(call)
    status: int = module.run(call, Log())
    return status


CREATES = [
    ("create --bundle /b --pid-file /b/init.pid ID", {}),
    ("create --bundle /b --pid-file /b/init.pid --console-socket /t/pty.sock ID", {"console_socket": "/t/pty.sock"}),
    ("create --bundle /b --pid-file /b/init.pid --no-pivot ID", {"no_pivot": True}),
    ("create --bundle /b --pid-file /b/init.pid --no-new-keyring ID", {"no_new_keyring": True}),
    ("create --bundle /b --pid-file /b/init.pid --preserve-fds 2 ID", {"preserve_fds": 2}),
    ("create --bundle /b --pid-file /b/init.pid --pidfd-socket /s ID", {"pidfd_socket": "/s"}),
    (
        "create --bundle /b --pid-file /b/init.pid --console-socket @c --pidfd-socket=@/p ID",
        {"console_socket": "\0c", "pidfd_socket": "\0/p"},
    ),
    ("create -b /b -pid-file=/b/init.pid ID", {}),
    ("create ID --bundle=/b --pid-file /b/init.pid", {}),
    ("create --bundle /b/x/.. --pid-file //b/./init.pid -f /etc/c.json ID", {"config": "/etc/c.json"}),
    ("--root /r --log /dev/null --log-format json create --bundle /b --pid-file /b/init.pid ID", {}),
    ("--debug --systemd-cgroup --rootless=true create --bundle /b --pid-file /b/init.pid ID", {}),
    ("--cgroup-manager disabled create --bundle /b --pid-file /b/init.pid ID", {}),
]


@pytest.mark.parametrize(("line", "options"), CREATES)
def test_create(calls: Calls, line: str, options: dict[str, Any]) -> None:
    assert invoke(*line.replace("ID", ID).split()) == 0
    assert calls == [("create", (ID, CreateOptions(bundle="/b", pid_file="/b/init.pid", **options)))]


RUNS = [
    ("run ID", {}),
    ("run -d --keep ID", {"detach": True, "keep": True}),
    ("run -no-subreaper ID", {"no_subreaper": True}),
    ("run --detach=false ID", {}),
    ("run --preserve-fds=1 --no-pivot ID", {"preserve_fds": 1, "no_pivot": True}),
]


@pytest.mark.parametrize(("line", "options"), RUNS)
def test_run(calls: Calls, monkeypatch: pytest.MonkeyPatch, line: str, options: dict[str, Any]) -> None:
    monkeypatch.chdir("/usr")
    assert invoke(*line.replace("ID", ID).split()) == 0
    assert calls == [("run", (ID, CreateOptions(bundle="/usr", **options)))]


def test_relative_paths_are_the_callers(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    invoke("create", "-b", "share", "--pid-file", "pid", "--console-socket", "../s", "--config", "bin/c", "x")
    options = CreateOptions(bundle="/usr/share", pid_file="/usr/pid", console_socket="/s", config="/usr/bin/c")
    assert calls == [("create", ("x", options))]


SIMPLE = [
    ("start ID", ("start", (ID,))),
    ("pause ID", ("pause", (ID,))),
    ("resume ID", ("resume", (ID,))),
    ("start -- ID", ("start", (ID,))),
    ("kill ID", ("kill", (ID, 15, False))),
    ("kill ID 15", ("kill", (ID, 15, False))),
    ("kill --all ID 9", ("kill", (ID, 9, True))),
    ("kill -a ID KILL", ("kill", (ID, 9, True))),
    ("kill ID sigusr1 --all", ("kill", (ID, 10, True))),
    ("update --pids-limit 5 ID", ("update", (ID, {"pids": {"limit": 5}}, {}))),
    (
        "update --l3-cache-schema L3:0=f --mem-bw-schema MB:0=20 ID",
        ("update", (ID, {}, {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"})),
    ),
    ("events ID", ("follow", (ID, 5.0, _tell, 1))),
    ("events --interval 1m30s ID", ("follow", (ID, 90.0, _tell, 1))),
    ("delete ID", ("delete", (ID, False))),
    ("delete --force ID", ("delete", (ID, True))),
    ("delete -f ID", ("delete", (ID, True))),
    ("delete ID -force=true", ("delete", (ID, True))),
]


def test_an_empty_signal_is_none(calls: Calls) -> None:
    """As scripts give it where a variable is not set."""
    assert invoke("kill", ID, "") == 0
    assert calls == [("kill", (ID, 15, False))]


@pytest.mark.parametrize(("words", "fd"), [([], -1), (["--status-fd", "-1"], -1), (["--status-fd=7"], 7)])
def test_the_descriptor_of_a_checkpoint(monkeypatch: pytest.MonkeyPatch, words: list[str], fd: int) -> None:
    asked: list[CriuOptions] = []
    monkeypatch.setattr("pyoci.container.checkpoint.checkpoint", lambda *arguments: asked.append(arguments[2]))
    assert invoke("--root", "/r", "checkpoint", *words, ID) == 0
    assert [options.status_fd for options in asked] == [fd]


@pytest.mark.parametrize(("line", "expected"), SIMPLE)
def test_simple_commands(calls: Calls, line: str, expected: object) -> None:
    assert invoke(*line.replace("ID", ID).split()) == 0
    assert calls == [expected]


EXECS = [
    (
        "exec --process /tmp/p --detach --pid-file /b/e.pid ID",
        {"process_file": "/tmp/p", "detach": True, "pid_file": "/b/e.pid"},
    ),
    (
        "exec --process /tmp/p --console-socket /t/pty.sock --detach --pid-file /b/e.pid ID",
        {"process_file": "/tmp/p", "console_socket": "/t/pty.sock", "detach": True, "pid_file": "/b/e.pid"},
    ),
    (
        "exec --pid-file /e --process /p --detach --tty --console-socket /c ID",
        {"pid_file": "/e", "process_file": "/p", "detach": True, "tty": True, "console_socket": "/c"},
    ),
    (
        "exec --pid-file /e --process /p --detach --preserve-fds 3 ID",
        {"pid_file": "/e", "process_file": "/p", "detach": True, "preserve_fds": 3},
    ),
    ("exec ID ls -l --all", {"args": ("ls", "-l", "--all")}),
    ("exec ID -- ls -l", {"args": ("ls", "-l")}),
    ("exec -t=false -u 0 ID ls", {"user": "0", "args": ("ls",)}),
    ("exec -u 4294967294:1 ID ls", {"user": "4294967294:1", "args": ("ls",)}),
    ("exec -e A=1 --env B=2,3 -e A= ID ls", {"env": ("A=1", "B=2,3", "A="), "args": ("ls",)}),
    ("exec -g 1 -additional-gids=20 ID ls", {"additional_gids": (1, 20), "args": ("ls",)}),
    ("exec -c CAP_KILL --cap=CAP_BPF ID ls", {"caps": ("CAP_KILL", "CAP_BPF"), "args": ("ls",)}),
    ("exec --cwd /x --apparmor a --process-label b ID ls",
     {"cwd": "/x", "apparmor": "a", "process_label": "b", "args": ("ls",)}),
    ("exec --no-new-privs ID ls", {"no_new_privs": True, "args": ("ls",)}),
    ("exec --no-new-privs=false ID ls", {"no_new_privs": False, "args": ("ls",)}),
    ("exec --cgroup sub --ignore-paused ID ls", {"cgroup": ("sub",), "ignore_paused": True, "args": ("ls",)}),
    ("exec --cgroup cpu,cpuacct:a --cgroup memory:b ID ls",
     {"cgroup": ("cpu,cpuacct:a", "memory:b"), "args": ("ls",)}),
    ("exec --pidfd-socket /s ID ls", {"pidfd_socket": "/s", "args": ("ls",)}),
    ("exec --console-socket @c/ --pidfd-socket @p ID ls",
     {"console_socket": "\0c/", "pidfd_socket": "\0p", "args": ("ls",)}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "options"), EXECS)
def test_exec(calls: Calls, line: str, options: dict[str, Any]) -> None:
    assert invoke(*line.replace("ID", ID).split()) == 0
    assert calls == [("exec_", (ID, ExecOptions(**options)))]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("exec ID", "a command is missing"),
        ("exec -u x ID ls", "uid is 'x'"),
        ("exec -u 1x ID ls", "uid is '1x'"),
        ("exec -u 1:2x ID ls", "gid is '2x'"),
        ("exec -u 1: ID ls", "gid is ''"),
        ("exec -u :1 ID ls", "uid is ''"),
        ("exec -u 1:2:3 ID ls", "gid is '2:3'"),
        ("exec -u -1 ID ls", "uid is '-1'"),
        ("exec -u +1 ID ls", "uid is '+1'"),
        ("exec -u 4294967295 ID ls", "uid is '4294967295'"),
        ("exec -u 4294967296 ID ls", "uid is '4294967296'"),
        ("exec -u 99999999999999999999 ID ls", "uid is"),
        ("exec -u \u0661 ID ls", "uid is '\u0661'"),
        ("exec -g -5 ID ls", "--additional-gids is '-5'"),
        ("exec -g 4294967295 ID ls", "--additional-gids is '4294967295'"),
        ("exec --cgroup a --cgroup b ID ls", "each needs its CONTROLLER:"),
        ("exec --cgroup :a ID ls", "the name of a controller is missing"),
        ("exec --cgroup cpu,:a ID ls", "the name of a controller is missing"),
        ("exec --cgroup cpu:a --cgroup cpu:b ID ls", "the controller cpu has a path already"),
        ("events --interval 0s ID", "--interval is '0s', and has to be more than 0"),
        ("events --interval 5 ID", "--interval is '5', and not a duration"),
        ("update --memory 64x ID", "--memory is '64x', and not a number of bytes"),
        ("update --cpu-share -1 ID", "--cpu-share is '-1', and not a number from 0 on"),
        ("kill ID NOPE", "unknown signal 'NOPE'"),
        ("kill ID SIGKIL", "did you mean KILL?"),
        ("kill ID 65", "no signal has the number 65"),
        ("kill ID -9", "unknown option -9"),
        ("--root / start ID", "--root is '/'"),
        ("--root= start ID", "--root is ''"),
        ("--root ../../../../../../../../.. start ID", "which is the directory /"),
        ("--log-format xml start ID", "invalid log-format 'xml'"),
        ("--rootless maybe start ID", "invalid rootless 'maybe'"),
        ("--cgroup-manager mine start ID", "invalid cgroup-manager 'mine'"),
    ],
)
def test_calls_that_are_refused(calls: Calls, monkeypatch: pytest.MonkeyPatch, line: str, told: str) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(UsageError) as caught:
        invoke(*line.replace("ID", ID).split())
    assert told in caught.value.message
    assert calls == []


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("9", 9), ("09", 9), ("64", 64), ("KILL", 9), ("SIGKILL", 9), ("kill", 9), ("SigTerm", 15),
        ("USR1", 10), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmin+0", 34), ("RTMAX", 64), ("RTMAX-14", 50),
        ("RTMIN+30", 64), ("CHLD", 17), ("CLD", 17), ("WINCH", 28), ("STKFLT", 16), ("POLL", 29), ("IO", 29),
    ],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["-1", "+9", "9x", " 9", "65", "1000", "SIG", "SIGSIGKILL", "_DFL", "SIG_IGN", "KILL+1", "RTMIN+31", "RTMIN+",
     "RTMIN-1", "RTMAX+1", "RTMAX-31", "RTMIN+x", "\u0669", "99999999999999999999"],
)  # fmt: skip
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(UsageError):
        signal_number(text)


def test_exit_codes_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyoci.container.run.run", lambda *_: 137)
    monkeypatch.setattr("pyoci.container.exec.exec_", lambda *_: 3)
    assert invoke("run", "x") == 137
    assert invoke("exec", "x", "false") == 3


def settings_of(*words: str) -> Settings:
    from pyoci.cli.settings import settings

    outer = parse(Call(GLOBAL), [*words, "start", "x"], first_only=True)
    return settings(parse(Call(cli.load("start").COMMAND, outer), ["x"]), Log())


@pytest.mark.parametrize(
    ("words", "manager", "systemd"),
    [
        ([], "cgroupfs", False),
        (["--systemd-cgroup"], "systemd", True),
        (["--cgroup-manager", "systemd"], "systemd", True),
        (["--cgroup-manager", "disabled"], "disabled", False),
        (["--systemd-cgroup", "--cgroup-manager=disabled"], "disabled", False),
    ],
)
def test_the_cgroup_manager(words: list[str], manager: str, systemd: bool) -> None:
    chosen = settings_of("--root", "/r", *words)
    assert (chosen.cgroup_manager, chosen.systemd_cgroup) == (manager, systemd)


@pytest.mark.parametrize(
    ("words", "rootless"),
    [([], None), (["--rootless", "auto"], None), (["--rootless="], None), (["--rootless=true"], True),
     (["--rootless", "false"], False), (["--rootless=1"], True), (["--rootless", "TRUE"], True),
     (["--rootless=AUTO"], None), (["--rootless", "f"], False)],
)  # fmt: skip
def test_rootless(words: list[str], rootless: bool | None) -> None:
    assert settings_of("--root", "/r", *words).rootless is rootless


def test_every_command_has_a_module_of_its_own() -> None:
    for name, path in cli.COMMANDS.items():
        module = cli.load(name)
        assert module.__name__ == path == f"pyoci.cli.{name}"
        assert module.COMMAND.name == name
        assert sys.modules[path] is module
