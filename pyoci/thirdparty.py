# SPDX-License-Identifier: Apache-2.0
"""Libraries that others keep, found where this interpreter keeps them, and loaded when something needs one.

The runtime starts without `site`: it is slow, and runs whatever *.pth files say. So the directories that `site` would add
are added here. `hack/install` writes them down beside the package; otherwise they are worked out.
"""

from __future__ import annotations

import sys

from pyoci.errors import PyociError
from pyoci.kernel.basic import O_CLOEXEC, O_RDONLY, close, open, read

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


def libseccomp_version() -> str:
    """libseccomp's version, as "2.5.4", or nothing if it is not there; on the host only.

    No binding tells it, but the library's file has it in its name. Where the library is part of the binding, as in
    Debian, it is "API level 6": what it and this kernel can do together (seccomp_api_get(3)).
    """
    try:
        binding = load("seccomp")
    except PyociError:
        return ""
    for name in (line.rpartition("/")[2] for line in _read_text("/proc/self/maps").splitlines()):
        if name.startswith("libseccomp.so.2."):
            return name.removeprefix("libseccomp.so.")
    return f"API level {binding.get_api()}"


def directories() -> list[str]:
    """Where the libraries of this interpreter are."""
    try:
        return _read_text(_RECORD).splitlines()
    except FileNotFoundError:
        return [_BASE, *_site_directories()]


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
    fd = open(path, O_RDONLY | O_CLOEXEC)
    try:
        pieces = []
        while piece := read(fd, 1 << 16):
            pieces.append(piece)
    finally:
        close(fd)
    return b"".join(pieces).decode("utf-8", "surrogateescape")
