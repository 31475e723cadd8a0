# SPDX-License-Identifier: Apache-2.0
"""Mounts of type cgroup where there is cgroup v2 alone: with and without a cgroup namespace, and in a user namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .configs import mount, with_user_namespace
from .harness import Container
from .test_mounts import parse_mountinfo

pytestmark = pytest.mark.needs_unshare

ON_V2 = """
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
exec "$@"
"""
"""On a host with both versions: the calls of one test, in a mount namespace that has the second one alone."""


def on_v2() -> dict[str, Any]:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return {}
    return {"wrapper": ["unshare", "--mount", "sh", "-ec", ON_V2, "sh"]}


@pytest.mark.needs_cgroup_v1
@pytest.mark.parametrize("namespaced", [True, False])
def test_version_2_beside_version_1(container: Container, namespaced: bool) -> None:
    if namespaced:
        container.linux["namespaces"].append({"type": "cgroup"})
    container.mounts.append(mount("/cgroup2", "cgroup2", "cgroup", "ro", "nosuid"))
    container.resources.clear()
    mountinfo, listing = container.sh("cat /proc/self/mountinfo; echo ---; ls /cgroup2").split("---\n")
    kinds = {entry.point: entry.kind for entry in parse_mountinfo(mountinfo)}
    assert (kinds["/cgroup2"], kinds["/sys/fs/cgroup/memory"]) == ("cgroup2", "cgroup")
    assert "cgroup.procs" in listing.split()
    assert (container.id in listing.split()) == (not namespaced)


SCRIPT = """
cat /proc/self/mountinfo
echo ---
cat /proc/self/cgroup
echo ---
ls /sys/fs/cgroup
(echo 0 > /sys/fs/cgroup/cgroup.procs) 2>/dev/null && echo written
mkdir /sys/fs/cgroup/made 2>/dev/null && echo made
true
"""


def look(container: Container) -> tuple[str, str, list[str]]:
    """The options of the cgroup mount, /proc/self/cgroup, and what is to be seen and done in the mount."""
    container.resources.clear()
    mountinfo, cgroup, listing = container.run(args=["sh", "-c", SCRIPT], **on_v2()).ok().out.split("---\n")
    (entry,) = [one for one in parse_mountinfo(mountinfo) if one.point == "/sys/fs/cgroup"]
    assert entry.kind == "cgroup2"
    assert {"ro", "nosuid", "nodev", "noexec"} <= entry.options
    return mountinfo, cgroup.strip().splitlines()[-1], listing.split()


@pytest.mark.parametrize("mapped", [False, True], ids=["root", "user namespace"])
def test_with_a_cgroup_namespace(container: Container, mapped: bool) -> None:
    container.linux["namespaces"].append({"type": "cgroup"})
    if mapped:
        with_user_namespace(container.config)
    _, cgroup, listing = look(container)
    assert cgroup.endswith(":/")
    assert "cgroup.procs" in listing
    assert container.id not in listing
    assert not {"written", "made"} & set(listing)


@pytest.mark.parametrize("mapped", [False, True], ids=["root", "user namespace"])
def test_without_a_cgroup_namespace(container: Container, mapped: bool) -> None:
    if mapped:
        with_user_namespace(container.config)
    _, cgroup, listing = look(container)
    assert cgroup.endswith(f"/{container.id}")
    assert container.id in listing
    assert not {"written", "made"} & set(listing)
