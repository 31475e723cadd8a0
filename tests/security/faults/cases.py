# SPDX-License-Identifier: Apache-2.0
"""All cases: they register themselves, in this order."""

from __future__ import annotations

from . import creation, damage, dying, growth, killing, races, shortage
from .world import CASES, Skipped, World

__all__ = ["CASES", "Skipped", "World", "creation", "damage", "dying", "growth", "killing", "races", "shortage"]
