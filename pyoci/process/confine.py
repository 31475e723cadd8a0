# SPDX-License-Identifier: Apache-2.0
"""What a process of ours does to itself before it comes near a container. Runs inside."""

from __future__ import annotations

import _codecs
import gc
import sys

from pyoci import syscalls as k
from pyoci.errors import PyociError, describe, failed, said_of


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
