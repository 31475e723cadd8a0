# SPDX-License-Identifier: Apache-2.0
"""A world for one program: what it sees, and that nothing of what it leaves outlives it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from conformance.world import Ending, World, adopt_orphans, hierarchies
from tests.forked import in_child
from tests.lifecycle.harness import children, is_gone_or_zombie

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_unshare, pytest.mark.needs_cgroups]
LIMIT = 60.0


def run(script: str, seconds: float = LIMIT, cgroup2: bool = False) -> tuple[Ending, Path]:
    """Run a shell script in a world; how it ended, and where. It takes a process of its own, whose children all are its own."""

    def drive() -> tuple[int | None, str, str, str]:
        adopt_orphans()
        with World("test", cgroup2) as world:
            ending = world.run(["sh", "-c", script], {"GREETING": "hello"}, seconds)
        assert not world.scratch.exists()
        assert not any(cgroup.exists() for cgroup in world.cgroups)
        assert children() == []
        return ending.status, ending.out, ending.err, str(world.scratch)

    status, out, err, scratch = in_child(drive)
    return Ending(status, out, err), Path(scratch)


def test_what_a_program_says() -> None:
    ending, scratch = run('echo "$GREETING"; pwd; echo no >&2; exit 3')
    assert ending == Ending(3, f"hello\n{scratch}\n", "no\n")


def test_death_by_a_signal() -> None:
    assert run("kill -TERM $$")[0].status == 143


def test_a_program_that_takes_too_long() -> None:
    for seconds in (1, 30):
        ending, _ = run("echo $$; exec sleep 1000", seconds)
        if ending.out:  # or it took as long as that to get there
            break
    assert ending.status is None
    assert is_gone_or_zombie(int(ending.out))


def test_the_processes_it_leaves() -> None:
    """A daemon, and one that ignores all that can be ignored and has children of its own."""
    ending, _ = run("setsid sleep 1000 & echo $!; sh -c 'trap \"\" TERM HUP INT; sleep 1000; :' & echo $!; sleep 0.1")
    assert all(not os.path.exists(f"/proc/{pid}") for pid in ending.out.split())


def test_its_orphans_are_buried_while_it_runs() -> None:
    """A runtime's `state` is asked for a container that has ended: as the child of someone who does not wait it would stay."""
    script = "pid=$(setsid sh -c 'echo $$; exec >&-; exit 0'); while [ -e /proc/$pid ]; do sleep 0.05; done; echo gone"
    assert run(script)[0].out == "gone\n"


def test_the_cgroups_it_leaves() -> None:
    one = hierarchies()[0].mount
    ending, _ = run(
        f"mkdir -p {one}/testdir/deep; echo $$ >{one}/testdir/deep/cgroup.procs; cat /proc/self/cgroup; ls {one}"
    )
    assert ending.status == 0, ending
    assert "/testdir/deep\n" in ending.out
    assert not (one / "testdir").exists()


@pytest.mark.needs_cgroup_v1
def test_what_it_left_frozen() -> None:
    freezer = "/sys/fs/cgroup/freezer/cold"
    script = (
        f"mkdir {freezer}; sleep 1000 & echo $!; echo $! >{freezer}/cgroup.procs; echo FROZEN >{freezer}/freezer.state"
    )
    ending, _ = run(script)
    assert ending.status == 0, ending
    assert not os.path.exists(f"/proc/{ending.out.strip()}")


def test_its_mounts_are_its_own(tmp_path: Path) -> None:
    ending, _ = run(f"mount -t tmpfs none {tmp_path} && touch {tmp_path}/file && ls {tmp_path}")
    assert ending.out == "file\n"
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_do_not_meet() -> None:
    one = hierarchies()[0].mount

    def drive() -> list[int | None]:
        with World("one") as first, World("other") as second:
            return [world.run(["mkdir", f"{one}/cgrouptest"], {}, LIMIT).status for world in (first, second)]

    assert in_child(drive) == [0, 0]


def test_cgroup_v2_alone() -> None:
    ending, _ = run(
        "cat /proc/self/mounts; cat /sys/fs/cgroup/cgroup.controllers; mkdir /sys/fs/cgroup/box", cgroup2=True
    )
    assert ending.status == 0, ending
    assert [line.split()[2] for line in ending.out.splitlines() if " /sys/fs/cgroup" in line][-1] == "cgroup2"


def test_a_world_goes_away_if_its_user_fails() -> None:
    def drive() -> list[bool]:
        with suppress(ZeroDivisionError), World("test") as world:
            raise ZeroDivisionError
        return [place.exists() for place in (world.scratch, *world.cgroups)]

    assert not any(in_child(drive))
