# SPDX-License-Identifier: Apache-2.0
"""An image for the engines, made here: one static program, and an archive that each of them can load."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

NAME = "localhost/busybox:test"
PAUSE = "localhost/pause:test"


def write_archive(path: Path, name: str = NAME, command: str = "sh") -> None:
    """Write an image called `name`, which runs `command`, in the format of `docker save`, to `path`."""
    layer = _layer()
    config = json.dumps(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else os.uname().machine,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": [command]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "tests"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        _add(archive, "layer.tar", layer)
        _add(archive, config_name, config)
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _layer() -> bytes:
    program = shutil.which("busybox")
    assert program is not None
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (
            "bin",
            "dev",
            "etc",
            "home",
            "home/user",
            "proc",
            "root",
            "run",
            "sys",
            "tmp",
            "usr",
            "usr/bin",
            "var",
        ):
            directory = tarfile.TarInfo(name)
            directory.type = tarfile.DIRTYPE
            directory.mode = 0o1777 if name == "tmp" else 0o755
            if name == "home/user":
                directory.uid = directory.gid = 1000
            tar.addfile(directory)
        _add(tar, "bin/busybox", Path(program).read_bytes(), 0o755)
        _add(tar, "bin/not-executable", b"#!/bin/sh\n", 0o644)
        _add(tar, "bin/pause", b"#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 3600 & wait $!; done\n", 0o755)
        for applet in applets:
            if applet != "busybox":
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:a user:/home/user:/bin/sh\n")
        _add(tar, "etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
    return buffer.getvalue()
