# SPDX-License-Identifier: Apache-2.0
"""The compiled schemas are current, and say what the library says of the same schemas."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pyoci.spec import compiled, explain, schemas
from tests.spec import samples

SCRIPT = Path(__file__).parents[2] / "hack" / "compile-schemas"


@pytest.fixture(scope="module")
def compiler() -> Any:
    loader = importlib.machinery.SourceFileLoader("compile_schemas", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("compile_schemas", loader))  # type: ignore[arg-type]
    loader.exec_module(module)
    return module


def library(name: str) -> Any:
    return explain._validator_class(jsonschema)(schemas.load(name))


def test_the_modules_are_current(compiler: Any) -> None:
    for path, text in compiler.generate().items():
        assert path.read_text() == text, "run hack/compile-schemas"


def test_a_keyword_it_does_not_know_stops_the_compiler(compiler: Any) -> None:
    with pytest.raises(SystemExit, match="maxItems"):
        compiler.Compiler().expression({"type": "array", "items": {}, "maxItems": 3}, "path")
    with pytest.raises(SystemExit, match="no function for the pattern"):
        compiler.Compiler().expression({"type": "string", "pattern": "^x$"}, "path")


@pytest.mark.parametrize("base", samples.BASES)
def test_samples_are_right(base: Any) -> None:
    assert compiled.config(base())
    assert library("config").is_valid(base())


def test_the_whole_profile_of_docker_is_right() -> None:
    assert compiled.config(samples.docker())
    assert library("config").is_valid(samples.docker())


def test_mutants_get_the_verdict_of_the_library() -> None:
    validator, chance = library("config"), random.Random(20)
    wrong = 0
    for number in range(3600):
        config = samples.mutate(samples.BASES[number % len(samples.BASES)](), chance)
        verdict = validator.is_valid(config)
        assert compiled.config(config) is verdict, list(validator.iter_errors(config)) or config
        wrong += not verdict
    assert 1000 < wrong < 3000, "the mutants are too tame or too wild to tell"


@pytest.mark.parametrize(("function", "name", "pointer"), [
    ("process", "config-process", ("process",)),
    ("resources", "config-linux-resources", ("linux", "resources")),
])  # fmt: skip
def test_parts_alone_get_the_verdict_of_the_library(function: str, name: str, pointer: tuple[str, ...]) -> None:
    validator, chance = library(name), random.Random(function)
    for _ in range(500):
        part = samples.complete()
        for step in pointer:
            part = part[step]
        part = samples.mutate(part, chance)
        assert getattr(compiled, function)(part) is validator.is_valid(part)


@pytest.mark.parametrize("value", [None, True, 0, 1.0, "", "config", [], [{}], {}])
def test_what_is_no_configuration_at_all(value: Any) -> None:
    assert compiled.config(value) is False
