# SPDX-License-Identifier: Apache-2.0
"""The conversation with criu, held with a stand-in."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.criu import rpc
from pyoci.criu.service import CriuFailed, Service
from pyoci.errors import PyociError
from pyoci.process.channel import REMARK, Channel

from .standin import install

Make = Callable[..., Service]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Installs a stand-in that behaves as told, and starts it; `how` is for the service."""

    def start(how: dict[str, Any] | None = None, **behaviour: Any) -> Service:
        install(tmp_path / "bin", **behaviour)
        monkeypatch.setitem(k.environ, b"PATH", os.fsencode(tmp_path / "bin"))
        for name in ("images", "work"):
            (tmp_path / name).mkdir(exist_ok=True)
        return Service((str(tmp_path / "images"), str(tmp_path / "work")), **(how or {}))

    return start


def asked(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "bin/asked").read_text().splitlines()]


def is_gone(service: Service) -> bool:
    return not Path(f"/proc/{service.pid}").exists()


def test_no_criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(k.environ, b"PATH", os.fsencode(tmp_path))
    with pytest.raises(PyociError, match='exec: "criu": executable file not found in \\$PATH'):
        Service((str(tmp_path), str(tmp_path)))


def test_a_criu_that_cannot_be_executed(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make().close()
    (tmp_path / "bin/criu").write_text("#!/no/such/interpreter\n")
    with pytest.raises(PyociError, match="criu: no such file or directory"):
        Service((str(tmp_path), str(tmp_path)))


def test_a_directory_that_there_is_not(make: Make, tmp_path: Path) -> None:
    make().close()
    with pytest.raises(PyociError, match="none: no such file or directory"):
        Service((str(tmp_path), str(tmp_path / "none")))


@pytest.mark.parametrize(
    ("version", "old"), [((3, 15, 0), True), ((3, 16, 0), False), ((2, 99, 9), True), ((4, 0, 0), False)]
)
def test_version(make: Make, version: tuple[int, int, int], old: bool) -> None:
    service = make(version=version)
    if old:
        with pytest.raises(
            PyociError, match=f"criu is too old: its version is {version[0]}.{version[1]}, and it takes 3.16"
        ):
            service.check_version()
    else:
        service.check_version()
    service.close()
    assert is_gone(service)


def test_features(make: Make) -> None:
    service = make(features=["mem_track"])
    service.check_feature("mem_track", "--pre-dump")
    with pytest.raises(PyociError, match="--lazy-pages cannot be had"):
        service.check_feature("lazy_pages", "--lazy-pages")
    service.close()


def test_several_requests_of_one_criu(make: Make, tmp_path: Path) -> None:
    service = make(features=["mem_track"])
    service.check_version()
    service.check_feature("mem_track", "--pre-dump")
    notices: list[str] = []
    options = {"pid": 0, "leave_running": True, "images_dir_fd": 4, "work_dir_fd": 5}
    service.converse(rpc.DUMP, {"opts": options}, lambda notice, _: notices.append(notice["script"]))
    service.close()
    assert [request["type"] for request in asked(tmp_path)] == [rpc.VERSION, rpc.FEATURE_CHECK, rpc.DUMP]
    assert notices == ["network-lock", "status-ready", "post-dump"]
    assert (tmp_path / "images/inventory.img").exists()
    assert is_gone(service)


@pytest.mark.parametrize("kept", [False, True])
def test_streams(make: Make, tmp_path: Path, kept: bool) -> None:
    """For a dump criu has none of ours, for a restore all three."""
    service = make({"keep_streams": kept})
    service.check_version()
    service.close()
    ours = [os.readlink(f"/proc/self/fd/{stream}") for stream in range(3)]
    assert asked(tmp_path)[0]["streams"] == (ours if kept else ["/dev/null"] * 3)


def test_a_failure(make: Make) -> None:
    service = make(fails="Can't do it")
    options = {"log_file": "dump.log", "work_dir_fd": 5, "images_dir_fd": 4}
    with pytest.raises(CriuFailed) as caught:
        service.converse(rpc.DUMP, {"opts": options}, lambda *_: None)
    assert caught.value.told == "Can't do it"
    service.close()


def test_a_criu_that_dies(make: Make) -> None:
    service = make(dies=True)
    with pytest.raises(CriuFailed, match="criu has ended without an answer"):
        service.converse(rpc.DUMP, {"opts": {}}, lambda *_: None)
    service.close()
    assert is_gone(service)


def test_what_fails_here_is_told_there(make: Make) -> None:
    """criu undoes what it has done, and then what went wrong is raised."""

    def notified(notice: dict[str, Any], _: int) -> None:
        if notice["script"] == "network-lock":
            raise PyociError("not with me")

    service = make()
    options = {"pid": 0, "leave_running": True, "images_dir_fd": 4, "work_dir_fd": 5}
    with pytest.raises(PyociError, match="not with me"):
        service.converse(rpc.DUMP, {"opts": options}, notified)
    service.close()


def test_what_is_prepared_is_told(make: Make) -> None:
    def prepare(channel: Channel) -> None:
        channel.send(REMARK, b"one")
        channel.send(REMARK, b"two")

    service = make({"prepare": prepare})
    assert service.prepared == [b"one", b"two"]
    service.check_version()
    service.close()


def test_a_preparation_that_fails(make: Make, tmp_path: Path) -> None:
    def prepare(_: Channel) -> None:
        raise PyociError("no root")

    with pytest.raises(PyociError, match="no root"):
        make({"prepare": prepare})
    assert asked(tmp_path) == []


def test_the_namespaces_come_behind(make: Make) -> None:
    reader, writer = os.pipe()
    service = make({"namespaces": [reader, writer]})
    service.check_version()
    assert [os.readlink(f"/proc/{service.pid}/fd/{fd}") for fd in (6, 7)] == [
        os.readlink(f"/proc/self/fd/{fd}") for fd in (reader, writer)
    ]
    service.close()
    os.close(reader)
    os.close(writer)
