# SPDX-License-Identifier: Apache-2.0
"""Libraries that others keep, found where this interpreter keeps them, and loaded when something needs one.

The runtime starts without `site`: it is slow, and runs whatever *.pth files say. So the directories that `site` would add
are added here. `hack/install` writes them down beside the package; otherwise they are worked out.
"""

from __future__ import annotations

import sys

from pyoci.errors import PyociError
from pyoci.kernel.basic import O_RDONLY, close, open, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# By library: its modules in order of preference, its Debian package, and its name in the package index.
LIBRARIES = {
    "jeepney": (("jeepney",), "python3-jeepney", "jeepney"),
    "jsonschema": (("jsonschema",), "python3-jsonschema", "jsonschema"),
    "pyroute2": (("pyroute2",), "python3-pyroute2", "pyroute2"),
    "seccomp": (("seccomp", "pyseccomp"), "python3-seccomp", "pyseccomp"),
}
_BASE = __file__.rpartition("/pyoci/")[0]
_RECORD = _BASE + "/site-directories"
_LIMIT = 1 << 16


def load(name: str) -> ModuleType:
    """The library `name`, a key of LIBRARIES. Raises PyociError, saying how to install it, if it is not there.

    To be called on the host only: it looks files up by path.
    """
    modules, package, project = LIBRARIES[name]
    for directory in directories():
        if directory not in sys.path:
            sys.path.append(directory)
    for module in modules:
        try:
            return __import__(module)
        except ModuleNotFoundError as error:
            if error.name != module:  # it is there, but lacks something itself
                raise PyociError(f"the Python library {module} cannot be loaded: {error}") from error
    raise PyociError(
        f"the Python library {name} is missing for {sys.executable}: install {package} (Debian) or {project} (pip)"
    )


def is_there(name: str) -> bool:
    """Whether the library is installed; it is looked for, and not loaded."""
    places = [*sys.path, *directories()]
    modules = LIBRARIES[name][0]
    return any(finder.find_spec(module, places) is not None for module in modules for finder in sys.meta_path)


def directories() -> list[str]:
    """Where the libraries of this interpreter are."""
    try:
        fd = open(_RECORD, O_RDONLY)
    except FileNotFoundError:
        return [_BASE, *_site_directories()]
    try:
        return read(fd, _LIMIT).decode("utf-8", "surrogateescape").splitlines()
    finally:
        close(fd)


def _site_directories() -> list[str]:
    """What `site` would add, without what it would run. A virtual environment comes first, and may stand alone."""
    import site  # cold: only where nothing was written down

    environment = sys.executable.rpartition("/bin/")[0]
    try:
        settings = _read_text(environment + "/pyvenv.cfg")
    except OSError:
        return site.getsitepackages()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = [f"{environment}/lib/{version}/site-packages"]
    system = "include-system-site-packages=true" in settings.replace(" ", "").lower()
    return own + site.getsitepackages([sys.base_prefix]) if system else own


def _read_text(path: str) -> str:
    fd = open(path, O_RDONLY)
    try:
        return read(fd, _LIMIT).decode("utf-8", "surrogateescape")
    finally:
        close(fd)
