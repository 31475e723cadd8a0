# SPDX-License-Identifier: Apache-2.0
"""What a hook is given, and what becomes of its ways to fail."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pyoci import hooks
from pyoci.errors import HookFailed
from pyoci.hooks import OUTPUT_LIMIT, run_hooks
from tests.forked import in_child

STATE = b'{"ociVersion":"1.2.0","id":"x","status":"creating"}'


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], **more}


def failure(hook: dict[str, Any], **options: Any) -> str:
    with pytest.raises(HookFailed) as caught:
        run_hooks("createRuntime", [hook], STATE, **options)
    return caught.value.message


def ends_soon(pid: int) -> bool:
    """Whether the process is gone, or a zombie that its parent has yet to reap, within half a minute."""
    for _ in range(3000):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_state_arguments_environment_and_directory(tmp_path: Path) -> None:
    script = f"cat > {tmp_path}/state; tr '\\0' '\\n' < /proc/$$/environ > {tmp_path}/env; pwd > {tmp_path}/pwd"
    run_hooks("prestart", [shell(script, env=["A=1", "B=x=y"])], STATE, directory=str(tmp_path))
    assert (tmp_path / "state").read_bytes() == STATE
    assert (tmp_path / "env").read_text().splitlines() == ["A=1", "B=x=y"]
    assert (tmp_path / "pwd").read_text().strip() == str(tmp_path)


def test_no_environment_is_an_empty_one_unless_there_is_a_default(tmp_path: Path) -> None:
    hook = shell(f"tr '\\0' '\\n' < /proc/$$/environ > {tmp_path}/env")
    run_hooks("prestart", [hook], STATE)
    assert (tmp_path / "env").read_text() == ""
    run_hooks("startContainer", [hook], STATE, default_env=["HOME=/root"])
    assert (tmp_path / "env").read_text() == "HOME=/root\n"


def test_argv0_is_what_the_configuration_says(tmp_path: Path) -> None:
    hook = {"path": "/bin/sh", "args": ["other-name", "-c", f"tr '\\0' ' ' < /proc/$$/cmdline > {tmp_path}/argv"]}
    run_hooks("prestart", [hook], STATE)
    assert (tmp_path / "argv").read_text().startswith("other-name -c")
    assert failure({"path": "/bin/false"}) == ("error running createRuntime hook #0: exit status 1, stdout: , stderr: ")


def test_no_descriptor_leaks_and_signals_are_default(tmp_path: Path) -> None:
    leak = os.open("/", os.O_RDONLY)
    os.set_inheritable(leak, True)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        script = f"ls /proc/$$/fd > {tmp_path}/fds; grep -E 'Sig(Blk|Ign)' /proc/self/status > {tmp_path}/signals"
        run_hooks("prestart", [shell(script)], STATE)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.close(leak)
    assert (tmp_path / "fds").read_text().split() in (["0", "1", "2"], ["0", "1", "10", "2"])  # 10: the shell's own
    for line in (tmp_path / "signals").read_text().splitlines():
        assert int(line.split()[1], 16) == 0, line


def test_failure_tells_which_hook_and_what_it_said() -> None:
    hook = shell("echo out; echo err >&2; exit 3")
    with pytest.raises(HookFailed) as caught:
        run_hooks("createContainer", [{"path": "/bin/true"}, hook, {"path": "/bin/false"}], STATE)
    assert caught.value.message == (
        "error running createContainer hook #1: exit status 3, stdout: out\n, stderr: err\n"
    )


def test_death_by_signal() -> None:
    assert failure(shell("kill -9 $$")).endswith("hook #0: signal: killed, stdout: , stderr: ")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/no/such/hook", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied"),
    ],
)
def test_not_executable(path: str, why: str) -> None:
    assert failure({"path": path}) == f"error running createRuntime hook #0: fork/exec {path}: {why}"


def test_input_that_nobody_reads_is_no_error() -> None:
    run_hooks("prestart", [shell("exec <&-; exit 0")], b"x" * 1_000_000)


def test_input_larger_than_a_pipe_arrives_whole(tmp_path: Path) -> None:
    run_hooks("prestart", [shell(f"cat > {tmp_path}/state")], b"x" * 1_000_000)
    assert (tmp_path / "state").stat().st_size == 1_000_000


def test_output_is_kept_up_to_a_limit_from_its_end() -> None:
    message = failure(shell("head -c 1000000 /dev/zero | tr '\\0' a; echo END; exit 1"))
    assert message.endswith("END\n, stderr: ")
    assert len(message) < OUTPUT_LIMIT + 200


def test_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    message = failure(shell(f"sleep 600 & echo $! > {tmp_path}/pid; echo waiting; wait", timeout=3))
    assert message == (
        "error running createRuntime hook #0: hook ran past specified timeout of 3.0s, stdout: waiting\n, stderr: "
    )
    assert ends_soon(int((tmp_path / "pid").read_text()))


@pytest.mark.parametrize("confined", [False, True])
def test_a_timeout_longer_than_poll_can_wait(confined: bool) -> None:
    run_hooks("prestart", [shell("sleep 0.1", timeout=2**31 - 1)], STATE, confined=confined)


def test_an_interrupt_ends_the_hook_as_well(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            script = f"echo $$ > {tmp_path}/hook; sleep 600 & echo $! > {tmp_path}/child; kill -USR1 $PPID; wait"
            run_hooks("createRuntime", [shell(script)], STATE)
    finally:
        signal.signal(signal.SIGUSR1, former)
    assert not Path(f"/proc/{(tmp_path / 'hook').read_text().strip()}").exists()
    assert ends_soon(int((tmp_path / "child").read_text()))


def test_an_interrupt_before_the_hook_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no leader of a group then, and the signal to the group reaches nobody."""
    started: list[int] = []

    def wait_for_ever(*_: object) -> None:
        try:
            time.sleep(30)
        finally:
            os._exit(0)

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    def remember() -> int:
        started.append(os.fork())
        return started[-1]

    monkeypatch.setattr(hooks, "_become", wait_for_ever)
    monkeypatch.setattr(hooks, "fork", remember)
    monkeypatch.setattr(hooks, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_hooks("createRuntime", [{"path": "/bin/true"}], STATE)
    assert not Path(f"/proc/{started[0]}").exists()


def test_what_a_hook_leaves_behind_outlives_an_interrupt_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hooks._Run, "_drain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_hooks("poststart", [shell(f"sleep 600 & echo $! > {tmp_path}/pid")], STATE)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("confined", [False, True])
def test_a_grandchild_with_the_output_is_not_waited_for(tmp_path: Path, confined: bool) -> None:
    run_hooks("poststart", [shell(f"sleep 600 & echo $! > {tmp_path}/pid", timeout=60)], STATE, confined=confined)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"  # left alone
    finally:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("confined", [False, True])
def test_a_hook_that_closes_its_streams_is_waited_for(confined: bool) -> None:
    message = failure(shell("exec <&- >&- 2>&-; sleep 0.2; exit 4"), confined=confined)
    assert "exit status 4" in message


def test_on_failure_goes_on() -> None:
    seen: list[str] = []
    listed = [{"path": "/bin/false"}, {"path": "/bin/true"}, {"path": "/bin/false"}]
    run_hooks("poststop", listed, STATE, on_failure=lambda error: seen.append(error.message))
    assert [text.partition(":")[0] for text in seen] == [
        "error running poststop hook #0",
        "error running poststop hook #2",
    ]


def test_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    for hook in (shell("exit 1"), {"path": "/no/such/hook"}, shell("sleep 600", timeout=0.1)):
        failure(hook)
    assert os.listdir("/proc/self/fd") == before


def test_needs_no_import_inside() -> None:
    def inside() -> list[str]:
        seen: list[str] = []
        listed = [
            shell("printf '\\377'; exit 1"),
            {"path": "/none"},
            shell("kill -SEGV $$"),
            shell("sleep 9", timeout=1),
        ]
        run_hooks("startContainer", listed, STATE, on_failure=lambda error: seen.append(error.message))
        return seen

    messages = in_child(inside, sealed=True)
    assert len(messages) == 4
    assert "stdout: \\xff" in messages[0]
