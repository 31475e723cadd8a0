# SPDX-License-Identifier: Apache-2.0
"""buildah, which starts one container for each RUN and polls its state until it has stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..lifecycle.harness import Result, Runtime, status_field
from .engines import Buildah
from .images import NAME

Run = Callable[..., Result]


@pytest.fixture
def run(buildah: Buildah, runtime: Runtime) -> Iterator[Run]:
    """A function that runs a command in a working container; `options` stand in front."""
    container = buildah.call("from", NAME).ok().out.strip()

    def in_container(*command: str, options: tuple[str, ...] = (), **how: object) -> Result:
        return buildah.call(*buildah.words(runtime, "run", *options, container, "--", *command), **how)

    yield in_container
    buildah.call("rm", container).ok()
    assert not buildah.kept(runtime)
    assert not buildah.world.cgroups_of("buildah-")


@pytest.mark.parametrize("code", [0, 4])
def test_the_exit_code_of_a_program(run: Run, code: int) -> None:
    result = run("sh", "-c", f"echo out; echo err >&2; exit {code}")
    assert (result.status, result.out) == (code, "out\n")
    assert result.err.startswith("err\n")


def test_changes_stay(run: Run) -> None:
    run("sh", "-c", "echo x > /made").ok()
    assert run("cat", "/made").ok().out == "x\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("nonexistent", 'exec: "nonexistent": executable file not found in $PATH'),
        ("/bin/not-executable", 'exec: "/bin/not-executable": permission denied'),
    ],
)
def test_a_command_that_cannot_be_run(run: Run, command: str, reason: str) -> None:
    result = run(command)
    assert result.status == 1
    assert reason in result.err.replace('\\"', '"')


def test_users_and_volumes(run: Run, place: Path) -> None:
    (place / "buildah").mkdir(exist_ok=True)
    (place / "buildah" / "file").write_text("from the host\n")
    options = ("--user", "user", "--volume", f"{place}/buildah:/mnt:ro", "--workingdir", "/tmp", "--env", "A=b")
    assert run("sh", "-c", "id -un; cat /mnt/file; ! touch /mnt/x; pwd; echo $A", options=options).ok().out.split("\n") == [
        "user", "from the host", "/tmp", "b", ""
    ]  # fmt: skip


def test_a_terminal(run: Run) -> None:
    assert run("tty", options=("--terminal",)).ok().out.strip() == "/dev/pts/0"


def test_capabilities(run: Run) -> None:
    plain = status_field(run("cat", "/proc/self/status").ok().out, "CapEff")
    more = status_field(run("cat", "/proc/self/status", options=("--cap-add", "CAP_SYS_TIME")).ok().out, "CapEff")
    assert int(more, 16) == int(plain, 16) | 1 << 25


@pytest.mark.parametrize("isolation", ["oci", "rootless"])
def test_a_build(buildah: Buildah, runtime: Runtime, tmp_path: Path, fresh: Callable[[], str], isolation: str) -> None:
    name = f"localhost/{fresh()}"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {NAME}\nRUN id -u > /first && grep Seccomp: /proc/self/status >> /first\nUSER 1000\nENV A=b\n"
        "RUN id -u > /tmp/second && echo $A >> /tmp/second\nCMD cat /first /tmp/second\n"
    )
    buildah.call(*buildah.words(runtime, "build", "--isolation", isolation, "--tag", name, str(tmp_path))).ok()
    container = buildah.call("from", name).ok().out.strip()
    shown = buildah.call(*buildah.words(runtime, "run", container, "cat", "/first", "/tmp/second")).ok().out
    assert shown.split() == ["0", "Seccomp:", "2", "1000", "b"]
    buildah.call("rm", container).ok()


def test_a_build_that_fails(buildah: Buildah, runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {NAME}\nRUN echo words; exit 3\n")
    result = buildah.call(*buildah.words(runtime, "build", str(tmp_path)))
    assert result.status == 3
    assert "words" in result.out


def test_stages_at_once(buildah: Buildah, runtime: Runtime, tmp_path: Path, fresh: Callable[[], str]) -> None:
    name = f"localhost/{fresh()}"
    stages = [f"FROM {NAME} AS s{n}\nRUN sleep 0.5; echo {n} > /made{n}\n" for n in range(10)]
    copies = [f"COPY --from=s{n} /made{n} /\n" for n in range(10)]
    (tmp_path / "Dockerfile").write_text("".join([*stages, f"FROM {NAME}\n", *copies]))
    buildah.call(*buildah.words(runtime, "build", "--jobs", "10", "--tag", name, str(tmp_path)), timeout=120).ok()
    container = buildah.call("from", name).ok().out.strip()
    shown = buildah.call(*buildah.words(runtime, "run", container, "sh", "-c", "cat /made*")).ok().out
    assert shown.split() == list("0123456789")
    buildah.call("rm", container).ok()
    assert not buildah.kept(runtime)


def test_a_debugging_runtime(buildah: Buildah, runtime: Runtime) -> None:
    container = buildah.call("from", NAME).ok().out.strip()
    words = buildah.words(runtime, "run", "--runtime-flag", "debug", container, "echo", "hello")
    assert "hello\n" in buildah.call(*words).ok().out
    buildah.call("rm", container).ok()
