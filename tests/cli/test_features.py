# SPDX-License-Identifier: Apache-2.0
"""The features structure says what the code does, and has the form that the specification gives it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from pyoci import seccomp, thirdparty
from pyoci.cli.features import features
from pyoci.spec import schemas

from .test_verbs import invoke


def test_it_fits_the_schema() -> None:
    jsonschema.Draft202012Validator(schemas.load("features")).validate(features())


def test_it_is_written_as_runc_writes_it(capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke("features") == 0
    output = capfd.readouterr().out
    assert output.startswith('{\n    "ociVersionMin": "1.0.0",\n')
    assert json.loads(output) == features()


def names(kind: str, path: str) -> set[str]:
    """The values that a schema allows at a path of property names."""
    schema: Any = schemas.load(kind)
    for step in path.split("/"):
        schema = schema["properties"][step] if step != "*" else schema["items"]
    return set(schema["enum"])


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("archs", "architectures/*"),
        ("actions", "defaultAction"),
        ("operators", "syscalls/*/args/*/op"),
        ("knownFlags", "flags/*"),
    ],
)
def test_the_names_of_seccomp_are_those_of_the_specification(key: str, path: str) -> None:
    told = features()["linux"]["seccomp"][key]
    assert len(told) == len(set(told)) > 0
    assert set(told) <= names("config-linux-seccomp", path)


def test_the_architectures_are_those_of_the_library() -> None:
    library = pytest.importorskip("seccomp", reason="needs libseccomp's Python binding")
    for name in features()["linux"]["seccomp"]["archs"]:
        assert hasattr(library.Arch, name.removeprefix("SCMP_ARCH_"))


def test_the_namespaces_are_those_of_the_specification() -> None:
    assert set(features()["linux"]["namespaces"]) == names("config-linux", "namespaces/*/type")


@pytest.mark.parametrize(("key", "path"), [("modes", "memoryPolicy/mode"), ("flags", "memoryPolicy/flags/*")])
def test_the_names_of_memory_policies_are_those_of_the_specification(key: str, path: str) -> None:
    assert set(features()["linux"]["memoryPolicy"][key]) == names("config-linux", path)


def test_supported_flags_are_known_ones() -> None:
    told = features()["linux"]["seccomp"]
    assert set(told["supportedFlags"]) == set(seccomp.supported_flags()) <= set(told["knownFlags"])


def test_hooks() -> None:
    assert features()["hooks"] == [
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"
    ]  # fmt: skip


@pytest.mark.parametrize(("library", "path"), [("jeepney", "cgroup/systemd"), ("seccomp", "seccomp/enabled")])
def test_what_needs_a_library(monkeypatch: pytest.MonkeyPatch, library: str, path: str) -> None:
    section, key = path.split("/")
    assert features()["linux"][section][key] is True
    monkeypatch.setattr(thirdparty, "is_there", lambda name: name != library)
    assert features()["linux"][section][key] is False
    assert features()["linux"]["cgroup"]["v2"] is True
