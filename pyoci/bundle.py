# SPDX-License-Identifier: Apache-2.0
"""A bundle: a directory with a config.json (bundle.md). Reading one validates it."""

from __future__ import annotations

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed
from pyoci.record import Record
from pyoci.spec import validate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_CONFIG = 64 << 20


class Bundle(Record):
    """`directory` is absolute and as the kernel sees it; `text` is what config.json said, `config` what that means."""

    directory: str
    text: str
    config: dict[str, Any]


def load(directory: str, name: str = "config.json") -> Bundle:
    """Enter the bundle (relative paths of its config count from there) and read its config.

    Raises SpecError with every problem of the config, PyociError where it cannot be read.
    """
    try:
        k.chdir(directory)
        here = k.getcwd()
    except OSError as error:
        raise failed(f"enter the bundle {directory}", error) from None
    text = read_config(name, f"{here}/{name}")
    return Bundle(directory=here, text=text, config=validate.load(text, name, runnable=True))


def read_config(path: str, shown: str, may_be_pipe: bool = False) -> str:
    """The text of a JSON file that a caller named; of a pipe, if it may be one, all that comes. Raises PyociError."""
    try:
        fd = k.open(path, k.O_RDONLY | k.O_CLOEXEC | (0 if may_be_pipe else k.O_NONBLOCK))
        try:
            status = k.fstat(fd)
            if not (k.S_ISREG(status.st_mode) or (may_be_pipe and k.S_ISFIFO(status.st_mode))):
                raise PyociError(f"{shown} is not a regular file{' or a pipe' if may_be_pipe else ''}")
            pieces, size = [], 0
            while size <= _MAX_CONFIG and (piece := k.read(fd, 1 << 20)):
                pieces.append(piece)
                size += len(piece)
            if size > _MAX_CONFIG:
                raise PyociError(f"{shown} is larger than {_MAX_CONFIG >> 20} MiB")
        finally:
            k.close(fd)
    except OSError as error:
        raise failed(f"read {shown}", error) from None
    try:
        return b"".join(pieces).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PyociError(
            f"{shown} is not UTF-8 text: byte {error.start} is 0x{b''.join(pieces)[error.start]:02x}"
        ) from None
