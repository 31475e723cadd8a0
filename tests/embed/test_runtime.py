# SPDX-License-Identifier: Apache-2.0
"""pyoci in an interpreter of its own: nobody but the clock should notice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PYTHON = "/usr/bin/python3"

pytestmark = [pytest.mark.needs_compiler]


def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=120, **options)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    place = tmp_path_factory.mktemp("embed")
    for kind, option in (("embedded", []), ("plain", ["--no-embed"])):
        result = run(REPOSITORY / "hack" / "install", "--python", PYTHON, "--prefix", place / kind, *option)
        assert result.returncode == 0, result.stderr
    linked = place / "embedded" / "lib/pyoci/current/embed"
    assert (linked / "pyoci").exists(), (linked / "log").read_text()
    yield {kind: place / kind / "bin" / "pyoci" for kind in ("embedded", "plain")}


@pytest.fixture
def embedded(programs: dict[str, Path]) -> Path:
    return programs["embedded"]


@pytest.fixture
def bundle(programs: dict[str, Path], tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    assert run(programs["plain"], "spec", "--bundle", tmp_path).returncode == 0
    return tmp_path


def same(programs: dict[str, Path], *words: str | Path) -> subprocess.CompletedProcess[str]:
    """What both say, which must be the same."""
    embedded, plain = (run(programs[kind], *words) for kind in ("embedded", "plain"))
    assert (embedded.returncode, embedded.stdout, embedded.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    return embedded


def test_help_which_needs_the_rest_of_python(programs: dict[str, Path]) -> None:
    assert "COMMANDS" in same(programs, "--help").stdout.upper()


def test_mistakes_are_explained_alike(programs: dict[str, Path], bundle: Path) -> None:
    config = bundle / "config.json"
    config.write_text(config.read_text().replace('"cwd": "/"', '"cwd": "tmp"').replace('"network"', '"netwrok"'))
    result = same(programs, "validate", "--bundle", bundle)
    assert result.returncode == 1
    assert 'did you mean "network"?' in result.stdout + result.stderr


@pytest.mark.parametrize("content", [b'{"ociVersion": "\xff"}', b"{", b"[NaN]", b'{"ociVersion": "\\ud800"}'])
def test_texts_that_are_none_fail_alike(programs: dict[str, Path], bundle: Path, content: bytes) -> None:
    """The first has somebody look for a codec before the rest of Python is there."""
    (bundle / "config.json").write_bytes(content)
    assert same(programs, "validate", "--bundle", bundle).returncode == 1


def test_words_that_are_no_utf8_arrive(programs: dict[str, Path], tmp_path: Path) -> None:
    word = os.fsdecode(b"\xff")
    assert same(programs, "--root", tmp_path, "state", word).returncode == 1


def test_libraries_of_others_can_be_loaded(programs: dict[str, Path], bundle: Path) -> None:
    assert same(programs, "features").returncode == 0


@pytest.mark.needs_strace
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="needs a Python before 3.14, which starts its core alone")
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("state", "nothing"), "container does not exist"),
        pytest.param(
            ("--version",),
            "pyoci version ",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 13), reason="libseccomp's binding loads modules of Python's since then"
            ),
        ),
    ],
)
def test_on_the_usual_way_nothing_of_the_rest_is_started(
    words: tuple[str, ...], answer: str, embedded: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    result = run("strace", "-f", "-e", "trace=file", "-o", trace, embedded, "--root", tmp_path, *words)
    assert answer in result.stdout + result.stderr
    opened = re.findall(r'"(/[^"]*)"', trace.read_text())
    assert any("modules.cpython" in path for path in opened)
    assert [path for path in opened if "/lib/python3" in path and not path.endswith(".so")] == []
    assert [path for path in opened if path.endswith(("pyvenv.cfg", ".pyc", ".py"))] == []


def test_an_interrupt_is_an_error_like_another(embedded: Path, tmp_path: Path) -> None:
    """It waits for somebody to read its log."""
    os.mkfifo(tmp_path / "log")
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)  # as a shell has it in the background
    command = subprocess.Popen([embedded, "--log", tmp_path / "log", "list"], stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, ignored)
    with command as process:
        assert process.stderr
        try:
            deadline = time.monotonic() + 60
            while not is_opening(process.pid):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 1
            assert "interrupted" in process.stderr.read()
        finally:
            process.kill()


def is_opening(pid: int) -> bool:
    """Whether a process sleeps within open(2) or openat(2): who has merely lost the processor there does not."""
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and Path(f"/proc/{pid}/syscall").read_text().split()[0] in ("2", "257", "56")


def test_a_reader_who_is_gone_is_no_crash(embedded: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([embedded, "features"], stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.needs_root
def test_without_its_launcher_it_does_not_go_near_a_container(embedded: Path, bundle: Path) -> None:
    """It cannot start itself over as Python can, and does not try."""
    bare = embedded.parent.parent / "lib/pyoci/current/embed/pyoci"
    result = run(bare, "--root", bundle / "state", "run", "--bundle", bundle, "unsealed")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("pyoci: cannot seal the interpreter") and result.stderr.count("\n") == 1
    assert not (bundle / "state").exists()
