# SPDX-License-Identifier: Apache-2.0
"""Unknown properties are warned of, with the word that was meant."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci.spec import schemas, typos
from tests.spec import samples


def unknown(config: Any) -> list[tuple[str, str]]:
    return [(problem.pointer, problem.message) for problem in typos.unknown_properties(config, schemas.load("config"))]


@pytest.mark.parametrize(("pointer", "message"), [
    ("/hostnmae", 'unknown property "hostnmae" is ignored, did you mean "hostname"?'),
    ("/ociversion", 'unknown property "ociversion" is ignored, did you mean "ociVersion"?'),
    ("/process/enviroment", 'unknown property "enviroment" is ignored'),
    ("/process/no_new_privileges", 'unknown property "no_new_privileges" is ignored, did you mean "noNewPrivileges"?'),
    ("/capabilities", 'unknown property "capabilities" is ignored; it belongs to /process'),
    ("/linux/namespaces/0/pth", 'unknown property "pth" is ignored, did you mean "path"?'),
    ("/linux/resources/rdma/mlx5/hcaHandle", 'unknown property "hcaHandle" is ignored, did you mean "hcaHandles"?'),
    ("/mounts/0/a~1b", 'unknown property "a/b" is ignored'),
])  # fmt: skip
def test_unknown_properties(pointer: str, message: str) -> None:
    assert unknown(samples.changed(samples.complete(), pointer, 1)) == [(pointer, message)]


def test_names_that_are_free_are_not_unknown() -> None:
    assert unknown(samples.complete()) == []
    assert unknown(samples.others()) == []


def test_values_of_the_wrong_type_are_not_looked_into() -> None:
    assert unknown({"process": [], "linux": 5, "mounts": {"a": 1}}) == []
