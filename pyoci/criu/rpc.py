# SPDX-License-Identifier: Apache-2.0
"""criu's RPC messages, as dicts with the names of criu's rpc.proto, and as bytes. Pure.

They are protocol buffers (proto2), of which two of the wire types are used: numbers and what has a length. The 60 lines
that it takes to write and read these are less than a protobuf runtime would bring, which moreover wants code generated
for its own version.

Source: criu, images/rpc.proto; https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Shape = Mapping[str, int | tuple[int, "Shape"]]
    """The fields of a message by name: their numbers, and the shape of those that are messages themselves."""

DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}

_FEATURES: Shape = {"mem_track": 1, "lazy_pages": 2}
_OPTIONS: Shape = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "ps": (11, {"address": 1, "port": 2}),
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "ext_mnt": (23, {"key": 1, "val": 2}),
    "manage_cgroups": 24,
    "cg_root": (25, {"ctrl": 1, "path": 2}),
    "rst_sibling": 26,
    "inherit_fd": (27, {"key": 1, "fd": 2}),
    "manage_cgroups_mode": 34,
    "external": 37,
    "empty_ns": 38,
    "join_ns": (39, {"ns": 1, "ns_file": 2}),
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "orphan_pts_master": 50,
    "config_file": 51,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
}
REQUEST: Shape = {
    "type": 1,
    "opts": (2, _OPTIONS),
    "notify_success": 3,
    "keep_open": 4,
    "features": (5, _FEATURES),
}
RESPONSE: Shape = {
    "type": 1,
    "success": 2,
    "restore": (4, {"pid": 1}),
    "notify": (5, {"script": 1, "pid": 2}),
    "cr_errno": 7,
    "features": (8, _FEATURES),
    "cr_errmsg": 9,
    "version": (10, {"major_number": 1, "minor_number": 2, "sublevel": 4}),
}

_NUMBER, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


def encode(shape: Shape, values: Mapping[str, Any]) -> bytes:
    """A message. A value is bool, int, str, a mapping, or a list of these for a field that is repeated."""
    pieces = []
    for name, held in values.items():
        field = shape[name]
        number, inner = field if isinstance(field, tuple) else (field, {})
        for value in held if isinstance(held, (list, tuple)) else (held,):
            if isinstance(value, int):
                pieces.append(_varint(number << 3 | _NUMBER) + _varint(value))
            else:
                content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else encode(inner, value)
                pieces.append(_varint(number << 3 | _SIZED) + _varint(len(content)) + content)
    return b"".join(pieces)


def decode(shape: Shape, data: bytes) -> dict[str, Any]:
    """The fields of a message that the shape knows; numbers are ints, also those that mean yes or no. Raises ValueError."""
    names = {field[0] if isinstance(field, tuple) else field: name for name, field in shape.items()}
    values: dict[str, Any] = {}
    for number, content in _fields(data):
        name = names.get(number)
        if name is None:
            continue
        field = shape[name]
        if isinstance(content, int):
            values[name] = content
        else:
            values[name] = (
                decode(field[1], content) if isinstance(field, tuple) else content.decode("utf-8", "surrogateescape")
            )
    return values


def _varint(value: int) -> bytes:
    """Seven bits at a time, the lowest first. What is negative is 64 bits long."""
    rest = value & (1 << 64) - 1
    written = bytearray()
    while rest > 0x7F:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    written.append(rest)
    return bytes(written)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _NUMBER:
            value, at = _read_varint(data, at)
            yield key >> 3, value - (1 << 64) if value >> 63 else value
            continue
        if kind == _SIZED:
            size, at = _read_varint(data, at)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"a field of wire type {kind}")
        if at + size > len(data):
            raise ValueError("a message that is cut off")
        if kind == _SIZED:
            yield key >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number that is cut off")
