# SPDX-License-Identifier: Apache-2.0
"""What a caller's surroundings do to a runtime that is an interpreter, and what of them gets into a container: nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..lifecycle.harness import Container, status_field

SECRET = "the-callers-own-secret-0123456789"
MARKED = "pyoci-test-was-here"


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A directory of modules, and a library, that leave a mark when they are loaded."""
    mark = f"open({str(tmp_path / MARKED)!r}, 'w').close()\n"
    for name in (
        "sitecustomize",
        "usercustomize",
        "os",
        "json",
        "posix",
        "encodings",
        "pyoci",
        "site",
        "_ctypes",
        "codecs",
    ):
        (tmp_path / f"{name}.py").write_text(mark)
    (tmp_path / "evil.pth").write_text(f"import os; {mark}")
    if shutil.which("cc"):
        source = f'int creat(const char *, unsigned);\n__attribute__((constructor)) void f(void) {{ creat("{tmp_path}/{MARKED}", 0600); }}\n'
        for name in ("evil.so", "libc.so.6", "libm.so.6", "libz.so.1"):
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(tmp_path / name), "-"],
                input=source.encode(),
                check=True,
            )
    return tmp_path


@pytest.mark.parametrize(
    "variable",
    ["PYTHONPATH={}", "PYTHONHOME={}", "PYTHONSTARTUP={}/os.py", "PYTHONUSERBASE={}", "PYTHONPLATLIBDIR={}", "PYTHONINSPECT=1",
     "PYTHONWARNINGS=error", "PYTHONVERBOSE=1", "PYTHONDEVMODE=1", "PYTHONMALLOC=debug", "PYTHONTRACEMALLOC=1",
     "PYTHONIOENCODING=utf-16", "PYTHONUTF8=0", "PYTHONHASHSEED=x", "PYTHONBREAKPOINT=os.abort", "PYTHONFAULTHANDLER=1",
     "PYTHONPROFILEIMPORTTIME=1", "LD_LIBRARY_PATH={}", "GCONV_PATH={}", "LOCPATH={}", "LC_ALL=tr_TR.UTF-8", "LANG=C",
     "TZ=:{}/evil.so", "GLIBC_TUNABLES=glibc.malloc.check=3", "HOME={}", "TMPDIR={}"],
)  # fmt: skip
def test_no_variable_of_the_caller_changes_anything(container: Container, evil: Path, variable: str) -> None:
    name, _, text = variable.format(evil).partition("=")
    result = container.run(
        args=["sh", "-c", "echo inside; env"], env={"PATH": os.environ["PATH"], name: text}, cwd=evil
    ).ok()
    assert not (evil / MARKED).exists(), "something of the caller's was loaded"
    assert result.out.startswith("inside\n") and result.err == ""
    assert f"{name}={text}\n" not in result.out


@pytest.mark.needs_compiler
def test_a_library_that_is_preloaded_does_not_get_as_far_as_the_interpreter(container: Container, evil: Path) -> None:
    """The program's own loader may take it, where it has one: it is the caller's right to run what he wants as himself."""
    environment = {"PATH": os.environ["PATH"], "LD_PRELOAD": str(evil / "evil.so")}
    container.create(args=["sleep", "1000"], env=environment).ok()
    assert "evil.so" not in Path(f"/proc/{container.pid}/maps").read_text()
    assert b"LD_PRELOAD" not in Path(f"/proc/{container.pid}/environ").read_bytes()


