# SPDX-License-Identifier: Apache-2.0
"""Cgroups that a container has made itself do not keep it from being killed and removed."""

from __future__ import annotations

import pytest

from .harness import Container, cgroups_named, eventually

FREEZERS = (("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0"))


@pytest.mark.differs(runc="1.1.5 waits for what is frozen", always=False)
@pytest.mark.parametrize("own_pids", [True, False], ids=["pid namespace", "no pid namespace"])
def test_processes_frozen_by_the_container_itself_are_killed(container: Container, own_pids: bool) -> None:
    if not own_pids:
        container.linux["namespaces"] = [entry for entry in container.linux["namespaces"] if entry["type"] != "pid"]
    container.launch()
    container.exec("sleep", "1000", options=("--detach", "--pid-file", str(container.bundle / "other"))).ok()
    pid = (container.bundle / "other").read_text()
    frozen = []
    for group in cgroups_named(container.id):
        freezer = next((item for item in FREEZERS if (group / item[0]).exists()), None)
        if freezer and (group.match("*/freezer/*") or (group / "cgroup.freeze").exists()):
            inner = group / "inner"
            inner.mkdir()
            (inner / "cgroup.procs").write_text(pid)
            (inner / freezer[0]).write_text(freezer[1])
            frozen.append((inner / freezer[0], freezer[2]))
    try:
        delete = container.background("delete", "--force", container.id)
        eventually("the end of delete", lambda: container.reap() is None or delete.poll() is not None)
        assert delete.returncode == 0
        container.live.remove(delete)
        container.leaves_nothing()
    finally:
        for file, thawed in frozen:
            if file.exists():  # a runtime that gives up leaves what even a SIGKILL does not end
                file.write_text(thawed)
