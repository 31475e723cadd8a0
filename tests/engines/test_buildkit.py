# SPDX-License-Identifier: Apache-2.0
"""BuildKit, as it is part of docker: each RUN is a `run` in the foreground, on pipes, and ends by a signal to that process."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from ..lifecycle.harness import Runtime, eventually, status_field
from .engines import BuildKit
from .images import NAME

BOTH = pytest.mark.parametrize("new", [True, False], ids=["buildkit", "old"])


@pytest.fixture
def dockerfile(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a Dockerfile, and gives its directory."""

    def write(*lines: str, first: str = f"FROM {NAME}") -> Path:
        (tmp_path / "Dockerfile").write_text("".join(f"{line}\n" for line in (first, *lines)))
        return tmp_path

    return write


@pytest.fixture
def built(buildkit: BuildKit, dockerfile: Callable[..., Path], fresh: Callable[[], str]) -> Callable[..., str]:
    """A function that builds by some lines, and gives what the image's command prints."""

    def build(*lines: str, options: tuple[str, ...] = (), new: bool = True) -> str:
        name = f"localhost/{fresh()}"
        buildkit.build(dockerfile(*lines), "--tag", name, *options, new=new).ok()
        shown = buildkit.call("run", "--rm", name).ok().out
        buildkit.call("rmi", "--force", name).ok()
        return shown

    return build


def test_the_runtime_is_the_one_in_the_path(buildkit: BuildKit, runtime: Runtime) -> None:
    version = buildkit.world.call("runc", "--version").ok().out
    assert version.startswith(f"{runtime.name} version ")


@BOTH
def test_a_build(built: Callable[..., str], new: bool) -> None:
    shown = built(
        "RUN id -u > /first && grep Seccomp: /proc/self/status >> /first",
        "USER 1000",
        "ENV A=b",
        "RUN id -u > /tmp/second && echo $A >> /tmp/second && pwd >> /tmp/second",
        "CMD cat /first /tmp/second",
        new=new,
    )
    assert shown.split() == ["0", "Seccomp:", "2", "1000", "b", "/"]


@BOTH
@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ('["sh", "-c", "echo words; exit 3"]', 3, "words"),
        ('["nonexistent"]', 127, "executable file not found in $PATH"),
        ('["/bin/not-executable"]', 126, "permission denied"),
    ],
)
def test_a_build_that_fails(
    buildkit: BuildKit, dockerfile: Callable[..., Path], command: str, code: int, told: str, new: bool
) -> None:
    result = buildkit.build(dockerfile(f"RUN {command}"), "--no-cache", new=new)
    assert result.status != 0
    assert told in result.out + result.err
    if code == 3:
        assert f"exit code: {code}" in result.err or f"returned a non-zero code: {code}" in result.err


def test_what_a_build_is_given(built: Callable[..., str], buildkit: BuildKit) -> None:
    secret = buildkit.world.scratch / "secret"
    secret.write_text("hidden\n")
    shown = built(
        "RUN --mount=type=secret,id=word cat /run/secrets/word > /shown",
        "RUN --mount=type=tmpfs,target=/scratch grep -c ' /scratch tmpfs ' /proc/mounts >> /shown",
        "RUN --mount=type=cache,target=/cache echo kept > /cache/file",
        "RUN --mount=type=cache,target=/cache cat /cache/file >> /shown",
        f"RUN --mount=type=bind,from={NAME},source=/etc,target=/other cat /other/group | head -1 >> /shown",
        "CMD cat /shown",
        options=("--secret", f"id=word,src={secret}"),
    )
    assert shown.split() == ["hidden", "1", "kept", "root:x:0:"]


@BOTH
def test_a_build_without_network(built: Callable[..., str], new: bool) -> None:
    shown = built("RUN ls /sys/class/net > /shown", "CMD cat /shown", options=("--network", "none"), new=new)
    assert shown == "lo\n"


def test_stages_at_once(built: Callable[..., str]) -> None:
    stages = [line for n in range(6) for line in (f"FROM {NAME} AS s{n}", f"RUN sleep 0.5; echo {n} > /made")]
    copies = [f"COPY --from=s{n} /made /made{n}" for n in range(6)]
    assert built(*stages, f"FROM {NAME}", *copies, "CMD cat /made*").split() == list("012345")


def test_capabilities(built: Callable[..., str]) -> None:
    status = built("RUN cat /proc/self/status > /shown", "CMD cat /shown")
    assert status_field(status, "CapEff") == "00000000a80425fb"
    assert status_field(status, "NoNewPrivs") == "0"


def test_a_build_that_is_given_up(buildkit: BuildKit, dockerfile: Callable[..., Path]) -> None:
    """The builder kills its `run`, which is to take the container along."""
    world, pid = buildkit.world, buildkit.world.scratch / "pid"
    client = shlex.join(buildkit.client("build", "--no-cache", str(dockerfile("RUN sleep 4321"))))
    script = f"DOCKER_BUILDKIT=1 {client} & echo $! > {pid}.new; mv {pid}.new {pid}; wait"

    def sleeps() -> bool:
        return "sleep 4321" in world.call("busybox", "ps").ok().out

    world.daemon("build", "sh", "-c", script)
    eventually("the client", pid.exists)
    eventually("the program", sleeps)
    world.call("kill", "-TERM", pid.read_text().strip()).ok()
    pid.unlink()
    eventually("its end", lambda: not sleeps())


def test_nothing_is_left(buildkit: BuildKit, dockerfile: Callable[..., Path]) -> None:
    buildkit.build(dockerfile("RUN true"), "--no-cache").ok()
    listed = buildkit.world.call("sh", "-c", "find / -xdev -path '*/executor/runc*' -name state.json").out
    assert listed == ""
