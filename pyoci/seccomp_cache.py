# SPDX-License-Identifier: Apache-2.0
"""Compiled system call filters, kept from one container to the next.

Engines hand the same profile to every container, and to compile it takes most of the time that a create takes: 13 to 17 ms
for docker's, library included. An entry is found by a digest of all that goes into the compiler, and counts as long as
the libraries that it came from are the files that they were. So libseccomp is loaded for a new profile only.

The cache lies below the state root, in a directory that no container can be called. Like all state it is root's own, and
what somebody else might have written, or what is not whole, is not used. That there is no cache is never an error.
"""

from __future__ import annotations

from pyoci import __version__, jsontext
from pyoci import syscalls as k
from pyoci.errors import PyociError

try:
    from _blake2 import blake2b  # all that we need of hashlib, of which the rest takes a millisecond to load
except ImportError:
    from hashlib import blake2b  # an interpreter built to have its digests from elsewhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.seccomp import SeccompPlan

DIRECTORY = "@seccomp"
"""Below the state root. An id has no @ in it."""

_ENTRIES = 64
_MAX_ENTRY = 64 << 10
_FORMAT = 1
_LIBRARIES = ("libseccomp", "/seccomp.", "/pyseccomp")
_IN_DIRECTORY = k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS


def compiled(plan: SeccompPlan, root: str) -> bytes:
    """The program for a plan, out of the cache of this state root, or compiled and put there. Raises PyociError."""
    name = digest(plan)
    directory = _open(f"{root}/{DIRECTORY}")
    try:
        program = _load(directory, name) if directory >= 0 else b""
        if not program:
            from pyoci.seccomp_compiler import compile_filter  # loads libseccomp

            program = compile_filter(plan).instructions
            if directory >= 0:
                _store(directory, name, program)
    finally:
        if directory >= 0:
            k.close(directory)
    return program


def digest(plan: SeccompPlan) -> str:
    """The name of the entry for a plan: of what the program depends on, and the listener and its flags do not."""
    host = k.uname()
    parts = (
        _FORMAT,
        __version__,
        host.machine,
        host.release,
        plan.default_action,
        plan.architectures,
        plan.rules,
        plan.named,
    )
    return blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=24).hexdigest()


def _open(path: str) -> int:
    """The directory, made if need be; -1 where there cannot be one, or it is open to others."""
    try:
        try:
            k.mkdir(path, 0o700)
        except FileExistsError:
            pass
        directory = k.open(path, k.O_RDONLY | k.O_DIRECTORY | k.O_NOFOLLOW | k.O_CLOEXEC)
    except OSError:
        return -1
    if _is_ours(directory, k.S_IFDIR):
        return directory
    k.close(directory)
    return -1


def _load(directory: int, name: str) -> bytes:
    """An entry that can be used, or nothing."""
    try:
        fd = k.openat2(directory, name, k.O_RDONLY, resolve=_IN_DIRECTORY)
    except OSError:
        return b""
    try:
        content = k.read(fd, _MAX_ENTRY) if _is_ours(fd, k.S_IFREG) else b""
    except OSError:
        return b""
    finally:
        k.close(fd)
    head, _, program = content.partition(b"\n")
    try:
        described: Any = jsontext.loads(head.decode())
        whole = described["checksum"] == _checksum(program)
        return (
            program if whole and all(_identity(path) == identity for path, identity in described["libraries"]) else b""
        )
    except (ValueError, KeyError, TypeError, OSError):
        return b""


def _store(directory: int, name: str, program: bytes) -> None:
    """Put an entry there, whole or not at all."""
    try:
        libraries = [[path, _identity(path)] for path in _loaded_libraries()]
        if not libraries:
            return  # linked into something that would be replaced unnoticed
        head = jsontext.dumps({"checksum": _checksum(program), "libraries": libraries}).encode()
        content = head + b"\n" + program
        if len(content) >= _MAX_ENTRY:
            return
        _make_room(directory)
        temporary = f"{name}.{k.getpid()}"
        fd = k.openat2(directory, temporary, k.O_WRONLY | k.O_CREAT | k.O_EXCL, 0o600, _IN_DIRECTORY)
        try:
            written = k.write(fd, content)
        finally:
            k.close(fd)
        place = f"/proc/self/fd/{directory}"
        try:
            if written == len(content):
                k.rename(f"{place}/{temporary}", f"{place}/{name}")
                return
        except OSError:
            pass
        k.unlink(f"{place}/{temporary}")
    except (OSError, PyociError):
        pass


def _make_room(directory: int) -> None:
    """The oldest entries go, along with what writers that were killed have left."""
    place = f"/proc/self/fd/{directory}"
    names = k.listdir(place)
    if len(names) >= _ENTRIES:
        by_age = sorted(names, key=lambda name: k.lstat(f"{place}/{name}").st_mtime_ns)
        for name in by_age[: len(names) - _ENTRIES + 1]:
            k.unlink(f"{place}/{name}")


def _is_ours(fd: int, kind: int) -> bool:
    """Whether a file is of this kind, and nobody but us can have written to it."""
    status = k.fstat(fd)
    return k.S_IFMT(status.st_mode) == kind and status.st_uid == k.geteuid() and not status.st_mode & 0o077


def _loaded_libraries() -> list[str]:
    """The files of libseccomp and its binding, as they are mapped into this process."""
    from pyoci.cgroups.files import get  # the caller has it already

    paths = {line.split(maxsplit=5)[5] for line in get("/proc/self/maps").splitlines() if line.count("/")}
    return sorted(path for path in paths if any(part in path for part in _LIBRARIES))


def _identity(path: str) -> list[int]:
    status = k.stat(path)
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]


def _checksum(program: bytes) -> str:
    return blake2b(program, digest_size=16).hexdigest()
