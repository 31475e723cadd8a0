# SPDX-License-Identifier: Apache-2.0
"""Options, ids, the log file and the pid file: what every command has in common."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from .harness import Container, Result, Runtime

differs = pytest.mark.differs


def log_entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# ids


@pytest.mark.parametrize("name", ["a", "a.b", "A_b-c+d.9", "-x", "x" * 200])
def test_ids_that_are_allowed(container: Container, name: str) -> None:
    container.write_config()
    container.call("create", "--bundle", str(container.bundle), "--", name).ok()
    try:
        assert json.loads(container.call("state", "--", name).ok().out)["id"] == name
    finally:
        container.call("delete", "--force", "--", name).ok()
    container.leaves_nothing()


@pytest.mark.parametrize("name", [".", "..", "a/b", "/a", "../a", "a b", "a\n", "ä", "a:b", "a@b", "~", "$x", "*"])
@pytest.mark.parametrize("command", ["create", "state", "start", "kill", "delete", "exec", "pause"])
def test_ids_that_are_refused(container: Container, name: str, command: str) -> None:
    container.write_config()
    more = {"exec": ["true"], "create": []}.get(command, [])
    result = container.call(command, name, *more, cwd=container.bundle)
    assert result.status != 0, f"{result}"
    assert "invalid" in result.err and "id" in result.err.lower()
    assert not container.root.exists() or not any(container.root.iterdir())


def test_an_empty_id_is_refused(container: Container) -> None:
    container.write_config()
    result = container.call("create", "", cwd=container.bundle)
    assert result.status == 1, f"{result}"
    assert "empty" in result.err, f"{result}"


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_delete_never_follows_an_id_out_of_the_root(container: Container, options: tuple[str, ...]) -> None:
    canary = container.scratch / "canary"
    canary.mkdir()
    (canary / "state.json").write_text("{}")
    container.root.mkdir()
    assert container.call("delete", *options, "../canary").status == 1
    assert (canary / "state.json").exists()


# Bad command lines


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["--frobnicate"],
        ["create"],
        ["create", "one", "two"],
        ["create", "--frobnicate", "one"],
        ["create", "--bundle"],
        ["start"],
        ["start", "one", "two"],
        ["state"],
        ["state", "one", "two"],
        ["kill"],
        ["kill", "one", "TERM", "more"],
        ["delete"],
        ["delete", "--frobnicate", "one"],
        ["pause"],
        ["resume"],
        ["--log-format", "xml", "list"],
        ["--root", "/", "list"],
    ],
    ids=" ".join,
)
def test_bad_command_lines(runtime: Runtime, arguments: list[str], tmp_path: Path) -> None:
    if runtime.name == "runc" and arguments in (["frobnicate"], ["--root", "/", "list"]):
        pytest.xfail("runc 1.1.5 exits 3 with a text on stdout, and takes / for a root")
    prefix = [] if "--root" in arguments else ["--root", str(tmp_path / "root")]
    result = runtime.call(*prefix, *arguments)
    assert result.status == 1, f"{result}"
    assert result.err, f"{result}"


@pytest.mark.parametrize(
    "arguments", [["exec"], ["exec", "one"], ["exec", "--frobnicate", "one", "true"]], ids=" ".join
)
def test_bad_command_lines_of_exec(runtime: Runtime, arguments: list[str], tmp_path: Path) -> None:
    result = runtime.call("--root", str(tmp_path / "root"), *arguments)
    assert result.status in (1, 255), f"{result}"
    assert result.err, f"{result}"


def test_options_in_every_spelling(container: Container) -> None:
    """Engines write `--x y` and `--x=y`; go-runc also writes long options with a single dash."""
    container.write_config()
    container.call("create", f"-bundle={container.bundle}", "-pid-file", str(container.pid_file), container.id).ok()
    container.pid = int(container.pid_file.read_text())
    container.call("delete", "-force=true", container.id).ok()
    container.call("create", f"--bundle={container.bundle}", f"--pid-file={container.pid_file}", container.id).ok()
    container.pid = int(container.pid_file.read_text())
    container.call("delete", "-f", container.id).ok()
    container.call("create", "-b", str(container.bundle), container.id).ok()
    container.pid = container.state()["pid"]


def test_global_options_are_accepted(container: Container) -> None:
    container.write_config()
    log = container.bundle / "log"
    container.call(
        "--debug", f"--log={log}", "--log-format=json", "--rootless=false", "--rootless", "auto",
        "create", "--bundle", str(container.bundle), container.id
    ).ok()  # fmt: skip
    container.pid = container.state()["pid"]
    assert all(entry["level"] in ("debug", "info", "warning") for entry in log_entries(log))


@pytest.mark.parametrize("value", ["1", "TRUE", "AUTO", "False", "f", ""])
def test_rootless_in_every_spelling(container: Container, value: str) -> None:
    container.process["args"] = ["true"]
    container.write_config()
    container.call(f"--rootless={value}", "run", "--bundle", str(container.bundle), container.id).ok()


def test_a_relative_root(container: Container) -> None:
    container.root.mkdir()
    container.create().ok()
    result = container.runtime.call("--root", "state", "state", container.id, cwd=container.scratch)
    assert json.loads(result.ok().out)["status"] == "created"


def test_the_root_is_made_when_missing(container: Container) -> None:
    container.root = container.scratch / "deep" / "er" / "state"
    container.create().ok()
    assert container.root.is_dir()
    assert (container.root / container.id).stat().st_mode & 0o777 in (0o700, 0o711)


def test_commands_say_nothing_when_they_work(container: Container) -> None:
    for result in (container.create(args=["sleep", "1000"]), container.start(), container.kill("KILL")):
        assert result.ok().out + result.err == ""
    container.wait()
    result = container.delete().ok()
    assert result.out + result.err == ""


# The log


def failing_create(container: Container, *options: str) -> Result:
    container.process["args"] = ["no-such-program"]
    container.write_config()
    return container.call(*options, "create", "--bundle", str(container.bundle), container.id).refused(
        "no-such-program"
    )


def test_the_log_repeats_the_error_as_json(container: Container) -> None:
    log = container.bundle / "log.json"
    result = failing_create(container, "--log", str(log), "--log-format", "json")
    errors = [entry for entry in log_entries(log) if entry["level"] == "error"]
    assert len(errors) == 1
    assert errors[0]["msg"] in result.err.replace('\\"', '"')
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", errors[0]["time"])


def test_the_log_of_a_failure_is_one_json_object(container: Container) -> None:
    """podman parses the whole file as one object."""
    log = container.bundle / "log.json"
    failing_create(container, "--log", str(log), "--log-format", "json")
    entry = json.loads(log.read_text())
    assert set(entry) >= {"level", "msg", "time"}


@differs(runc="has no errno in its log")
def test_the_log_has_the_kernels_error_number(container: Container) -> None:
    """Also of what failed in the container's own process, be it at create, start, or exec."""
    log = container.bundle / "log.json"
    options = ("--log", str(log), "--log-format", "json")
    script = container.rootfs / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    container.mounts.append({"destination": "/x", "type": "tmpfs", "options": ["size=1", "nr_inodes=no-number"]})
    container.write_config()
    container.call(*options, "create", "--bundle", str(container.bundle), container.id).refused("nr_inodes")
    container.mounts.pop()
    container.create(args=["/script"]).ok()
    container.call(*options, "exec", container.id, "/script")
    container.call(*options, "start", container.id)
    container.wait()
    assert [entry.get("errno") for entry in log_entries(log)] == [errno.EINVAL, errno.ENOENT, errno.ENOENT]


