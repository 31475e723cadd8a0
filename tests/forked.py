# SPDX-License-Identifier: Apache-2.0
"""Run a piece of a test in a process of its own, because it changes the process for good."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any


def in_child(function: Callable[[], Any], *, sealed: bool = False) -> Any:
    """The JSON-able result of a function run in a forked child; what it raises fails the test here.

    sealed: from the start on the child can import nothing, as in a container.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if sealed:
                sys.meta_path.clear()
                sys.path.clear()
            answer: dict[str, Any] = {"value": function()}
        except BaseException as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        content = answers.read()
    _, status = os.waitpid(pid, 0)
    assert content, f"the child ended without an answer, wait status {status:#x}"
    answer = json.loads(content)
    assert "error" not in answer, answer["error"]
    return answer["value"]
