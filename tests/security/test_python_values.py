# SPDX-License-Identifier: Apache-2.0
"""Where Python is more lenient than a runtime may be: booleans that are numbers, numbers without end, names that are no text."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ..lifecycle.harness import PATIENCE, Container

PLACES: dict[str, tuple[Any, ...]] = {
    "uid": ("process", "user", "uid"),
    "gid": ("process", "user", "gid"),
    "umask": ("process", "user", "umask"),
    "group": ("process", "user", "additionalGids", 0),
    "soft": ("process", "rlimits", 0, "soft"),
    "oom": ("process", "oomScoreAdj"),
    "memory": ("linux", "resources", "memory", "limit"),
    "pids": ("linux", "resources", "pids", "limit"),
    "shares": ("linux", "resources", "cpu", "shares"),
    "major": ("linux", "resources", "devices", 0, "major"),
    "mode": ("linux", "devices", 0, "fileMode"),
    "mapping": ("linux", "uidMappings", 0, "size"),
}


def put(config: Any, path: tuple[Any, ...], value: Any) -> None:
    for key, following in itertools.pairwise(path):
        if isinstance(config, dict):
            config = config.setdefault(key, [{}] if isinstance(following, int) else {})
        else:
            config = config[key]
    config[path[-1]] = value


def refused(container: Container, body: str) -> str:
    (container.bundle / "config.json").write_text(body)
    result = container.call("create", "--bundle", str(container.bundle), container.id)
    assert result.status == 1 and result.err.strip(), f"{result}"
    container.leaves_nothing()
    return result.err


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("value", [True, False, "1", 1.5, [], 10**30, -(10**30)], ids=str)
def test_numbers_are_numbers(container: Container, where: str, value: Any) -> None:
    if where == "group":
        container.process["user"]["additionalGids"] = [0]
    elif where in ("mode", "mapping"):
        container.linux["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]
        container.linux["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    put(container.config, PLACES[where], value)
    refused(container, json.dumps(container.config))


@pytest.mark.parametrize(
    "where", [("root", "readonly"), ("process", "noNewPrivileges"), ("process", "terminal")], ids=str
)
@pytest.mark.parametrize("value", [0, 1, "true", []], ids=str)
def test_booleans_are_booleans(container: Container, where: tuple[str, ...], value: Any) -> None:
    put(container.config, where, value)
    refused(container, json.dumps(container.config))


@pytest.mark.parametrize(
    "number",
    ["NaN", "Infinity", "-Infinity", "1e999", "01", "+1", ".5", "0x10", "1_000", "9" * 5000, "-" + "9" * 5000],
    ids=lambda number: number[:12],
)
def test_numbers_that_only_python_knows(container: Container, number: str) -> None:
    body = json.dumps(container.config).replace('"uid": 0', f'"uid": {number}', 1)
    assert number in body
    refused(container, body)


@pytest.mark.parametrize("opening", ["[", '{"a":'], ids=["arrays", "objects"])
@pytest.mark.parametrize("depth", [1000, 20_000, 200_000])
def test_nesting_without_end(container: Container, opening: str, depth: int) -> None:
    """Neither the interpreter's stack nor the machine's gives way, closed or not."""
    closing = {"[": "]", '{"a":': "}"}[opening]
    refused(container, '{"ociVersion": "1.0.2", "x": ' + opening * depth)
    body = opening * depth + "1" + closing * depth
    (container.bundle / "config.json").write_text('{"ociVersion": "1.0.2", "x": ' + body + "}")
    result = container.call("create", "--bundle", str(container.bundle), container.id)
    assert result.status == 1 and "internal error" not in result.err


def test_a_file_without_end(container: Container) -> None:
    """Not read into memory for ever: there is a limit, and it is told."""
    (container.bundle / "config.json").symlink_to("/dev/zero")
    result = container.call("create", "--bundle", str(container.bundle), container.id)
    assert result.status == 1 and result.err.strip()


# Names that are no text


NAME = b"n\xffm\xe4"


def raw(container: Container, *arguments: str | bytes) -> subprocess.CompletedProcess[bytes]:
    """A call whose arguments are bytes, in the poorest of locales."""
    argv = [os.fsencode(word) for word in (*container.argv(), *arguments)]
    with open(container.scratch / "out", "wb+") as out, open(container.scratch / "err", "wb+") as err:
        status = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            timeout=PATIENCE,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        ).returncode
        out.seek(0)
        err.seek(0)
        finished = subprocess.CompletedProcess(argv, status, out.read(), err.read())
    assert b"Traceback" not in finished.stderr and b"internal error" not in finished.stderr, finished
    return finished


def test_a_bundle_whose_name_is_no_text(container: Container) -> None:
    container.process["args"] = ["true"]
    container.write_config()
    bundle = os.fsencode(container.scratch) + b"/" + NAME
    os.rename(container.bundle, bundle)
    try:
        finished = raw(container, "run", "--bundle", bundle, container.id)
        assert finished.returncode in (0, 1)
        assert finished.returncode == 0 or finished.stderr.strip()
    finally:
        os.rename(bundle, container.bundle)
    container.leaves_nothing()


@pytest.mark.parametrize("command", ["create", "state", "delete", "kill", "start"])
def test_an_id_that_is_no_text(container: Container, command: str) -> None:
    container.write_config()
    finished = raw(container, command, *(["--bundle", str(container.bundle)] if command == "create" else []), NAME)
    assert finished.returncode == 1 and finished.stderr.strip()


def test_arguments_of_exec_that_are_no_text_arrive_whole(container: Container) -> None:
    container.launch()
    finished = raw(container, "exec", "--env", b"X=" + NAME, container.id, "sh", "-c", 'printf "$X$0"', NAME)
    assert (finished.returncode, finished.stdout) == (0, NAME + NAME)


def test_a_directory_inside_that_is_no_text(container: Container) -> None:
    os.mkdir(os.fsencode(container.rootfs) + b"/" + NAME)
    container.launch()
    finished = raw(container, "exec", "--cwd", b"/" + NAME, container.id, "pwd")
    assert (finished.returncode, finished.stdout.strip()) == (0, b"/" + NAME)


def test_a_program_that_is_no_text_and_not_there(container: Container) -> None:
    container.launch()
    finished = raw(container, "exec", container.id, b"/" + NAME)
    assert finished.returncode == 255 and finished.stderr.strip()


def test_a_pid_file_and_a_log_that_are_no_text(container: Container) -> None:
    container.write_config()
    folder = os.fsencode(container.bundle)
    finished = raw(container, "--log", folder + b"/log" + NAME, "create", "--bundle", str(container.bundle),
                   "--pid-file", folder + b"/pid" + NAME, container.id)  # fmt: skip
    assert finished.returncode == 0, finished
    container.pid = int(Path(os.fsdecode(folder + b"/pid" + NAME)).read_bytes())
