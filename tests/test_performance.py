# SPDX-License-Identifier: Apache-2.0
"""What can be held against docs/performance.md without a clock: how many system calls each command makes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
COUNT = """
import importlib.machinery, importlib.util, json, sys, pathlib
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("performance", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("performance", loader))
loader.exec_module(module)
module.bench.system("prctl", module.bench.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
print(json.dumps(module.system_calls("pyoci", sys.argv[2], pathlib.Path(sys.argv[3]))))
"""
TOLERANCE = 1.1


def documented() -> dict[str, int]:
    """By command, what the table in the document says of pyoci."""
    text = (REPOSITORY / "docs" / "performance.md").read_text()
    table = text[text.index("## System calls") :]
    header, row = (re.search(rf"^\| {name} \|(.*)\|$", table, re.MULTILINE) for name in ("runtime", "pyoci"))
    assert header and row
    names, numbers = ([cell.strip() for cell in found[1].split("|")] for found in (header, row))
    return dict(zip(names, map(int, numbers), strict=True))


@pytest.mark.needs_root
@pytest.mark.needs_strace
@pytest.mark.needs_busybox
@pytest.mark.needs_compiler
@pytest.mark.needs_cgroup_v1
def test_no_command_makes_more_system_calls_than_the_document_says(tmp_path: Path) -> None:

    install = [str(REPOSITORY / "hack" / "install"), "--prefix", str(tmp_path / "prefix")]
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    if not (tmp_path / "prefix" / "lib" / "pyoci" / "current" / "embed" / "pyoci").exists():
        pytest.fail("the document is about the interpreter of our own: it needs python3-dev")
    os.chmod(tmp_path, 0o755)
    arguments = [REPOSITORY / "hack" / "performance", tmp_path / "prefix" / "bin" / "pyoci", tmp_path]
    done = subprocess.run([sys.executable, "-c", COUNT, *map(str, arguments)], stdout=-1, text=True, check=True)
    counted: dict[str, int] = json.loads(done.stdout)
    wanted = documented()
    assert counted.keys() == wanted.keys()
    assert {name: count for name, count in counted.items() if count > TOLERANCE * wanted[name] + 5} == {}
    shutil.rmtree(tmp_path / "prefix")
