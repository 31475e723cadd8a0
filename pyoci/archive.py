# SPDX-License-Identifier: Apache-2.0
"""The modules of the installed program in one file, compiled, and how they get from there into the interpreter.

To find a module among files, the interpreter lists directories and asks for the status of half a dozen names; to load
it, it opens, reads and checks one more. With eighty modules for a `create` that is 1,300 system calls, and 14 ms. Its
machinery for imports alone, which must work for every kind of module, takes 40 us for each. So what a command will load
lies in the archive as one piece, in the order in which the modules need each other, and is made into modules by a loop
of ten lines: 5 ms for `create`, half of which is the modules' own code.

`hack/archive` writes the file: a marshalled pair of this module's own code and the contents; then the pieces, one for each
command, with all that it imports at the top of modules; then every module by itself, for what is imported later on, or
by whoever has no piece; then the index of these. It is named after the interpreter's version, as the format is; an
interpreter that finds none under its name goes by the files, which are installed beside it. Left out are docstrings,
asserts and the annotations of functions.
"""

from __future__ import annotations

import _codecs
import _imp
import gc
import marshal
import sys
from _frozen_importlib import ModuleSpec
from _io import FileIO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    Place = tuple[int, int]
    """How far from the end of the file something starts, and how long it is."""
    Contents = tuple[dict[str, Place], Place]
    """The pieces, by command, and the index: by module, the path of its source below the library, and its Place."""


class Archive:
    """A finder and loader as importlib has them (PEP 451), for the modules that come one by one."""

    def __init__(self, library: str, read: Callable[[int, int], bytes], contents: Contents) -> None:
        self.library, self.read = library, read
        self.pieces, self.place = contents
        self.index: dict[str, tuple[str, Place]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Where the module `name` is, if it is here."""
        if not name.startswith("pyoci"):
            return None
        self.index = self.index or marshal.loads(self.read(*self.place))
        if name not in self.index:
            return None
        source = f"{self.library}/{self.index[name][0]}"
        package, _, file = source.rpartition("/")
        spec = ModuleSpec(name, self, origin=source, is_package=file == "__init__.py")  # type: ignore[arg-type]
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(package)
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """A plain module will do."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        # Not by way of spec.has_location: that asks for a cached file, too, which the core of the interpreter cannot name.
        module.__file__ = f"{self.library}/{self.index[module.__name__][0]}"
        exec(marshal.loads(self.read(*self.index[module.__name__][1])), module.__dict__)  # noqa: S102  as any loader

    def load_all(self, command: str) -> None:
        """Load the piece of a command. All modules are there before the first one's code runs: packages lack nothing."""
        loaded: list[tuple[dict[str, Any], CodeType]] = []
        for name, file, code in marshal.loads(self.read(*self.pieces[command])):
            module = sys.modules[name] = type(sys)(name)
            attributes = module.__dict__
            attributes["__file__"] = f"{self.library}/{file}"
            if file.endswith("/__init__.py"):
                attributes["__path__"] = [attributes["__file__"][:-12]]
            loaded.append((attributes, code))
        for attributes, _ in loaded:
            package, _, name = attributes["__name__"].rpartition(".")
            if package:
                setattr(sys.modules[package], name, sys.modules[attributes["__name__"]])
        for attributes, code in loaded:
            exec(code, attributes)  # noqa: S102  as any loader


class Rest:
    """The last finder of pyoci's own interpreter (embed/runtime.c), of which only the core has been started.

    `files` are the modules that are shared objects: to load one takes no more than its path. For anything else `complete`
    starts the rest of Python, whose own finder comes behind this one. It takes 2 ms, and no command does it on its usual way.
    """

    def __init__(self, complete: Callable[[], bool], files: dict[str, str]) -> None:
        self.complete, self.files = complete, files
        self.begun = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """How to load one of `files`; nothing else, but the next finder may find it."""
        if name in self.files:
            return ModuleSpec(name, self, origin=self.files[name])  # type: ignore[arg-type]
        if not self.begun:
            self.begun = True
            before = sys.path
            # An error in UTF-8, say, has somebody look for codecs, and that imports them. The rest of Python begins with
            # codecs, too, but would take it that they have been looked for, and that there are none.
            if name == "encodings":
                _codecs.register(_find_codec)
            self.complete()
            _codecs.unregister(_find_codec)
            sys.path.extend(before)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Load a shared object."""
        return _imp.create_dynamic(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run its code."""
        _imp.exec_dynamic(module)


def _find_codec(name: str) -> Any:
    import encodings  # here, when there is a way to find it

    return encodings.search_function(name)


def reader(path: str) -> Callable[[int, int], bytes]:
    """How to read the archive. It is opened anew each time: a descriptor that stayed open would stand where the caller's may
    be expected (--preserve-fds). And it is not mapped: what is read once would count as memory for as long as init waits.
    """

    def read(distance: int, size: int) -> bytes:
        with FileIO(path) as file:
            file.seek(-distance, 2)
            return file.read(size)

    return read


def start(
    library: str,
    path: str,
    complete: Callable[[], bool],
    contents: Contents,
    files: dict[str, str],
) -> None:
    """Run the command line in the interpreter of embed/runtime.c, which calls this first."""
    if not hasattr(sys, "path"):
        sys.path = []
        sys.meta_path.append(Rest(complete, files))
    attach(library, reader(path), contents, sys.argv[1:])
    from pyoci.cli import main  # to be found only now

    main()


def attach(library: str, read: Callable[[int, int], bytes], contents: Contents, words: list[str]) -> None:
    """Have modules taken from the archive from now on, and load what the command among these words will need.

    Any word that is a command's name will do: to load too much does no harm. What is loaded here stays: the collector
    of garbage is told not to look at it again, which in a short life is most of what it would do.
    """
    archive = Archive(library, read, contents)
    sys.meta_path.insert(0, archive)
    gc.disable()
    for word in words:
        if word in archive.pieces:
            archive.load_all(word)
            break
    gc.freeze()
    gc.enable()
