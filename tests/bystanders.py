# SPDX-License-Identifier: Apache-2.0
"""Processes that a session has started beside its tests: children of this process, and no test's to wait for or to end."""

BYSTANDERS: set[int] = set()
