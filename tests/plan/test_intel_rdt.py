# SPDX-License-Identifier: Apache-2.0
"""Which class of service a container gets, and who makes it."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.errors import SpecError
from pyoci.plan.intel_rdt import plan_intel_rdt
from pyoci.plan.model import IntelRdt


def planned(**rdt: Any) -> IntelRdt:
    return plan_intel_rdt(rdt, "web", "/sys/fs/resctrl")


def test_without_a_name_it_is_the_containers_own() -> None:
    plan = planned()
    assert (plan.group, plan.own, plan.made_if_missing) == ("/sys/fs/resctrl/web", True, True)


def test_the_schemata_come_last() -> None:
    plan = planned(schemata=["L2:0=f", "MB:1=5"], memBwSchema="MB:0=20", l3CacheSchema="L3:0=7f")
    assert plan.schemata == ("L3:0=7f", "MB:0=20", "L2:0=f", "MB:1=5")
    assert plan.compared == ()


def test_a_named_class_is_compared_before_it_is_used() -> None:
    plan = planned(closID="gold", memBwSchema="MB:0=20", schemata=["L2:0=f"])
    assert (plan.group, plan.own, plan.made_if_missing) == ("/sys/fs/resctrl/gold", False, True)
    assert plan.compared == ("MB:0=20",)


def test_a_named_class_with_nothing_to_set_must_be_there() -> None:
    assert not planned(closID="gold").made_if_missing


def test_the_default_class() -> None:
    plan = planned(closID="/", enableMonitoring=True)
    assert (plan.group, plan.own) == ("/sys/fs/resctrl", False)
    assert plan.monitoring == "/sys/fs/resctrl/mon_groups/web"


def test_monitoring_is_below_the_class() -> None:
    assert planned(closID="gold", enableMonitoring=True).monitoring == "/sys/fs/resctrl/gold/mon_groups/web"


def test_a_host_without_it() -> None:
    with pytest.raises(SpecError, match="no resctrl file system is mounted"):
        plan_intel_rdt({}, "web", "")
