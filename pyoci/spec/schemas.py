# SPDX-License-Identifier: Apache-2.0
"""The JSON schemas in `specs/`, read when something has to be explained or compiled; a valid configuration needs none.

References are resolved on reading: what comes out is one tree without `$ref`. The schemas do not recurse, so it is
finite, and neither errors nor tools ever meet the indirection.
"""

from __future__ import annotations

from pyoci import jsontext
from pyoci.errors import PyociError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Schema = dict[str, Any]

_PACKAGE = __file__.rsplit("/", 2)[0]
_DIRECTORIES = (_PACKAGE + "/specs/", _PACKAGE.rsplit("/", 1)[0] + "/specs/")
_FILE_KEYS = ("$schema", "$id", "$defs", "title")


def read(name: str) -> Schema:
    """The schema file `name`, as it stands: package data when installed, `specs/` in a checkout.

    Raises PyociError when there is none: the installation is broken.
    """
    for directory in _DIRECTORIES:
        try:
            with open(directory + name, encoding="utf-8") as file:
                schema: Schema = jsontext.loads(file.read())
        except FileNotFoundError:
            continue
        return schema
    raise PyociError(f"the schema {name} is missing from this installation of pyoci")


def load(name: str) -> Schema:
    """The schema called `name`, such as "config" or "config-linux-resources", with its references resolved."""
    schema: Schema = _Resolver().resolve({"$ref": f"{name}.schema.json"}, "")
    return schema


def section(schema: Schema) -> str:
    """The section of the specification that the description of a schema names; empty without one."""
    description = schema.get("description", "")
    return description.rpartition(" (")[2].removesuffix(")") if type(description) is str else ""


class _Resolver:
    def __init__(self) -> None:
        self._files: dict[str, Schema] = {}
        self._targets: dict[str, Schema] = {}

    def resolve(self, node: Any, file: str) -> Any:
        """A copy of `node`, part of `file`; what stands beside a `$ref` overrides what it refers to."""
        if isinstance(node, list):
            return [self.resolve(item, file) for item in node]
        if not isinstance(node, dict):
            return node
        resolved = {key: self.resolve(item, file) for key, item in node.items() if key not in _FILE_KEYS}
        if "$ref" not in node:
            return resolved
        del resolved["$ref"]
        return {**self._target(node["$ref"], file), **resolved}

    def _target(self, reference: str, file: str) -> Schema:
        path, _, fragment = reference.partition("#")
        path = path or file
        key = f"{path}#{fragment}"
        if key not in self._targets:
            if path not in self._files:
                self._files[path] = read(path)
            node = self._files[path]
            for step in fragment.split("/")[1:]:
                node = node[step]
            self._targets[key] = self.resolve(node, path)
        return self._targets[key]
