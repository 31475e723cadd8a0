# SPDX-License-Identifier: Apache-2.0
"""pyoci.syscalls has all of pyoci.kernel, and nothing of its own."""

from __future__ import annotations

from types import ModuleType

import pytest

from pyoci import syscalls
from pyoci.kernel import basic, mounts, processes, sockets


@pytest.mark.parametrize("part", [basic, mounts, processes, sockets], ids=lambda part: part.__name__)
def test_every_name_of_a_part_is_there(part: ModuleType) -> None:
    names = {name for name in vars(part) if not name.startswith("_")} - {"annotations", "TYPE_CHECKING"}
    assert len(names) > 5
    assert {name for name in names if getattr(syscalls, name, None) is not getattr(part, name)} == set()


def test_the_exit_without_ceremony_is_there_in_spite_of_its_name() -> None:
    assert syscalls._exit is basic._exit
