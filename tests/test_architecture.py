# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the package is a stack of layers, and imports run down it.

A module imports from its own package and from lower layers, never from its own layer or from above. The table below is
the whole law. A new module or package has no place until it is written down there, and then the tests say so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pyoci"

LAYERS = (
    {"__main__", "archive"},
    {"cli"},
    {"container"},
    {"foreground"},
    {"criu"},
    {"process", "relay"},
    {"bundle", "rootfs", "seccomp_cache", "state"},
    {"plan"},
    {"host", "seccomp_compiler"},
    {"confinement"},
    {
        "capabilities",
        "cgroups",
        "executable",
        "hooks",
        "network",
        "notify",
        "seal",
        "seccomp",
        "terminal",
        "user_namespaces",
        "users",
    },
    {"spec"},
    {"thirdparty"},
    {"log"},
    {"system_log"},
    {"jsontext", "kernel_calls", "record"},
    {"syscalls"},
    {"kernel"},
    {"libc"},
    {"foreign"},
    {"errors"},
    {"__init__"},
)
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}

PURE = {"spec": {"errors", "jsontext", "record", "thirdparty"}}
"""What these may import of the package: functions of their arguments, that no kernel has a say in."""

TO_THE_KERNEL = {"ctypes", "_ctypes", "posix", "os", "subprocess"}
MAY_CALL_THE_KERNEL = {
    "kernel/basic": {"posix"},
    "archive": {"posix"},
    "foreign": {"_ctypes"},
    "errors": {"posix"},
    "cli/ps": {"subprocess"},
}
"""Everyone else goes through pyoci.kernel. `errors` needs strerror, and nothing can lie below it; `archive` is there before
any other module; `ps` runs ps(1)."""

NO_NAMES = {"common", "helper", "helpers", "misc", "util", "utils"}

SOURCES = sorted(path for path in PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    """The path of a module in the package, as `cli/run`; a package has its directory's."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return str(inside.parent if inside.name == "__init__" and len(inside.parts) > 1 else inside)


def member(path: Path) -> str:
    """The module or package directly below pyoci that a file belongs to."""
    return place(path).partition("/")[0]


def imports(path: Path) -> Iterator[tuple[ast.stmt, str]]:
    """Each import statement of a file, and the dotted name of each module that it may load."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            assert node.module is not None
            if node.module == "pyoci":  # of a package's own names, those in capitals or dunders are no modules
                for alias in node.names:
                    yield node, "pyoci" if not alias.name.islower() or "__" in alias.name else f"pyoci.{alias.name}"
            else:
                yield node, node.module


def own_imports(path: Path) -> set[str]:
    """The members of the package that a file imports."""
    names = {name for _, name in imports(path) if name.partition(".")[0] == "pyoci"}
    return {name.split(".")[1] if "." in name else "__init__" for name in names}


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_imports_run_down_the_layers(path: Path) -> None:
    own = member(path)
    assert own in DEPTH, f"{own} has no layer: give it one in {__file__}"
    unknown = own_imports(path) - set(DEPTH)
    assert not unknown, f"{place(path)} imports what has no layer: {unknown}"
    upward = {name for name in own_imports(path) - {own} if DEPTH[name] <= DEPTH[own]}
    assert not upward, f"{place(path)} may not import {upward}: they lie in its layer or above"


@pytest.mark.parametrize("prefix", PURE)
def test_pure_parts_stay_pure(prefix: str) -> None:
    parts = [path for path in SOURCES if f"{place(path)}/".startswith(f"{prefix}/")]
    assert parts, f"nothing is there: {prefix}"
    allowed = PURE[prefix] | {prefix.partition("/")[0]}
    assert {place(path): own_imports(path) - allowed for path in parts if own_imports(path) - allowed} == {}


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_only_the_package_for_it_calls_the_kernel(path: Path) -> None:
    names = {name.partition(".")[0] for _, name in imports(path)} & TO_THE_KERNEL
    assert names <= MAY_CALL_THE_KERNEL.get(place(path), set())


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_an_import_inside_a_function_says_why(path: Path) -> None:
    lines = path.read_text().splitlines()
    late = [node for node, _ in imports(path) if node.col_offset > 0 and "TYPE_CHECKING:" not in block(lines, node)]
    assert [f"{path}:{node.lineno}" for node in late if "#" not in lines[node.lineno - 1]] == []


def block(lines: list[str], node: ast.stmt) -> str:
    """The line that opens the block a statement stands in."""
    return next(
        line
        for line in reversed(lines[: node.lineno - 1])
        if line.strip() and len(line) - len(line.lstrip()) < node.col_offset
    )


def test_no_module_is_named_for_having_no_subject() -> None:
    assert [place(path) for path in SOURCES if path.stem in NO_NAMES] == []
