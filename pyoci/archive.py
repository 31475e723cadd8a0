# SPDX-License-Identifier: Apache-2.0
"""The modules of the installed program in one file, compiled, and how they get from there into the interpreter.

To find a module among files, the interpreter lists directories and asks for the status of half a dozen names; to load
it, it opens, reads and checks one more. With eighty modules for a `create` that is 1,300 system calls, and 14 ms. Its
machinery for imports alone, which must work for every kind of module, takes 40 us for each. So what a command will load
lies in the archive as one piece, in the order in which the modules need each other, linked to each other ahead, and is made
into modules by a loop of ten lines: 4 ms for `create`, half of which is the modules' own code.

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
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    Load = Callable[[int, int], Any]
    """The object that is marshalled so many bytes before the end of the archive, in so many."""
    Place = tuple[int, int]
    """The arguments of a Load."""
    Contents = tuple[dict[str, Place], Place]
    """The pieces, by command, and the index: by module, the path of its source below the library, and its Place."""


class Finder:
    """A finder and loader as importlib has them (PEP 451), the first one of all: for modules that come one by one.

    `files` are the modules that are shared objects, in pyoci's own interpreter (embed/runtime.c), of which only the core has
    been started: to load one takes no more than its path. For anything else that is not built in, `complete` starts the rest
    of Python, whose own finders come behind this one. It takes 2 ms, and no command does it on its usual way.
    """

    def __init__(
        self, library: str, load: Load, contents: Contents, files: dict[str, str], complete: Callable[[], bool] | None
    ) -> None:
        self.library, self.load, self.files, self.complete = library, load, files, complete
        self.pieces, self.place = contents
        self.index: dict[str, tuple[str, Place]] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """How to load a module of the package, or one of `files`; nothing else, but the next finder may find it."""
        if name in self.files and _is_there(self.files[name]):
            return ModuleSpec(name, self, origin=self.files[name])  # type: ignore[arg-type]
        if name.startswith("pyoci"):
            return self._find_own(name)
        if self.complete and name not in sys.builtin_module_names:
            complete, self.complete = self.complete, None
            before = sys.path
            # An error in UTF-8, say, has somebody look for codecs, and that imports them. The rest of Python begins with
            # codecs, too, but would take it that they have been looked for, and that there are none.
            if name == "encodings" and sys.version_info < (3, 13):
                _codecs.register(_find_codec)
            complete()
            _codecs.unregister(_find_codec)
            sys.path.extend(before)
        return None

    def _find_own(self, name: str) -> ModuleSpec | None:
        self.index = self.index or self.load(*self.place)
        if name not in self.index:
            return None
        source = f"{self.library}/{self.index[name][0]}"
        package, _, file = source.rpartition("/")
        spec = ModuleSpec(name, self, origin=source, is_package=file == "__init__.py")  # type: ignore[arg-type]
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(package)
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Load a shared object; a plain module will do for what is ours."""
        return _imp.create_dynamic(spec) if spec.name in self.files else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        if module.__name__ in self.files:
            _imp.exec_dynamic(module)
            return
        # Not by way of spec.has_location: that asks for a cached file, too, which the core of the interpreter cannot name.
        module.__file__ = f"{self.library}/{self.index[module.__name__][0]}"
        exec(self.load(*self.index[module.__name__][1]), module.__dict__)  # noqa: S102  as any loader

    def load_all(self, command: str) -> None:
        """Load the piece of a command. All modules are there before the first one's code runs: packages lack nothing."""
        loaded: list[tuple[dict[str, Any], CodeType]] = []
        for name, file, code in self.load(*self.pieces[command]):
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
            attributes["__loaded__"] = sys.modules  # for what hack/archive has made of the imports
            exec(code, attributes)  # noqa: S102  as any loader
            del attributes["__loaded__"]


def _is_there(path: str) -> bool:
    try:
        posix.stat(path)
    except OSError:
        return False
    return True


def _find_codec(name: str) -> Any:
    import encodings  # here, when there is a way to find it

    return encodings.search_function(name)


def loader(path: str) -> Load:
    """How an interpreter loads from the archive that has no way of its own. It is opened anew each time: a descriptor that
    stayed open would stand where the caller's may be expected (--preserve-fds).
    """

    def load(distance: int, size: int) -> Any:
        fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            posix.lseek(fd, -distance, 2)
            return marshal.loads(posix.read(fd, size))
        finally:
            posix.close(fd)

    return load


def start(library: str, load: Load, complete: Callable[[], bool], contents: Contents, files: dict[str, str]) -> None:
    """Run the command line in the interpreter of embed/runtime.c, which calls this first."""
    if not hasattr(sys, "path"):
        sys.path = []
    if sys.version_info >= (3, 13):  # before, whoever looks for a codec has `encodings` imported
        _codecs.register(_find_codec)
    attach(library, load, contents, sys.argv[1:], files, complete)
    from pyoci.cli import main  # to be found only now

    main()


def attach(
    library: str,
    load: Load,
    contents: Contents,
    words: list[str],
    files: dict[str, str] | None = None,
    complete: Callable[[], bool] | None = None,
) -> None:
    """Have modules taken from the archive from now on, and load what the command among these words will need.

    Any word that is a command's name will do: to load too much does no harm. What is loaded here stays: the collector
    of garbage is told not to look at it again, which in a short life is most of what it would do.
    """
    finder = Finder(library, load, contents, files or {}, complete)
    sys.meta_path.insert(0, finder)
    gc.disable()
    for word in words:
        if word in finder.pieces:
            finder.load_all(word)
            break
    gc.freeze()
    gc.enable()
