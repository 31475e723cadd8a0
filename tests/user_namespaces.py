# SPDX-License-Identifier: Apache-2.0
"""User namespaces with maps of one's choice, for root."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyoci import syscalls as k


@contextmanager
def user_namespace(uid_map: str, gid_map: str) -> Iterator[str]:
    """The path of one that lasts as long as the context; an empty map is not written."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            k.unshare(k.CLONE_NEWUSER)
            theirs.send(b"u")
            theirs.recv(1)
        finally:
            os._exit(0)
    theirs.close()
    try:
        assert ours.recv(1) == b"u"
        for name, lines in (("uid_map", uid_map), ("gid_map", gid_map)):
            if lines:
                Path(f"/proc/{pid}/{name}").write_text(lines)
        yield f"/proc/{pid}/ns/user"
    finally:
        ours.close()
        os.waitpid(pid, 0)