def test_the_log_as_text(container: Container) -> None:
    log = container.bundle / "log.txt"
    failing_create(container, "--log", str(log))
    assert re.search(r'^time="[^"]+" level=error msg=".*no-such-program.*"$', log.read_text(), re.MULTILINE)


def test_the_log_is_appended_to(container: Container) -> None:
    log = container.bundle / "log.json"
    for command in ("state", "start"):
        container.call("--log", str(log), "--log-format", "json", command, container.id).refused("does not exist")
    assert len(log_entries(log)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "--bundle", "/nonexistent", "some"],
        ["create", "bad/id"],
        ["create"],
        ["state", "unknown"],
        ["exec", "unknown", "true"],
        ["kill", "unknown", "NOSUCHSIGNAL"],
        ["create", "--frobnicate", "some"],
    ],
    ids=" ".join,
)
def test_the_log_exists_after_the_earliest_failure(container: Container, arguments: list[str]) -> None:
    """Without it containerd can only say that it could not retrieve the runtime's error."""
    if container.runtime.name == "runc" and "--frobnicate" in arguments:
        pytest.xfail("runc 1.1.5 reads the command's options before it opens the log")
    log = container.bundle / "log.json"
    result = container.call("--log", str(log), "--log-format", "json", *arguments)
    assert result.status != 0
    assert any(entry["level"] == "error" and entry["msg"] for entry in log_entries(log))


