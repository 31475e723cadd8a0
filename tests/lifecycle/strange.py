# SPDX-License-Identifier: Apache-2.0
"""What else may stand in config.json: texts that are no config, and configs with something strange in one place.

For the tests of failures and for hack/torture; only the standard library is used.
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from .configs import Config, base_config, docker_config, podman_config

BODIES: dict[str, str | bytes] = {
    "empty": "",
    "not JSON": "{",
    "null": "null",
    "a list": "[]",
    "a number": "1",
    "a string": '"config"',
    "an empty object": "{}",
    "deep": "[" * 100_000,
    "deep in an unknown key": '{"ociVersion": "1.0.2", "x": ' + "[" * 5000 + "]" * 5000 + "}",
    "not a number": '{"ociVersion": NaN}',
    "a huge integer": '{"ociVersion": "1.0.2", "process": {"user": {"uid": ' + "9" * 6000 + "}}}",
    "a lone surrogate": '{"ociVersion": "1.0.2", "root": {"path": "\\ud800"}}',
    "not UTF-8": b'{"ociVersion": "\xff"}',
    "text after the end": "{} {}",
    "a byte order mark": "\ufeff{}",
    "a version of the future": '{"ociVersion": "9.0.0", "root": {"path": "rootfs"}}',
}

STRANGE: list[Any] = [None, True, False, 0, -1, 1, 2**31, 2**32, 2**63, 2**64, 1.5, 1e300, "", "x", "/", "..", "\0", "ä" * 300,
                      "/proc/self/fd/3", "x" * 5000, [], {}, [[]], [None], {"": ""}, [1, "a", {}]]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def mutate(config: Config, chance: random.Random) -> str:
    """Replace, remove or double one value of a config; says which."""
    path = chance.choice(places(config))
    parent: Any = config
    for key in path[:-1]:
        parent = parent[key]
    how = chance.choice(["replace", "replace", "replace", "remove", "double"])
    if how == "remove":
        del parent[path[-1]]
    elif how == "double" and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[path[-1]]))
    else:
        parent[path[-1]] = chance.choice(STRANGE)
    return f"{how} {'/'.join(map(str, path))}"


def starting_point(bundle: Path, path: str, chance: random.Random) -> Config:
    """A good config, with its cgroup at `path`."""
    kind = chance.choice(["base", "base", "docker", "podman"])
    if kind == "base":
        return base_config(path)
    return (docker_config if kind == "docker" else podman_config)(bundle, path)


def unsafe(config: Config, path: str) -> bool:
    """Whether a mutation asked for something that would reach the host beyond the container: not ours to try."""
    text = json.dumps(config)
    linux = config.get("linux")
    if not isinstance(linux, dict) or not isinstance(linux.get("namespaces"), list):
        return True
    if not any(isinstance(entry, dict) and entry.get("type") == "mount" for entry in linux["namespaces"]):
        return True
    cgroup = linux.get("cgroupsPath")
    if cgroup is not None and (not isinstance(cgroup, str) or path not in cgroup):
        return True
    root = config.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    return (
        isinstance(path, str) and path != "rootfs" and ("/" in path or path in ("", ".."))
    ) or "cgroupsPath" not in text
