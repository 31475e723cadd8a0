# SPDX-License-Identifier: Apache-2.0
"""The boundary: whatever goes wrong comes out as one error, in the log and on stderr, and as an exit code.

The program is run as it is when installed, in an interpreter of its own, with faults put in by a wrapper where one
cannot be had from outside.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = str(Path(__file__).resolve().parents[2])
PLAIN = "from pyoci.cli import main; main()"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
COMMA = "1:3" if sys.version_info >= (3, 13) else "1:4"  # where Python finds `[1,]` to be wrong, before or after it

Done = subprocess.CompletedProcess[str]


def program(code: str = PLAIN) -> list[str]:
    return [sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path.insert(0, {REPOSITORY!r}); {code}"]


def call(*words: str, code: str = PLAIN, **options: Any) -> Done:
    """Run pyoci; the environment is as bare as podman's."""
    given = {"env": {}, "stdin": subprocess.DEVNULL, **options}
    return subprocess.run(
        [*program(code), *words], capture_output="stdout" not in given, text=True, timeout=60, check=False, **given
    )


def failing(expression: str) -> str:
    """Code that runs pyoci with a `spec` command that ends in an exception."""
    return (
        "from pyoci import cli; from pyoci.cli import spec\n"
        f"def fail(call, log):\n    {expression}\n"
        "spec.run = fail; cli.main()"
    )


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


USAGE_ERRORS = [
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["creat"], "did you mean create?"),
    (["--frobnicate"], "unknown option --frobnicate"),
    (["--frobnicate", "--log", "LOG", "list"], "unknown option --frobnicate"),
    (["--root"], "flag needs an argument: --root"),
    (["--log-format", "xml", "list"], "invalid log-format 'xml': it is one of text, json"),
    (["spec", "one"], "spec: nothing is expected after 0 arguments: 'one'"),
    (["spec", "--frobnicate"], "spec: unknown option --frobnicate"),
    (["spec", "--bundle"], "spec: flag needs an argument: --bundle"),
    (["frobnicate", "--help"], "No help topic for 'frobnicate'"),
    (["help", "frobnicate"], "unknown command 'frobnicate'"),
]


@pytest.mark.parametrize(("words", "told"), USAGE_ERRORS, ids=[" ".join(words) for words, _ in USAGE_ERRORS])
def test_usage_errors(tmp_path: Path, words: list[str], told: str) -> None:
    log = tmp_path / "log"
    given = [str(log) if word == "LOG" else word for word in words]
    if "LOG" not in words:
        given = ["--log", str(log), *given]
    done = call("--log-format=json", *given)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pyoci: ") and done.stderr.count("\n") == 1
    assert told in done.stderr
    if "xml" in words:
        return
    (entry,) = entries(log)
    assert entry["level"] == "error"
    assert f"pyoci: {entry['msg']}\n" == done.stderr
    assert RFC3339.fullmatch(entry["time"])
    assert entry["kind"] == "UsageError"


FAULTS = [
    ("from pyoci.errors import CgroupError; raise CgroupError('no cgroup')", "no cgroup", "CgroupError"),
    ("open('/nonexistent/x')", "/nonexistent/x: no such file or directory", "FileNotFoundError"),
    ("raise OSError(1, 'Operation not permitted')", "operation not permitted", "PermissionError"),
    ("raise OSError('odd')", "odd", "OSError"),
    ("raise KeyboardInterrupt", "interrupted", "KeyboardInterrupt"),
    ("raise MemoryError", "out of memory", "MemoryError"),
    ("fail(call, log)", "the input is nested too deeply", "RecursionError"),
    ("b'\\xff'.decode()", "text that is not valid UTF-8: ", "UnicodeDecodeError"),
    ("raise SystemExit(0)", "internal error: SystemExit: 0", "SystemExit"),
    ("1 / 0", "internal error: ZeroDivisionError: division by zero (__main__, line", "ZeroDivisionError"),
    ("e = ValueError('a'); e.add_note('undoing failed: b'); raise e", "; undoing failed: b", "ValueError"),
]


