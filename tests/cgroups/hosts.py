# SPDX-License-Identifier: Apache-2.0
"""What /proc/self/mountinfo and /proc/self/cgroup hold on hosts of each kind, shortened to what matters."""

from __future__ import annotations

ROOT = "23 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n24 23 0:22 / /sys rw,nosuid - sysfs sysfs rw\n"

V1 = (
    ROOT
    + """31 24 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:13 master:2 - cgroup cgroup rw,memory
35 31 0:32 / /sys/fs/cgroup/devices rw,nosuid - cgroup cgroup rw,devices
36 31 0:33 / /sys/fs/cgroup/freezer rw,nosuid - cgroup cgroup rw,freezer
37 31 0:34 / /sys/fs/cgroup/cpuset rw,nosuid - cgroup cgroup rw,cpuset,noprefix
38 31 0:35 / /sys/fs/cgroup/pids rw,nosuid - cgroup cgroup rw,pids
39 31 0:36 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid - cgroup cgroup rw,net_cls,net_prio
40 31 0:37 / /sys/fs/cgroup/blkio rw,nosuid - cgroup cgroup rw,blkio
"""
)
V1_SELF = """9:net_cls,net_prio:/
8:blkio:/user.slice
7:pids:/user.slice/user-1000.slice
6:cpuset:/
5:freezer:/
4:devices:/user.slice
3:memory:/user.slice/user-1000.slice
2:cpu,cpuacct:/user.slice
1:name=systemd:/user.slice/user-1000.slice/session-1.scope
"""

HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,nosuid shared:20 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID_SELF = V1_SELF + "0::/user.slice/user-1000.slice/session-1.scope\n"

V2 = ROOT + "31 24 0:28 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
V2_SELF = "0::/user.slice/user-1000.slice/session-1.scope\n"
