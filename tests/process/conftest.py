# SPDX-License-Identifier: Apache-2.0
"""The same containers as in tests/container."""

from __future__ import annotations

from tests.container.conftest import boxes

__all__ = ["boxes"]