def test_a_log_that_cannot_be_opened_is_an_error(container: Container) -> None:
    result = container.call("--log", "/nonexistent/log", "list")
    assert result.status == 1
    assert "/nonexistent/log" in result.err


def test_an_empty_log_path_means_standard_error(container: Container) -> None:
    container.call("--log", "", "state", container.id).refused("does not exist")


def test_debug_lines_go_to_the_log(container: Container) -> None:
    log = container.bundle / "log.json"
    container.write_config()
    container.call(
        "--debug", "--log", str(log), "--log-format", "json", "create", "--bundle", str(container.bundle), container.id
    ).ok()
    container.pid = container.state()["pid"]
    assert any(entry["level"] == "debug" for entry in log_entries(log))


def test_debug_lines_without_a_log_file_have_runcs_form(container: Container) -> None:
    """So that whoever knows those can tell them from what the program says, which shares this stream."""
    container.write_config()
    result = container.call("--debug", "create", "--bundle", str(container.bundle), container.id).ok()
    container.pid = container.state()["pid"]
    lines = [line for line in result.err.splitlines() if " level=debug " in line]
    assert lines
    assert all(re.match(r'time="[^"]+" level=debug msg="', line) for line in lines)


# The pid file


def test_the_pid_file_holds_the_bare_number(container: Container) -> None:
    container.create().ok()
    assert container.pid_file.read_bytes() == str(container.state()["pid"]).encode()


def test_the_pid_file_appears_whole(container: Container) -> None:
    """It is renamed into place: a file that was there is replaced by another inode, and nothing else is left."""
    place = container.bundle / "pids"
    place.mkdir()
    container.write_config()
    (place / "pid").write_text("old")
    before = (place / "pid").stat().st_ino
    container.call("create", "--bundle", str(container.bundle), "--pid-file", str(place / "pid"), container.id).ok()
    container.pid = int((place / "pid").read_text())
    assert (place / "pid").stat().st_ino != before
    assert os.listdir(place) == ["pid"]


def test_a_relative_pid_file_is_relative_to_the_caller(container: Container) -> None:
    container.write_config()
    container.call(
        "create", "--bundle", str(container.bundle), "--pid-file", "here.pid", container.id, cwd=container.scratch
    ).ok()
    container.pid = int((container.scratch / "here.pid").read_text())
    assert container.state()["pid"] == container.pid


def test_a_pid_file_that_cannot_be_written_fails_the_create(container: Container) -> None:
    container.write_config()
    result = container.call("create", "--bundle", str(container.bundle), "--pid-file", "/nonexistent/pid", container.id)
    assert result.status == 1
    container.leaves_nothing()


def test_a_failed_create_leaves_no_pid_file(container: Container) -> None:
    container.create(args=["no-such-program"]).refused()
    assert not container.pid_file.exists()
