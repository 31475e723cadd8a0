# SPDX-License-Identifier: Apache-2.0
"""A bundle is entered, and its config read and validated."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pyoci import bundle
from pyoci.errors import PyociError, SpecError

CONFIG = {"ociVersion": "1.2.0", "process": {"args": ["sh"], "cwd": "/"}, "root": {"path": "rootfs"}}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir("/")  # and back at the end: reading a bundle enters it
    return tmp_path


def refusal(*arguments: str) -> str:
    with pytest.raises(PyociError) as caught:
        bundle.load(*arguments)
    return caught.value.message


def test_a_bundle(directory: Path) -> None:
    text = json.dumps(CONFIG, indent=4) + "\n"
    (directory / "config.json").write_text(text)
    loaded = bundle.load(str(directory))
    assert (loaded.directory, loaded.text, loaded.config) == (str(directory), text, CONFIG)
    assert os.getcwd() == str(directory)


def test_the_directory_is_as_the_kernel_sees_it(directory: Path) -> None:
    (directory / "real").mkdir()
    (directory / "link").symlink_to("real")
    (directory / "real/other.json").write_text(json.dumps(CONFIG))
    assert bundle.load(f"{directory}/link/../link/.", "other.json").directory == f"{directory}/real"
    os.chdir(directory)
    assert bundle.load("real", "other.json").directory == f"{directory}/real"


def test_no_bundle(directory: Path) -> None:
    assert refusal(f"{directory}/none") == f"enter the bundle {directory}/none: no such file or directory"
    (directory / "file").touch()
    assert refusal(f"{directory}/file") == f"enter the bundle {directory}/file: not a directory"


def test_no_config(directory: Path) -> None:
    assert refusal(str(directory)) == f"read {directory}/config.json: no such file or directory"


def test_a_config_that_is_no_file(directory: Path) -> None:
    (directory / "config.json").mkdir()
    assert refusal(str(directory)) == f"{directory}/config.json is not a regular file"
    os.mkfifo(directory / "fifo")  # nobody writes to it: opening it must not block
    assert refusal(str(directory), "fifo") == f"{directory}/fifo is not a regular file"
    assert refusal(str(directory), "/dev/null").endswith("/dev/null is not a regular file")


def test_a_file_that_may_be_a_pipe(directory: Path) -> None:
    """Of which all is read: who writes may take his time."""
    told, tell = os.pipe()
    if os.fork() == 0:
        for part in (b'{"a":', b" 1", b"}"):
            os.write(tell, part)
            time.sleep(0.05)
        os._exit(0)
    os.close(tell)
    assert bundle.read_config(f"/proc/self/fd/{told}", "pipe", may_be_pipe=True) == '{"a": 1}'
    os.close(told)
    os.wait()
    with pytest.raises(PyociError, match="/dev/zero is not a regular file or a pipe"):
        bundle.read_config("/dev/zero", "/dev/zero", may_be_pipe=True)


def test_a_pipe_that_does_not_end(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_MAX_CONFIG", 1000)
    told, tell = os.pipe()
    os.write(tell, bytes(1000))
    os.close(tell)
    assert len(bundle.read_config(f"/proc/self/fd/{told}", "pipe", may_be_pipe=True)) == 1000
    os.close(told)
    told, tell = os.pipe()
    os.write(tell, bytes(1001))
    with pytest.raises(PyociError, match="pipe is larger than 0 MiB"):
        bundle.read_config(f"/proc/self/fd/{told}", "pipe", may_be_pipe=True)
    os.close(told)
    os.close(tell)


def test_a_large_config(directory: Path) -> None:
    with open(directory / "config.json", "wb") as file:
        file.truncate((64 << 20) + 1)
    assert refusal(str(directory)) == f"{directory}/config.json is larger than 64 MiB"


def test_a_config_that_is_no_text(directory: Path) -> None:
    (directory / "config.json").write_bytes(b'{"a": "\xc3\xa4\xff"}')
    assert refusal(str(directory)) == f"{directory}/config.json is not UTF-8 text: byte 9 is 0xff"


def test_a_wrong_config(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps({**CONFIG, "root": {"path": 7}}))
    with pytest.raises(SpecError) as caught:
        bundle.load(str(directory))
    assert "/root/path" in caught.value.message
    assert caught.value.problems


def test_nothing_stays_open(directory: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for name in ("config.json", "none", "/dev/null"):
        (directory / "config.json").write_text("{")
        refusal(str(directory), name)
    assert os.listdir("/proc/self/fd") == before
