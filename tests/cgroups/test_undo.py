# SPDX-License-Identifier: Apache-2.0
"""What was in a cgroup's files is put back as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.cgroups import limits, manage
from pyoci.cgroups.apply import apply_writes
from pyoci.cgroups.undo import as_writes, former, put_back, remember
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError
from tests.cgroups import worlds


@pytest.mark.parametrize(
    ("file", "written", "text", "expected"),
    [
        ("memory.max", "5", "max\n", "max"),
        ("cpu.max", "10000 20000", "max 100000\n", "max 100000"),
        ("cpuset.cpus", "0", "\n", "\n"),
        ("cpuset.cpus", "0", "0-3,7\n", "0-3,7"),
        ("cgroup.max.depth", "0", "", "\n"),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "0"),
        ("io.weight", "50", "default 100\n8:0 70\n", "100"),
        ("io.weight", "8:0 50", "default 100\n8:0 70\n", "8:0 70"),
        ("io.weight", "8:16 50", "default 100\n8:0 70\n", "8:16 default"),
        ("io.bfq.weight", "50", "100\n", "100"),
        ("io.bfq.weight", "8:0 50", "default 100\n", "8:0 default"),
        ("io.max", "8:0 rbps=5", "8:16 rbps=max wbps=1 riops=max wiops=max\n8:0 rbps=3 wbps=max\n",
         "8:0 rbps=3 wbps=max"),
        ("io.max", "8:0 rbps=5", "", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:0 99\n", "8:0 99"),
        ("blkio.throttle.read_bps_device", "8:0 5", "8:16 99\n", "8:0 0"),
        ("blkio.bfq.weight_device", "8:0 5", "default 100\n", "8:0 default"),
        ("rdma.max", "mlx4_0 hca_handle=2", "mlx4_0 hca_handle=max hca_object=7\n", "mlx4_0 hca_handle=max hca_object=7"),
        ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n", "eth0 3"),
        ("io.latency", "8:0 target=5", "", None),
        ("cgroup.events", "1", "populated 0\nfrozen 0\n", None),
    ],
)  # fmt: skip
def test_what_undoes_a_write(file: str, written: str, text: str, expected: str | None) -> None:
    assert former(file, written, text) == expected


def write(file: str, value: str, **more: object) -> Write:
    return Write(controller="", file=file, value=value, why="x", **more)  # type: ignore[arg-type]


def test_what_was_as_writes(tmp_path: Path) -> None:
    """For systemd, which cannot be told of an empty cpuset: that has what its parent has."""
    for name, text in (
        ("cpuset.cpus", "\n"),
        ("cpuset.cpus.effective", "0-3\n"),
        ("cpu.idle", "0\n"),
        ("cpu.weight", "7\n"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids/pids.max").write_text("max\n")
    paths = {"": str(tmp_path), "pids": f"{tmp_path}/pids"}
    limit = Write(controller="pids", file="pids.max", value="5", why="x")
    remembered = remember([write("cpuset.cpus", "0"), write("cpu.idle", "1"), limit], paths)
    assert [(each.controller, each.text()) for each in as_writes(remembered, paths)] == [
        ("", "cpuset.cpus = 0-3"),
        ("", "cpu.weight = 7"),
        ("", "cpu.idle = 0"),
        ("pids", "pids.max = max"),
    ]


def test_files_that_tell_nothing_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    (tmp_path / "fallback").write_text("2\n")
    writes = [write("a", "5"), write("a", "6"), write("b", "5"), write("c", "5", otherwise=write("fallback", "7"))]
    assert remember(writes, {"": str(tmp_path)}) == ((f"{tmp_path}/a", ("1",)), (f"{tmp_path}/fallback", ("2",)))
    assert remember(writes, {"memory": str(tmp_path)}) == ()


def test_an_idle_group_gets_its_weight_back_last(tmp_path: Path) -> None:
    (tmp_path / "cpu.idle").write_text("0\n")
    (tmp_path / "cpu.weight").write_text("59\n")
    held = remember([write("cpu.idle", "1")], {"": str(tmp_path)})
    assert held == ((f"{tmp_path}/cpu.weight", ("59",)), (f"{tmp_path}/cpu.idle", ("0",)))
    (tmp_path / "cpu.idle").write_text("1\n")
    assert remember([write("cpu.idle", "0")], {"": str(tmp_path)}) == ((f"{tmp_path}/cpu.idle", ("1",)),)


def test_a_cpuset_that_had_what_its_parent_has(tmp_path: Path) -> None:
    (tmp_path / "cpuset.cpus").write_text("\n")
    (tmp_path / "cpuset.cpus.effective").write_text("0-3\n")
    ((path, values),) = remember([write("cpuset.cpus", "0")], {"": str(tmp_path)})
    assert (path, values) == (f"{tmp_path}/cpuset.cpus", ("\n", "0-3"))
    (tmp_path / "cpuset.cpus").unlink()
    (tmp_path / "cpuset.cpus").mkdir()
    assert put_back([(path, values)]) == (f'write "" to {path}: is a directory',)


def test_what_cannot_be_put_back_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    problems = put_back([(f"{tmp_path}/missing/x", ("5", "6")), (f"{tmp_path}/a", ("7",))])
    assert problems == (f'write "5" to {tmp_path}/missing/x: no such file or directory',)
    assert (tmp_path / "a").read_text() == "7"


@pytest.mark.needs_root
@pytest.mark.needs_cgroup_v1
@pytest.mark.parametrize(
    ("before", "changes"),
    [
        ({"memory": {"limit": 32 << 20, "swap": 48 << 20}}, {"memory": {"limit": 128 << 20, "swap": 256 << 20}}),
        ({"memory": {"limit": 128 << 20, "swap": 256 << 20}}, {"memory": {"limit": 32 << 20, "swap": 48 << 20}}),
        ({}, {"memory": {"limit": 32 << 20, "swap": 48 << 20, "reservation": 1 << 20, "swappiness": 3}}),
        ({"cpu": {"quota": 20000, "period": 50000}}, {"cpu": {"quota": 600000, "period": 900000, "shares": 5}}),
        ({"cpu": {"shares": 300}}, {"cpu": {"idle": 1}}),
        ({"cpu": {"idle": 1}}, {"cpu": {"idle": 0}}),
        ({"pids": {"limit": 5}}, {"cpu": {"cpus": "0", "mems": "0"}, "pids": {"limit": -1}}),
    ],
)
def test_everything_is_put_back(before: dict[str, object], changes: dict[str, object]) -> None:
    plan = worlds.planned(worlds.fresh_path(), **before)
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        writes = limits.update(before, changes, paths)
        texts = contents(paths)
        held = remember(writes, paths)
        with pytest.raises(CgroupError):
            apply_writes([*writes, Write(controller="pids", file="pids.max", value="no number", why="x")], paths)
        assert contents(paths) != texts
        assert put_back(held) == ()
        assert contents(paths) == texts


def contents(paths: dict[str, str]) -> dict[str, str]:
    """The files of the controllers above whose content does not change by itself."""
    wanted = (
        "memory.limit_in",
        "memory.memsw.limit_in",
        "memory.soft",
        "memory.swappiness",
        "cpu.",
        "cpuset.",
        "pids.max",
    )
    found = {}
    for directory in paths.values():
        for name in os.listdir(directory):
            if name.startswith(wanted) and name not in ("cpu.stat", "cpuset.memory_pressure", "cpu.stat.local"):
                try:
                    found[f"{directory}/{name}"] = Path(directory, name).read_text()
                except OSError:
                    pass
    return found
