# SPDX-License-Identifier: Apache-2.0
"""Every function that stands for a pattern answers as the pattern does."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from pyoci.spec import formats, schemas

WORDS = (
    "", "0", "00", "01", "1", "10", "1.0.0", "0.0.0", "1.2.3", "1.2", "1.2.3.4", "1.02.3", "1.2.3-", "1.2.3-0", "1.2.3-01",
    "1.2.3-rc1", "1.2.3-rc.1", "1.2.3-0a", "1.2.3--", "1.2.3-a..b", "1.2.3+", "1.2.3+01", "1.2.3+a.b", "1.2.3+a+b",
    "1.2.3-a+b-c", "1.2.3-dev+x.", "v1.2.3", " 1.2.3", "1.2.3 ", "1.2.3\n", "\u0661.2.3", "1.2.3-\u00e9",
    "RLIMIT_", "RLIMIT_A", "RLIMIT_NOFILE", "RLIMIT_nofile", "RLIMIT_RLIMIT_A", "XRLIMIT_A", "RLIMIT_A\n", "RLIMIT_A1",
    "KB", "1KB", "2MB", "1GB", "0MB", "02MB", "64kB", "1TB", "1MB\n", "1 MB", "1M", "B", "10KBB",
    "MB:", "MB:0=1", "MB:\n", "MB:a\nb", "MB:\0", "XMB:", "MB", "r", "rw", "wrm", "rwmx", "rr", "r\n", "0-3,7", "0-3, 7",
    "0;1", "a\0b", "\0", "\n", "a\nb", "a",
)  # fmt: skip


@pytest.mark.parametrize("pattern", formats.FORMATS)
def test_function_equals_its_pattern(pattern: str) -> None:
    function, _ = formats.FORMATS[pattern]
    expression = re.compile(pattern.removesuffix("$") + r"\Z")
    chance = random.Random(pattern)
    alphabet = "0123.-+aZKMGBRLITW_mrw:, \n\0"
    words = list(WORDS) + ["".join(pair) for pair in itertools.product(alphabet, repeat=2)]
    words += ["".join(chance.choices(alphabet, k=chance.randint(1, 12))) for _ in range(2000)]
    for base in WORDS:
        for _ in range(20):
            at = chance.randint(0, len(base))
            words.append(base[:at] + chance.choice(alphabet) + base[at + chance.randint(0, 1) :])
    for word in words:
        assert function(word) == bool(expression.search(word)), repr(word)


def test_every_pattern_is_used() -> None:
    used = str(schemas.load("config"))
    assert all(repr(pattern)[1:-1] in used for pattern in formats.FORMATS)