@pytest.mark.parametrize(("fault", "told", "kind"), FAULTS, ids=[kind for _, _, kind in FAULTS])
@pytest.mark.parametrize("debug", [False, True])
def test_whatever_is_raised(tmp_path: Path, fault: str, told: str, kind: str, debug: bool) -> None:
    log = tmp_path / "log"
    words = ["--debug"] * debug + ["--log", str(log), "--log-format", "json", "spec"]
    done = call(*words, code=failing(fault))
    assert (done.returncode, done.stdout) == (1, "")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    *others, entry = entries(log)
    assert (entry["level"], entry["kind"]) == ("error", kind)
    assert f"pyoci: {entry['msg']}\n" == done.stderr
    assert [other["level"] for other in others] == ["debug", "debug"] * debug
    assert ["Traceback" in other["msg"] for other in others] == [False, True] * debug


def test_the_kernels_error_number_is_told(tmp_path: Path) -> None:
    done = call("--log-format", "json", "spec", "--bundle", str(tmp_path / "missing"))
    assert json.loads(done.stderr)["errno"] == 2


@pytest.mark.parametrize("cause", ["None", "error"])
def test_that_of_a_failed_step_is_told(cause: str) -> None:
    fault = (
        "from pyoci.errors import failed\n"
        "    try: raise OSError(16, '')\n"
        f"    except OSError as error: raise failed('mount', error) from {cause}"
    )
    entry = json.loads(call("--log-format", "json", "spec", code=failing(fault)).stderr)
    assert (entry["msg"], entry["errno"]) == ("mount: device or resource busy", 16)


def test_without_a_file_the_log_is_stderr(tmp_path: Path) -> None:
    words = ("spec", "--bundle", str(tmp_path / "missing"))
    assert call(*words).stderr == f"pyoci: create {tmp_path}/missing/config.json: no such file or directory\n"
    entry = json.loads(call("--log-format", "json", *words).stderr)
    assert entry["msg"] == f"create {tmp_path}/missing/config.json: no such file or directory"


def test_a_log_that_cannot_be_opened() -> None:
    done = call("--log", "/nonexistent/log", "spec")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pyoci: open the log file /nonexistent/log: no such file or directory\n"


def test_the_log_is_made_even_if_all_goes_well(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert call("--log", str(log), "--log-format", "json", "spec", "--bundle", str(tmp_path)).returncode == 0
    assert log.read_text() == ""


def test_a_failing_exec_has_a_code_of_its_own(tmp_path: Path) -> None:
    words = ("--root", str(tmp_path))
    assert call(*words, "exec", "x").returncode == 255
    assert call(*words, "exec", "missing", "true").returncode == 255
    assert call(*words, "exec").returncode == 1
    assert call(*words, "exec", "--frobnicate", "x").returncode == 1
    assert call(*words, "state", "missing").returncode == 1


def test_nobody_reads_the_output() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run([*program(), "--help"], stdout=write_end, stderr=subprocess.PIPE, env={}, check=False)
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


def test_output_that_cannot_be_written() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*program(), "--version"], stdout=full, stderr=subprocess.PIPE, env={}, check=False)
    assert done.returncode == 1
    assert done.stderr == b"pyoci: write to standard output: no space left on device\n"


def full_pipe() -> tuple[int, int]:
    """A pipe that takes no more, and says so instead of waiting."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(4096))
    return read_end, write_end


def lagging(process: subprocess.Popen[bytes]) -> None:
    """Give it time to fail."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)


@pytest.mark.parametrize(
    ("stream", "words", "code", "told"),
    [("stdout", ["features"], 0, b"ociVersionMin"), ("stderr", ["frobnicate"], 1, b"pyoci: unknown command")],
)
def test_a_reader_that_lags(stream: str, words: list[str], code: int, told: bytes) -> None:
    """Some callers leave us a pipe that is non-blocking."""
    read_end, write_end = full_pipe()
    streams: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: write_end}
    process = subprocess.Popen([*program(), *words], env={}, **streams)
    os.close(write_end)
    lagging(process)
    with open(read_end, "rb") as reader:
        assert told in reader.read()
    assert process.wait(60) == code


def test_a_reader_that_goes_when_it_has_lagged() -> None:
    read_end, write_end = full_pipe()
    process = subprocess.Popen([*program(), "--help"], stdout=write_end, stderr=subprocess.PIPE, env={})
    os.close(write_end)
    lagging(process)
    os.close(read_end)
    assert (process.communicate(timeout=60)[1], process.returncode) == (b"", 1)


