# SPDX-License-Identifier: Apache-2.0
"""What each command loads: each call is a new interpreter, and modules are most of what it costs.

A container is taken through its life, and each call tells what it has loaded by its end. The lists are of what may be
loaded; to add to them is to make a command slower, or to let it near what it has no business with.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.criu import standin

REPOSITORY = Path(__file__).resolve().parent.parent
PATIENCE = 120
CALL = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys._xoptions["library"])
from pyoci import cli, seal

def leave(status):
    with open(sys._xoptions["report"], "w") as report:
        report.write(" ".join(sorted(set(sys.modules) - before)))
    exit_at_once(status)

exit_at_once, cli._exit = cli._exit, leave
seal.is_sealed = lambda: True
cli.main()
"""

# Written in C, or nearly nothing.
FREE = {
    "__future__",
    "_blake2",
    "_ctypes",
    "_json",
    "_signal",
    "_socket",
    "_struct",
    "errno",
    "fcntl",
    "gc",
    "math",
    "select",
}
FREE |= {"_stat", "marshal", "posix", "pwd", "time"}

ALWAYS = {"cli", "errors", "foreign", "jsontext", "kernel.basic", "libc", "log", "record", "seal"}
LIFE = ALWAYS | {"container", "state", "cgroups.files", "cgroups.freezer"}
MAY_LOAD = {
    "spec": ALWAYS,
    "state": LIFE,
    "list": LIFE,
    "pause": LIFE,
    "resume": LIFE,
    "kill": LIFE | {"cgroups.processes"},
    "delete": LIFE | {"cgroups.processes", "cgroups.remove"},
    "gc": LIFE | {"cgroups.layout", "cgroups.marks", "cgroups.processes", "cgroups.remove"},
    "start": LIFE | {"process.exec_fifo"},
    "update": LIFE
    | {"spec", "cgroups.limits", "cgroups.v1", "cgroups.v2", "cgroups.writes", "cgroups.apply", "cgroups.undo"},
    "events": LIFE
    | {"cgroups.stats", "cgroups.stats_v1", "cgroups.stats_v2", "cgroups.readings", "cgroups.oom"}
    | {"cgroups.processes"},
}
"""Members of the package, or modules in them, by command. A package's own file comes with any part of it."""


def loaded(words: list[str], report: Path) -> set[str]:
    """The modules that a call has loaded by its end, beside those that the interpreter itself brings."""
    options = ["-X", f"library={REPOSITORY}", "-X", f"report={report}"]
    errors = report.with_suffix(".errors")
    with errors.open("w") as stderr:  # no pipes: the container's process would keep them open
        status = subprocess.run(
            [sys.executable, "-ISB", *options, "-c", CALL, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            timeout=PATIENCE,
        ).returncode
    assert status == 0, f"{words}: {errors.read_text()}"
    return set(report.read_text().split())


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    (path / "rootfs" / "bin").mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), path / "rootfs" / "bin" / "sh")
    loaded(["spec", "--bundle", str(path)], tmp_path / "report")
    config = json.loads((path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["sh", "-c", "sleep 1000"]}
    (path / "config.json").write_text(json.dumps(config))
    return path


@pytest.fixture
def life(
    bundle: Path, tmp_path: Path, subreaper: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, set[str]]]:
    """What each command of a container's life has loaded."""
    name = f"startup-{os.getpid()}"
    report = tmp_path / "report"
    state = ["--root", str(tmp_path / "root")]
    calls = {
        "create": ["create", "--bundle", str(bundle), name],
        "state": ["state", name],
        "start": ["start", name],
        "list": ["list"],
        "gc": ["gc"],
        "exec": ["exec", name, "sh", "-c", "true"],
        "update": ["update", "--pids-limit", "100", name],
        "events": ["events", "--stats", name],
        "checkpoint": ["checkpoint", "--leave-running", "--image-path", str(tmp_path / "images"), name],
        "pause": ["pause", name],
        "resume": ["resume", name],
        "kill": ["kill", name, "KILL"],
        "delete": ["delete", "--force", name],
        "restore": ["restore", "--detach", "--image-path", str(tmp_path / "images"), "--bundle", str(bundle), name],
        "": ["delete", "--force", name],
        "run": ["run", "--detach", "--bundle", str(bundle), name],
    }
    standin.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    try:
        modules = {command: loaded([*state, *words], report) for command, words in calls.items()}
        del modules[""]
        yield modules
    finally:
        loaded([*state, "delete", "--force", name], report)


def foreign(modules: set[str]) -> set[str]:
    return {name for name in modules if name.partition(".")[0] != "pyoci"}


def own(modules: set[str]) -> set[str]:
    return {name.partition(".")[2] for name in modules if name.startswith("pyoci.")}


def permitted(module: str, list_of: set[str]) -> bool:
    """Whether a module is in the list, or in a package that is, or is the package of something that is."""
    return any(f"{module}.".startswith(f"{name}.") or f"{name}.".startswith(f"{module}.") for name in list_of)


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_commands_load_what_they_may_and_no_more(life: dict[str, set[str]]) -> None:
    assert {command: foreign(modules) - FREE for command, modules in life.items() if foreign(modules) - FREE} == {}
    extra = {
        command: {name for name in own(modules) if not permitted(name, MAY_LOAD[command])}
        for command, modules in life.items()
        if command in MAY_LOAD
    }
    assert {command: names for command, names in extra.items() if names} == {}


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_no_command_but_the_one_called_is_loaded(life: dict[str, set[str]]) -> None:
    shared = {"cli", "cli.creation", "cli.criu", "cli.options", "cli.output", "cli.settings"}
    for command, modules in life.items():
        assert {name for name in own(modules) if name.startswith("cli")} - shared == {f"cli.{command}"}


@pytest.mark.needs_root
@pytest.mark.needs_busybox
@pytest.mark.needs_cgroups
def test_what_a_config_does_not_ask_for_is_not_loaded(life: dict[str, set[str]]) -> None:
    processes = {"process.idmap", "process.listener", "process.net_devices", "process.scheduling", "process.sources"}
    others = {
        "hooks",
        "relay",
        "rootfs.at_once",
        "rootfs.attach",
        "spec.compiled_elsewhere",
        "spec.explain",
        "terminal",
    }
    found = {
        command: own(life[command]) & (processes | others) for command in ("create", "start", "run", "exec", "delete")
    }
    assert {command: names for command, names in found.items() if names} == {}


def test_spec_stays_light(tmp_path: Path) -> None:
    modules = loaded(["spec", "--bundle", str(tmp_path)], tmp_path / "report")
    assert foreign(modules) <= FREE
    assert [name for name in own(modules) if not permitted(name, MAY_LOAD["spec"])] == []