def memory(pid: int) -> Iterator[bytes]:
    """All that a process has in memory and may read."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if match and "[v" not in line:
                start, end = (int(text, 16) for text in match.groups())
                file.seek(start)
                with contextlib.suppress(OSError):
                    yield file.read(end - start)


def test_the_search_finds_what_is_in_memory() -> None:
    needle = os.urandom(16).hex().encode()
    assert any(needle in piece for piece in memory(os.getpid()))


@pytest.mark.parametrize("name", ["HOST_SECRET", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY", "LD_LIBRARY_PATH"])
def test_nothing_of_the_callers_environment_is_in_the_memory_of_the_waiting_init(
    container: Container, name: str
) -> None:
    container.create(args=["sleep", "1000"], env={"PATH": os.environ["PATH"], name: SECRET}).ok()
    assert any(b"sleep" in piece for piece in memory(container.pid)), "nothing was searched"
    assert not any(SECRET.encode() in piece for piece in memory(container.pid))


def test_the_waiting_init_has_forgotten_the_command_line(container: Container) -> None:
    """Paths of the host are nobody's business inside."""
    container.create(args=["sleep", "1000"]).ok()
    shown = Path(f"/proc/{container.pid}/cmdline").read_bytes()
    assert os.fsencode(container.bundle) not in shown and b"create" not in shown


def hostile_signals() -> None:
    """As a caller that ignores and blocks whatever can be ignored and blocked."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


@pytest.mark.parametrize("how", ["run", "create", "exec"])
def test_signals_of_the_caller_stay_with_it(container: Container, how: str) -> None:
    options: dict[str, Any] = {"preexec_fn": hostile_signals}
    show = ["cat", "/proc/self/status"]
    if how == "run":
        status = container.run(args=show, **options).ok().out
    elif how == "create":
        container.create(args=show, **options).ok()
        container.start().ok()
        container.wait()
        status = container.printed()
    else:
        container.launch()
        status = container.exec(*show, **options).ok().out
    for field in ("SigBlk", "SigIgn", "SigCgt"):
        assert int(status_field(status, field), 16) == 0, f"{field} of {how}"


def test_a_container_that_ignores_nothing_dies_of_a_broken_pipe(container: Container) -> None:
    """The interpreter ignores SIGPIPE and SIGXFSZ for itself; inherited, that would change how every program ends."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        # By a child, for a signal's default does not end the init of a pid namespace.
        status = container.run(args=["sh", "-c", f"sh -c 'kill -{int(number)} $$; exit 3'; exit $?"]).status
        assert status == 128 + number


@pytest.mark.parametrize("how", ["run", "exec", "waiting"])
def test_directories_of_the_host_that_are_open_stay_outside(container: Container, how: str) -> None:
    """Three of them, inheritable, at low and high numbers: none is there inside, not even in the init that waits."""
    held = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path in ("/", "/sys/fs/cgroup", str(container.scratch))]
    held.append(os.dup2(held[0], 500))
    show = ["sh", "-c", "for f in /proc/self/fd/*; do echo $f $(readlink $f); done"]
    try:
        if how == "run":
            shown = container.run(args=show, pass_fds=held).ok().out
        elif how == "exec":
            container.launch()
            shown = container.exec(*show, pass_fds=held).ok().out
        else:
            container.create(args=["sleep", "1000"], pass_fds=held).ok()
            hosts = [os.stat(fd) for fd in held]
            for name in os.listdir(f"/proc/{container.pid}/fd"):
                info = os.stat(f"/proc/{container.pid}/fd/{name}")
                assert not any(os.path.samestat(info, host) for host in hosts), name
            return
    finally:
        for fd in held:
            os.close(fd)
    assert "/proc/self/fd/0 " in shown
    assert "/proc/self/fd/500" not in shown
    for path in ("/", "/sys/fs/cgroup", str(container.scratch)):
        assert f" {path}\n" not in shown


def test_nothing_is_written_beside_the_modules(container: Container, pyoci_program: Path) -> None:
    """No compiled files by root, whenever a module was found without one."""
    library = pyoci_program.parent.parent / "lib"
    before = sorted(str(path) for path in library.rglob("*"))
    container.launch()
    container.exec("true").ok()
    container.delete("--force").ok()
    assert sorted(str(path) for path in library.rglob("*")) == before
