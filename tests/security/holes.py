# SPDX-License-Identifier: Apache-2.0
"""Which of these attacks succeed on the runtimes of Debian 12: what a test finds there it would find here.

By runtime: (pattern of test and parameters, why, whether it fails each time: a race may be lost).
"""

HOLES = {
    "runc": (
        ("test_mount_dest_race[[]*", "1.1.5 has CVE-2024-45310", False),
        ("test_proc_race[[]*", "1.1.5 looks for /proc anew each time", False),
        ("test_dev_symlink[[]*", "1.1.5 has CVE-2026-41579", True),
        ("test_dev_console_symlink_inside", "1.1.5 has CVE-2025-52565", True),
        ("test_masked_proc_redirect[[]*", "1.1.5 has CVE-2025-31133", True),
        ("test_masked_proc_redirect_by_a_volume", "1.1.5 has CVE-2025-31133", True),
        ("test_dev_null_symlink[[]*", "1.1.5 has the hole that crun has as CVE-2026-88265", True),
        ("test_mount_over_proc[[]tmpfs-/proc/self/attr]", "1.1.5 looks at bind mounts only", True),
        ("test_mount_over_proc[[]tmpfs-/proc/thread-self/attr]", "1.1.5 looks at bind mounts only", True),
        ("test_mount_over_proc[[]tmpfs-*sys]", "1.1.5 looks at bind mounts only", True),
        ("test_mount_over_proc[[]tmpfs-/proc/sys/kernel]", "1.1.5 looks at bind mounts only", True),
        ("test_mount_over_proc[[]tmpfs-/link/self/attr]", "1.1.5 looks at bind mounts only", True),
        ("test_a_covered_proc_gets_no_parameters", "1.1.5 sets parameters in whatever is at /proc", True),
        ("test_cgroup_mount_readonly[[]*", "1.1.5 leaves the directory above the hierarchies writable", True),
    ),
    "crun": (
        ("test_mount_dest_race[[]*", "1.8.1 gets lost on its way", False),
        ("test_proc_race[[]*", "1.8.1 looks for /proc anew each time", False),
        ("test_dev_symlink[[]*", "1.8.1 has CVE-2026-47766", True),
        ("test_dev_console_symlink[[]terminal-new]", "1.8.1 has CVE-2026-88264", True),
        ("test_dev_console_symlink_inside", "1.8.1 has CVE-2026-88264", True),
        ("test_masked_proc_redirect[[]/etc/passwd]", "1.8.1 looks for /dev/null in the image", True),
        ("test_masked_proc_redirect[[]/proc/self/environ]", "1.8.1 looks for /dev/null in the image", True),
        ("test_masked_proc_redirect_by_a_volume", "1.8.1 looks for /dev/null in the image", True),
        ("test_dev_null_symlink[[]file]", "1.8.1 has CVE-2026-88265", True),
        ("test_dev_null_symlink[[]link to a file]", "1.8.1 has CVE-2026-88265", True),
        ("test_mount_over_proc[[]*", "1.8.1 looks at /proc only when it writes there", False),
    ),
}
