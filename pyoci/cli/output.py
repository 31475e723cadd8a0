# SPDX-License-Identifier: Apache-2.0
"""Standard output: whole texts, written at once, or a plain failure."""

from __future__ import annotations

from errno import EPIPE

from pyoci.errors import PyociError, failed
from pyoci.kernel.basic import O_RDWR, close, dup, dup2, fstat, open
from pyoci.log import write_whole

_STDOUT = 1


class ReaderGone(PyociError):
    """Whoever read our output has stopped reading, as `head` does. There is nobody to tell."""


def put(text: str) -> None:
    """Write a text to standard output. Raises ReaderGone, or PyociError if it cannot be written whole."""
    try:
        write_whole(_STDOUT, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        if error.errno == EPIPE:
            raise ReaderGone("standard output: the reader is gone") from None
        raise failed("write to standard output", error) from error


def occupy_standard_descriptors() -> None:
    """Put /dev/null where 0, 1 or 2 is closed: else the next file opened would take that number, and our output."""
    for fd in (0, 1, 2):
        try:
            fstat(fd)
        except OSError:
            spare = dup(open("/dev/null", O_RDWR))
            dup2(spare, fd)  # what `open` gave is closed on exec, and a container wants its three
            close(spare)
