# SPDX-License-Identifier: Apache-2.0
"""Tests of what systemd's own cgroup manager is needed for, as root and as an ordinary user: in the guests of hack/vm."""

from __future__ import annotations

from ..lifecycle.conftest import busybox, place, pyoci_program, pytest_generate_tests, runtime

__all__ = ["busybox", "place", "pyoci_program", "pytest_generate_tests", "runtime"]
