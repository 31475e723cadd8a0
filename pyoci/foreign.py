# SPDX-License-Identifier: Apache-2.0
"""What pyoci.libc offers, by way of `_ctypes`: the C half of `ctypes`, whose Python half costs as much again as the
interpreter's whole start.

Calls hold the interpreter lock (FUNCFLAG_PYTHONAPI), for the sake of those that fork.
"""

from __future__ import annotations

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["address", "buffer", "function", "get_errno"]


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Int(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Pointer(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _String(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Char(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(CFuncPtr):
    # An int, as nearly all of libc returns: read as a long, the -1 of a failure may come out as 4294967295.
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO
    _restype_ = _Int


class _Syscall(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_LETTERS = {"l": _Long, "p": _Pointer, "s": _String}
_libc = dlopen(None, 2)  # type: ignore[arg-type]


def function(name: str, kinds: str) -> Callable[..., int]:
    """A function of libc."""
    made: Any = (_Syscall if name == "syscall" else _Function)(dlsym(_libc, name))
    made.argtypes = tuple(_LETTERS[letter] for letter in kinds)
    return made  # type: ignore[no-any-return]


def buffer(content: bytes | int) -> Any:
    """A writable C array."""
    size = content if isinstance(content, int) else len(content)
    array: Any = (_Char * size)()
    if not isinstance(content, int):
        array.raw = content
    return array


def address(array: Any, offset: int = 0) -> int:
    """Where a byte of it is."""
    return addressof(array) + offset
