# SPDX-License-Identifier: Apache-2.0
"""JSON pointers (RFC 6901), by which every part of a configuration is named."""

from __future__ import annotations


def escape(name: object) -> str:
    """A property name or an index as a step of a pointer."""
    return str(name).replace("~", "~0").replace("/", "~1")


def overlap(one: str, other: str) -> bool:
    """Whether one of two parts lies within the other, or is the other."""
    return (one + "/").startswith(other + "/") or (other + "/").startswith(one + "/")
