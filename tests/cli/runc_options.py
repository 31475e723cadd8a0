# SPDX-License-Identifier: Apache-2.0
"""The command line of runc 1.5 as data, and why pyoci's is not the same where it is not."""

from __future__ import annotations

FLAGS = "flags"
VALUES = "values"

_CREATE = {
    FLAGS: "no-pivot no-new-keyring",
    VALUES: "bundle:b console-socket pidfd-socket pid-file preserve-fds",
}
RUNC_1_5: dict[str, dict[str, str]] = {
    "": {FLAGS: "debug systemd-cgroup version:v help:h", VALUES: "log log-format root rootless"},
    "checkpoint": {
        FLAGS: "leave-running tcp-established tcp-skip-in-flight link-remap ext-unix-sk shell-job lazy-pages file-locks"
        " pre-dump auto-dedup",
        VALUES: "image-path work-path parent-path status-fd page-server manage-cgroups-mode empty-ns",
    },
    "create": _CREATE,
    "delete": {FLAGS: "force:f"},
    "events": {FLAGS: "stats", VALUES: "interval"},
    "exec": {
        FLAGS: "tty:t detach:d no-new-privs ignore-paused",
        VALUES: "console-socket pidfd-socket cwd env:e user:u additional-gids:g process:p pid-file process-label apparmor"
        " cap:c preserve-fds cgroup",
    },
    "features": {},
    "kill": {FLAGS: "all:a"},
    "list": {FLAGS: "quiet:q", VALUES: "format:f"},
    "pause": {},
    "ps": {VALUES: "format:f"},
    "restore": {
        FLAGS: "tcp-established ext-unix-sk shell-job file-locks detach:d no-subreaper no-pivot auto-dedup lazy-pages",
        VALUES: "console-socket image-path work-path manage-cgroups-mode bundle:b pid-file empty-ns lsm-profile"
        " lsm-mount-context",
    },
    "resume": {},
    "run": {FLAGS: "detach:d keep no-subreaper " + _CREATE[FLAGS], VALUES: _CREATE[VALUES]},
    "spec": {FLAGS: "rootless", VALUES: "bundle:b"},
    "start": {},
    "state": {},
    "update": {
        VALUES: "resources:r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period cpu-rt-runtime cpuset-cpus"
        " cpuset-mems kernel-memory kernel-memory-tcp memory cpu-idle memory-reservation memory-swap pids-limit"
        " l3-cache-schema mem-bw-schema",
    },
}
"""By command, the global options being those of no command: names of options, and their short ones after a colon."""

REASONS = {
    ("init", ""): "runc calls itself so inside the container; pyoci clones, and executes nothing of its own there",
}
"""Why an option of a command, or with no option the command itself, is not pyoci's."""
