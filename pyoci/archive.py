# SPDX-License-Identifier: Apache-2.0
"""All modules of the installed program in one file, compiled, and the importer that takes them from there.

To find a module among files, the interpreter lists directories and asks for the status of half a dozen names; to load
it, it opens, reads and checks one more. With sixty modules for a `create` that is 1,300 system calls, and more time than
the modules' own code takes. Here a module is one read from a known place. It saves a `state` half a millisecond of
eight, and a `create` three of twenty.

`hack/archive` writes the file: a marshalled pair of this module's own code and the index, then the code of each module.
It is named after the interpreter's version, as the format is; an interpreter that finds none under its name goes by the
files, which are installed beside it. Docstrings and asserts are left out. The file is opened anew for each module: a
descriptor that stayed open would stand where the caller's may be expected (--preserve-fds).
"""

from __future__ import annotations

import marshal
import sys
from _frozen_importlib import ModuleSpec
from _io import FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    Index = dict[str, tuple[str, int, int]]
    """By module: the path of its source below the library, and where its code is: how far from the file's end, how long."""


class Archive:
    """A finder and loader as importlib has them (PEP 451)."""

    def __init__(self, library: str, path: str, index: Index) -> None:
        self.library, self.path, self.index = library, path, index

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Where the module `name` is, if it is here."""
        if name not in self.index:
            return None
        source = f"{self.library}/{self.index[name][0]}"
        package, _, file = source.rpartition("/")
        spec = ModuleSpec(name, self, origin=source, is_package=file == "__init__.py")  # type: ignore[arg-type]
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(package)
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """A plain module will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, distance, size = self.index[module.__name__]
        with FileIO(self.path) as file:
            file.seek(-distance, 2)
            code = file.read(size)
        exec(marshal.loads(code), module.__dict__)  # noqa: S102  as any loader


def attach(library: str, path: str, index: Index) -> None:
    """Have modules taken from the archive at `path` from now on."""
    sys.meta_path.insert(0, Archive(library, path, index))
