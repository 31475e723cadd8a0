# SPDX-License-Identifier: Apache-2.0
"""Capability masks, and that the kernel ends up with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyoci.capabilities import (
    ALL,
    NAMES,
    NUMBERS,
    CapabilityPlan,
    after_user_change,
    before_user_change,
    grantable_capabilities,
    last_capability,
    names,
    plan_capabilities,
)
from pyoci.errors import PyociError
from tests.forked import in_child

LAST = len(NAMES) - 1
KILL, CHOWN, NET_RAW = "CAP_KILL", "CAP_CHOWN", "CAP_NET_RAW"


def mask(*wanted: str) -> int:
    return sum(1 << NUMBERS[name] for name in wanted)


def status() -> dict[str, int]:
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line[3:6]: int(line.split()[1], 16) for line in lines if line.startswith("Cap")}


def test_numbers_are_the_kernels() -> None:
    assert (NUMBERS["CAP_CHOWN"], NUMBERS["CAP_SETPCAP"], NUMBERS["CAP_SYS_ADMIN"]) == (0, 8, 21)
    assert (NUMBERS["CAP_SETFCAP"], NUMBERS["CAP_CHECKPOINT_RESTORE"]) == (31, 40)


def test_last_capability_is_the_kernels() -> None:
    assert last_capability() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def test_sets_are_independent() -> None:
    plan = plan_capabilities({"bounding": [KILL, CHOWN], "permitted": [KILL], "ambient": []}, LAST)
    assert (plan.bounding, plan.permitted, plan.effective, plan.ambient) == (mask(KILL, CHOWN), mask(KILL), 0, 0)


@pytest.mark.parametrize("config", [None, {}, {"bounding": None}])
def test_nothing_asked_is_nothing_given(config: dict[str, None] | None) -> None:
    assert plan_capabilities(config, LAST) == CapabilityPlan(last=LAST)


def test_unknown_names_are_reported_once_and_left_out() -> None:
    config = {"bounding": ["CAP_NEW", KILL, "kill", "CAP_BPF"], "effective": ["CAP_NEW"]}
    plan = plan_capabilities(config, NUMBERS["CAP_BPF"] - 1)
    assert plan.bounding == mask(KILL)
    assert plan.unknown == ("CAP_BPF", "CAP_NEW", "kill")


def test_what_cannot_be_granted_is_reported_and_left_out() -> None:
    plan = plan_capabilities({"bounding": [KILL, NET_RAW], "effective": [NET_RAW]}, LAST, ALL & ~mask(NET_RAW))
    assert (plan.bounding, plan.effective, plan.ungranted) == (mask(KILL), 0, (NET_RAW,))


def test_names_of_capabilities_yet_to_come() -> None:
    assert names(mask(KILL) | 1 << 60) == [KILL, "CAP_60"]


@pytest.mark.needs_root
def test_an_ordinary_user_gets_exactly_the_five_sets() -> None:
    sets = {
        "bounding": [KILL, CHOWN, NET_RAW],
        "permitted": [KILL, CHOWN],
        "effective": [KILL],
        "inheritable": [KILL, CHOWN],
        "ambient": [CHOWN, NET_RAW],  # the second is not permitted, so the kernel refuses it
    }
    plan = plan_capabilities(sets, last_capability())

    def inside() -> list[object]:
        before_user_change(plan)
        os.setgid(1000)
        os.setuid(1000)
        return [after_user_change(plan), status()]

    refused, now = in_child(inside, sealed=True)
    assert refused == [NET_RAW]
    assert now == {
        "Bnd": mask(KILL, CHOWN, NET_RAW),
        "Prm": mask(KILL, CHOWN),
        "Eff": mask(KILL),
        "Inh": mask(KILL, CHOWN),
        "Amb": mask(CHOWN),
    }


@pytest.mark.needs_root
def test_root_without_capabilities_has_none() -> None:
    plan = plan_capabilities(None, last_capability())

    def inside() -> dict[str, int]:
        before_user_change(plan)
        after_user_change(plan)
        return status()

    assert set(in_child(inside).values()) == {0}


@pytest.mark.needs_root
def test_all_that_is_grantable_is_granted() -> None:
    last = last_capability()
    grantable = grantable_capabilities(last)
    wanted = names((1 << last + 1) - 1)
    plan = plan_capabilities({"bounding": wanted, "permitted": wanted, "effective": wanted}, last, grantable)

    def inside() -> dict[str, int]:
        before_user_change(plan)
        after_user_change(plan)
        return status()

    now = in_child(inside)
    assert now["Eff"] == now["Prm"] == now["Bnd"] == grantable
    assert plan.ungranted == tuple(names((1 << last + 1) - 1 & ~grantable))


@pytest.mark.needs_root
def test_the_error_names_what_we_do_not_have() -> None:
    less = plan_capabilities({"bounding": [KILL], "permitted": [KILL]}, last_capability())
    more = plan_capabilities({"permitted": [KILL, NET_RAW]}, last_capability())

    def inside() -> str:
        before_user_change(less)
        after_user_change(less)
        try:
            after_user_change(more)
        except PyociError as error:
            return error.message
        return "no error"

    assert in_child(inside) == (
        "unable to apply caps: can't apply capabilities: operation not permitted (not ours to give: CAP_NET_RAW)"
    )
