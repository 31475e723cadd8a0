# SPDX-License-Identifier: Apache-2.0
"""What a process of ours does to itself before it comes near a container. Runs inside."""

from __future__ import annotations

import _codecs
import gc
import sys
from errno import EACCES

from pyoci import syscalls as k
from pyoci.errors import PyociError, describe, failed, said_of
from pyoci.rootfs.root import reopen


def confine(name: str) -> None:
    """Shut the interpreter off from files, forget the command line and the environment, and take a name.

    To be called before any of the container's namespaces is entered, as it asks /proc. A module that is looked for after this
    is not found, rather than taken from the container. Signals go back to their
    defaults: the interpreter's own handlers would run code of ours where none is expected. But SIGPIPE is ignored: a hook
    or a launcher that does not listen any more is an error, not our death. That nobody may look into this process
    (PR_SET_DUMPABLE) has come down from the launcher, except where its id maps are yet to be written.
    """
    gc.disable()
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    _settle_codecs()
    k.ignore_signal(k.SIGPIPE)  # in the foreground the launcher has it blocked instead
    k.reset_signals(kept=(k.SIGPIPE,))
    k.set_process_title(name)


def _settle_codecs() -> None:
    """Text that is none is an error in UTF-8 and no more: the first of its kind has Python import its package of codecs."""
    if "encodings" not in sys.modules:
        sys.modules["encodings"] = type(sys)("encodings")
    _codecs.lookup_error("strict")


def text_of(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, PyociError):
        return error.message
    if isinstance(error, OSError):
        return describe(error)
    return f"internal error in the container's process: {type(error).__name__}: {error}"


def said(error: BaseException) -> bytes:
    """The same as it goes over the channel, and to `start`: StageFailed.heard understands it."""
    return said_of(error, text_of(error)).encode("utf-8", "backslashreplace")


def become_root() -> None:
    """Be root of the user namespace that we are in. Raises PyociError."""
    try:
        try:
            k.setgroups([])
        except PermissionError:
            pass  # setgroups is denied where an ordinary user mapped himself alone: his groups stay with him
        k.setresgid(0, 0, 0)
        k.setresuid(0, 0, 0)
        k.prctl(k.PR_SET_DUMPABLE, 0)
    except OSError as error:
        raise failed("become root of the user namespace", error) from None


def replace_null_streams(root_fd: int, proc: int) -> None:
    """Where a standard stream is the host's /dev/null, take the container's: whoever holds a file may change its mode.

    `proc` is the host's /proc, by which it is opened once it is known for what it is. Raises PyociError if it cannot be, or
    what the container has there is not the null device (CVE-2026-88265).
    """
    null = k.makedev(1, 3)
    theirs = -1
    for stream in (0, 1, 2):
        status = k.fstat(stream)
        if not k.S_ISCHR(status.st_mode) or status.st_rdev != null:
            continue
        if theirs < 0:
            try:
                theirs = k.openat2(root_fd, "dev/null", k.O_PATH, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS)
            except FileNotFoundError:
                return
            status = k.fstat(theirs)
            if not k.S_ISCHR(status.st_mode) or status.st_rdev != null:
                raise PyociError("/dev/null in the container is not the null device")
            seen, theirs = theirs, _open_null(theirs, proc)
            k.close(seen)
        k.dup2(theirs, stream)
    if theirs >= 0:
        k.close(theirs)


def _open_null(place: int, proc: int) -> int:
    try:
        return reopen(place, k.O_RDWR, proc)
    except OSError as error:
        hint = " (is its file system mounted nodev?)" if error.errno == EACCES else ""
        raise failed("open the container's /dev/null in the place of the host's", error, hint) from None
