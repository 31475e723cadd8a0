# SPDX-License-Identifier: Apache-2.0
"""The directories that criu's images and its log are in, and the one file there that is ours.

descriptors.json is a JSON array with what the three standard streams of the container were: whoever restores it gives it
others in the place of those that were pipes.
"""

from __future__ import annotations

from pyoci import jsontext
from pyoci.errors import PyociError, failed
from pyoci.kernel import basic as k
from pyoci.state import make_directories, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.criu.options import CriuOptions

DESCRIPTORS = "descriptors.json"
_STREAMS = ("0", "1", "2")
_LIMIT = 1 << 16
_DIRECTORY = k.O_RDONLY | k.O_DIRECTORY | k.O_CLOEXEC


class Directories:
    """Both of them: `images` is open, `paths` are theirs, twice the same where there is one. Use it in a `with`."""

    def __init__(self, options: CriuOptions, *, new: bool) -> None:
        """`new` images may go where there is no directory yet, the log always may. Raises PyociError."""
        self.path = options.image_path
        self.paths = options.image_path, options.log_directory
        step = f"open the directory {self.path} of the images"
        try:
            if new:
                # To be passed through by root of a user namespace; the files in it are criu's root's alone.
                make_directories(self.path, 0o711)
            self.images = k.open(self.path, _DIRECTORY)
            if options.parent_path:
                step = f"invalid --parent-path: {self.path}/{options.parent_path}"
                k.close(k.open(options.parent_path, _DIRECTORY, dir_fd=self.images))
            step = f"make the directory {options.log_directory} for the log"
            make_directories(options.log_directory, 0o700)
        except OSError as error:
            raise failed(step, error) from None

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, *_: object) -> None:
        k.close(self.images)

    def write_streams(self, streams: dict[str, str]) -> None:
        """Write descriptors.json. Raises PyociError."""
        links = [streams.get(number, "") for number in _STREAMS]
        try:
            fd = k.open(DESCRIPTORS, k.O_WRONLY | k.O_CREAT | k.O_TRUNC | k.O_CLOEXEC, 0o600, dir_fd=self.images)
            try:
                write_all(fd, jsontext.dumps(links).encode())
            finally:
                k.close(fd)
        except OSError as error:
            raise failed(f"write {self.path}/{DESCRIPTORS}", error) from None

    def read_streams(self) -> list[str]:
        """What descriptors.json says. Raises PyociError."""
        shown = f"{self.path}/{DESCRIPTORS}"
        try:
            fd = k.open(DESCRIPTORS, k.O_RDONLY | k.O_CLOEXEC, dir_fd=self.images)
            try:
                links: Any = jsontext.loads(k.read(fd, _LIMIT).decode())
            finally:
                k.close(fd)
        except OSError as error:
            raise failed(f"read {shown} (is there a checkpoint in this directory?)", error) from None
        except ValueError as error:
            raise PyociError(f"{shown} is damaged ({error})") from None
        if not isinstance(links, list) or not all(isinstance(link, str) for link in links):
            raise PyociError(f"{shown} is damaged: it is no array of strings")
        return links[: len(_STREAMS)]
