# SPDX-License-Identifier: Apache-2.0
"""What a config says in vain: told in one line, or refused, and never passed over in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .configs import bind, mount
from .harness import Container

differs = pytest.mark.differs
SILENT = differs(runc="1.1.5 leaves it out without a word")


@SILENT
@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("windows", {"layerFolders": ["C:\\layer"]}),
        ("solaris", {"milestone": "svc:/milestone/container:default"}),
        ("zos", {"namespaces": [{"type": "pid"}]}),
        ("freebsd", {"jail": {"parent": "base"}}),
        ("vm", {"kernel": {"path": "/kernel"}}),
    ],
)
def test_a_section_of_another_platform(container: Container, name: str, section: dict[str, Any]) -> None:
    container.config[name] = section
    result = container.run(args=["echo", "runs"]).ok()
    assert result.out == "runs\n"
    assert f"/{name} is left out" in result.err


@SILENT
@pytest.mark.parametrize("pointer", ["/process/commandLine", "/process/user/username"])
def test_a_property_for_windows(container: Container, pointer: str) -> None:
    owner = container.process if pointer.count("/") == 2 else container.process["user"]
    owner[pointer.rpartition("/")[2]] = "somebody"
    result = container.run(args=["id", "-u"]).ok()
    assert result.out == "0\n"
    assert f"{pointer} is left out" in result.err


@SILENT
def test_an_option_that_a_mount_has_to_do_without(container: Container) -> None:
    volume = container.scratch / "volume"
    volume.mkdir()
    container.mounts[:] += [bind(volume, "/data", "bind", "sync"), mount("/mnt", "tmpfs", "tmpfs", "iversion")]
    said = container.run(args=["true"]).ok().err
    assert "mount /data: the option sync is left out" in said
    assert "mount /mnt: the option iversion is left out" in said


@SILENT
def test_flags_of_a_personality(container: Container) -> None:
    container.linux["personality"] = {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}
    assert "/linux/personality/flags" in container.run(args=["true"]).ok().err


@SILENT
def test_a_hook_of_an_unknown_kind(container: Container) -> None:
    container.config["hooks"] = {"postmortem": [{"path": "/bin/true"}]}
    container.write_config()
    told = container.call("validate", "--bundle", str(container.bundle)).ok()
    assert "/hooks/postmortem" in told.out + told.err


def test_a_console_size_without_a_terminal(container: Container) -> None:
    """Which the specification has us ignore."""
    container.process["consoleSize"] = {"height": 20, "width": 60}
    assert container.run(args=["echo", "runs"]).ok().out == "runs\n"


@differs(runc="1.1.5 takes any version")
@pytest.mark.parametrize("version", ["2.0.0", "10.1.2-rc.1"])
def test_a_major_version_that_nobody_knows(container: Container, version: str) -> None:
    container.config["ociVersion"] = version
    container.create().refused("/ociVersion", version)
    container.leaves_nothing()


@pytest.mark.parametrize("pointer", ["/annotations", "/process", "/linux"])
def test_a_property_that_nobody_knows(container: Container, pointer: str) -> None:
    """The specification wants unknown properties ignored; `validate` tells of them."""
    owner = container.config.setdefault(pointer[1:], {})
    owner["org.example.unknown"] = "value"
    assert container.run(args=["echo", "runs"]).ok().out == "runs\n"
    assert not Path(container.root / container.id).exists()
