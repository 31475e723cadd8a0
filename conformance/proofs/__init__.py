# SPDX-License-Identifier: Apache-2.0
"""The proofs: tests through the command line alone, each with the base config and one change to it."""

from . import (
    cgroups,
    devices,
    features,
    hooks,
    lifecycle,
    mounts,
    namespaces,
    network,
    options,
    process,
    seccomp,
    wrong,
)

__all__ = [
    "cgroups", "devices", "features", "hooks", "lifecycle", "mounts", "namespaces", "network", "options", "process",
    "seccomp", "wrong",
]  # fmt: skip
