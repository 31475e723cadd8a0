# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Devices; runtime-linux.md, Dev symbolic links."""

from __future__ import annotations

import errno
import os
from typing import Any

from tests.lifecycle.configs import device_rule

from ..box import Box
from ..suite import Skipped, each, proves

DEFAULT = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
FUSE = (10, 229)


@proves("default-devices")
def the_default_devices(box: Box) -> None:
    found = box.look(*(f"/dev/{name}" for name in DEFAULT), "/dev/ptmx", "/dev/pts/ptmx")["paths"]
    for name, numbers in DEFAULT.items():
        node = found[f"/dev/{name}"]
        assert (node["kind"], (node["major"], node["minor"])) == ("c", numbers), name
        if name != "tty":  # which answers ENXIO to whoever has no terminal
            assert node["read"] == 0, name
    assert found["/dev/ptmx"]["read"] == 0
    assert found["/dev/ptmx"].get("link", "pts/ptmx") in ("pts/ptmx", "/dev/pts/ptmx")


@proves("dev-symlinks")
def the_links_in_dev(box: Box) -> None:
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    found = box.look(*(f"/dev/{name}" for name in links))["paths"]
    assert {name: found[f"/dev/{name}"].get("link") for name in links} == links


NODES: dict[str, Any] = {
    "c": ({"type": "c", "major": 1, "minor": 3}, "c"),
    "u": ({"type": "u", "major": 1, "minor": 3}, "c"),
    "b": ({"type": "b", "major": 7, "minor": 200}, "b"),
    "p": ({"type": "p"}, "p"),
}


@each(NODES, "devices-available", "create-properties")
def a_device(box: Box, case: Any) -> None:
    entry, kind = case
    box.linux["devices"] = [{**entry, "path": "/some/where/node", "fileMode": 0o640, "uid": 5, "gid": 6}]
    node = box.look("/some/where/node")["paths"]["/some/where/node"]
    assert (node["kind"], node["mode"], node["uid"], node["gid"]) == (kind, 0o640, 5, 6)
    assert (node["major"], node["minor"]) == (entry.get("major", 0), entry.get("minor", 0))


@proves("device-other-file")
def a_file_where_a_device_belongs(box: Box) -> None:
    (box.rootfs / "node").write_text("a file")
    box.linux["devices"] = [{"path": "/node", "type": "c", "major": 1, "minor": 3}]
    box.refuses()
    assert (box.rootfs / "node").read_text() == "a file"


def read_fuse(box: Box, *rules: dict[str, Any]) -> int:
    """What comes of opening /dev/fuse under these rules."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDONLY))
    except OSError:
        raise Skipped("needs /dev/fuse") from None
    box.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": FUSE[0], "minor": FUSE[1]}]
    box.linux["resources"]["devices"] = list(rules)
    return int(box.look("/dev/fuse")["paths"]["/dev/fuse"]["read"])


@proves("device-rules-order", "create-properties")
def a_device_forbidden_and_then_allowed(box: Box) -> None:
    assert read_fuse(box, device_rule(False, "rwm"), device_rule(True, "rwm", "c", *FUSE)) == 0


@proves("device-rules-order", "create-properties")
def a_device_allowed_and_then_forbidden(box: Box) -> None:
    assert read_fuse(box, device_rule(True, "rwm", "c", *FUSE), device_rule(False, "rwm")) == -errno.EPERM


@proves("device-rules-order")
def one_device_of_many_forbidden(box: Box) -> None:
    assert read_fuse(box, device_rule(True, "rwm"), device_rule(False, "rwm", "c", *FUSE)) == -errno.EPERM
