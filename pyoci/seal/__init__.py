# SPDX-License-Identifier: Apache-2.0
"""What must be true of this process before it comes near a container, whoever started it.

Whoever is inside a container can get at the file that our process executes, by way of /proc/PID/exe or by having the
process execute it once more. If that file is the machine's python3, a root shell awaits its next user (CVE-2019-5736).
The installed program (launcher.c) therefore executes the interpreter from a read-only overlay that is mounted nowhere,
or from a sealed copy in memory, with a clean environment. `harden` looks whether that is so, and where it is not (after
`pip install`, `python -m pyoci`, or an installation without a compiler) starts over in that way.

The same call relative to a bare `python3 -I -S -B` without any launcher (Debian 12, medians of 150 interleaved runs):

    launcher, read-only overlay              x1.03    what root gets
    launcher, overlay of a user namespace    x1.06    what other users get
    launcher, sealed copy in memory          x1.51    where overlays are not to be had
    launcher linked with glibc, overlay      x1.18    its start asks the processor for much, which is slow in a guest
    started over by `harden`                 x2.2

A read-only clone of the mount (open_tree, mount_setattr) is as fast as an overlay. It is not used, as /proc/PID/exe then
still leads to the host's file system: fspick(2) on it succeeds.

Shared libraries are mapped from the host's files all the same, as in every dynamic program. Nothing leads to them from
inside but /proc/PID/map_files and ptrace(2). Both are closed to a process that is not dumpable, except for a holder of
CAP_SYS_PTRACE in the host's own user namespace, to whom a container that is given it is no barrier anyway.
"""

from __future__ import annotations

from pyoci.kernel.basic import (
    CLOSE_RANGE_CLOEXEC,
    F_GET_SEALS,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    O_RDONLY,
    OVERLAYFS_SUPER_MAGIC,
    PR_SET_DUMPABLE,
    PR_SET_NAME,
    SIGCHLD,
    ST_RDONLY,
    address,
    buffer,
    close,
    close_range,
    default_signal,
    fcntl,
    fstat,
    fstatfs_type,
    listdir,
    open,
    prctl,
    readlink,
    set_inheritable,
    stat,
    statvfs,
)

EXECUTABLE = "/proc/self/exe"
SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_NAME = buffer(b"pyoci\0")
_LAST_FD = 0xFFFFFFFF


def harden(*, near_container: bool = True) -> None:
    """Make this process fit to touch containers. To be called once, before anything else is opened.

    Nobody but its equals may look into it, its descriptors from 3 up end with it (whatever is meant for a container is
    to be handed on by name), and, unless it will be `near_container` at no time, its executable is sealed: if it was
    not, the same call starts over in an interpreter that is. Raises PyociError where that cannot be had, and OSError.
    """
    default_signal(SIGCHLD)  # ignored, as some callers leave it, it would have the kernel reap our children before us
    prctl(PR_SET_DUMPABLE, 0)  # proc(5): /proc/PID then belongs to root, and ptrace(2) needs CAP_SYS_PTRACE
    if near_container and not is_sealed():
        from pyoci.seal.restart import restart  # cold: the installed program never comes here

        restart()
    prctl(PR_SET_NAME, address(_NAME))
    _end_descriptors_on_exec()


def is_sealed() -> bool:
    """Whether nobody can write to the file that this process executes, now or after it has ended.

    The kernel is asked, and not a word of the environment or the command line, which may be somebody else's. A file
    system that merely happens to be read-only does not count: whoever owns it may change that one day.
    """
    try:
        fd = open(EXECUTABLE, O_RDONLY)
    except OSError:
        return False
    try:
        if fstatfs_type(fd) == OVERLAYFS_SUPER_MAGIC:
            return bool(statvfs(fd).f_flag & ST_RDONLY) and _is_mounted_nowhere(fd)
        return fcntl(fd, F_GET_SEALS) & SEALS == SEALS
    except OSError:  # EINVAL: a file of a kind that has no seals
        return False
    finally:
        close(fd)


def _is_mounted_nowhere(fd: int) -> bool:
    """The kernel's name for the executable then starts at its own mount's root, and leads to no such file from ours."""
    try:
        named = stat(readlink(EXECUTABLE))
    except OSError:
        return True
    opened = fstat(fd)
    return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)


def _end_descriptors_on_exec() -> None:
    try:
        close_range(3, _LAST_FD, CLOSE_RANGE_CLOEXEC)
    except OSError:  # before Linux 5.11
        for name in listdir("/proc/self/fd"):
            fd = int(name)
            if fd > 2:
                _end_on_exec(fd)


def _end_on_exec(fd: int) -> None:
    try:
        set_inheritable(fd, False)
    except OSError:  # the descriptor of the listing itself
        pass
