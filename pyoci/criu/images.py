# SPDX-License-Identifier: Apache-2.0
"""The directories that criu's images and its log are in, and the files there that are ours.

descriptors.json is a JSON array with what the three standard streams of the container were: whoever restores it gives it
others in the place of those that were pipes. runc has it, too.

pyoci-places.json is a JSON object: by the destination of each bind mount, where that was found in the container. If links of
the image lead elsewhere by the time of a restore, one directory of the host would be mounted in the place, and with the
rights, of another.
"""

from __future__ import annotations

from errno import ENOENT

from pyoci import jsontext
from pyoci.errors import PyociError, failed
from pyoci.kernel import basic as k
from pyoci.state import make_directories, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.criu.options import CriuOptions

DESCRIPTORS, PLACES = "descriptors.json", "pyoci-places.json"
_STREAMS = ("0", "1", "2")
_LIMIT = 1 << 20
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
        self._write(DESCRIPTORS, [streams.get(number, "") for number in _STREAMS])

    def read_streams(self) -> list[str]:
        """What descriptors.json says. Raises PyociError."""
        try:
            links = self._read(DESCRIPTORS)
        except OSError as error:
            step = f"read {self.path}/{DESCRIPTORS} (is there a checkpoint in this directory?)"
            raise failed(step, error) from None
        if not isinstance(links, list) or not all(isinstance(link, str) for link in links):
            raise PyociError(f"{self.path}/{DESCRIPTORS} is damaged: it is no array of strings")
        return links[: len(_STREAMS)]

    def write_places(self, places: dict[str, str]) -> None:
        """Write pyoci-places.json. Raises PyociError."""
        self._write(PLACES, places)

    def read_places(self) -> dict[str, str] | None:
        """What pyoci-places.json says; None for images that another runtime has made. Raises PyociError."""
        try:
            places = self._read(PLACES)
        except OSError as error:
            if error.errno == ENOENT:
                return None
            raise failed(f"read {self.path}/{PLACES}", error) from None
        if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
            raise PyociError(f"{self.path}/{PLACES} is damaged: it is no object of strings")
        return places

    def _write(self, name: str, content: object) -> None:
        try:
            fd = k.open(name, k.O_WRONLY | k.O_CREAT | k.O_TRUNC | k.O_CLOEXEC, 0o600, dir_fd=self.images)
            try:
                write_all(fd, jsontext.dumps(content).encode("utf-8", "surrogateescape"))
            finally:
                k.close(fd)
        except OSError as error:
            raise failed(f"write {self.path}/{name}", error) from None

    def _read(self, name: str) -> Any:
        fd = k.open(name, k.O_RDONLY | k.O_CLOEXEC, dir_fd=self.images)
        try:
            return jsontext.loads(k.read(fd, _LIMIT).decode("utf-8", "surrogateescape"))
        except ValueError as error:
            raise PyociError(f"{self.path}/{name} is damaged ({error})") from None
        finally:
            k.close(fd)
