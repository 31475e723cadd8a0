# SPDX-License-Identifier: Apache-2.0
"""Functions of libc, for pyoci.kernel alone, by whichever way there is into it.

    function(name, kinds)     a function whose arguments are, letter by letter, an integer (l), a pointer (p) or a C string
                              (s; bytes, or None for NULL). It returns an int and raises nothing; then there is
    get_errno()               what errno was after the latest call
    buffer(content)           a writable array of bytes, from bytes or of that many zeros, which can be read as bytes are
    address(array, offset=0)  where a byte of a buffer is. The buffer must outlive whatever is told

Our own interpreter (embed/runtime.c) has them built in. With another one `_ctypes` does the same, for a millisecond more.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING or "_pyoci_calls" not in sys.builtin_module_names:
    from pyoci.foreign import address, buffer, function, get_errno  # only then, for it takes its time
else:
    from _pyoci_calls import address, function, get_errno  # not to be had elsewhere

    buffer = bytearray

__all__ = ["address", "buffer", "function", "get_errno"]
