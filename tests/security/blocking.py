# SPDX-License-Identifier: Apache-2.0
"""Programs of which system calls are blocked, as by old kernels and old filters."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCES = Path(__file__).parent


def compiled(name: str, directory: Path) -> Path:
    """A C program of this directory, linked so that it runs in any container, too."""
    program = directory / name
    if not program.exists():
        subprocess.run(["cc", "-O1", "-static", "-o", str(program), str(SOURCES / f"{name}.c")], check=True)
    return program


def blocked(directory: Path, error: str, calls: str, program: Path | str) -> Path:
    """A program that is another, but for these calls (with commas between), which answer ENOSYS or EPERM (block.c)."""
    wrapper = directory / f"{error}-{calls}"
    wrapper.write_text(f'#!/bin/sh\nexec {compiled("block", directory)} {error} {calls} {program} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper
