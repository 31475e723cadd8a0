# SPDX-License-Identifier: Apache-2.0
"""Staying in front of a process: its end, the signals for it, and the terminal on both sides."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pyoci import relay
from tests.forked import in_child

REPOSITORY = Path(__file__).resolve().parent.parent

# As `run` does it, without the container: prepare, make a process, wait for it. argv: "tty" for one with a terminal of its
# own or "plain", the command.
DRIVER = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from pyoci import syscalls, terminal
from pyoci.foreground import Foreground
foreground = Foreground(lambda message: syscalls.write(2, f"warning: {{message}}\\n".encode()))
foreground.prepare()
master = slave = None
if sys.argv[1] == "tty":
    master = syscalls.open("/dev/ptmx", syscalls.O_RDWR | syscalls.O_NOCTTY | syscalls.O_CLOEXEC)
    syscalls.ioctl(master, terminal.TIOCSPTLCK, bytes(4))
    slave = syscalls.ioctl(master, terminal.TIOCGPTPEER, syscalls.O_RDWR | syscalls.O_NOCTTY | syscalls.O_CLOEXEC)
wait, go = syscalls.pipe2(syscalls.O_CLOEXEC)
if slave is None:
    foreground.divert(lambda: (0, 0))
pid, pidfd = syscalls.clone3(0)
if pid == 0:
    syscalls.read(wait, 1)
    if slave is not None:
        terminal.become_controlling(slave)
    syscalls.reset_signals()
    syscalls.execve(sys.argv[2], sys.argv[2:], {{"PATH": "/usr/bin:/bin"}})
foreground.give_back()
if slave is not None:
    syscalls.close(slave)
    foreground.attach(master)
syscalls.write(go, b"!")
code = foreground.wait(pid, pidfd)
foreground.close()
syscalls._exit(code)
"""
COMMAND = [sys.executable, "-I", "-S", "-B", "-c", DRIVER]
PATIENCE = 60
FAULTS = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGSYS, signal.SIGTRAP)


