# SPDX-License-Identifier: Apache-2.0
"""The program and what it is given."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from pyoci.capabilities import ALL, NUMBERS
from pyoci.errors import SpecError
from pyoci.plan.model import Limit, Process
from pyoci.plan.process import RLIMITS, plan_process, with_environment
from tests.plan.hosts import host


def planned(own_users: bool = False, keyring: bool = True, **process: Any) -> Process:
    found, warnings = plan_process({"args": ["sh"], **process}, {}, host(), own_users=own_users, keyring=keyring)
    assert warnings == []
    return found


def test_the_least_that_there_may_be() -> None:
    process = planned()
    assert (process.args, process.env, process.cwd, process.umask) == (("sh",), (), "/", 0o022)
    assert (process.uid, process.gid, process.groups) == (0, 0, ())
    assert (process.terminal, process.console_size, process.no_new_privileges) == (False, (0, 0), False)
    assert (process.limits, process.oom_score_adj, process.apparmor, process.selinux) == ((), None, "", "")
    assert process.capabilities.bounding == 0
    assert process.keyring
    assert not planned(keyring=False).keyring


def test_no_process_at_all() -> None:
    process, warnings = plan_process(None, {}, host(), own_users=False, keyring=True)
    assert warnings == []
    assert (process.args, process.cwd, process.uid, process.capabilities.bounding) == ((), "/", 0, 0)


@pytest.mark.parametrize("args", [None, []])
def test_no_program(args: Any) -> None:
    with pytest.raises(SpecError, match="/process/args is missing or empty"):
        planned(args=args)


def test_all_that_there_may_be() -> None:
    process = planned(
        args=["a", "", "b c"],
        cwd="/srv",
        user={"uid": 1, "gid": 2, "umask": 0, "additionalGids": [3, 4]},
        terminal=True,
        consoleSize={"height": 24, "width": 80},
        noNewPrivileges=True,
        oomScoreAdj=0,
        rlimits=[
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
            {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
        ],
    )
    assert (process.args, process.cwd) == (("a", "", "b c"), "/srv")
    assert (process.uid, process.gid, process.groups, process.umask) == (1, 2, (3, 4), 0)
    assert (process.terminal, process.console_size, process.no_new_privileges) == (True, (24, 80), True)
    assert process.oom_score_adj == 0
    assert process.limits == (
        Limit(name="RLIMIT_CORE", number=4, soft=0, hard=2**64 - 1),
        Limit(name="RLIMIT_NOFILE", number=7, soft=1, hard=2),
    )


def test_limits_have_the_kernels_numbers() -> None:
    assert len(set(RLIMITS.values())) == len(RLIMITS) == 16
    for name, number in RLIMITS.items():
        assert getattr(resource, name, number) == number


@pytest.mark.parametrize(
    ("env", "kept"),
    [
        ([], ()),
        (["A=1", "B=2"], ("A=1", "B=2")),
        (["A=1", "B=2", "A=3"], ("B=2", "A=3")),
        (["A=1", "A=1"], ("A=1",)),
        (["A=x=y", "A"], ("A",)),
        (["=x", "A="], ("=x", "A=")),
        (["a=1", "A=2"], ("a=1", "A=2")),
    ],
)
def test_of_each_variable_the_last(env: list[str], kept: tuple[str, ...]) -> None:
    assert planned(env=env).env == kept


def test_variables_of_ours_win() -> None:
    process = with_environment(planned(env=["LISTEN_FDS=7", "A=1"]), {"LISTEN_FDS": "2"})
    assert process.env == ("A=1", "LISTEN_FDS=2")


@pytest.mark.parametrize(
    ("user", "containers", "umask"),
    [({"umask": 0}, 0o27, 0), ({}, 0o27, 0o27), ({}, 0, 0), ({}, None, 0o22), ({"umask": None}, None, 0o22)],
)
def test_the_umask_of_an_exec(user: dict[str, Any], containers: int | None, umask: int) -> None:
    config = {"args": ["sh"], "user": user}
    process, _ = plan_process(config, {}, host(), own_users=False, keyring=True, default_umask=containers)
    assert process.umask == umask


@pytest.mark.parametrize(("umask", "kept"), [(0o7022, 0o22), (2**31, 0), (2**32 - 1, 0o777)])
def test_bits_that_no_umask_has(umask: int, kept: int) -> None:
    assert planned(user={"umask": umask}).umask == kept


def test_more_groups_than_a_process_can_have() -> None:
    assert len(planned(user={"additionalGids": [7] * 65536}).groups) == 65536
    with pytest.raises(SpecError, match="/process/user/additionalGids: 65537 groups are more than a process can have"):
        planned(user={"additionalGids": [7] * 65537})


def test_capabilities() -> None:
    sets = {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN"], "effective": ["CAP_KILL"]}
    held = planned(capabilities=sets).capabilities
    kill, admin = 1 << NUMBERS["CAP_KILL"], 1 << NUMBERS["CAP_SYS_ADMIN"]
    assert (held.bounding, held.effective, held.permitted) == (kill | admin, kill, 0)


def test_capabilities_that_are_not_ours_to_give() -> None:
    kill, admin = 1 << NUMBERS["CAP_KILL"], 1 << NUMBERS["CAP_SYS_ADMIN"]
    process = {"args": ["sh"], "capabilities": {"bounding": ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_NO_SUCH"]}}
    poor = host(grantable_capabilities=kill)
    found, warnings = plan_process(process, {}, poor, own_users=False, keyring=True)
    assert found.capabilities.bounding == kill
    assert warnings == [
        "capability CAP_NO_SUCH is unknown to this kernel and left out",
        "capability CAP_SYS_ADMIN is not ours to give and left out",
    ]
    found, warnings = plan_process(process, {}, poor, own_users=True, keyring=True)
    assert found.capabilities.bounding == kill | admin, "in a user namespace of its own"
    assert len(warnings) == 1


def test_capabilities_that_the_kernel_does_not_have() -> None:
    process = {"args": ["sh"], "capabilities": {"bounding": ["CAP_CHECKPOINT_RESTORE"]}}
    old = host(last_capability=37, grantable_capabilities=ALL)
    found, warnings = plan_process(process, {}, old, own_users=False, keyring=True)
    assert (found.capabilities.bounding, len(warnings)) == (0, 1)
