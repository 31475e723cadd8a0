# SPDX-License-Identifier: Apache-2.0
"""cgroup v2 for real, in a mount namespace of our own where nothing else is mounted.

Which controllers it has there depends on what the host has given to cgroup v1, so limits are tested with those that are
left over; devices, freezing and killing need no controller.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from pyoci import syscalls
from pyoci.cgroups import bpf, devices, freezer, join, layout, manage, processes, remove
from pyoci.cgroups.apply import apply_writes
from pyoci.cgroups.devices import CHAR, MKNOD, READ, Rule
from pyoci.cgroups.writes import Write
from pyoci.errors import CgroupError
from pyoci.process.clone import clone_into
from tests.cgroups import worlds

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_cgroups]
REFUSED = "Operation not permitted"


def attached(directory: str) -> list[int]:
    fd = os.open(directory, os.O_RDONLY)
    try:
        return bpf.attached(fd)
    finally:
        os.close(fd)


def opened(path: str, flags: int = os.O_RDONLY) -> bool:
    os.close(os.open(path, flags))
    return True


def test_life_and_death() -> None:
    def body() -> None:
        assert layout.read().mode == "v2"
        path = worlds.fresh_path()
        plan = worlds.planned(f"{path}/box")
        with worlds.removed_afterwards(worlds.planned(path), plan), worlds.sleeping(2) as (first, second):
            paths = manage.create(plan)
            assert paths == {"": f"/sys/fs/cgroup{path}/box"}
            join.join(paths, first)
            manage.apply(plan, paths)
            sub = worlds.planned(f"{path}/box/sub")
            join.join(manage.create(sub), second)
            assert processes.pids(paths) == sorted([first, second])
            freezer.freeze(paths)
            assert freezer.is_frozen(paths)
            assert not freezer.is_frozen(sub.paths), "only its parent is"
            processes.kill_all(paths, signal.SIGKILL)
            for pid in (first, second):
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
            remove.remove(paths)
            assert not remove.exists(paths)

    worlds.with_v2_alone(body)


def test_without_cgroup_kill_it_is_frozen_signalled_and_thawed() -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan), worlds.sleeping(5) as children:
            paths = manage.create(plan)
            for pid in children:
                join.join(paths, pid)
            processes.kill_all(paths, signal.SIGTERM)
            for pid in children:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
            assert not freezer.is_frozen(paths)

    worlds.with_v2_alone(body)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nobody_escapes_by_forking(number: int) -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            worlds.chase(manage.create(plan), number)

    worlds.with_v2_alone(body)


def test_clone_into_cgroup() -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            doors = join.Doors(paths)
            assert doors.tasks == []
            pid, _, born_there = clone_into(0, doors)
            if not pid:
                signal.pause()
            doors.close()
            assert born_there
            try:
                assert processes.pids(paths) == [pid]
            finally:
                processes.kill_all(paths, signal.SIGKILL)
                os.waitpid(pid, 0)
            assert join.join(paths, 0, entered=[doors.unified_path]) == paths, "there is nothing left to do"
            assert join.Doors({"": "/sys/fs/cgroup/nothing/here"}).unified == -1

    worlds.with_v2_alone(body)


def test_joining_a_container_that_has_divided_its_cgroup() -> None:
    def body() -> None:
        controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
        path = worlds.fresh_path()
        plan, sub, other = (worlds.planned(path + end) for end in ("", "/init\x0b.scope", "-other"))
        with worlds.removed_afterwards(plan, other), worlds.sleeping(2) as (init, late):
            paths = manage.create(plan)
            os.mkdir(sub.paths[""])
            join.join(sub.paths, init)
            assert join.init_cgroup(paths, init) == sub.paths[""]
            assert join.join_beside(paths, late, init) == paths
            Path("/sys/fs/cgroup/cgroup.procs").write_text(str(late))
            if controllers:
                Path(paths[""], "cgroup.subtree_control").write_text(f"+{controllers[0]}")
                with pytest.raises(CgroupError, match=r"cgroup.procs: device or resource busy"):
                    join.join(paths, late)
                assert join.join_beside(paths, late, init) == sub.paths
                assert processes.pids(sub.paths) == sorted([init, late])
            join.join(manage.create(other), init)
            with pytest.raises(CgroupError, match="which is not below"):
                join.init_cgroup(paths, init)

    worlds.with_v2_alone(body)


def test_device_rules_are_enforced(tmp_path: Path) -> None:
    log = str(tmp_path / "kmsg")
    rules = [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}]

    def body() -> None:
        syscalls.mount("none", str(tmp_path), "tmpfs", 0)  # /tmp may be one with nodev
        os.mknod(log, 0o20600, os.makedev(1, 11))
        plan = worlds.planned(worlds.fresh_path(), devices=rules)
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            assert attached(paths[""]) == []
            manage.apply(plan, paths)

            def inside(function: object) -> str:
                return worlds.answer_inside(lambda pid: join.join(paths, pid), function)  # type: ignore[arg-type]

            assert inside(lambda: opened(log, os.O_WRONLY)) == "True"
            assert inside(lambda: opened(log, os.O_RDONLY)) == REFUSED
            assert inside(lambda: opened(log, os.O_RDWR)) == REFUSED
            assert inside(lambda: opened("/dev/null", os.O_RDWR)) == "True"
            assert inside(lambda: opened("/dev/urandom")) == "True"
            assert inside(lambda: os.mknod(str(tmp_path / "mem"), 0o20600, os.makedev(1, 1))) == "None"
            assert inside(lambda: opened(str(tmp_path / "mem"))) == REFUSED
            assert worlds.answer_inside(lambda pid: None, lambda: opened(log)) == "True", "others are not concerned"

    worlds.with_v2_alone(body)


def test_rules_are_replaced_never_stacked(tmp_path: Path) -> None:
    nothing = Rule(allow=False, kinds=(devices.BLOCK, CHAR))
    no_zero = devices.program([nothing, Rule(allow=True, major=1, minor=3, access=READ)])
    no_null = devices.program([nothing, Rule(allow=True, major=1, minor=5, access=READ | MKNOD)])

    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            directory = paths[""]

            def answers() -> list[str]:
                made = str(tmp_path / "made")
                functions = [
                    lambda: opened("/dev/null"),
                    lambda: opened("/dev/zero"),
                    lambda: os.mknod(made, 0o20600, os.makedev(1, 5)),
                ]
                return [worlds.answer_inside(lambda pid: join.join(paths, pid), f) for f in functions]

            bpf.install(directory, no_zero)
            (first,) = attached(directory)
            assert answers() == ["True", REFUSED, REFUSED]
            bpf.install(directory, no_null)
            (second,) = attached(directory)
            assert second != first
            assert answers() == [REFUSED, "True", "None"]
            bpf.install(directory, None)
            assert attached(directory) == []
            bpf.install(directory, None)
            assert answers()[:2] == ["True", "True"]

    worlds.with_v2_alone(body)


def test_several_programs_of_others_are_replaced_by_one() -> None:
    nothing = devices.program([Rule(allow=False)])

    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            directory = manage.create(plan)[""]
            fd = os.open(directory, os.O_RDONLY)
            for number in range(3):
                loaded = bpf._loaded(devices.program([Rule(allow=True, minor=number)]), directory)
                attach = syscalls.buffer(bpf._attach.pack(fd, loaded, 6, 2, 0))
                syscalls.bpf(8, attach, bpf._attach.size)
                os.close(loaded)
            assert len(attached(directory)) == 3
            os.close(fd)
            bpf.install(directory, nothing)
            assert len(attached(directory)) == 1

    worlds.with_v2_alone(body)


def test_a_program_that_the_kernel_does_not_take() -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            directory = manage.create(plan)[""]
            with pytest.raises(CgroupError, match=f"load the device rules for {directory}: invalid argument"):
                bpf.install(directory, b"\0" * 16)

    worlds.with_v2_alone(body)


def test_huge_pages_are_limited_where_v2_has_the_controller() -> None:
    def body() -> None:
        sizes = [name for name in os.listdir("/sys/kernel/mm/hugepages") if name == "hugepages-2048kB"]
        controllers = Path("/sys/fs/cgroup/cgroup.controllers").read_text().split()
        path = worlds.fresh_path()
        plan = worlds.planned(f"{path}/box", hugepageLimits=[{"pageSize": "2MB", "limit": 1 << 22}])
        assert plan.needed == ("hugetlb",)
        with worlds.removed_afterwards(worlds.planned(path), plan):
            paths = manage.create(plan)
            if "hugetlb" in controllers and sizes:
                assert manage.apply(plan, paths) == ()
                assert Path(paths[""], "hugetlb.2MB.max").read_text() == f"{1 << 22}\n"
                assert Path(paths[""], "hugetlb.2MB.rsvd.max").read_text() == f"{1 << 22}\n"
                odd = worlds.planned(f"{path}/box", hugepageLimits=[{"pageSize": "3MB", "limit": 1}])
                with pytest.raises(CgroupError, match=r"hugetlb.3MB.max: no such file.*no huge pages of this size"):
                    manage.apply(odd, paths)
            else:
                with pytest.raises(CgroupError, match="controller hugetlb is not available here"):
                    manage.apply(plan, paths)

    worlds.with_v2_alone(body)


def test_a_controller_that_is_not_there_is_named() -> None:
    def body() -> None:
        plan = worlds.planned(worlds.fresh_path(), unified={"nothing.max": "1"})
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            with pytest.raises(
                CgroupError, match="no such file or directory: controller nothing is not available here"
            ):
                manage.apply(plan, paths)

    worlds.with_v2_alone(body)


def test_unified_files_are_written_line_by_line() -> None:
    def body() -> None:
        plan = worlds.planned(
            worlds.fresh_path(), unified={"cgroup.max.depth": "5\n7\n", "cgroup.max.descendants": "9"}
        )
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            manage.apply(plan, paths)
            assert Path(paths[""], "cgroup.max.depth").read_text() == "7\n"
            assert Path(paths[""], "cgroup.max.descendants").read_text() == "9\n"

    worlds.with_v2_alone(body)


def test_a_parent_with_processes_hands_no_controllers_down() -> None:
    def body() -> None:
        if "hugetlb" not in Path("/sys/fs/cgroup/cgroup.controllers").read_text().split():
            return
        path = worlds.fresh_path()
        outer = worlds.planned(path)
        plan = worlds.planned(f"{path}/box", hugepageLimits=[{"pageSize": "2MB", "limit": 1 << 22}])
        with worlds.removed_afterwards(outer, plan), worlds.sleeping() as (pid,):
            join.join(manage.create(outer), pid)
            # Which of the two it comes to depends on whether there are controllers for threads, which are handed down.
            with pytest.raises(
                CgroupError, match=r"(does not hand it down as it|a cgroup above it) holds processes itself"
            ):
                manage.apply(plan, manage.create(plan))

    worlds.with_v2_alone(body)


def test_threaded_cgroups() -> None:
    def body() -> None:
        path = worlds.fresh_path()
        outer, threaded = worlds.planned(path), worlds.planned(f"{path}/threaded")
        invalid = worlds.planned(f"{path}/invalid")
        domain = worlds.planned(f"{path}/invalid", hugepageLimits=[{"pageSize": "2MB", "limit": 0}])
        with worlds.removed_afterwards(outer, threaded, invalid), worlds.sleeping() as (pid,):
            join.join(manage.create(outer), pid)
            Path(manage.create(threaded)[""], "cgroup.type").write_text("threaded")
            with pytest.raises(CgroupError, match="'domain invalid', which rules out the hugetlb controller"):
                manage.create(domain)
            paths = manage.create(invalid)
            assert Path(paths[""], "cgroup.type").read_text() == "threaded\n"
            join.join(paths, pid)
            assert processes.pids(paths) == [pid]

    worlds.with_v2_alone(body)


def test_check_before_update() -> None:
    """Any file with a number will do to compare with."""

    def body() -> None:
        plan = worlds.planned(worlds.fresh_path())
        with worlds.removed_afterwards(plan):
            paths = manage.create(plan)
            Path(paths[""], "cgroup.max.depth").write_text("50")
            write = Write(controller="", file="cgroup.max.descendants", value="50", why="x", above="cgroup.max.depth")
            with pytest.raises(CgroupError, match="rejecting x 50 <= usage 50"):
                apply_writes([write], paths)
            apply_writes([write.replace(value="51")], paths)
            assert Path(paths[""], "cgroup.max.descendants").read_text() == "51\n"

    worlds.with_v2_alone(body)


def test_an_ordinary_user_without_limits_needs_no_cgroup() -> None:
    worlds.with_v2_alone(lambda: worlds.as_nobody(worlds.expect_no_cgroup))


def test_an_ordinary_user_with_limits_is_told_so() -> None:
    def body() -> None:
        limited = worlds.planned_for_nobody(unified={"cgroup.max.depth": "1", "pids.max": "7"})
        with pytest.raises(CgroupError, match=r"rootless needs no limits .* mkdir .*: permission denied"):
            manage.create(limited)

    worlds.with_v2_alone(lambda: worlds.as_nobody(body))
