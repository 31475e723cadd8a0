# SPDX-License-Identifier: Apache-2.0
"""`linux.intelRdt`, on a directory that stands in for resctrl: hardly a machine for tests has the hardware."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import REPOSITORY
from .harness import Container, Runtime

STAND_IN = """
import os, shutil, sys
sys.path.insert(0, {library!r})
from pyoci import cli, host, seal
from pyoci.kernel import basic

resctrl = {resctrl!r}
gather, mkdir, rmdir, write = host.gather, basic.mkdir, basic.rmdir, basic.write

def gather_more(*arguments):
    found = gather(*arguments)
    return found.replace(mounts=(*found.mounts, host.HostMount(point=resctrl, root="/", fstype="resctrl")))

def mkdir_with_files(path, *arguments, **more):
    mkdir(path, *arguments, **more)
    if path.startswith(resctrl):
        for name in ("tasks", "schemata"):
            open(path + "/" + name, "w").close()
        mkdir(path + "/mon_groups")

def rmdir_with_files(path, **more):
    shutil.rmtree(path) if path.startswith(resctrl) else rmdir(path, **more)

def write_what_is_right(fd, content):
    if b"L3:0=f1" in content and os.readlink("/proc/self/fd/%d" % fd).startswith(resctrl):
        raise OSError(22, "a mask with a gap")
    return write(fd, content)

host.gather, basic.mkdir, basic.rmdir = gather_more, mkdir_with_files, rmdir_with_files
basic.write = write_what_is_right
seal.is_sealed = lambda: True
cli.main()
"""


@pytest.fixture
def resctrl(tmp_path: Path) -> Path:
    (tmp_path / "mon_groups").mkdir()
    for name in ("tasks", "schemata"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.fixture
def box(container: Container, resctrl: Path) -> Container:
    if container.runtime.name != "pyoci":
        pytest.skip("the stand-in for resctrl works from within")
    program = container.scratch / "pyoci"
    script = container.scratch / "stand-in.py"
    script.write_text(STAND_IN.format(library=str(REPOSITORY), resctrl=str(resctrl)))
    program.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} -ISB {script} "$@"\n')
    program.chmod(0o755)
    container.runtime = Runtime("pyoci", str(program))
    return container


def tasks(group: Path) -> list[str]:
    return (group / "tasks").read_text().split()


def test_a_class_of_its_own(box: Container, resctrl: Path) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f", "enableMonitoring": True}
    box.launch()
    group = resctrl / box.id
    assert tasks(group) == tasks(group / "mon_groups" / box.id) == [str(box.pid)]
    assert (group / "schemata").read_text() == "L3:0=f\n"
    box.delete("--force").ok()
    assert not group.exists()


def test_a_class_of_the_callers(box: Container, resctrl: Path) -> None:
    group = resctrl / "gold"
    (group / "mon_groups").mkdir(parents=True)
    for name in ("tasks", "schemata"):
        (group / name).write_text("")
    box.linux["intelRdt"] = {"closID": "gold", "enableMonitoring": True}
    box.launch()
    assert tasks(group) == [str(box.pid)]
    assert (group / "mon_groups" / box.id).exists()
    box.delete("--force").ok()
    assert group.exists()
    assert list((group / "mon_groups").iterdir()) == []


def test_processes_of_exec_too(box: Container, resctrl: Path) -> None:
    box.linux["intelRdt"] = {}
    box.launch()
    pid_file = box.bundle / "exec.pid"
    box.exec("sleep", "1000", options=("--detach", "--pid-file", str(pid_file))).ok()
    assert tasks(resctrl / box.id) == [pid_file.read_text()]


def test_a_create_that_fails_takes_it_back(box: Container, resctrl: Path) -> None:
    box.linux["intelRdt"] = {"enableMonitoring": True}
    box.create(args=["/no/such/program"]).refused("/no/such/program")
    assert not (resctrl / box.id).exists()
    box.leaves_nothing()


@pytest.mark.parametrize("named", [True, False])
def test_a_class_that_cannot_be_set_up_is_not_left_behind(box: Container, resctrl: Path, named: bool) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f1", **({"closID": "gold"} if named else {})}
    box.create().refused("write L3:0=f1", "invalid argument")
    assert [group.name for group in resctrl.iterdir() if group.is_dir()] == ["mon_groups"]
    box.leaves_nothing()
    box.linux["intelRdt"]["l3CacheSchema"] = "L3:0=f"
    box.launch()
    assert tasks(resctrl / ("gold" if named else box.id)) == [str(box.pid)]


def test_a_class_that_is_not_there(box: Container, resctrl: Path) -> None:
    box.linux["intelRdt"] = {"closID": "gold"}
    box.create().refused("gold")
    box.leaves_nothing()


@pytest.mark.parametrize("name", [".", "..", "a/b"])
def test_a_class_outside_of_resctrl(box: Container, name: str) -> None:
    box.linux["intelRdt"] = {"closID": name, "l3CacheSchema": "L3:0=f"}
    box.create().refused("/linux/intelRdt/closID")


@pytest.mark.differs(runc="1.1.5 leaves it out without a word")
def test_a_host_without_resctrl(containers: Callable[[], Container]) -> None:
    if Path("/sys/fs/resctrl/tasks").exists():
        pytest.skip("this host has it")
    container = containers()
    container.linux["intelRdt"] = {"closID": "gold"}
    assert container.create().status == 1
    container.leaves_nothing()


def test_it_is_told_of(box: Container, resctrl: Path) -> None:
    box.linux["intelRdt"] = {"schemata": ["MB:0=20"], "enableMonitoring": True}
    box.write_config()
    told = box.call("plan", "--bundle", str(box.bundle), box.id).ok().out
    assert f"{resctrl}/{box.id}" in told
    assert "MB:0=20" in told


def test_update_and_events(box: Container, resctrl: Path) -> None:
    box.linux["intelRdt"] = {"l3CacheSchema": "L3:0=f"}
    box.launch()
    box.call("update", "--l3-cache-schema", "L3:0=3", "--mem-bw-schema", "MB:0=20", "--pids-limit", "50", box.id).ok()
    group = resctrl / box.id
    assert (group / "schemata").read_text() == "L3:0=3\nMB:0=20\n"
    saved = json.loads((box.root / box.id / "config.json").read_text())["linux"]
    assert saved["intelRdt"] == {"l3CacheSchema": "L3:0=3", "memBwSchema": "MB:0=20"}
    assert saved["resources"]["pids"] == {"limit": 50}
    event = json.loads(box.call("events", "--stats", box.id).ok().out)
    assert event["data"]["intel_rdt"]["schemata"] == ["L3:0=3", "MB:0=20"]
    (group / "schemata").unlink()
    (group / "schemata").mkdir()
    box.call("update", "--l3-cache-schema", "L3:0=1", "--pids-limit", "60", box.id).refused("schemata")
    again = json.loads((box.root / box.id / "config.json").read_text())["linux"]
    assert again == saved
    (group / "schemata").rmdir()
