# SPDX-License-Identifier: Apache-2.0
"""What podman has and docker has not: pods, a network without a daemon, and limits it has to ask the runtime for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..lifecycle.harness import Result, Runtime, eventually, status_field
from .engines import Podman
from .images import NAME


@pytest.fixture
def pod(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> Iterator[str]:
    name = fresh()
    words = ("pod", "create", "--name", name, "--infra-command", "/bin/pause", "--share", "pid,ipc,net,uts")
    podman.call(*podman.words(runtime, *words)).ok()
    yield name
    podman.call("pod", "rm", "--force", "--time", "1", name).ok()
    assert not podman.kept(runtime)


def test_a_pods_containers_share_namespaces(podman: Podman, runtime: Runtime, pod: str) -> None:
    def output(*command: str) -> str:
        return podman.run(runtime, "--rm", "--pod", pod, NAME, *command).ok().out

    podman.run(runtime, "--detach", "--pod", pod, "--name", f"{pod}-one", NAME, "pause").ok()
    namespaces = "for kind in pid net ipc uts; do readlink /proc/self/ns/$kind; done"
    assert podman.call("exec", f"{pod}-one", "sh", "-c", namespaces).ok().out == output("sh", "-c", namespaces)
    assert output("hostname") == f"{pod}\n"
    assert output("ps").count("{pause}") == 2
    assert podman.call("pod", "ps", "--format", "{{.Name}} {{.Status}}").ok().out.splitlines() == [f"{pod} Running"]


def test_a_pods_containers_talk(podman: Podman, runtime: Runtime, pod: str) -> None:
    serve = "mkdir /www; echo served > /www/page; exec httpd -f -p 8000 -h /www"
    podman.run(runtime, "--detach", "--pod", pod, NAME, "sh", "-c", serve).ok()

    def fetch() -> Result:
        return podman.run(runtime, "--rm", "--pod", pod, NAME, "wget", "-q", "-O", "-", "http://127.0.0.1:8000/page")

    eventually("the page", lambda: fetch().out == "served\n")


def test_a_pod_stops_pauses_and_starts(podman: Podman, runtime: Runtime, pod: str) -> None:
    podman.run(runtime, "--detach", "--pod", pod, NAME, "pause").ok()

    def status() -> str:
        return podman.call("pod", "inspect", "--format", "{{.State}}", pod).ok().out.strip()

    for verb, state in (
        ("pause", "Paused"),
        ("unpause", "Running"),
        ("stop", "Exited"),
        ("start", "Running"),
        ("kill", "Exited"),
    ):
        podman.call("pod", verb, pod).ok()
        eventually(f"a pod {state}", lambda state=state: status() == state)  # type: ignore[misc]


def test_the_runtime_is_known(podman: Podman, runtime: Runtime) -> None:
    words = podman.words(runtime, "info", "--format", "{{.Host.OCIRuntime.Path}} {{.Host.OCIRuntime.Version}}")
    path, version = podman.call(*words).ok().out.split(" ", 1)
    assert path == runtime.path
    assert version.startswith(f"{runtime.name} version ")


def test_runtime_flags(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    root = f"/run/{fresh()}"
    words = ("--runtime", runtime.path, "--runtime-flag", f"root={root}", "run", "--rm", NAME, "echo", "hello")
    assert podman.call(*words).ok().out == "hello\n"
    assert podman.world.path(root).is_dir()


def test_privileged(podman: Podman, runtime: Runtime) -> None:
    status = podman.run(runtime, "--rm", "--privileged", NAME, "cat", "/proc/self/status").ok().out
    assert status_field(status, "CapEff") == status_field(status, "CapBnd")
    assert status_field(status, "Seccomp") == "0"


def test_a_user_with_a_capability(podman: Podman, runtime: Runtime) -> None:
    words = ("--rm", "--user", "user", "--cap-add", "NET_ADMIN", NAME, "cat", "/proc/self/status")
    assert int(status_field(podman.run(runtime, *words).ok().out, "CapAmb"), 16) == 1 << 12


def test_mapped_ids(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    maps = ("--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000")
    shown = (
        podman.run(runtime, "--rm", *maps, NAME, "sh", "-c", "id -u; cat /proc/self/uid_map; stat -c %u /bin").ok().out
    )
    assert shown.split() == ["0", "0", "100000", "5000", "0"]
    if runtime.name != "pyoci":
        return  # podman gives the path of another's and a map that means nothing, which runc refuses from 1.2 on
    name = fresh()
    podman.run(runtime, "--detach", "--name", name, *maps, NAME, "pause").ok()
    shown = podman.run(runtime, "--rm", "--userns", f"container:{name}", NAME, "cat", "/proc/self/uid_map").ok().out
    assert shown.split() == ["0", "100000", "5000"]
    podman.call("rm", "--force", "--time", "1", name).ok()


def test_ids_of_its_own(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    """podman chooses the range for each container, from those of the user called containers, whom there has to be."""
    user, ids = "containers:x:1600:1600::/:/bin/false\n", "containers:2000000:1000000\n"
    for name, text in (("passwd", Path("/etc/passwd").read_text() + user), ("subuid", ids), ("subgid", ids)):
        path = podman.world.scratch / name
        if not path.exists():
            path.write_text(text)
            podman.world.call("touch", f"/etc/{name}").ok()
            podman.world.call("mount", "--bind", str(path), f"/etc/{name}").ok()
    script = "id -u; cut -c 12- /proc/self/uid_map; stat -c %u /bin"
    options = ("--detach", "--userns", "auto:size=2000")
    names = [fresh(), fresh()]
    for name in names:
        podman.run(runtime, *options, "--name", name, NAME, "sh", "-c", f"{script}; exec pause").ok()
        eventually("its words", lambda name=name: len(podman.call("logs", name).out.split()) == 4)  # type: ignore[misc]
    first, second = (podman.call("logs", name).ok().out.split() for name in names)
    assert (first[0], first[2], first[3]) == ("0", "2000", "0")
    assert first[1] != second[1]
    podman.call("rm", "--force", "--time", "1", *names).ok()


def test_a_pod_with_mapped_ids(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    name = fresh()
    words = ("pod", "create", "--name", name, "--infra-command", "/bin/pause", "--uidmap", "0:100000:5000")
    podman.call(*podman.words(runtime, *words, "--gidmap", "0:100000:5000")).ok()
    shown = podman.run(runtime, "--rm", "--pod", name, NAME, "sh", "-c", "id -u; cat /proc/self/uid_map").ok().out
    assert shown.split() == ["0", "0", "100000", "5000"]
    # Now and then podman finds the mounts of the first container busy, which are on their way out.
    eventually("the removal", lambda: podman.call("pod", "rm", "--force", "--ignore", "--time", "1", name).status == 0)
    assert not podman.kept(runtime)


@pytest.mark.parametrize("isolation", ["oci", "rootless"])
def test_a_build(podman: Podman, runtime: Runtime, tmp_path: Path, fresh: Callable[[], str], isolation: str) -> None:
    image = f"localhost/{fresh()}"
    (tmp_path / "Dockerfile").write_text(f"FROM {NAME}\nRUN id -u > /made\nUSER 1000\nCMD cat /made; id -u\n")
    words = ("build", "--network", "none", "--isolation", isolation, "--tag", image, str(tmp_path))
    podman.call(*podman.words(runtime, *words)).ok()
    assert podman.run(runtime, "--rm", image).ok().out == "0\n1000\n"
    podman.call("rmi", image).ok()


def test_a_tmpfs_over_content(podman: Podman, runtime: Runtime) -> None:
    """The option tmpcopyup: what the image has there comes along."""
    shown = podman.run(runtime, "--rm", "--tmpfs", "/etc", NAME, "sh", "-c", "cat /etc/group; touch /etc/new").ok().out
    assert shown.startswith("root:x:0:\n")


def test_secrets(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    name = fresh()
    podman.call("secret", "create", name, "-", stdin="hidden").ok()
    assert podman.run(runtime, "--rm", "--secret", name, NAME, "cat", f"/run/secrets/{name}").ok().out == "hidden"
    podman.call("secret", "rm", name).ok()


def test_a_rootfs_without_image(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    rootfs = podman.world.scratch / fresh()
    (rootfs / "bin").mkdir(parents=True)
    image = podman.call("image", "mount", NAME).ok().out.strip()
    podman.world.call("cp", "-a", f"{image}/bin/.", str(rootfs / "bin")).ok()
    podman.call("image", "unmount", NAME).ok()
    shown = podman.run(runtime, "--rm", "--rootfs", str(rootfs), "ls", "/").ok().out.split()
    assert "proc" in shown  # the runtime has made what to mount on


def test_a_wait_and_the_cleanup(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    """conmon calls `podman container cleanup` at the end, and that the runtime's `delete`."""
    name = fresh()
    id = podman.run(runtime, "--detach", "--name", name, NAME, "sh", "-c", "exit 6").ok().out.strip()
    assert podman.call("wait", name).ok().out == "6\n"
    eventually("the clean-up", lambda: id not in podman.kept(runtime))
    podman.call("rm", name).ok()


