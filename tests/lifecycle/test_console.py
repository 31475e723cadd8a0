# SPDX-License-Identifier: Apache-2.0
"""Terminals: in the foreground, handed over by a socket, and for exec."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator

import pytest

from .configs import with_user_namespace
from .harness import PATIENCE, SHORT_PATIENCE, Container, console_socket, eventually, read_until

differs = pytest.mark.differs


@pytest.fixture
def terminal(container: Container) -> Container:
    container.process["terminal"] = True
    return container


@pytest.fixture
def screen() -> Iterator[tuple[int, int]]:
    """A terminal of the test's own: the side a person would sit at, and the side a program would use."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def size_of(descriptor: int) -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def resize(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def on_screen(container: Container, slave: int, *command: str) -> subprocess.Popen[bytes]:
    container.write_config()
    return container.background(*command, stdin=slave, stdout=slave, stderr=slave)


# In the foreground


def test_run_on_a_terminal(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    terminal.process["args"] = ["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; exit 5"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    read_until(master, b"/dev/pts/0")
    assert process.wait(PATIENCE) == 5


def test_run_passes_what_is_typed(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    terminal.process["args"] = ["sh", "-c", "echo ready; read line; echo got $line"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    read_until(master, b"ready")
    os.write(master, b"typed\n")
    read_until(master, b"got typed")
    assert process.wait(PATIENCE) == 0


def test_control_c_reaches_the_program(terminal: Container, screen: tuple[int, int]) -> None:
    """The host's terminal is raw meanwhile: the character travels, and the container's own terminal makes the signal."""
    master, slave = screen
    terminal.process["args"] = [
        "sh",
        "-c",
        "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.01; done",
    ]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    read_until(master, b"ready")
    os.write(master, b"\x03")
    read_until(master, b"interrupted")
    assert process.wait(PATIENCE) == 3


def test_the_terminal_starts_with_the_size_of_the_callers(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    resize(slave, 33, 111)
    terminal.process["args"] = ["sh", "-c", "while :; do stty size; sleep 0.05; done"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    read_until(master, b"33 111")
    process.send_signal(signal.SIGKILL)


def test_a_resize_reaches_the_program(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    resize(slave, 24, 80)
    terminal.process["args"] = ["sh", "-c", "while :; do stty size; sleep 0.05; done"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    read_until(master, b"24 80")
    resize(slave, 50, 132)
    process.send_signal(signal.SIGWINCH)
    read_until(master, b"50 132")
    process.send_signal(signal.SIGKILL)


def test_the_callers_terminal_is_restored(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    before = termios.tcgetattr(slave)
    terminal.process["args"] = ["sh", "-c", "echo ready; read line"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    read_until(master, b"ready")
    eventually("a raw terminal", lambda: not termios.tcgetattr(slave)[3] & termios.ICANON)
    os.write(master, b"\n")
    assert process.wait(PATIENCE) == 0
    assert termios.tcgetattr(slave) == before


def test_the_terminal_is_the_controlling_one(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    terminal.process["args"] = ["sh", "-c", "echo through > /dev/tty; echo console > /dev/console; ls -l /dev/console"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    seen = read_until(master, b"/dev/console")
    assert process.wait(PATIENCE) == 0
    assert b"through" in seen


def test_all_output_of_a_quick_program_arrives(terminal: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    terminal.process["args"] = ["sh", "-c", "seq 1 2000; echo the end"]
    process = on_screen(terminal, slave, "run", "--bundle", str(terminal.bundle), terminal.id)
    seen = read_until(master, b"the end")
    assert process.wait(PATIENCE) == 0
    assert b"\n1999\r\n2000\r\n" in seen.replace(b"\r\r", b"\r")


# A container without a terminal, called from one


def test_a_container_without_a_terminal_does_not_get_the_callers(container: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    before = os.fstat(slave)
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["args"] = [
        "sh",
        "-c",
        "test -t 0 || test -t 1 || test -t 2 || echo none; echo err > /dev/stderr; read line; echo got $line; exit 5",
    ]
    process = on_screen(container, slave, "run", "--bundle", str(container.bundle), container.id)
    seen = read_until(master, b"err\r\n")
    os.write(master, b"typed\n")
    read_until(master, b"got typed\r\n")
    assert process.wait(PATIENCE) == 5
    assert b"none\r\n" in seen
    assert (os.fstat(slave).st_uid, os.fstat(slave).st_mode) == (before.st_uid, before.st_mode)


def test_mapped_users_can_open_their_streams_anew(container: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    with_user_namespace(container.config)
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.process["args"] = ["sh", "-c", "echo out > /dev/stdout; sleep 1000"]
    on_screen(container, slave, "run", "--bundle", str(container.bundle), container.id)
    read_until(master, b"out\r\n")
    process = container.background(
        "exec", container.id, "sh", "-c", "echo again > /dev/stdout; exit 6", stdin=slave, stdout=slave, stderr=slave
    )
    read_until(master, b"again\r\n")
    assert process.wait(PATIENCE) == 6


@pytest.mark.needs_time_namespaces
@differs(runc="1.1.5 knows no time namespace")
def test_exec_from_a_terminal_when_the_config_has_nulls(container: Container, screen: tuple[int, int]) -> None:
    """What is null is absent, also in the copy that is kept."""
    _, slave = screen
    container.linux["namespaces"].append({"type": "time"})
    container.linux["timeOffsets"] = {"monotonic": None}
    container.launch()
    exec_ = container.background("exec", container.id, "true", stdin=slave, stdout=slave)
    assert exec_.wait(PATIENCE) == 0


@differs(runc="1.1.5 waits for whoever still has the process's output")
def test_what_exec_leaves_behind_has_nothing_of_the_callers_terminal(container: Container) -> None:
    container.launch()
    master, slave = pty.openpty()
    process = container.background(
        "exec", container.id, "sh", "-c", "sleep 1000 & echo left; exit 7", stdin=slave, stdout=slave, stderr=slave
    )
    try:
        read_until(master, b"left\r\n")
        assert process.wait(SHORT_PATIENCE) == 7
        os.close(slave)
        with pytest.raises(OSError, match="Input/output error"):  # nobody has the other side open any more
            while os.read(master, 4096):
                pass
    finally:
        os.close(master)


@differs(runc="1.1.5 gives the caller's terminal to the container's user")
def test_a_created_container_does_not_own_the_callers_terminal(container: Container, screen: tuple[int, int]) -> None:
    """It has it, as whoever does not stay in front of it may want, but for no longer than it is there."""
    master, slave = screen
    before = os.fstat(slave).st_uid
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.create(args=["sh", "-c", "test -t 1 && echo terminal; sleep 1000"], stdout=slave).ok()
    container.start().ok()
    read_until(master, b"terminal\r\n")
    assert os.fstat(slave).st_uid == before


# Handed over


def receive_console(container: Container, *options: str) -> int:
    with console_socket(container.bundle) as (path, receive):
        container.create("--console-socket", path, *options).ok()
        return os.dup(receive())


@pytest.fixture
def handed(terminal: Container) -> Iterator[tuple[Container, int]]:
    terminal.process["args"] = ["sh", "-c", "stty size; echo ready; read line; echo got $line; sleep 1000"]
    terminal.process["consoleSize"] = {"height": 41, "width": 97}
    master = receive_console(terminal)
    yield terminal, master
    os.close(master)


def test_a_console_is_handed_over(handed: tuple[Container, int]) -> None:
    container, master = handed
    container.start().ok()
    read_until(master, b"ready")
    os.write(master, b"typed\n")
    read_until(master, b"got typed")


def test_a_console_is_handed_over_to_an_abstract_name(terminal: Container) -> None:
    """Which has an @ in the place of the null byte, as Go writes it (unix(7))."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{terminal.id}")
        server.listen()
        server.settimeout(PATIENCE)

        def receive() -> int:
            connection, _ = server.accept()
            with connection:
                _, (master,), _, _ = socket.recv_fds(connection, 4096, 4)
            return int(master)

        option = ("--console-socket", f"@{terminal.id}")
        terminal.create(*option, args=["sleep", "1000"]).ok()
        own = receive()
        terminal.start().ok()
        terminal.exec("sh", "-c", "echo here", options=("--tty", "--detach", *option)).ok()
        master = receive()
    read_until(master, b"here")
    os.close(master)
    os.close(own)


def test_a_console_has_the_size_of_the_config(handed: tuple[Container, int]) -> None:
    container, master = handed
    assert size_of(master) == (41, 97)
    container.start().ok()
    read_until(master, b"41 97")


def test_who_has_the_console_resizes_it(handed: tuple[Container, int]) -> None:
    container, master = handed
    resize(master, 50, 132)
    container.start().ok()
    read_until(master, b"50 132")


def test_the_console_belongs_to_the_user(terminal: Container) -> None:
    terminal.process["user"] = {"uid": 1000, "gid": 1000}
    terminal.process["args"] = ["sh", "-c", "stat -Lc %u /proc/self/fd/0; echo done; sleep 1000"]
    master = receive_console(terminal)
    terminal.start().ok()
    assert b"1000" in read_until(master, b"done")
    os.close(master)


def test_the_console_of_a_stopped_program_hangs_up(handed: tuple[Container, int]) -> None:
    container, master = handed
    container.start().ok()
    read_until(master, b"ready")
    container.kill("KILL").ok()
    container.wait()
    os.set_blocking(master, False)

    def hung_up() -> bool:
        try:
            os.read(master, 4096)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    eventually("the end of the terminal", hung_up)


def test_run_detached_hands_the_console_over(terminal: Container) -> None:
    terminal.process["args"] = ["sh", "-c", "echo ready; sleep 1000"]
    with console_socket(terminal.bundle) as (path, receive):
        terminal.run("--detach", "--console-socket", path).ok()
        read_until(receive(), b"ready")
    terminal.pid = terminal.state()["pid"]


def test_a_console_needs_a_socket(terminal: Container) -> None:
    terminal.create().refused("console")
    terminal.leaves_nothing()


def test_a_console_socket_needs_a_terminal(container: Container) -> None:
    with console_socket(container.bundle) as (path, _):
        container.create("--console-socket", path).refused("console")
    container.leaves_nothing()


def test_a_console_socket_nobody_listens_at(terminal: Container) -> None:
    path = terminal.bundle / "dead.sock"
    with socket.socket(socket.AF_UNIX) as once:
        once.bind(str(path))
    terminal.create("--console-socket", str(path)).refused("connection refused")
    terminal.leaves_nothing()


def test_a_console_socket_that_is_missing(terminal: Container) -> None:
    terminal.create("--console-socket", str(terminal.bundle / "no.sock")).refused("no such file or directory")
    terminal.leaves_nothing()


# exec


def test_exec_on_a_terminal(container: Container, screen: tuple[int, int]) -> None:
    master, slave = screen
    resize(slave, 33, 111)
    container.launch()
    process = container.background(
        "exec", "--tty", container.id, "sh", "-c", "tty; read line; echo got $line; exit 6",
        stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    read_until(master, b"/dev/pts/0")
    os.write(master, b"typed\n")
    read_until(master, b"got typed")
    assert process.wait(PATIENCE) == 6


def test_exec_hands_a_console_over(container: Container) -> None:
    container.launch()
    with console_socket(container.bundle) as (path, receive):
        pid_file = container.bundle / "exec.pid"
        container.exec(
            "sh", "-c", "tty; sleep 1000",
            options=("--tty", "--detach", "--console-socket", path, "--pid-file", str(pid_file)),
        ).ok()  # fmt: skip
        read_until(receive(), b"/dev/pts/0")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_exec_of_a_process_file_with_a_terminal(container: Container) -> None:
    container.launch()
    process = container.process | {"terminal": True, "args": ["sh", "-c", "stty size; sleep 1000"],
                                   "consoleSize": {"height": 20, "width": 60}}  # fmt: skip
    file = container.bundle / "process.json"
    file.write_text(json.dumps(process))
    with console_socket(container.bundle) as (path, receive):
        container.exec(options=("--process", str(file), "--detach", "--console-socket", path)).ok()
        read_until(receive(), b"20 60")


def test_exec_detached_on_a_terminal_needs_a_socket(container: Container) -> None:
    container.launch()
    container.exec("true", options=("--tty", "--detach")).refused("console", status=255)


def test_exec_without_a_terminal_has_none(container: Container) -> None:
    container.launch()
    assert container.exec("sh", "-c", "test -t 0 || echo none").ok().out == "none\n"


def test_two_terminals_in_one_container(terminal: Container) -> None:
    terminal.process["args"] = ["sh", "-c", "tty; sleep 1000"]
    first = receive_console(terminal)
    terminal.start().ok()
    read_until(first, b"/dev/pts/0")
    with console_socket(terminal.bundle) as (path, receive):
        terminal.exec("sh", "-c", "tty; sleep 1000", options=("--tty", "--detach", "--console-socket", path)).ok()
        read_until(receive(), b"/dev/pts/1")
    os.close(first)
