# SPDX-License-Identifier: Apache-2.0
"""The schemas in specs/: sound in themselves, complete, and different from the specification's own only where said here."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pyoci.spec import explain, schemas, validate
from tests.spec import samples

SPECS = Path(__file__).parents[1] / "specs"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SPECS.glob("*.json"))
SECTION = re.compile(
    r"[.] \((config|config-\w+|runtime|features|features-linux)\.md, [A-Z][\w /(),.-]+\)$", re.IGNORECASE
)

official = pytest.mark.skipif(
    not samples.OFFICIAL.is_dir(), reason="the specification's own schemas do not lie next to this checkout"
)

STRICTER: tuple[Any, ...] = (
    # Where we refuse more: keyword and pointer, why, and one example: a place in the complete sample, what stands there.
    ("pattern", r"/ociVersion", "MUST be in SemVer v2.0.0 format", ("/ociVersion", "1.0")),
    ("nul", r".*", "the kernel takes no NUL in strings", ("/process/cwd", "/\0")),
    ("(minLength|propertyNames)", r".*", "an empty name or path names nothing", ("/root/path", "")),
    ("type", r".*/", "neither does a property without a name, whatever its value", ("/linux/sysctl", {"": 1})),
    ("maximum", r".*/([ug]id|additionalGids/\d+|containerID|hostID)", "2^32-1 is the kernel's word for no id",
     ("/process/user/uid", (1 << 32) - 1)),
    ("minimum", r".*Mappings/\d+/size", "the kernel refuses an empty range", ("/linux/uidMappings/0/size", 0)),
    ("maximum", r"/process/consoleSize/(height|width)", "struct winsize has 16 bits",
     ("/process/consoleSize/height", 65536)),
    ("(minimum|maximum)", r"/process/oomScoreAdj", "the range of oom_score_adj", ("/process/oomScoreAdj", 1001)),
    ("(minimum|maximum)", r"/process/ioPriority/priority", "from 0 to 7", ("/process/ioPriority/priority", 8)),
    ("required", r"/process/ioPriority/priority", "REQUIRED in the text", ("/process/ioPriority/priority", samples.GONE)),
    ("maximum", r"/hooks/\w+/\d+/timeout", "more seconds than a clock has", ("/hooks/poststop/0/timeout", 1 << 31)),
    ("required", r".*/throttle\w+/\d+/rate", "REQUIRED in the text",
     ("/linux/resources/blockIO/throttleReadBpsDevice/0/rate", samples.GONE)),
    ("required", r"/linux/memoryPolicy/mode", "REQUIRED in the text", ("/linux/memoryPolicy/mode", samples.GONE)),
    ("required", r"/linux/personality/domain", "REQUIRED in the text", ("/linux/personality/domain", samples.GONE)),
    ("enum", r"/linux/resources/devices/\d+/type", "a, b or c", ("/linux/resources/devices/0/type", "d")),
    ("pattern", r"/linux/resources/devices/\d+/access", "made of r, w and m", ("/linux/resources/devices/0/access", "x")),
    ("pattern", r"/linux/memoryPolicy/nodes", "numbers and ranges", ("/linux/memoryPolicy/nodes", "all")),
    ("maximum", r"/linux/timeOffsets/\w+/nanosecs", "the kernel takes less than a second",
     ("/linux/timeOffsets/monotonic/nanosecs", 10**9)),
    ("pattern", r"/linux/intelRdt/schemata/\d+", "MUST NOT contain newlines", ("/linux/intelRdt/schemata/0", "a\nb")),
)  # fmt: skip

LOOSER: tuple[Any, ...] = (
    # Where we refuse less.
    ("maximum", r"/linux/devices/\d+/fileMode", "engines leave the bits of the file type in",
     ("/linux/devices/0/fileMode", 0o20666)),
    ("enum", r"/linux/rootfsPropagation", "engines write rslave and the like, Go may write an empty one",
     ("/linux/rootfsPropagation", "rslave")),
    ("enum", r"/linux/seccomp/defaultAction", "Go writes an empty one, for no filter at all",
     ("/linux/seccomp/defaultAction", "")),
    ("required", r"/linux/resources/pids/limit", "OPTIONAL in the text, left out by Go", ("/linux/resources/pids", {})),
    (".*", r"/windows.*", "of no meaning here: no reason to refuse a container for Linux", ("/windows", {})),
)  # fmt: skip

BEYOND_STRUCTURE = {"linux-netdevice.json": {"network-devices"}}
"""Rules that good examples break: this one has no network namespace to move its devices to."""


def all_properties(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every property of a resolved schema with its path; items and values of maps are steps `*`."""
    for part in node.get("allOf", []):
        yield from all_properties(part, path)
    for part in node.get("anyOf", []):
        yield from all_properties(part, path)
    for name, part in node.get("properties", {}).items():
        yield f"{path}/{name}", part
        yield from all_properties(part, f"{path}/{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from all_properties(node[key], f"{path}/*")


def official_schema(name: str) -> Any:
    """One of the specification's schemas (draft 4) without references; what stands beside one is void there."""
    files = {path.name: json.loads(path.read_text()) for path in samples.OFFICIAL.glob("*.json")}

    def resolve(node: Any, file: str) -> Any:
        if isinstance(node, list):
            return [resolve(item, file) for item in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("$ref"), str):
            target, _, fragment = node["$ref"].partition("#")
            found = files[target or file]
            for step in fragment.split("/")[1:]:
                found = found[step]
            return resolve(found, target or file)
        return {key: resolve(item, file) for key, item in node.items()}

    return resolve(files[name], name)


def official_validator() -> Any:
    """Theirs, with `$` for the very end in patterns, as it is for JSON Schema, though not in Python."""
    pattern = explain._validator_class(jsonschema).VALIDATORS["pattern"]
    extend: Any = jsonschema.validators.extend
    return extend(jsonschema.Draft4Validator, {"pattern": pattern})(official_schema("config-schema.json"))


def complaints(validator: Any, config: Any) -> set[tuple[str, str]]:
    """Keyword and pointer of all errors; of an `anyOf`, which they have with one branch only, those within."""
    found = set()
    errors = list(validator.iter_errors(config))
    for error in errors:
        errors += error.context
        if error.context:
            continue
        pointer = "".join(f"/{step}" for step in error.absolute_path)
        keyword = "propertyNames" if "propertyNames" in error.absolute_schema_path else error.validator
        if keyword == "pattern" and "\0" in error.instance:
            keyword = "nul"
        if keyword == "required":
            names = [name for name in error.schema["required"] if name not in error.instance]
            found |= {("required", f"{pointer}/{name}") for name in names}
        else:
            found.add((keyword, pointer))
    return found


def rows_for(found: set[tuple[str, str]], by: set[tuple[str, str]], table: Any) -> list[Any]:
    """The rows of `table` that say why `found` complains of places of which `by` does not. Each place must have one."""
    places = {pointer for _, pointer in by}
    used = []
    for keyword, pointer in found:
        if pointer not in places:
            rows = [row for row in table if re.fullmatch(row[0], keyword) and re.fullmatch(row[1], pointer)]
            assert rows, f"nothing explains the difference at {pointer} ({keyword})"
            used += rows
    return used


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_one(name: str) -> None:
    schema = json.loads((SPECS / f"{name}.schema.json").read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"{name}.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema)
    if name != "defs":
        jsonschema.Draft202012Validator.check_schema(schemas.load(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_described_with_its_section(name: str) -> None:
    if name == "defs":
        described = json.loads((SPECS / "defs.schema.json").read_text())["$defs"].items()
    else:
        described = all_properties(schemas.load(name))
    assert [path for path, part in described if not SECTION.search(part.get("description", ""))] == []


@pytest.mark.parametrize("name", ["config", "features"])
def test_no_object_is_closed(name: str) -> None:
    """Unknown properties MUST be ignored (config.md, Extensibility)."""
    assert "'additionalProperties': False" not in str(schemas.load(name))


def test_the_complete_sample_has_all_there_is_for_linux() -> None:
    def paths(node: Any, path: str) -> Iterator[str]:
        yield path
        if isinstance(node, dict):
            for name, item in node.items():
                yield from paths(item, f"{path}/{name}")
                yield from paths(item, f"{path}/*")
        if isinstance(node, list):
            for item in node:
                yield from paths(item, f"{path}/*")

    foreign = ("/windows", "/solaris", "/vm", "/zos", "/freebsd")
    known = {path for path, _ in all_properties(schemas.load("config")) if not path.startswith(foreign)}
    assert known - set(paths(samples.complete(), "")) == set()


@official
@pytest.mark.parametrize(("name", "theirs"), [("config", "config-schema"), ("state", "state-schema")])
def test_we_know_the_properties_that_they_know(name: str, theirs: str) -> None:
    ours = {path for path, _ in all_properties(schemas.load(name))}
    assert {path for path, _ in all_properties(official_schema(f"{theirs}.json"))} - ours == set(
        ["/windows/resources/cpu/affinity/mask", "/windows/resources/cpu/affinity/group"] if name == "config" else []
    ), "the affinity of Windows is an object in their schema and a list in their text: we look at neither"


@official
def test_we_know_the_features_that_they_know_and_those_of_the_text() -> None:
    ours = {path for path, _ in all_properties(schemas.load("features"))}
    theirs = {path for path, _ in all_properties(official_schema("features-schema.json"))}
    text = {"/linux/memoryPolicy", "/linux/memoryPolicy/modes", "/linux/memoryPolicy/flags"}
    assert ours - theirs == {*text, "/linux/intelRdt/schemata", "/linux/intelRdt/monitoring"}
    assert theirs - ours == set()


@official
@pytest.mark.parametrize(
    "path", sorted(samples.OFFICIAL.glob("test/*/*/*.json")), ids=lambda path: "-".join(path.parts[-3:])
)
def test_their_examples_get_their_verdict(path: Path) -> None:
    kind, verdict = path.parts[-3], path.parts[-2] == "good"
    text = path.read_text()
    try:
        value = json.loads(text)
    except ValueError:
        assert not verdict
    else:
        assert explain._validator_class(jsonschema)(schemas.load(kind)).is_valid(value) is verdict
    if kind == "config":
        broken = {problem.rule for problem in validate.lint(text).errors} - BEYOND_STRUCTURE.get(path.name, set())
        assert (not broken) is verdict


@official
def test_verdicts_differ_from_theirs_only_where_said() -> None:
    ours = explain._validator_class(jsonschema)(schemas.load("config"))
    theirs = official_validator()
    chance = random.Random(4)
    for number in range(2400):
        config = samples.mutate(samples.BASES[number % len(samples.BASES)](), chance)
        mine, official_ones = complaints(ours, config), complaints(theirs, config)
        rows_for(mine, official_ones, STRICTER)
        rows_for(official_ones, mine, LOOSER)


@official
@pytest.mark.parametrize("row", [*STRICTER, *LOOSER], ids=lambda row: row[1])
def test_each_difference_is_one(row: Any) -> None:
    ours = explain._validator_class(jsonschema)(schemas.load("config"))
    theirs = official_validator()
    config = samples.changed(samples.complete(), *row[3])
    mine, official_ones = complaints(ours, config), complaints(theirs, config)
    if row in STRICTER:
        assert row in rows_for(mine, official_ones, STRICTER)
        assert not official_ones
    else:
        assert row in rows_for(official_ones, mine, LOOSER)
        assert not mine


@pytest.mark.parametrize("state", [
    {"ociVersion": "1.3.0", "id": "a", "status": "running", "pid": 5, "bundle": "/b", "annotations": {"k": ""}},
    {"ociVersion": "1.3.0", "id": "a", "status": "stopped", "bundle": "/b"},
    {"ociVersion": "1.3.0", "id": "a", "status": "paused", "pid": 5, "bundle": "/b", "rootfs": "/b/rootfs"},
])  # fmt: skip
def test_right_states(state: Any) -> None:
    assert jsonschema.Draft202012Validator(schemas.load("state")).is_valid(state)


@pytest.mark.parametrize("change", [
    {"pid": None}, {"pid": -1}, {"pid": True}, {"bundle": "b"}, {"id": ""}, {"ociVersion": "1"}, {"annotations": {"": ""}},
    {"annotations": {"a": 1}}, {"status": 1},
])  # fmt: skip
def test_wrong_states(change: Any) -> None:
    state = {"ociVersion": "1.3.0", "id": "a", "status": "running", "pid": 5, "bundle": "/b", **change}
    assert not jsonschema.Draft202012Validator(schemas.load("state")).is_valid(state)


def test_a_running_container_has_a_pid() -> None:
    state = {"ociVersion": "1.3.0", "id": "a", "status": "running", "bundle": "/b"}
    assert not jsonschema.Draft202012Validator(schemas.load("state")).is_valid(state)


@pytest.mark.parametrize("change", [{}, {"hooks": None, "linux": None}, {"linux": {"seccomp": {"archs": None}}}])
def test_right_features(change: Any) -> None:
    features = {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0", **change}
    assert jsonschema.Draft202012Validator(schemas.load("features")).is_valid(features)


@pytest.mark.parametrize("change", [
    {"ociVersionMax": None}, {"hooks": [1]}, {"linux": {"capabilities": ["chown"]}}, {"linux": {"cgroup": {"v1": 1}}},
])  # fmt: skip
def test_wrong_features(change: Any) -> None:
    features = {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0", **change}
    assert not jsonschema.Draft202012Validator(schemas.load("features")).is_valid(features)