@pytest.mark.needs_criu
def test_a_checkpoint(podman: Podman, runtime: Runtime, fresh: Callable[[], str]) -> None:
    """A program that counts goes on where it was, with its output in the same log."""

    def counted() -> list[int]:
        return [int(line) for line in podman.call("logs", name).ok().out.split()]

    name = fresh()
    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
    podman.run(runtime, "--detach", "--name", name, NAME, "sh", "-c", script).ok()
    eventually("some numbers", lambda: len(counted()) >= 3)
    podman.call("container", "checkpoint", name).ok()
    assert podman.call("inspect", "--format", "{{.State.Status}}", name).ok().out == "exited\n"
    before = counted()[-1]
    podman.call("container", "restore", name).ok()
    eventually("more numbers", lambda: counted()[-1] >= before + 3)
    numbers = counted()
    assert numbers == list(range(1, numbers[-1] + 1))
    podman.call("rm", "--force", "--time", "1", name).ok()


def test_preserved_descriptors(podman: Podman, runtime: Runtime) -> None:
    """podman hands on what it has got from its caller: here its caller is a shell with a file open as 3."""
    words = " ".join(
        podman.client(*podman.words(runtime, "run", "--rm", "--preserve-fds", "1", NAME, "cat", "/dev/fd/3"))
    )
    assert podman.world.call(
        "sh", "-c", f"echo from outside > /tmp/$$; exec 3< /tmp/$$; rm /tmp/$$; {words}"
    ).ok().out == ("from outside\n")