def test_output_never_lands_in_a_file_of_ours(tmp_path: Path) -> None:
    """With stdout closed, the log file would be opened as descriptor 1."""
    log = tmp_path / "log"
    line = '"$@" <&- >&- 2>&-'
    done = subprocess.run(
        ["/bin/sh", "-c", line, "sh", *program(), "--log", str(log), "--version"], env={}, check=False
    )
    assert done.returncode == 0
    assert log.read_text() == ""


def test_a_closed_descriptor_is_filled_for_the_container_too() -> None:
    code = "from pyoci.cli.output import occupy_standard_descriptors as o; o(); import os; os.execv('/bin/ls', ['ls', '-l', '/proc/self/fd'])"
    done = subprocess.run(["/bin/sh", "-c", '"$@" <&- 2>&-', "sh", *program(code)], stdout=subprocess.PIPE, check=False)
    links = dict(re.findall(rb"(\d+) -> (\S+)", done.stdout))
    assert links[b"0"] == links[b"2"] == b"/dev/null"


def test_a_lost_child_reports_nothing(tmp_path: Path) -> None:
    """A process that was meant to become a container must not run the parent's error report."""
    log = tmp_path / "log"
    code = failing(
        "import posix\n    pid = posix.fork()\n    if pid == 0: raise ValueError\n    posix._exit(posix.waitpid(pid, 0)[1] >> 8)"
    )
    done = call("--log", str(log), "spec", code=code)
    assert (done.returncode, done.stderr, log.read_text()) == (1, "", "")


@pytest.mark.parametrize("fault", ["KeyboardInterrupt", "MemoryError", "RecursionError"])
def test_a_report_that_fails_itself(fault: str) -> None:
    code = f"from pyoci import cli\ndef fail(*_, **__): raise {fault}\ncli.Log.error = fail\ncli.main()"
    done = call("frobnicate", code=code)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize(
    ("text", "place"),
    [("{", "1:2"), ('{"a" 1}', "1:6"), ('{\n"a": tru', "2:6"), ("", "1:1"), ('"\\x"', "1:2"), ("[1,]", COMMA)],
)
def test_a_broken_config(tmp_path: Path, text: str, place: str) -> None:
    """The C scanner behind our JSON reader needs a module for its complaints, which nothing else loads."""
    (tmp_path / "config.json").write_text(text)
    done = call("validate", "--bundle", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout.startswith(f"{tmp_path}/config.json:{place}: error: ")
    assert done.stderr == f"pyoci: {tmp_path}/config.json: 1 error\n"


def test_a_debug_log_begins_with_the_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    call("--debug", "--log", str(log), "--log-format=json", "spec", "-b", str(tmp_path))
    (entry,) = entries(log)
    assert entry["level"] == "debug"
    assert entry["msg"].endswith(f": spec, {{'bundle': '{tmp_path}'}}, []")


def test_an_ignored_option_is_warned_of(tmp_path: Path) -> None:
    done = call("--criu", "/usr/sbin/criu", "spec", "--bundle", str(tmp_path))
    assert done.returncode == 0
    assert done.stderr.startswith("pyoci: warning: --criu is ignored")


def test_version() -> None:
    for spelling in ("--version", "-v", "-version"):
        done = call(spelling)
        first, *others = done.stdout.splitlines()
        assert re.fullmatch(r"pyoci version \d+\.\d+\.\d+\S*", first)
        assert "spec: 1.3.0" in others
        assert [line.partition(":")[0] for line in others] == ["spec", "python", "libseccomp"]
        assert "version" not in "".join(others)  # docker takes the last line that has the word
        assert (done.returncode, done.stderr) == (0, "")


def test_the_version_with_a_commit() -> None:
    done = call("--version", code="import pyoci; pyoci.__commit__ = 'abc'; from pyoci.cli import main; main()")
    assert done.stdout.splitlines()[1] == "commit: abc"


def test_modules_of_a_call_that_fails_at_once() -> None:
    """No module that costs more than the rest together, on a way that all commands share."""
    code = (
        "from pyoci import cli; from pyoci.cli.options import Call, parse; from pyoci.cli.settings import GLOBAL\n"
        "parse(Call(GLOBAL), ['--root', '/r', 'x'], first_only=True); print(*sys.modules)"
    )
    loaded = set(call(code=code).stdout.split())
    assert not loaded & {"os", "re", "enum", "typing", "argparse", "json", "logging", "collections", "functools"}
