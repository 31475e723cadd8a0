# SPDX-License-Identifier: Apache-2.0
"""What `state`, `list`, `ps`, `spec`, `features` and `--version` print."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable

import pytest

from .harness import Container, Runtime, children

differs = pytest.mark.differs
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")
SEMVER = re.compile(r"\d+\.\d+\.\d+(-[\w.]+)?(\+[\w.]+)?")


def test_state_of_a_created_container(container: Container) -> None:
    container.config["annotations"] = {"org.example.one": "1", "org.example.two": ""}
    container.create().ok()
    state = container.state()
    assert SEMVER.fullmatch(state.pop("ociVersion"))
    assert RFC3339.fullmatch(state.pop("created"))
    assert state == {
        "id": container.id,
        "pid": container.pid,
        "status": "created",
        "bundle": str(container.bundle),
        "rootfs": str(container.rootfs),
        "annotations": {"org.example.one": "1", "org.example.two": ""},
        "owner": "",
    }


def test_the_pid_of_a_stopped_container_is_zero(container: Container) -> None:
    container.launch("true")
    container.wait()
    assert container.state()["pid"] == 0


def test_state_without_annotations_has_no_such_key(container: Container) -> None:
    container.create().ok()
    assert "annotations" not in container.state()


def test_state_keeps_the_time_of_creation(container: Container) -> None:
    container.create(args=["true"]).ok()
    created = container.state()["created"]
    container.start().ok()
    container.wait()
    assert container.state()["created"] == created


def test_state_is_indented_by_two(container: Container) -> None:
    container.create().ok()
    assert container.call("state", container.id).ok().out.startswith('{\n  "ociVersion": ')


def test_the_pid_is_init_and_our_own_child(container: Container) -> None:
    """An engine is a subreaper: it must get SIGCHLD for init itself, so nothing may stay between the two."""
    container.create().ok()
    assert container.pid in children()
    assert container.state()["pid"] == container.pid


def test_a_relative_bundle_is_shown_absolute(container: Container) -> None:
    container.write_config()
    container.call("create", "--bundle", container.id, container.id, cwd=container.scratch).ok()
    container.pid = container.state()["pid"]
    assert container.state()["bundle"] == str(container.bundle)


def test_the_bundle_is_the_current_directory_by_default(container: Container) -> None:
    container.write_config()
    container.call("create", container.id, cwd=container.bundle).ok()
    container.pid = container.state()["pid"]
    assert container.state()["bundle"] == str(container.bundle)


# list


def test_list_as_a_table(container: Container) -> None:
    container.launch()
    header, row = container.call("list").ok().out.splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split() == [
        container.id, str(container.pid), "running", str(container.bundle), container.state()["created"], "root"
    ]  # fmt: skip


def test_list_as_json(container: Container) -> None:
    container.launch()
    (entry,) = json.loads(container.call("list", "--format", "json").ok().out)
    assert entry == container.state() | {"owner": "root"}


def test_list_of_nothing(container: Container) -> None:
    container.root.mkdir()
    assert container.call("list", "--quiet").ok().out == ""
    assert container.call("list", "-f", "json").ok().out.strip() == "null"


def test_list_shows_ids_alone(containers: Callable[[], Container]) -> None:
    first, second = containers(), containers()
    first.launch()
    second.create().ok()
    assert first.call("list", "-q").ok().out.splitlines() == sorted([first.id, second.id])


def test_list_passes_over_what_is_no_directory(container: Container) -> None:
    container.create().ok()
    (container.root / "notes.txt").write_text("")
    result = container.call("list", "--quiet").ok()
    assert (result.out, result.err) == (f"{container.id}\n", "")


def test_list_refuses_an_unknown_format(container: Container) -> None:
    container.launch()
    container.call("list", "--format", "yaml").refused("invalid format")


def test_list_goes_on_past_a_broken_state(container: Container) -> None:
    container.launch()
    broken = container.root / "broken"
    broken.mkdir(mode=0o711)
    (broken / "state.json").write_text("{")
    result = container.call("list", "--quiet").ok()
    assert result.out.split() == [container.id]
    assert "broken" in result.err


def test_the_owner_of_a_container_in_a_user_namespace(container: Container) -> None:
    container.create().ok()
    os.chown(container.root / container.id, 54321, 54321)
    (entry,) = json.loads(container.call("list", "-f", "json").ok().out)
    assert entry["owner"] == "#54321"


# ps


def test_ps_as_json_gives_host_pids(container: Container) -> None:
    container.launch("sh", "-c", "sleep 1000 & echo $!; wait")
    container.prints("\n")
    pids = json.loads(container.call("ps", "--format", "json", container.id).ok().out)
    assert container.pid in pids
    assert len(pids) == 2


def test_ps_as_json_of_none(container: Container) -> None:
    """As Go writes a list that nothing was ever put into."""
    container.launch()
    container.kill("KILL").ok()
    container.becomes("stopped")
    assert container.call("ps", "--format", "json", container.id).ok().out == "null\n"


def test_ps_as_a_table(container: Container) -> None:
    container.launch()
    header, *rows = container.call("ps", container.id).ok().out.splitlines()
    column = header.split().index("PID")
    assert [row.split()[column] for row in rows] == [str(container.pid)]


def test_ps_passes_arguments_on(container: Container) -> None:
    container.launch()
    header, row = container.call("ps", container.id, "-o", "pid,comm").ok().out.splitlines()
    assert header.split() == ["PID", "COMMAND"]
    assert row.split() == [str(container.pid), "sleep"]


def test_ps_needs_a_pid_column(container: Container) -> None:
    container.launch()
    container.call("ps", container.id, "-o", "comm").refused("PID")


# spec, features, version


def test_spec_writes_a_config_that_runs(container: Container) -> None:
    container.call("spec", cwd=container.bundle).ok()
    config = json.loads((container.bundle / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["terminal"] is True
    config["process"]["terminal"] = False
    config["linux"]["cgroupsPath"] = f"/{container.id}"
    container.config = config
    assert container.output("echo", "hello") == "hello\n"


def test_spec_into_a_bundle(container: Container) -> None:
    container.call("spec", "--bundle", str(container.bundle)).ok()
    assert (container.bundle / "config.json").exists()


def test_spec_overwrites_nothing(container: Container) -> None:
    (container.bundle / "config.json").write_text("mine")
    container.call("spec", cwd=container.bundle).refused("config.json exists")
    assert (container.bundle / "config.json").read_text() == "mine"


def test_spec_for_an_ordinary_user(container: Container) -> None:
    container.call("spec", "--rootless", cwd=container.bundle).ok()
    linux = json.loads((container.bundle / "config.json").read_text())["linux"]
    kinds = [entry["type"] for entry in linux["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert "resources" not in linux


def test_version_has_the_lines_engines_parse(runtime: Runtime) -> None:
    first, *rest = runtime.call("--version").out.splitlines()
    name, word, number = first.split()
    assert (name, word) == (runtime.name, "version")
    assert number[0].isdigit()
    assert any(line.startswith("spec: ") for line in rest)


def test_help_exits_with_success(runtime: Runtime) -> None:
    for arguments in (["--help"], ["-h"], ["create", "--help"]):
        result = runtime.call(*arguments)
        assert result.status == 0
        assert result.out


def test_features_match_what_the_runtime_does(runtime: Runtime) -> None:
    features = json.loads(runtime.call("features").out)
    assert SEMVER.fullmatch(features["ociVersionMin"])
    assert set(features["hooks"]) >= {
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"
    }  # fmt: skip
    assert {"bind", "rbind", "ro", "rw", "nosuid", "rprivate", "tmpcopyup"} <= set(features["mountOptions"])
    linux = features["linux"]
    assert {"cgroup", "ipc", "mount", "network", "pid", "user", "uts"} <= set(linux["namespaces"])
    assert "CAP_SYS_ADMIN" in linux["capabilities"]
    assert linux["cgroup"]["v1"] is True
    assert linux["cgroup"]["v2"] is True
    assert linux["seccomp"]["enabled"] is True
    assert "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]
    assert "SCMP_CMP_MASKED_EQ" in linux["seccomp"]["operators"]
    assert "SCMP_ARCH_X86_64" in linux["seccomp"]["archs"]


@differs(runc="1.1.5 names no time namespace")
def test_features_name_the_time_namespace(runtime: Runtime) -> None:
    assert "time" in json.loads(runtime.call("features").out)["linux"]["namespaces"]
