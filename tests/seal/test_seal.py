# SPDX-License-Identifier: Apache-2.0
"""Whoever starts the program, and however: it ends up sealed, with a clean environment, and as the same process."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pyoci.kernel.basic import F_ADD_SEALS, F_GET_SEALS, fcntl
from pyoci.seal import SEALS, restart

from .conftest import PYTHON, REPOSITORY, Program

NOBODY = 65534
AT_EMPTY_PATH = 0x1000
MOUNT_ATTR_RDONLY = 1
NR_OPEN_TREE, NR_FSPICK, NR_MOUNT_SETATTR = 428, 433, 442

libc = ctypes.CDLL(None, use_errno=True)
needs_compiler = pytest.mark.needs_compiler
pytestmark = [needs_compiler]


def test_the_program_is_sealed_and_keeps_its_pid(program: Program) -> None:
    report = program.report("--flag", "a b", "")
    assert report["sealed"] is True
    assert report["pid"] == report["started as"]
    assert report["arguments"] == ["--flag", "a b", ""]
    assert report["name"] == "pyoci"
    assert report["flags"] == [1, 1, 1, 1]


def test_the_interpreter_knows_its_place(program: Program) -> None:
    """argv[0] tells the interpreter where its library is, for its executable no longer does."""
    code = "import sys; print(sys.prefix)"
    prefix = subprocess.run([PYTHON, "-c", code], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    report = program.report()
    assert (report["interpreter"], report["prefix"]) == (PYTHON, prefix)
    library = report["package"].removesuffix("/pyoci/seal/__init__.py")
    assert [path for path in report["path"] if path != library and not path.startswith(prefix + "/lib")] == []


def test_of_the_environment_only_what_the_runtime_knows_is_left(program: Program) -> None:
    known = {name.decode(): f"value of {name.decode()}" for name in restart.PASSED_ON}
    known["PATH"] = "/usr/bin:/bin"
    foreign = {"SECRET": "x", "LD_LIBRARY_PATH": "/nowhere", "PYTHONWARNINGS": "error", "PATHS": "x", "PAT": "x"}
    assert program.report(environment=known | foreign)["environment"] == known | {"LC_ALL": "C"}


def test_an_empty_environment_will_do(launcher: Program) -> None:
    assert launcher.report(env={})["environment"] == {"LC_ALL": "C"}


def test_both_ways_to_start_pass_on_the_same_variables() -> None:
    source = (REPOSITORY / "pyoci" / "seal" / "launcher.c").read_text()
    table = source[source.index("passed_on[] = {") : source.index("};", source.index("passed_on[] = {"))]
    assert tuple(re.findall(r'"([A-Z_]+)"', table)) == tuple(name.decode() for name in restart.PASSED_ON)


def test_what_the_runtime_reads_is_passed_on() -> None:
    """Or a call that starts over, or comes by way of the launcher, would find the state of containers elsewhere."""
    lines = [line for path in (REPOSITORY / "pyoci").rglob("*.py") for line in path.read_text().splitlines()]
    read = {name for line in lines if "environ" in line for name in re.findall(r'b"([A-Z_]{2,})"', line)} - {"LC_ALL"}
    assert {"PATH", "USER", "XDG_RUNTIME_DIR"} <= read
    assert read <= {name.decode() for name in restart.PASSED_ON}


@pytest.mark.parametrize("kind", ["embedded", "launcher", "script"])
def test_python_variables_and_the_current_directory_have_no_say(
    kind: str, programs: dict[str, Program], traps: Path
) -> None:
    hostile = {"PYTHONPATH": str(traps), "PYTHONHOME": "/nonexistent", "PYTHONSTARTUP": str(traps / "json.py")}
    hostile |= {"PYTHONINSPECT": "1", "PYTHONMALLOC": "nonsense", "HOME": str(traps), "PATH": str(traps)}
    report = programs[kind].report(environment=hostile, cwd=traps)
    assert not set(map(str, (traps, Path("")))) & set(report["path"])
    assert report["environment"] == {"LC_ALL": "C", "PATH": str(traps)}


def test_preloaded_libraries_do_not_get_into_the_runtime(program: Program, tmp_path: Path) -> None:
    library = tmp_path / "evil.so"
    subprocess.run(["cc", "-shared", "-o", library, "-x", "c", os.devnull], check=True)
    preloaded = {"LD_PRELOAD": str(library)}
    plain = [PYTHON, "-c", "print(open('/proc/self/maps').read())"]
    maps = subprocess.run(plain, env=preloaded, check=True, text=True, stdout=subprocess.PIPE).stdout
    assert str(library) in maps, "the library would not even be preloaded into Python itself"
    assert str(library) not in program.report(environment=preloaded)["mapped"]


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_standard_streams_are_open(launcher: Program, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for fd in closed:
            os.close(fd)

    streams = launcher.report(preexec_fn=close)["standard streams"]
    assert all(streams[fd] == "/dev/null" for fd in closed)


def test_descriptors_of_the_caller_arrive_but_do_not_go_further(program: Program) -> None:
    reader, writer = os.pipe()
    try:
        report = program.report(pass_fds=(reader, writer))
        assert [fd for fd in report["inherited"] if fd > 2] == sorted((reader, writer))
        assert report["stay open on exec"] == [0, 1, 2]
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.needs_root
def test_another_user_gets_the_same(program: Program) -> None:
    report = program.report(user=NOBODY, group=NOBODY, extra_groups=[])
    assert report["sealed"] is True
    assert report["executable"] != os.path.realpath(PYTHON)


@pytest.mark.needs_unshare
@pytest.mark.needs_user_namespaces
def test_without_overlays_the_interpreter_is_copied(program: Program) -> None:
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    report = program.report(wrapper=["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"])
    assert report["executable"].startswith("/memfd:pyoci")
    assert report["sealed"] is True


# ------------------------------------------------------------------------------------------- what somebody inside could try


def attempts(path: str) -> dict[str, Callable[[], int]]:
    """Ways to make a file behind a path of /proc writable, as functions that return something negative or raise."""
    writable = (ctypes.c_uint64 * 4)(0, MOUNT_ATTR_RDONLY, 0, 0)
    name = path.encode()
    return {
        "open for writing": lambda: os.open(path, os.O_WRONLY | os.O_APPEND),
        "truncate": lambda: os.truncate(path, 0) or 0,
        "chmod": lambda: os.chmod(path, 0o777) or 0,
        "mount_setattr": lambda: libc.syscall(NR_MOUNT_SETATTR, -100, name, 0, writable, 32),
        "open_tree": lambda: libc.syscall(NR_OPEN_TREE, -100, name, 1),
        "fspick": lambda: libc.syscall(NR_FSPICK, -100, name, 1),
    }


def succeeded(path: str) -> set[str]:
    """Which of the attempts on a file work."""
    works = set()
    for name, attempt in attempts(path).items():
        try:
            if attempt() >= 0:
                works.add(name)
        except OSError:
            pass
    return works


@pytest.mark.needs_root
def test_nobody_can_write_to_the_executable_while_it_runs_or_afterwards(program: Program) -> None:
    before = Path(PYTHON).stat()
    process, report = program.start("wait", stdin=subprocess.PIPE)
    while not report.stat().st_size:
        assert process.poll() is None
    exe = f"/proc/{process.pid}/exe"
    assert succeeded(exe) == set()
    held = os.open(exe, os.O_RDONLY)
    try:
        process.communicate(b".")
        assert succeeded(f"/proc/self/fd/{held}") == set()
    finally:
        os.close(held)
    assert (Path(PYTHON).stat().st_mtime, Path(PYTHON).stat().st_ctime) == (before.st_mtime, before.st_ctime)


@pytest.mark.needs_root
def test_the_attempts_do_work_on_an_interpreter_that_is_not_sealed(tmp_path: Path) -> None:
    """Or the test above would prove nothing."""
    copy = shutil.copy(os.path.realpath(PYTHON), tmp_path / "python3")
    process = subprocess.Popen([copy, "-ISBc", "print(flush=True); input()"], stdin=-1, stdout=-1)
    assert process.stdout is not None
    process.stdout.readline()
    held = os.open(f"/proc/{process.pid}/exe", os.O_RDONLY)
    try:
        process.communicate(b"\n")
        assert {"open for writing", "truncate", "chmod"} <= succeeded(f"/proc/self/fd/{held}")
    finally:
        os.close(held)


@pytest.mark.needs_unshare
@pytest.mark.needs_user_namespaces
def test_nobody_can_write_to_the_copy(launcher: Program) -> None:
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    process, report = launcher.start("wait", stdin=subprocess.PIPE, wrapper=wrapper)
    while not report.stat().st_size:
        assert process.poll() is None
    held = os.open(f"/proc/{process.pid}/exe", os.O_RDONLY)
    try:
        process.communicate(b".")
        content = os.pread(held, 1 << 24, 0)
        assert content == Path(PYTHON).read_bytes()
        assert os.fstat(held).st_dev != Path(PYTHON).stat().st_dev
        writer = os.open(f"/proc/self/fd/{held}", os.O_RDWR)
        with pytest.raises(PermissionError):
            os.write(writer, b"#!")
        with pytest.raises(PermissionError):
            os.ftruncate(writer, 0)
        os.close(writer)
    finally:
        os.close(held)


@pytest.mark.needs_strace
@pytest.mark.needs_unshare
@pytest.mark.needs_user_namespaces
@pytest.mark.parametrize(("refusals", "sealed"), [("1..9", True), ("1+", False)])
def test_the_copy_is_sealed_once_the_kernel_lets_go_of_it(launcher: Program, refusals: str, sealed: bool) -> None:
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"'
    trace = ["strace", "-o", os.devnull, "-e", f"inject=fcntl:error=EBUSY:when={refusals}"]
    wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *trace]
    if sealed:
        report = launcher.report(wrapper=wrapper)
        assert report["executable"].startswith("/memfd:pyoci")
        assert report["sealed"] is True
    else:
        process, _ = launcher.start("go", wrapper=wrapper, stderr=subprocess.PIPE, text=True)
        message = process.communicate(timeout=30)[1]
        assert re.fullmatch("pyoci: seal the copy of the interpreter: .*busy\n", message), message
        assert process.returncode == 1


def test_sealing_waits_for_whoever_holds_a_page() -> None:
    file = os.memfd_create("held", os.MFD_ALLOW_SEALING)
    reader, writer = os.pipe()
    try:
        os.write(file, b"x")
        os.splice(file, writer, 1, offset_src=0)  # the page itself is in the pipe now
        with pytest.raises(OSError, match="busy"):
            fcntl(file, F_ADD_SEALS, SEALS)
        release = threading.Timer(1, os.read, (reader, 1))
        release.start()
        restart.seal(file)
        release.join()
        assert fcntl(file, F_GET_SEALS) == SEALS
    finally:
        for fd in (file, reader, writer):
            os.close(fd)


# --------------------------------------------------------------------------------------------------------- is it sealed?

LOOK = f"import sys; sys.path.append({str(REPOSITORY)!r}); from pyoci import seal; print(seal.is_sealed())"


def looks_sealed(*command: str) -> bool:
    out = subprocess.run([*command, "-ISBc", LOOK], check=True, text=True, stdout=subprocess.PIPE).stdout
    return {"True\n": True, "False\n": False}[out]


def test_an_ordinary_interpreter_is_not_sealed() -> None:
    assert not looks_sealed(PYTHON)


@pytest.mark.needs_root
@pytest.mark.needs_unshare
def test_a_file_system_that_happens_to_be_a_read_only_overlay_is_no_seal(tmp_path: Path) -> None:
    mount = 'mount -t overlay -o ro,lowerdir=/usr/bin:"$1" none "$1" && shift && exec "$@"'
    (tmp_path / "mnt").mkdir()
    python = tmp_path / "mnt" / Path(PYTHON).resolve().name
    assert not looks_sealed("unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path / "mnt"), str(python))


@pytest.mark.needs_unshare
def test_a_start_that_changes_nothing_is_not_repeated_for_ever() -> None:
    code = f"import sys; sys.path.append({str(REPOSITORY)!r}); from pyoci import seal; seal.harden()"
    command = [PYTHON, "-ISB", "-X", "pyoci-restarted", "-c", code]
    result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert "cannot seal the interpreter" in result.stderr


def test_who_stays_away_from_containers_need_not_be_sealed() -> None:
    code = (
        f"import sys; sys.path.append({str(REPOSITORY)!r}); from pyoci import seal; seal.harden(near_container=False)"
    )
    more = "; from pyoci.syscalls import prctl, PR_GET_DUMPABLE; print(seal.is_sealed(), prctl(PR_GET_DUMPABLE))"
    result = subprocess.run([PYTHON, "-ISB", "-c", code + more], check=True, text=True, stdout=subprocess.PIPE)
    assert result.stdout == "False 0\n"
