# SPDX-License-Identifier: Apache-2.0
"""Control groups: what a container may use, and how to find, stop and end all that runs in it.

    layout.py     what is mounted on this host, from /proc/self/mountinfo and /proc/self/cgroup; pure
    plan.py       where a container's cgroups are to be and all that will be written to them; pure
    limits.py     linux.resources as writes, by way of v1.py and v2.py; pure
    devices.py    linux.resources.devices as lines for v1 and as an eBPF program for v2; pure
    manage.py     the cgroupfs driver: create and apply, with prepare.py, apply.py and bpf.py
    join.py       join, Doors; remove.py  remove, exists
    freezer.py    freeze, thaw, is_frozen
    processes.py  pids, kill_all, oom_kills
    unit.py       the unit that a container is to be if systemd makes its cgroup, with properties.py and gvariant.py; pure
    systemd.py    the systemd driver, over D-Bus by way of bus.py
    ownership.py  whose a cgroup is
    undo.py       what limits were before an update, and putting them back
    stats.py      collect, with stats_v1.py and stats_v2.py, and stats_rdt.py for resctrl; readings.py
    oom.py        watch

The pure half decides, the other acts, and needs no more than the `paths` of a plan, which the state file keeps under the
name `cgroup_paths`: controller -> directory for cgroup v1, "" -> directory for the unified hierarchy of cgroup v2.
"""
