# SPDX-License-Identifier: Apache-2.0
"""The device program of a cgroup of version 2: loaded, put in place of the one before, taken away.

Source: bpf(2); union bpf_attr in include/uapi/linux/bpf.h. Fields that a kernel does not know must be zero, so each
structure ends where the oldest kernel with the command (or, for BPF_F_REPLACE, 5.6) ends it.
"""

from __future__ import annotations

import errno
from _struct import Struct, unpack_from

from pyoci.errors import CgroupError, failed
from pyoci.syscalls import (
    O_CLOEXEC,
    O_DIRECTORY,
    O_RDONLY,
    RLIM_INFINITY,
    address,
    bpf,
    buffer,
    close,
    open,
    prlimit,
)

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_PROG_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE = 15, 6
_F_ALLOW_MULTI, _F_REPLACE = 2, 4
_RLIMIT_MEMLOCK = 8
_MOST = 64  # BPF_CGROUP_MAX_PROGS
_TRIES = 20
_NAME = b"pyoci_devices"

_load = Struct("=IIQQIIQII16s")
_attach = Struct("=IIIII")
_query = Struct("=IIIIQII")
_by_id = Struct("=I")


def install(directory: str, program: bytes | None) -> None:
    """Make `program` the only device program attached to this cgroup; None: have none there at all.

    One that is there is replaced in a single step, so that there is no moment without rules and none with both.
    Raises CgroupError.
    """
    try:
        cgroup = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    except OSError as error:
        raise failed_to(f"open {directory} for its device rules", error) from error
    try:
        if program is None:
            _detach_all(cgroup, directory)
            return
        new = _loaded(program, directory)
        try:
            _put_in_place(cgroup, new)
        except OSError as error:
            raise failed_to(f"attach the device rules to {directory}", error) from error
        finally:
            close(new)
    finally:
        close(cgroup)


def failed_to(step: str, error: OSError) -> CgroupError:
    """An OSError as the failure of a step, for the cgroup it is about."""
    return CgroupError(failed(step, error).message)


def attached(cgroup: int) -> list[int]:
    """The ids of the device programs attached to this cgroup itself. Raises OSError."""
    ids = buffer(4 * _MOST)
    query = buffer(_query.pack(cgroup, _CGROUP_DEVICE, 0, 0, address(ids), _MOST, 0))
    bpf(_PROG_QUERY, query, _query.size)
    return list(unpack_from(f"={_query.unpack(query)[5]}I", ids))


def _detach_all(cgroup: int, directory: str) -> None:
    try:
        old = attached(cgroup)
    except OSError:
        return  # without the right to ask we have attached nothing, and an allowance for everything needs nothing
    for number in old:
        try:
            _detach(cgroup, number)
        except OSError as error:
            raise failed_to(f"detach the device rules from {directory}", error) from error


def _loaded(program: bytes, directory: str) -> int:
    code, license_name = buffer(program), buffer(b"Apache-2.0\0")
    load = buffer(
        _load.pack(
            _PROG_TYPE_CGROUP_DEVICE, len(program) // 8, address(code), address(license_name), 0, 0, 0, 0, 0, _NAME
        )
    )
    try:
        return bpf(_PROG_LOAD, load, _load.size)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise failed_to(f"load the device rules for {directory}", error) from error
    try:
        # Before Linux 5.11 programs were counted as locked memory. Our own limit, which no container inherits from us
        # as its rlimits are set one by one, is lifted only if need be.
        prlimit(0, _RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)
        return bpf(_PROG_LOAD, load, _load.size)
    except OSError as error:
        raise failed_to(f"load the device rules for {directory}", error) from error


def _put_in_place(cgroup: int, new: int) -> None:
    replace = True
    for _ in range(_TRIES):
        old = attached(cgroup)
        only = _opened(old[0]) if replace and len(old) == 1 else None
        try:
            flags = _F_ALLOW_MULTI if only is None else _F_ALLOW_MULTI | _F_REPLACE
            bpf(_PROG_ATTACH, buffer(_attach.pack(cgroup, new, _CGROUP_DEVICE, flags, only or 0)), _attach.size)
        except OSError as error:
            if only is None or error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
            replace = error.errno == errno.ENOENT  # someone was faster; EINVAL: a kernel before 5.6 cannot replace
            continue
        finally:
            if only is not None:
                close(only)
        if only is None:
            for number in old:
                _detach(cgroup, number)
        return
    raise OSError(errno.EBUSY, "others keep changing them")


def _opened(number: int) -> int | None:
    """A descriptor of a program; None if it has just gone or a security module keeps it from us."""
    try:
        return bpf(_PROG_GET_FD_BY_ID, buffer(_by_id.pack(number)), _by_id.size)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
            return None
        raise


def _detach(cgroup: int, number: int) -> None:
    program = _opened(number)
    if program is None:
        return  # one more program can but refuse more
    try:
        bpf(_PROG_DETACH, buffer(_attach.pack(cgroup, program, _CGROUP_DEVICE, 0, 0)), _attach.size)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    finally:
        close(program)
