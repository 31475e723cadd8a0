# SPDX-License-Identifier: Apache-2.0
"""All cases: they register themselves, in this order."""

from __future__ import annotations

from . import creation, damage, dying, growth, killing, races, shortage, strange
from .world import CASES, Sizes, Skipped, World

__all__ = [
    "CASES", "Sizes", "Skipped", "World",
    "creation", "damage", "dying", "growth", "killing", "races", "shortage", "strange",
]  # fmt: skip
