# SPDX-License-Identifier: Apache-2.0
"""Cgroups for real, on this host as it is (v1, hybrid or v2)."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import pytest

from pyoci.cgroups import devices, freezer, join, manage, processes, remove
from pyoci.cgroups.apply import apply_writes
from pyoci.cgroups.limits import update
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError
from tests.cgroups import worlds

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups]


def read(paths: dict[str, str], controller: str, file: str) -> str:
    return Path(paths[controller], file).read_text().strip()


def test_a_process_is_moved_into_every_hierarchy_and_all_is_removed_again() -> None:
    path = worlds.fresh_path()
    plan = worlds.planned(f"{path}/inner")
    with worlds.removed_afterwards(worlds.planned(path), plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        assert paths == plan.paths
        assert join.join(paths, pid, plan) == paths
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        assert {line.split(":", 2)[2] for line in lines} == {f"{path}/inner"}
        assert processes.pids(paths) == [pid]
        assert remove.exists(paths)
        os.kill(pid, signal.SIGKILL)
        remove.remove(paths)
        assert not remove.exists(paths)
        remove.remove(paths)


def test_everybody_may_read_it_whatever_the_callers_umask() -> None:
    path = worlds.fresh_path()
    plan = worlds.planned(f"{path}/inner")
    with worlds.removed_afterwards(worlds.planned(path), plan):
        before = os.umask(0o077)
        try:
            paths = manage.create(plan)
            assert os.umask(0o077) == 0o077
        finally:
            os.umask(before)
        made = [Path(directory) for directory in paths.values()]
        assert {directory.stat().st_mode & 0o777 for directory in (*made, *(each.parent for each in made))} == {0o755}


@pytest.mark.needs_cgroup_v1
def test_a_process_goes_through_the_doors_by_itself() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        directories = {path for name, path in paths.items() if name}
        reading, writing = os.pipe()
        doors = join.Doors({**paths, "name=none": "/sys/fs/cgroup/nothing/here"})
        pid = os.fork()
        if not pid:
            os.write(writing, "\0".join(doors.enter()).encode())
            signal.pause()
        doors.close()
        try:
            entered = os.read(reading, 9999).decode().split("\0")
            assert set(entered) == directories
            assert all(processes.pids({name: path}) == [pid] for name, path in paths.items() if name)
            assert join.join(paths, pid, plan, entered) == paths
            assert processes.pids(paths) == [pid]
        finally:
            processes.kill_all(paths, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reading)
            os.close(writing)


@pytest.mark.needs_cgroup_v1
def test_limits_of_v1() -> None:
    plan = worlds.planned(
        worlds.fresh_path(),
        memory={"limit": 1 << 26, "swap": 1 << 27, "reservation": 1 << 25, "swappiness": 10},
        cpu={"shares": 512, "quota": 50000, "period": 20000, "burst": 1000, "cpus": "0", "mems": "0"},
        pids={"limit": 42},
    )
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        assert (read(paths, "cpuset", "cpuset.cpus"), read(paths, "cpuset", "cpuset.mems")) == ("0", "0")
        join.join(paths, pid)
        notes = manage.apply(plan, paths)
        assert all("cfs_burst_us" in note or "swappiness" in note for note in notes)
        assert read(paths, "memory", "memory.limit_in_bytes") == str(1 << 26)
        assert read(paths, "memory", "memory.memsw.limit_in_bytes") == str(1 << 27)
        assert read(paths, "memory", "memory.soft_limit_in_bytes") == str(1 << 25)
        assert read(paths, "memory", "memory.swappiness") == "10"
        assert read(paths, "cpu", "cpu.shares") == "512"
        assert read(paths, "cpu", "cpu.cfs_quota_us") == "50000"
        assert read(paths, "cpu", "cpu.cfs_period_us") == "20000"
        assert read(paths, "pids", "pids.max") == "42"


@pytest.mark.needs_cgroup_v1
def test_memory_grows_and_shrinks_in_v1() -> None:
    """limit_in_bytes may at no time exceed memsw.limit_in_bytes, so the order of writing depends on the direction."""
    saved = {"memory": {"limit": 1 << 26, "swap": 1 << 26}}
    plan = worlds.planned(worlds.fresh_path(), **saved)
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        for size in (1 << 28, 1 << 24, -1, 1 << 25):
            apply_writes(update(saved, {"memory": {"limit": size, "swap": size}}, paths), paths)
            for file in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
                assert (int(read(paths, "memory", file)) == size) or size == -1
                assert size != -1 or int(read(paths, "memory", file)) > 1 << 60


@pytest.mark.needs_cgroup_v1
def test_quota_and_period_are_written_in_the_order_the_parent_allows() -> None:
    """A parent with 50 % of a CPU refuses 100 ms of quota in the old period of 100 ms, but not in one of 1 s."""
    path = worlds.fresh_path()
    outer = worlds.planned(path, cpu={"quota": 50000, "period": 100000})
    plan = worlds.planned(f"{path}/inner", cpu={"quota": 50000, "period": 100000})
    with worlds.removed_afterwards(outer, plan):
        manage.apply(outer, manage.create(outer))
        paths = manage.create(plan)
        manage.apply(plan, paths)
        for quota, period in ((5000, 10000), (500000, 1000000), (10000, 20000)):
            apply_writes(update({}, {"cpu": {"quota": quota, "period": period}}, paths), paths)
            assert read(paths, "cpu", "cpu.cfs_quota_us") == str(quota)
            assert read(paths, "cpu", "cpu.cfs_period_us") == str(period)


@pytest.mark.needs_cgroup_v1
def test_cpusets_are_filled_from_the_top() -> None:
    path = worlds.fresh_path()
    plan = worlds.planned(f"{path}/a/b", cpu={"cpus": "0"})
    outer = [worlds.planned(path), worlds.planned(f"{path}/a")]
    with worlds.removed_afterwards(*outer, plan):
        paths = manage.create(plan)
        everything = Path(plan.mount_points["cpuset"], "cpuset.cpus").read_text().strip()
        assert read(outer[0].paths, "cpuset", "cpuset.cpus") == everything
        assert read(outer[1].paths, "cpuset", "cpuset.cpus") == everything
        assert read(paths, "cpuset", "cpuset.cpus") == "0"
        assert (
            read(paths, "cpuset", "cpuset.mems") == Path(plan.mount_points["cpuset"], "cpuset.mems").read_text().strip()
        )


@pytest.mark.needs_cgroup_v1
def test_device_rules_of_v1(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    os.mknod(log, 0o20600, os.makedev(1, 11))
    rules = [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}]

    def use() -> list[str]:
        results = []
        for file, flags in ((log, os.O_WRONLY), (log, os.O_RDONLY), (log, os.O_RDWR), (Path("/dev/null"), os.O_RDWR)):
            try:
                os.close(os.open(file, flags))
                results.append("open")
            except OSError as error:
                results.append(os.strerror(error.errno or 0))
        os.mknod(tmp_path / "made", 0o20600, os.makedev(1, 1))
        return results

    plan = worlds.planned(worlds.fresh_path(), devices=rules)
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        refused = "Operation not permitted"
        answer = worlds.answer_inside(lambda pid: join.join(paths, pid), use)
        assert answer == repr(["open", refused, refused, "open"])


@pytest.mark.needs_cgroup_v1
def test_device_rules_are_written_again_though_there_are_cgroups_within() -> None:
    """Then the kernel refuses to refuse all: EINVAL."""
    plan = worlds.planned(worlds.fresh_path(), devices=[])
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        before = read(paths, "devices", "devices.list")
        Path(paths["devices"], "inner").mkdir()
        with pytest.raises(CgroupError, match="invalid argument"):
            apply_writes(devices.lines(devices.rules([])), paths)
        assert apply_writes(devices.lines(devices.rules([]), ("EINVAL",)), paths) == ()
        assert read(paths, "devices", "devices.list") == before


def test_a_failed_write_names_value_file_and_reason() -> None:
    plan = worlds.planned(worlds.fresh_path(), pids={"limit": 1 << 60})
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        with pytest.raises(CgroupError) as caught:
            manage.apply(plan, paths)
        file = f"{paths.get('pids') or paths['']}/pids.max"
        assert caught.value.message == f'write "{1 << 60}" to {file}: invalid argument'


def test_missing_files() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        controller = next(iter(paths))
        write = Write(controller=controller, file="cgroup.nothing", value="1", why="test")
        with pytest.raises(CgroupError, match=r'write "1" to .*/cgroup.nothing: no such file or directory'):
            apply_writes([write], paths)
        (note,) = apply_writes([write.replace(tolerate=("ENOENT",))], paths)
        assert "cgroup.nothing" in note
        there = "notify_on_release" if controller else "cgroup.max.depth"
        assert apply_writes([write.replace(otherwise=write.replace(file=there))], paths) == ()
        with pytest.raises(CgroupError, match="cannot set rdma limit: container could not join or create cgroup"):
            apply_writes([write.replace(controller="rdma")], {"pids": "/nowhere"})


def test_creation_is_undone_when_it_fails() -> None:
    path = worlds.fresh_path()
    plan = worlds.planned(f"{path}/a/b", cpu={"cpus": "4000"})
    with pytest.raises(CgroupError, match=r'write "4000" to .*cpuset.cpus'):
        manage.create(plan)
    assert not remove.exists(plan.paths)
    assert not remove.exists(worlds.planned(path).paths)


def test_a_cgroup_with_processes_is_not_taken_over() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        assert manage.create(plan) == paths, "an empty one may be used again"
        join.join(paths, pid)
        with pytest.raises(CgroupError, match=f"container's cgroup is not empty: 1 process.* the first is {pid}"):
            manage.create(plan)
        assert remove.exists(paths)


def test_a_frozen_cgroup_is_not_taken_over() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        freezer.freeze(paths)
        try:
            with pytest.raises(CgroupError, match="container's cgroup unexpectedly frozen"):
                manage.create(plan)
        finally:
            freezer.thaw(paths)


def test_freezing() -> None:
    plan = worlds.planned(worlds.fresh_path())
    assert not freezer.is_frozen(plan.paths)
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        assert not freezer.is_frozen(paths)
        freezer.freeze(paths)
        assert freezer.is_frozen(paths)
        freezer.freeze(paths)
        freezer.thaw(paths)
        assert not freezer.is_frozen(paths)
        with pytest.raises(CgroupError, match="cgroups not configured"):
            freezer.freeze({})
        assert not freezer.is_frozen({})


def test_killing_all_even_if_frozen() -> None:
    path = worlds.fresh_path()
    plan, sub = worlds.planned(path), worlds.planned(f"{path}/sub")
    with worlds.removed_afterwards(plan, sub), worlds.sleeping(3) as children:
        paths = manage.create(plan)
        join.join(paths, children[0])
        join.join(paths, children[1])
        join.join(manage.create(sub), children[2])
        assert processes.pids(paths) == sorted(children)
        freezer.freeze(paths)
        processes.kill_all(paths, signal.SIGKILL)
        worlds.wait_until(lambda: not processes.pids(paths))
        assert not freezer.is_frozen(paths)
        for pid in children:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        processes.kill_all(paths, signal.SIGKILL)
        remove.remove(paths)


def test_other_signals_leave_a_paused_container_paused() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        freezer.freeze(paths)
        processes.kill_all(paths, signal.SIGTERM)
        assert freezer.is_frozen(paths)
        freezer.thaw(paths)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_signalling_an_unfrozen_container_leaves_it_running() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        processes.kill_all(paths, signal.SIGSTOP)
        worlds.wait_until(lambda: worlds.state_of(pid) == "T")
        assert not freezer.is_frozen(paths)


def test_freezing_that_takes_too_long_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        with monkeypatch.context() as patch:
            patch.setattr(freezer, "get", lambda file: "FREEZING")
            patch.setattr(freezer, "keyed", lambda text, key: "0")
            with pytest.raises(CgroupError, match=r"still (FREEZING|not frozen) after"):
                freezer.freeze(paths, timeout=0.03)
        assert not freezer.is_frozen(paths)


def test_a_pid_that_is_not_listed_any_more_is_a_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        sent: list[int] = []
        monkeypatch.setattr(processes, "_send", lambda pidfd, number: sent.append(number))
        for last, expected in (([pid], [signal.SIGSTOP]), ([], [])):
            listed = iter([[pid], [pid], last])
            monkeypatch.setattr(processes, "_pids_below", lambda directory, listed=listed: next(listed))
            sent.clear()
            processes.kill_all(paths, signal.SIGSTOP)
            assert sent == expected


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("freezer_too", [True, False])
def test_nobody_escapes_by_forking(number: int, freezer_too: bool) -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            if len(paths) > 1:
                del paths[""]  # or else the kernel has an easier way
            if not freezer_too:
                paths.pop("freezer", None)
            worlds.chase(paths, number)

    worlds.in_child(body)


def test_we_do_not_signal_ourselves() -> None:
    def inside() -> bool:
        processes.kill_all(paths, signal.SIGKILL if list(paths) != [""] else signal.SIGTERM)
        return True

    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = {name: path for name, path in manage.create(plan).items() if name not in ("freezer", "")}
        if paths:
            assert worlds.answer_inside(lambda pid: join.join(paths, pid), inside) == "True"


def test_removal_takes_what_was_made_inside_along() -> None:
    """More levels than Python recurses, more than a process may hold descriptors of: what a container may well do."""
    plan = worlds.planned(worlds.fresh_path())
    controller = "pids" if "pids" in plan.paths else ""
    manage.create(plan)
    here = os.open(plan.paths[controller], os.O_RDONLY)
    try:
        for level in range(1200):
            os.mkdir("deep", dir_fd=here)
            if level % 100 == 0:
                os.mkdir("odd \\name\t'", dir_fd=here)
            below = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        Path(f"/proc/self/fd/{here}/cgroup.procs").read_text()
    finally:
        os.close(here)
        remove.remove(plan.paths)
    assert not remove.exists(plan.paths)


def test_removal_waits_for_what_is_about_to_end() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        paths = manage.create(plan)
        join.join(paths, pid)
        with pytest.raises(CgroupError, match=rf"rmdir .*: device or resource busy: 1 process.* the first is {pid}"):
            remove.remove(paths, timeout=0.05)
        killer = os.fork()
        if not killer:
            os.kill(pid, signal.SIGKILL)
            os._exit(0)
        remove.remove(paths)
        os.waitpid(killer, 0)
        assert not remove.exists(paths)


@pytest.mark.needs_cgroup_v1
def test_oom_kills_are_counted() -> None:
    def swell() -> int:
        return len(bytearray(1 << 28))

    plan = worlds.planned(worlds.fresh_path(), memory={"limit": 1 << 25, "swap": 1 << 25})
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        manage.apply(plan, paths)
        assert processes.oom_kills(paths) == 0
        assert worlds.answer_inside(lambda pid: join.join(paths, pid), swell) == ""
        assert processes.oom_kills(paths) == 1
    assert processes.oom_kills(paths) == 0
    assert processes.oom_kills({}) == 0


@pytest.mark.needs_cgroup_v1
def test_a_limit_below_what_is_in_use_says_so() -> None:
    def hold() -> str:
        held = bytearray(1 << 26)
        held[:: 1 << 12] = b"x" * (1 << 14)
        try:
            apply_writes([write], paths)
        except CgroupError as error:
            return error.message
        return "done"

    plan = worlds.planned(worlds.fresh_path())
    write = Write(controller="memory", file="memory.limit_in_bytes", value=str(1 << 20), why="memory.limit")
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        answer = worlds.answer_inside(lambda pid: join.join(paths, pid), hold)
        assert (
            "done" in answer
            or "device or resource busy: unable to set memory limit to 1048576 (current usage:" in answer
        )


def test_nobody_to_join() -> None:
    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan), worlds.sleeping() as (pid,):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        paths = manage.create(plan)
        with pytest.raises(CgroupError, match=f'write "{pid}" to .*/cgroup.procs: no such process'):
            join.join(paths, pid)


def test_an_ordinary_user_without_limits_needs_no_cgroup() -> None:
    worlds.in_child(lambda: worlds.as_nobody(worlds.expect_no_cgroup))


@pytest.mark.needs_cgroup_v1
def test_an_ordinary_user_with_limits_is_told_so() -> None:
    def body() -> None:
        limited = worlds.planned_for_nobody(memory={"limit": 1 << 30})
        with pytest.raises(CgroupError, match="cannot set memory limit: container could not join or create cgroup"):
            manage.apply(limited, manage.create(limited))

    worlds.in_child(lambda: worlds.as_nobody(body))


@pytest.mark.needs_cgroup_v1
def test_an_ordinary_user_hears_nothing_of_device_rules() -> None:
    """They are in every plan, whatever the config says, and could be had by none."""

    def body() -> None:
        plan = worlds.planned_for_nobody()
        assert [write for write in plan.after if write.file.startswith("devices.")]
        assert manage.apply(plan, manage.create(plan)) == ()

    worlds.in_child(lambda: worlds.as_nobody(body))


def test_an_ordinary_user_gets_no_cgroup_by_a_path() -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path()).replace(devices_lenient=True)
        with pytest.raises(CgroupError, match=r"mkdir .*: permission denied"):
            manage.create(plan)

    worlds.in_child(lambda: worlds.as_nobody(body))


def test_a_cgroup_that_may_be_made_but_not_joined_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: str, value: str) -> None:
        raise PermissionError(errno.EACCES, "refused", file)

    plan = worlds.planned(worlds.fresh_path())
    with worlds.removed_afterwards(plan):
        paths = manage.create(plan)
        monkeypatch.setattr(join, "put", refuse)
        with pytest.raises(CgroupError, match=r"cgroup.procs: permission denied"):
            join.join(paths, os.getpid(), plan)
        assert join.join(paths, os.getpid(), plan.replace(unprivileged=True)) == {}
        assert not remove.exists(paths), "what was made does not stay behind"
