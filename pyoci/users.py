# SPDX-License-Identifier: Apache-2.0
"""The home directory that a container's /etc/passwd gives for a uid. Runs inside.

The file is the image's, that is, hostile: it is found within the root only, must be a regular file before it
is opened at all, and is read by hand and no further than a fixed length. The C library's getpwuid is out of the question, as it loads
modules named by the image. Users are numbers throughout; no name is ever looked up.
"""

from __future__ import annotations

from errno import EMFILE, ENFILE

from pyoci.syscalls import (
    O_CLOEXEC,
    O_NONBLOCK,
    O_PATH,
    O_RDONLY,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    S_ISREG,
    close,
    fstat,
    open,
    openat2,
    read,
)

PASSWD = "etc/passwd"
PASSWD_LIMIT = 1 << 20
DEFAULT_HOME = b"/"

_CHUNK = 1 << 16


def home_directory(root_fd: int, uid: int, proc: int) -> bytes:
    """The home of this uid, or `/` where the file is missing, unfit or has no home for it.

    root_fd: a descriptor of the container's root directory. proc: one of the host's /proc. Raises OSError where it is no
    fault of the file's that it cannot be read: there are no descriptors left.
    """
    try:
        seen = openat2(root_fd, PASSWD, O_PATH, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        return _without(error)
    fd = -1
    try:
        if not S_ISREG(fstat(seen).st_mode):
            return DEFAULT_HOME
        fd = open(f"self/fd/{seen}", O_RDONLY | O_NONBLOCK | O_CLOEXEC, dir_fd=proc)
        return find_home(_read_up_to(fd, PASSWD_LIMIT), uid)
    except OSError as error:
        return _without(error)
    finally:
        close(seen)
        if fd >= 0:
            close(fd)


def _without(error: OSError) -> bytes:
    if error.errno in (EMFILE, ENFILE):
        raise error
    return DEFAULT_HOME


def find_home(passwd: bytes, uid: int) -> bytes:
    """The home in the first passwd(5) line with this uid, or `/`. Lines that are no passwd lines are passed
    over.
    """
    wanted = b"%d" % uid
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted and not line.startswith(b"#"):
            home = fields[5]
            return home if home and b"\0" not in home else DEFAULT_HOME
    return DEFAULT_HOME


def _read_up_to(fd: int, limit: int) -> bytes:
    content = b""
    while len(content) < limit:
        chunk = read(fd, min(_CHUNK, limit - len(content)))
        if not chunk:
            break
        content += chunk
    return content