def run(mode: str, script: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    # In a session of its own it has no controlling terminal, wherever these tests are run from.
    return subprocess.run(
        [*COMMAND, mode, "/bin/sh", "-c", script],
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        start_new_session=True,
    )


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs started by a test, to be appended here; killed at its end."""
    programs: list[subprocess.Popen[bytes]] = []
    yield programs
    for program in programs:
        program.kill()
        program.wait()
        for stream in (program.stdin, program.stdout, program.stderr):
            if stream is not None:
                stream.close()


def start(started: list[subprocess.Popen[bytes]], mode: str, script: str) -> subprocess.Popen[bytes]:
    """Start a script that says "ready" when it is."""
    program = subprocess.Popen(
        [*COMMAND, mode, "/bin/sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    started.append(program)
    assert program.stdout is not None
    assert program.stdout.readline().strip() == b"ready"
    return program


@pytest.mark.parametrize("mode", ["plain", "tty"])
@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_exit_code(mode: str, script: str, code: int) -> None:
    assert run(mode, script).returncode == code


TRACER = """
import ctypes, os, sys
pid = int(sys.argv[1])
if ctypes.CDLL(None).ptrace(0x4206, pid, None, None):  # PTRACE_SEIZE
    sys.exit("may not trace")
print("ready", flush=True)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
sys.stdin.read(1)
"""


@pytest.mark.needs_root
def test_a_process_that_somebody_traces(started: list[subprocess.Popen[bytes]]) -> None:
    """Its end is the tracer's to know first; until then there is nothing to tell, and no error."""
    program = start(started, "plain", "echo ready; echo $$; read line; exit 7")
    assert program.stdout is not None and program.stdin is not None
    pid = program.stdout.readline().decode().strip()
    tracer = subprocess.Popen([sys.executable, "-c", TRACER, pid], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    started.append(tracer)
    assert tracer.stdout is not None and tracer.stdout.readline() == b"ready\n"
    program.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.3)
    tracer.kill()
    assert program.wait(PATIENCE) == 7


def test_streams_are_the_process_own() -> None:
    result = run("plain", "cat; echo err >&2", b"in\n")
    assert (result.stdout, result.stderr) == (b"in\n", b"err\n")


def test_orphans_are_reaped() -> None:
    """By the time that the script is the only child there is; a zombie would be another for ever."""
    alone = '[ "$(ps -o pid= --ppid $PPID)" -eq $$ ] 2>&-'
    script = f"sh -c 'sleep 0.1 & sleep 0.1 &'; until {alone}; do sleep 0.05; done; exit 5"
    result = run("plain", script)
    assert (result.stdout, result.returncode) == (b"", 5)


@pytest.mark.parametrize("mode", ["plain", "tty"])
@pytest.mark.parametrize(
    "number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGPIPE, *FAULTS]
)
def test_signals_are_passed_on(started: list[subprocess.Popen[bytes]], mode: str, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    program = start(started, mode, script)
    program.send_signal(number)
    assert program.wait(PATIENCE) == 9
    assert program.stdout is not None and b"got " + name.encode() in program.stdout.read()


@pytest.mark.needs_root
def test_a_signal_that_may_not_be_passed_on_is_a_warning(started: list[subprocess.Popen[bytes]]) -> None:
    script = "exec setpriv --reuid 65534 --clear-groups sh -c 'echo ready; read line; exit 3'"
    wrapper = ["setpriv", "--bounding-set", "-kill", "--inh-caps", "-kill"]
    program = subprocess.Popen(
        [*wrapper, *COMMAND, "plain", "/bin/sh", "-c", script], stdin=-1, stdout=-1, stderr=-1, start_new_session=True
    )
    started.append(program)
    assert program.stdin and program.stdout and program.stderr
    assert program.stdout.readline() == b"ready\n"
    for number in (signal.SIGUSR1, signal.SIGTERM):
        program.send_signal(number)
        warning = b"warning: forward signal %d to the container: operation not permitted\n"
        assert program.stderr.readline() == warning % number
    program.stdin.write(b"\n")
    program.stdin.close()
    assert program.wait(PATIENCE) == 3


def test_a_signal_that_comes_too_early_is_kept(started: list[subprocess.Popen[bytes]]) -> None:
    """It waits, from before the process exists, until that can be told."""
    driver = DRIVER.replace("pid, pidfd =", "syscalls.kill(syscalls.getpid(), 10)\npid, pidfd =")
    script = "trap 'exit 9' USR1; while :; do sleep 0.05; done"
    # The trap may come after the signal: then the shell dies of it. Either way it has been passed on.
    result = subprocess.run([*COMMAND[:-1], driver, "plain", "/bin/sh", "-c", script], timeout=PATIENCE)
    assert result.returncode in (9, 128 + signal.SIGUSR1)


@pytest.mark.parametrize("number", [signal.SIGWINCH, signal.SIGURG])
def test_some_signals_are_not_passed_on(started: list[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    script = f"trap 'echo wrong' {number.name[3:]}; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    program = start(started, "plain", script)
    program.send_signal(number)
    program.send_signal(signal.SIGTERM)
    assert program.wait(PATIENCE) == 9
    assert program.stdout is not None and program.stdout.read() == b""


def test_nothing_of_ours_is_inherited() -> None:
    result = run("plain", "grep -E 'Sig(Blk|Ign)' /proc/self/status")
    assert [line.split()[1] for line in result.stdout.splitlines()] == [b"0" * 16] * 2


def test_output_of_a_terminal_is_whole_and_has_plain_newlines() -> None:
    result = run("tty", "seq 1 50000; exit 3")
    assert result.returncode == 3
    assert result.stdout == b"".join(b"%d\n" % number for number in range(1, 50001))


def test_output_of_a_terminal_is_appended_to_a_file(tmp_path: Path) -> None:
    with open(tmp_path / "log", "ab") as log:
        log.write(b"before\n")
        log.flush()
        subprocess.run([*COMMAND, "tty", "/bin/echo", "after"], stdout=log, stdin=subprocess.DEVNULL, check=True)
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"


def test_input_reaches_a_terminal() -> None:
    assert run("tty", "stty -echo; echo ready; read line; echo got $line", b"word\n").stdout.endswith(b"got word\n")


def test_a_reader_who_went_away_is_no_hindrance(started: list[subprocess.Popen[bytes]]) -> None:
    program = start(started, "tty", "echo ready; seq 1 50000; exit 4")
    assert program.stdout is not None
    program.stdout.close()
    assert program.wait(PATIENCE) == 4


def ends_though_nobody_reads(program: subprocess.Popen[bytes]) -> None:
    program.send_signal(signal.SIGTERM)  # ends yes
    deadline = time.monotonic() + PATIENCE
    while program.poll() is None:  # a signal that comes before the first has been taken is the same as that
        assert time.monotonic() < deadline, "it should have ended"
        time.sleep(0.2)
        program.send_signal(signal.SIGTERM)  # ends the wait for the reader
    assert program.returncode == 128 + signal.SIGTERM


def test_a_reader_who_does_not_read_does_not_keep_signals(started: list[subprocess.Popen[bytes]]) -> None:
    program = start(started, "tty", "echo ready; exec yes")
    time.sleep(0.2)  # the pipe fills up
    ends_though_nobody_reads(program)


@pytest.mark.parametrize("kind", ["socket", "somebody else's pipe"])
def test_nor_one_of_what_cannot_be_opened_anew(started: list[subprocess.Popen[bytes]], kind: str) -> None:
    """As journald's sockets, and the terminal or pipe of who has become another user meanwhile."""
    theirs, ours = (end.detach() for end in socket.socketpair()) if kind == "socket" else os.pipe()
    limited: list[str] = []
    if kind != "socket":
        if os.geteuid() != 0:
            pytest.skip("needs root: becomes another user")
        limited = ["setpriv", "--reuid", "65534", "--clear-groups"]
        os.fchmod(ours, 0o600)
    script = "echo ready; exec yes"
    program = subprocess.Popen(
        [*limited, *COMMAND, "tty", "/bin/sh", "-c", script],
        stdin=subprocess.DEVNULL,
        stdout=ours,
        start_new_session=True,
    )
    started.append(program)
    try:
        os.close(ours)
        assert os.read(theirs, 6) == b"ready\n"
        time.sleep(0.5)  # it fills up
        ends_though_nobody_reads(program)
    finally:
        os.close(theirs)


ON_ITS_OWN, PLAINLY = ([*COMMAND, mode, "/bin/sh", "-c"] for mode in ("tty", "plain"))


class Terminal:
    """A terminal with the program in front of it, as a user has it."""

    def __init__(self, script: str, command: list[str], pass_fds: Sequence[int] = ()) -> None:
        self.master, slave = os.openpty()
        self.slave = slave
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 11, 22, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.program = subprocess.Popen(
            [*command, script], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, pass_fds=pass_fds
        )
        self.seen = b""

    def expect(self, text: bytes) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096)

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self.master)
        os.close(self.slave)


def test_a_terminal_in_front_of_a_terminal() -> None:
    user = Terminal(
        "trap 'stty size' WINCH; stty -echo; stty size; echo ready; while read x; do echo got $x; done; exit 6",
        ON_ITS_OWN,
    )
    try:
        user.expect(b"ready\r\n")
        assert b"11 22\r\n" in user.seen  # its size is ours
        raw = termios.tcgetattr(user.slave)
        assert not raw[3] & (termios.ECHO | termios.ICANON | termios.ISIG)
        os.write(user.master, b"word\r")
        user.expect(b"got word\r\n")
        fcntl.ioctl(user.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 44, 0, 0))
        user.program.send_signal(signal.SIGWINCH)
        os.write(user.master, b"\r")
        user.expect(b"33 44\r\n")
        os.write(user.master, b"\x04")  # the end of input, for the terminal inside to make of it
        assert user.program.wait(PATIENCE) == 6
        assert termios.tcgetattr(user.slave) == user.before
    finally:
        user.close()


def test_a_terminal_that_is_hung_up_is_let_go_of() -> None:
    """And not looked at again and again, for when it may be ours."""

    def inside() -> list[int | None]:
        master, slave = os.openpty()
        theirs, ours = os.openpty()
        os.dup2(slave, 2)
        monkeypatch = pytest.MonkeyPatch()
        monkeypatch.setattr(relay, "_is_in_background", lambda terminal: True)
        one = relay.Relay(theirs)
        before = one.patience()
        monkeypatch.undo()
        os.close(master)
        one.serve(set())
        after = one.patience()
        one.close()
        os.close(ours)
        return [before, after]

    assert in_child(inside) == [100, None]


def test_control_c_is_a_character_for_the_terminal_inside() -> None:
    user = Terminal("trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.05; done", ON_ITS_OWN)
    try:
        user.expect(b"ready")
        os.write(user.master, b"\x03")
        user.expect(b"interrupted")
        assert user.program.wait(PATIENCE) == 5
        assert termios.tcgetattr(user.slave) == user.before
    finally:
        user.close()


# A process without a terminal, in front of ours


@pytest.fixture
def plainly() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(script: str, command: list[str] = PLAINLY, pass_fds: Sequence[int] = ()) -> Terminal:
        opened.append(Terminal(script, command, pass_fds))
        return opened[-1]

    yield start
    for user in opened:
        user.close()


def test_our_terminal_stays_ours(plainly: Callable[..., Terminal]) -> None:
    user = plainly(
        "test -t 0 || test -t 1 || test -t 2 || echo none; stat -Lc '%F' /dev/fd/0 /dev/fd/1 /dev/fd/2; exit 5"
    )
    user.expect(b"none\r\nfifo\r\nfifo\r\nfifo\r\n")
    assert user.program.wait(PATIENCE) == 5
    assert termios.tcgetattr(user.slave) == user.before


def test_what_is_typed_reaches_pipes(plainly: Callable[..., Terminal]) -> None:
    user = plainly("read x; echo got $x; cat; echo over; exit 6")
    os.write(user.master, b"one\n")
    user.expect(b"got one\r\n")
    os.write(user.master, b"two\n\x04")
    user.expect(b"over\r\n")
    assert user.program.wait(PATIENCE) == 6


def test_both_outputs_of_pipes_are_in_order_and_whole(plainly: Callable[..., Terminal]) -> None:
    user = plainly("for i in $(seq 1 3000); do echo $i; echo e$i >&2; done; exit 7")
    user.expect(b"e3000\r\n")
    assert user.program.wait(PATIENCE) == 7
    assert user.seen == b"".join(b"%d\r\ne%d\r\n" % (number, number) for number in range(1, 3001))


def test_what_is_left_of_a_process_has_no_hold_on_us(plainly: Callable[..., Terminal]) -> None:
    """It is not waited for, not even if it goes on writing, and has nothing of our terminal."""
    user = plainly("(while :; do echo more; done) & read x; exit 8")
    user.expect(b"more\r\nmore\r\n")
    os.write(user.master, b"\n")
    deadline = time.monotonic() + PATIENCE
    while user.program.poll() is None:
        assert time.monotonic() < deadline, "it should have ended"
        if select.select([user.master], [], [], 0.1)[0]:
            user.seen += os.read(user.master, 4096)
    assert user.program.returncode == 8
    assert user.seen.startswith(b"more\r\nmore\r\n")


def test_output_that_is_not_a_terminal_is_passed_on_as_it_is() -> None:
    """Only what is a terminal is replaced."""
    master, slave = os.openpty()
    try:
        result = subprocess.run(
            [*COMMAND, "plain", "/bin/sh", "-c", "stat -Lc %F /dev/fd/0; readlink /proc/self/fd/1 /proc/self/fd/2"],
            stdin=slave,
            capture_output=True,
            timeout=PATIENCE,
        )
        kind, *outputs = result.stdout.decode().split()
        assert kind == "fifo"
        assert len(set(outputs)) == 2, "two pipes of ours, as they were"
    finally:
        os.close(master)
        os.close(slave)


def test_a_reader_who_is_slow_is_waited_for(plainly: Callable[..., Terminal]) -> None:
    user = plainly("seq 1 20000; exit 9")
    time.sleep(0.5)  # the terminal is full by then, and the process waits, or has ended
    user.expect(b"\n20000\r\n")
    assert user.program.wait(PATIENCE) == 9
    assert user.seen == b"".join(b"%d\r\n" % number for number in range(1, 20001))


# A shell in short: a job in the background, that comes to the front when a line is there to be read from argv[1].
JOB = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.execv(sys.argv[2], sys.argv[2:])
os.read(int(sys.argv[1]), 1)
os.tcsetpgrp(0, pid)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("mode", ["plain", "tty"])
def test_a_job_in_the_background_leaves_the_terminal_alone(plainly: Callable[..., Terminal], mode: str) -> None:
    """Its mode, and what is typed there; until it is in the foreground."""
    waiting, front = os.pipe()
    command = [sys.executable, "-c", JOB, str(waiting), *COMMAND, mode, "/bin/sh", "-c"]
    user = plainly("echo ready; read x && echo got $x; exit 4", command, pass_fds=[waiting])
    try:
        user.expect(b"ready\r\n")
        os.write(user.master, b"word\n")
        time.sleep(0.3)  # long enough for it to have seen that there is something
        assert b"got" not in user.seen and user.program.poll() is None
        assert termios.tcgetattr(user.slave) == user.before
        os.write(front, b"!")
        user.expect(b"got word\r\n")
        assert user.program.wait(PATIENCE) == 4
        assert termios.tcgetattr(user.slave) == user.before
    finally:
        os.close(waiting)
        os.close(front)
