# SPDX-License-Identifier: Apache-2.0
"""What a process of ours does to itself before it comes near a container."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError, SpecError
from pyoci.process.confine import become_root, confine, text_of
from tests.forked import in_child
from tests.rootfs.roots import refusal


def test_nothing_can_be_imported_any_more(tmp_path: Path) -> None:
    """Neither what the standard library has, nor what lies in the working directory."""
    (tmp_path / "evil.py").write_text("raise SystemExit")

    def inside() -> list[str]:
        warnings.simplefilter("ignore", ImportWarning)
        os.chdir(tmp_path)
        sys.path.insert(0, "")
        for name in ("colorsys", "evil"):
            sys.modules.pop(name, None)
        confine("pyoci:[test]")
        found = []
        for name in ("colorsys", "evil", "encodings.cp1252", "_no_such_module", "__hello__"):
            try:
                __import__(name)
                found.append(name)
            except ImportError:
                pass
        return found

    assert in_child(inside) == []


def test_command_line_and_environment_are_forgotten() -> None:
    """Whoever shares the pid namespace would read them (proc(5))."""
    script = (
        "import sys; from pyoci.process.confine import confine; confine('pyoci:[init]')\n"
        "for name in ('cmdline', 'environ', 'comm'):\n"
        "    with open(f'/proc/self/{name}', 'rb') as file: sys.stdout.buffer.write(file.read() + b'|')\n"
        "sys.stdout.buffer.flush()"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, "secret-argument"],
        env={"SECRET": "secret-variable", "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        stdout=subprocess.PIPE,
    )
    command, environment, comm, _ = ran.stdout.split(b"|")
    assert b"secret" not in ran.stdout
    assert command.rstrip(b"\0") == b"pyoci:[init]"
    assert environment.strip(b"\0") == b""
    assert comm == b"pyoci:[init]\n"


def test_signals_go_back_to_their_defaults() -> None:
    def inside() -> list[Any]:
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as a launcher in the foreground has it, blocked
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGPIPE})
        confine("x")
        kept = [number for number in signal.valid_signals() if signal.getsignal(number) not in (signal.SIG_DFL, None)]
        return [[int(number) for number in kept], sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), gc.isenabled()]

    assert in_child(inside) == [[signal.SIGPIPE], [], False]


def test_a_broken_pipe_is_an_error_not_the_end() -> None:
    def inside() -> bool:
        confine("x")
        reading, writing = os.pipe()
        os.close(reading)
        try:
            os.write(writing, b"x")
        except BrokenPipeError:
            return True
        return False

    assert in_child(inside)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PyociError("as it is"), "as it is"),
        (SpecError("as it is"), "as it is"),
        (OSError(2, "", "/a"), "/a: no such file or directory"),
        (OSError(1, ""), "operation not permitted"),
        (KeyError("k"), "internal error in the container's process: KeyError: 'k'"),
        (MemoryError(), "internal error in the container's process: MemoryError: "),
    ],
)
def test_errors_in_one_line(error: BaseException, text: str) -> None:
    assert text_of(error) == text


@pytest.mark.needs_root
@pytest.mark.needs_user_namespaces
def test_becoming_root_of_a_user_namespace() -> None:
    def inside() -> list[Any]:
        os.setgroups([1, 2])
        reading, writing = os.pipe()
        answers, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            k.unshare(k.CLONE_NEWUSER)
            os.write(told, b"u")
            os.read(reading, 1)
            become_root()
            answer = [os.getresuid(), os.getresgid(), os.getgroups(), k.prctl(k.PR_GET_DUMPABLE)]
            os.write(told, repr(answer).encode())
            os._exit(0)
        os.read(answers, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text("0 5000 10\n")
        os.write(writing, b"g")
        os.waitpid(pid, 0)
        return [os.read(answers, 999).decode()]

    assert in_child(inside) == ["[(0, 0, 0), (0, 0, 0), [], 0]"]


@pytest.mark.needs_root
@pytest.mark.needs_user_namespaces
def test_a_namespace_in_which_there_is_no_root() -> None:
    def inside() -> str:
        k.unshare(k.CLONE_NEWUSER)  # and no maps
        return refusal(become_root)

    assert in_child(inside) == "become root of the user namespace: invalid argument"
