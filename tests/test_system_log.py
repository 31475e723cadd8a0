# SPDX-License-Identifier: Apache-2.0
"""The system's loggers get what they can read, and nobody waits for them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyoci import system_log
from pyoci.log import Log

PID = os.getpid()


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of both loggers."""
    path = str(tmp_path / "socket")
    monkeypatch.setattr(system_log, "_SOCKETS", {"journald": path, "syslog": path})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path)
        listening.settimeout(30)
        yield listening


def opened(destination: str, container: str = "") -> Log:
    log = Log()
    log.json = True
    log.open(destination)
    log.container = container
    return log


@pytest.mark.parametrize(
    ("destination", "container", "told"),
    [
        ("syslog:me", "web", f"<11>me[{PID}]: a €"),
        ("syslog:", "web", f"<11>web[{PID}]: a €"),
        ("syslog:", "", f"<11>pyoci[{PID}]: a €"),
    ],
)
def test_syslog(
    listener: socket.socket, capfd: pytest.CaptureFixture[str], destination: str, container: str, told: str
) -> None:
    log = opened(destination, container)
    log.error("a €", kind="CgroupError")
    assert listener.recv(1 << 16).decode() == told
    assert capfd.readouterr().err == "pyoci: a €\n"  # and the person at the terminal, as ever
    os.close(log.fd)


def test_the_journal(listener: socket.socket) -> None:
    log = opened("journald:me", "web")
    log.verbose = True
    for level in ("error", "warning", "info", "debug"):
        getattr(log, level)(f"an {level}")
        entry = listener.recv(1 << 16).decode()
        priority = {"error": 3, "warning": 4, "info": 6, "debug": 7}[level]
        assert entry == (f"PRIORITY={priority}\nSYSLOG_IDENTIFIER=me\nSYSLOG_PID={PID}\nID=web\nMESSAGE=an {level}\n")
    os.close(log.fd)


def test_lines_in_the_journal_cannot_pass_for_fields(listener: socket.socket) -> None:
    log = opened("journald:")
    log.error("one\nPRIORITY=0")
    entry = listener.recv(1 << 16)
    head, _, value = entry.partition(b"MESSAGE\n")
    assert head == b"PRIORITY=3\nSYSLOG_IDENTIFIER=pyoci\nSYSLOG_PID=%d\n" % PID
    assert value == (14).to_bytes(8, "little") + b"one\nPRIORITY=0\n"
    os.close(log.fd)


def test_warnings_are_kept_from_it_no_more_than_from_a_text_file(
    listener: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    log = opened("syslog:me")
    log.warning("a doubt")
    log.debug("a detail")
    log.error("an end")
    assert [listener.recv(1 << 16).decode()[:4] for _ in range(2)] == ["<12>", "<11>"]
    assert capfd.readouterr().err == "pyoci: an end\n"
    os.close(log.fd)


def test_a_long_message_is_cut(listener: socket.socket) -> None:
    log = opened("syslog:me")
    log.error("x" * 200_000)
    assert re.fullmatch(rb"<11>me\[\d+\]: x{60000}", listener.recv(1 << 20))
    os.close(log.fd)


def test_a_logger_that_does_not_read_is_not_waited_for(listener: socket.socket) -> None:
    log = opened("syslog:me")
    for _ in range(2000):  # far more than a socket holds
        log.error("a line")
    assert not os.get_blocking(log.fd)
    os.close(log.fd)


def test_a_logger_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(system_log, "_SOCKETS", {"journald": str(tmp_path / "none")})
    log = Log()
    log.open("journald:me")
    log.error("an end")
    assert log.fd == -1
    assert capfd.readouterr().err == (
        f"pyoci: warning: --log journald:me: {tmp_path}/none: no such file or directory: "
        "messages go to standard error alone\npyoci: an end\n"
    )


def test_the_word_file_stands_for_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for destination in (f"file:{tmp_path}/a", f"{tmp_path}/b:c"):
        log = Log()
        log.open(destination)
        log.error("an end")
        os.close(log.fd)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b:c"}