@pytest.fixture
def named(podman: Podman, runtime: Runtime) -> Callable[..., Result]:
    """A function that calls podman with a containers.conf in which the runtime has a name, and is the default."""
    configuration = podman.world.scratch / "named.conf"
    configuration.write_text(
        (podman.world.scratch / "etc" / "containers.conf").read_text()
        + 'runtime = "named"\nruntime_supports_json = ["named"]\nruntime_supports_nocgroup = ["named"]\n'
        + f'[engine.runtimes]\nnamed = ["{runtime.path}"]\n'
    )
    return lambda *words: podman.call(*words, extra={"CONTAINERS_CONF": str(configuration)})


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("false", 1), ("nonexistent", 127), ("/bin/not-executable", 126)]
)
def test_a_runtime_by_name(named: Callable[..., Result], command: str, code: int) -> None:
    """It is asked for a log in JSON, which podman then reads, and not what is said on stderr."""
    result = named("run", "--rm", NAME, command)
    assert result.status == code, result
    assert result.err == "" or code > 1


def test_without_cgroups(podman: Podman, runtime: Runtime, named: Callable[..., Result]) -> None:
    """With the option --cgroup-manager disabled, which is crun's."""
    if runtime.name == "runc":
        pytest.skip("runc always makes cgroups")
    shown = named("run", "--rm", "--cgroups", "disabled", NAME, "cat", "/proc/self/cgroup").ok().out
    assert "libpod-" not in shown
