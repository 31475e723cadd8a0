# SPDX-License-Identifier: Apache-2.0
"""A root file system as a mount, in a mount namespace that dies with the test's child."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.rootfs.root import Root
from tests.forked import in_child


def private_mounts() -> None:
    """From here on, what this process mounts is nobody else's business."""
    k.unshare(k.CLONE_NEWNS)
    k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)


def in_root(path: Path, function: Callable[[Root], Any]) -> Any:
    """What a function finds in a child of ours with mounts of its own, in which `path` is a mount, and the root.

    Times of access are kept as is usual, also where this machine has it otherwise: what is bound shows it.
    """

    def inside() -> Any:
        private_mounts()
        everything = os.open("/", os.O_PATH)
        k.mount_setattr(everything, k.MOUNT_ATTR_RELATIME, k.MOUNT_ATTR__ATIME, recursive=True)
        os.close(everything)
        os.umask(0)
        root = k.open_tree(k.AT_FDCWD, str(path), k.OPEN_TREE_CLONE)
        place = os.open(path, os.O_PATH)
        k.move_mount(root, place)
        os.close(place)
        return function(Root(root, str(path), os.open("/proc", os.O_PATH | os.O_DIRECTORY)))

    return in_child(inside)


def mountinfo(point: object) -> dict[str, str]:
    """The topmost mount at a place: options, propagation, type, source, and options of the file system."""
    found = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    line = [fields for fields in found if fields[4] == str(point)][-1]
    dash = line.index("-")
    return {
        "root": line[3],
        "options": line[5],
        "propagation": " ".join(line[6:dash]),
        "type": line[dash + 1],
        "source": line[dash + 2],
        "super": line[dash + 3],
    }


def is_mounted(point: object) -> bool:
    return any(line.split()[4] == str(point) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def refusal(action: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    with pytest.raises(PyociError) as caught:
        action(*arguments, **options)
    return caught.value.message


def descriptors() -> list[str]:
    """The open descriptors of this process."""
    return sorted(os.listdir("/proc/self/fd"), key=int)
