# SPDX-License-Identifier: Apache-2.0
"""No space, no inodes, no descriptors, no memory: said so, and nothing half-made."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from ...lifecycle.harness import Container
from .world import World, answers, case, collect

DISKS = ("size=4k", "size=8k", "size=12k", "size=16k", "nr_inodes=2", "nr_inodes=3", "nr_inodes=4", "nr_inodes=5", "ro")
LIMITS = (
    *(("n", number) for number in (3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20)),
    *(("v", kib) for kib in (16_000, 18_000, 20_000, 22_000, 24_000, 28_000, 32_000, 60_000)),
    ("f", 0),
    ("f", 1),
    ("s", 16),
    ("s", 64),
    ("l", 0),
    ("d", 1000),
)


@case
def resource_shortage(world: World) -> str:
    """Each create either succeeds in full or fails with a word and leaves nothing."""
    complaints = []
    for options in DISKS:
        try:
            _on_small_disk(world, options)
        except AssertionError as error:
            complaints.append(f"{options}: {error}")
    for limit, number in LIMITS:
        try:
            with world.container() as box:
                _with_limit(box, f"ulimit -{limit} {number}", startup=limit in "vds")
        except AssertionError as error:
            complaints.append(f"ulimit -{limit} {number}: {error}")
    try:
        _full_afterwards(world)
    except AssertionError as error:
        complaints.append(f"a disk that is full by the time of delete: {error}")
    return collect(complaints, len(DISKS) + len(LIMITS) + 1, "shortages survived")


def _with_limit(box: Container, limit: str, startup: bool) -> None:
    del box.process["rlimits"]
    box.write_config()
    wrapper = ["sh", "-c", f'{limit}; exec "$0" "$@"']
    result = box.call("create", "--bundle", str(box.bundle), box.id, wrapper=wrapper)
    # With too little memory for a program to be loaded at all, it is the kernel's or the loader's to say so.
    if result.status > 1:
        assert startup, f"{result}"
        return
    if "-f" not in limit:  # our standard error is a file, too, and may not grow
        answers(result, 0, 1)
    if result.status:
        try:
            box.leaves_nothing()
        except AssertionError as error:
            raise AssertionError(f"{result}{error}") from None


def _on_small_disk(world: World, options: str) -> None:
    with world.container() as box, _disk(box, options):
        result = answers(box.create(), 0, 1)
        if result.status == 0:
            world.deleted(box)
        else:
            named = ("no space left on device", "read-only file system")
            assert any(word in result.err.lower() for word in named), f"does not say what is missing: {result}"
            assert not list(box.root.iterdir()), f"left {list(box.root.iterdir())}: {result}"


def _full_afterwards(world: World) -> None:
    with world.container() as box, _disk(box, "size=1m"):
        box.launch()
        with contextlib.suppress(OSError), open(box.root / "full", "wb") as file:
            while True:
                file.write(b"x" * 4096)
                file.flush()
        box.state()
        world.deleted(box)
        assert [path.name for path in box.root.iterdir()] == ["full"]


@contextlib.contextmanager
def _disk(box: Container, options: str) -> Iterator[None]:
    """A state root of the container's own, on a disk of this kind."""
    usual, box.root = box.root, box.scratch / "disk"  # outside the bundle, where nothing may be left mounted
    box.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(box.root)], check=True)
    try:
        yield
    finally:
        box.clean_up()
        subprocess.run(["umount", "--lazy", str(box.root)], check=True)
        box.root.rmdir()
        box.root = usual
