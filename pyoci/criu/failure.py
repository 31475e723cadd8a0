# SPDX-License-Identifier: Apache-2.0
"""What went wrong in criu, in one line: of all that its log says, the line that a person would look for."""

from __future__ import annotations

from pyoci.kernel import basic as k

_TAIL = 256 << 10
_MARK = "Error ("
_SUMMARIES = ("FAILED", "failed, error", "failed with -", "exited with", "killed by signal")
"""What criu says at the end about anything that went wrong before."""
_HARMLESS = ("Can't setup RLIMIT_NOFILE for self",)
"""What it goes on after: without CAP_SYS_RESOURCE it cannot raise its own limits, and it seldom comes near them."""


def reason(told: str, log: str) -> str:
    """criu's own first error if it has told it by RPC, else the one in the log at this path."""
    first = _plain(told.strip().partition("\n")[0])
    return ("" if _is_harmless(first) else first) or last_error(log) or first or "it does not say why"


def last_error(path: str) -> str:
    """The last error of a log that is not only about errors before; "" if there is none, or no log."""
    errors = [_plain(line) for line in _tail(path).splitlines() if _MARK in line and not _is_harmless(line)]
    telling = [text for text in errors if not any(words in text for words in _SUMMARIES)]
    return (telling or errors or [""])[-1]


def _is_harmless(line: str) -> bool:
    return any(words in line for words in _HARMLESS)


def _plain(line: str) -> str:
    """`(00.02)  12: Error (criu/files.c:12): Can't dump` without what comes before the text."""
    _, found, rest = line.partition(_MARK)
    return rest.partition("): ")[2].strip() if found else line.strip()


def _tail(path: str) -> str:
    try:
        fd = k.open(path, k.O_RDONLY | k.O_CLOEXEC | k.O_NOFOLLOW | k.O_NONBLOCK)
    except OSError:
        return ""
    try:
        k.lseek(fd, max(0, k.fstat(fd).st_size - _TAIL), 0)
        pieces = []
        while piece := k.read(fd, _TAIL):
            pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        k.close(fd)
