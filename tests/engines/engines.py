# SPDX-License-Identifier: Apache-2.0
"""The engines: how each is configured to run pyoci, and to keep all its files in one directory of a world."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from ..lifecycle.harness import Result, Runtime, eventually
from .cri import Client, Refused
from .images import NAME, PAUSE, write_archive
from .world import World


def load_into_containerd(ctr: Callable[..., Result], archive: Path) -> None:
    """Load an image by a function that calls ctr.

    From 1.7 on ctr asks containerd to unpack it, which does so, from 2.1 on, only for the snapshotters that are named for it
    in its configuration; so ctr is to do it as it always has.
    """
    local = ("--local",) if "--local" in ctr("images", "import", "--help").ok().out else ()
    ctr("images", "import", *local, "--snapshotter", "native", str(archive)).ok()


class Containerd:
    """containerd and its client ctr.  The runtime is named with each container."""

    address = "/run/containerd/containerd.sock"

    def __init__(self, world: World, archive: Path) -> None:
        self.world = world
        config = world.scratch / "containerd.toml"
        config.write_text(
            f"""version = 2
root = "{world.scratch}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{self.address}"
"""
        )
        world.daemon("containerd", "containerd", "--config", str(config), "--log-level", "debug")
        eventually("containerd", lambda: self.call("version").status == 0)
        load_into_containerd(self.call, archive)

    def client(self, *arguments: str) -> tuple[str, ...]:
        return ("ctr", "--address", self.address, *arguments)

    def call(self, *arguments: str, **how: object) -> Result:
        return self.world.call(*self.client(*arguments), **how)  # type: ignore[arg-type]

    def words(self, runtime: Runtime, id: str, *command: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The command line of `run`."""
        return (
            "run", "--snapshotter", "native", "--runc-binary", runtime.path, "--runc-root", f"/run/{runtime.name}",
            *options, NAME, id, *command,
        )  # fmt: skip

    def run(self, runtime: Runtime, id: str, *command: str, options: tuple[str, ...] = ()) -> Result:
        return self.call(*self.words(runtime, id, *command, options=options))


class Cri:
    """containerd as the kubelet drives it: by its API, with a handler for each runtime."""

    socket = "/run/containerd/containerd.sock"

    def __init__(self, world: World, archive: Path, runtimes: list[Runtime]) -> None:
        self.world = world
        pause = world.scratch / "pause.tar"
        write_archive(pause, PAUSE, "pause")
        self._write_network()
        config = world.scratch / "containerd.toml"
        config.write_text(self._config(runtimes))
        world.daemon("containerd", "containerd", "--config", str(config), "--log-level", "debug")

        def ctr(*arguments: str) -> Result:
            return world.call("ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments)

        eventually("containerd", lambda: ctr("version").status == 0)
        for path in (archive, pause):
            load_into_containerd(ctr, path)
        self.client = Client(str(world.path(self.socket)))
        for name in (NAME, PAUSE):  # the plugin hears of them a little later
            eventually(f"image {name}", lambda name=name: self._has(name))  # type: ignore[misc]

    def _config(self, runtimes: list[Runtime]) -> str:
        """A configuration for containerd 2 if it is one, else for 1.6 and 1.7; with a handler for each runtime."""
        version = re.search(r" v?(\d+)\.", self.world.call("containerd", "--version").ok().out)
        assert version is not None
        config, handler = (_CRI_1, _CRI_1_HANDLER) if version[1] == "1" else (_CRI_2, _CRI_2_HANDLER)
        parts = [config.format(scratch=self.world.scratch, socket=self.socket, pause=PAUSE)]
        return "".join(parts + [handler.format(runtime=runtime) for runtime in runtimes])

    def _write_network(self) -> None:
        """A network plugin that gives each pod the same address, on an interface that leads nowhere."""
        directory = self.world.scratch / "cni"
        directory.mkdir()
        plugins = [{"type": "nowhere"}]
        (directory / "10-test.conflist").write_text(
            json.dumps({"cniVersion": "0.4.0", "name": "test", "plugins": plugins})
        )
        for name, script in (("nowhere", _CNI_NOWHERE), ("loopback", _CNI_LOOPBACK)):
            (directory / name).write_text(script)
            (directory / name).chmod(0o755)

    def _has(self, image: str) -> bool:
        try:
            return bool(self.client.call("ImageStatus", image={"image": image})["image"]["id"])
        except Refused:
            return False  # it is not serving yet


_CRI_1 = """version = 2
root = "{scratch}/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{scratch}/cni"
    conf_dir = "{scratch}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"""
_CRI_1_HANDLER = """  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{runtime.name}]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{runtime.name}.options]
      BinaryName = "{runtime.path}"
      Root = "/run/{runtime.name}"
"""
_CRI_2 = """version = 3
root = '{scratch}/containerd'
state = '/run/containerd'
[grpc]
  address = '{socket}'
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'native'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{pause}'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['{scratch}/cni']
    conf_dir = '{scratch}/cni'
"""
_CRI_2_HANDLER = """  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{runtime.name}]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{runtime.name}.options]
      BinaryName = '{runtime.path}'
      Root = '/run/{runtime.name}'
"""
_CNI_NOWHERE = """#!/bin/sh
set -eu
inside="nsenter --net=$CNI_NETNS ip"
case $CNI_COMMAND in
    VERSION) echo '{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}' ;;
    ADD)
        $inside link add "$CNI_IFNAME" type veth peer name nowhere
        $inside address add 10.9.8.7/24 dev "$CNI_IFNAME"
        $inside link set "$CNI_IFNAME" up
        echo '{"cniVersion": "0.4.0", "interfaces": [{"name": "'"$CNI_IFNAME"'", "sandbox": "'"$CNI_NETNS"'"}],
            "ips": [{"version": "4", "address": "10.9.8.7/24", "interface": 0}]}'
        ;;
esac
"""
_CNI_LOOPBACK = """#!/bin/sh
set -eu
case $CNI_COMMAND in
    VERSION) echo '{"cniVersion": "0.3.1", "supportedVersions": ["0.3.1"]}' ;;
    ADD)
        nsenter --net="$CNI_NETNS" ip link set lo up
        echo '{"cniVersion": "0.3.1", "interfaces": [{"name": "lo", "sandbox": "'"$CNI_NETNS"'"}],
            "ips": [{"version": "4", "address": "127.0.0.1/8", "interface": 0}]}'
        ;;
esac
"""


class Engine:
    """What docker and podman have in common."""

    name: str
    world: World

    def client(self, *arguments: str) -> tuple[str, ...]:
        """The command line of the engine's client."""
        raise NotImplementedError

    def call(self, *arguments: str, **how: object) -> Result:
        return self.world.call(*self.client(*arguments), **how)  # type: ignore[arg-type]

    def words(self, runtime: Runtime, *arguments: str) -> tuple[str, ...]:
        """The command line of `run` and `create` with this runtime."""
        raise NotImplementedError

    def state(self, runtime: Runtime) -> str:
        """Where the runtime keeps its state."""
        raise NotImplementedError

    def kept(self, runtime: Runtime) -> set[str]:
        """The containers that the runtime has state of; what is no name of a container is a cache of pyoci's."""
        state = self.world.path(self.state(runtime))
        return {path.name for path in state.iterdir() if path.name[0] != "@"} if state.exists() else set()

    def run(self, runtime: Runtime, *arguments: str, **how: object) -> Result:
        return self.call(*self.words(runtime, "run", *arguments), **how)


class Docker(Engine):
    """dockerd with a containerd of its own, and its client.  Each runtime has a name in its configuration."""

    name = "docker"
    socket = "unix:///run/docker.sock"

    def __init__(self, world: World, archive: Path, runtimes: list[Runtime]) -> None:
        self.world = world
        config = world.scratch / "docker.json"
        config.write_text(
            json.dumps(
                {
                    "data-root": str(world.scratch / "docker"),
                    "exec-root": "/run/docker",
                    "pidfile": "/run/docker.pid",
                    "hosts": [self.socket],
                    "storage-driver": "vfs",
                    "runtimes": {f"test-{runtime.name}": {"path": runtime.path} for runtime in runtimes},
                }
            )
        )
        world.daemon("docker", "dockerd", "--config-file", str(config))
        eventually("dockerd", lambda: self.call("version").status == 0)
        self.call("load", "--input", str(archive)).ok()

    def client(self, *arguments: str) -> tuple[str, ...]:
        return ("docker", "--host", self.socket, *arguments)

    def words(self, runtime: Runtime, *arguments: str) -> tuple[str, ...]:
        return (arguments[0], "--runtime", f"test-{runtime.name}", *arguments[1:])

    def state(self, runtime: Runtime) -> str:
        return "/run/docker/runtime-runc/moby"


class BuildKit(Docker):
    """The builder in dockerd, which knows no runtime but the one called runc in its PATH, and drives that by `run`."""

    name = "buildkit"

    def __init__(self, world: World, archive: Path, runtime: Runtime) -> None:
        directory = world.scratch / "bin"
        directory.mkdir()
        (directory / "runc").symlink_to(runtime.path)
        world.environment["PATH"] = f"{directory}:{world.environment['PATH']}"
        super().__init__(world, archive, [])

    def build(self, context: Path, *options: str, new: bool = True) -> Result:
        """Build what the directory has a Dockerfile for, with this builder or with the one of old."""
        words = ("build", *(("--progress", "plain") if new else ()), *options, str(context))
        return self.call(*words, extra={"DOCKER_BUILDKIT": "1" if new else "0"})


class Podman(Engine):
    """podman, which has no daemon: conmon stays with each container and calls podman again at its end.

    It takes all of its configuration from /etc/containers, as conmon does not pass on where else it may be.
    """

    name = "podman"

    def __init__(self, world: World, archive: Path) -> None:
        self.world = world
        world.environment["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"  # podman 5, among what the containers write
        world.call("mount", "--bind", str(self.configure(world.scratch / "etc", "/run")), "/etc/containers").ok()
        self.load(archive)

    def configure(self, directory: Path, run: str) -> Path:
        """Write the configuration. What is kept goes below the directory's parent, what is not below `run`."""
        directory.mkdir(parents=True)
        storage = directory.parent / "storage"
        # Without CAP_SYS_RESOURCE the default limits, a million of each, cannot be had.
        (directory / "containers.conf").write_text(
            f"""[containers]
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
netns = "none"
log_driver = "k8s-file"
init_path = "/usr/bin/tini-static"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
static_dir = "{storage}/libpod"
volume_path = "{storage}/volumes"
tmp_dir = "{run}/libpod"
infra_image = "{NAME}"
"""
        )
        (directory / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{storage}"\nrunroot = "{run}/storage"\n'
        )
        (directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (directory / "registries.conf").write_text("unqualified-search-registries = []\n")
        return directory

    def load(self, archive: Path) -> None:
        self.call("load", "--input", str(archive)).ok()

    def client(self, *arguments: str) -> tuple[str, ...]:
        return ("podman", *arguments)

    def words(self, runtime: Runtime, *arguments: str) -> tuple[str, ...]:
        return ("--runtime", runtime.path, *arguments)

    def state(self, runtime: Runtime) -> str:
        return f"/run/{runtime.name}"


class RootlessPodman(Podman):
    """podman of an ordinary user, who has a range of ids to give away, and no cgroup."""

    name = "rootless podman"
    uid = 1500
    ids = (200_000, 65_536)

    def __init__(self, world: World, archive: Path) -> None:
        self.world = world
        world.environment["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"
        self.home = world.scratch / "home"
        self.configure(self.home / ".config" / "containers", self.runtime_directory)
        for name in ("passwd", "group", "subuid", "subgid"):
            path = world.scratch / name
            path.write_text(self._database(name))
            world.call("mount", "--bind", str(path), f"/etc/{name}").ok()
        world.call("mkdir", "-p", "-m", "711", "/run/user").ok()
        world.call("install", "-d", "-o", str(self.uid), "-m", "700", self.runtime_directory).ok()
        world.call("chown", "-R", f"{self.uid}:{self.uid}", str(self.home)).ok()
        self.load(archive)

    @property
    def runtime_directory(self) -> str:
        return f"/run/user/{self.uid}"

    def _database(self, name: str) -> str:
        """A file of /etc that knows our user, too."""
        entry = {
            "passwd": f"somebody:x:{self.uid}:{self.uid}::{self.home}:/bin/sh",
            "group": f"somebody:x:{self.uid}:",
        }.get(name, "somebody:{}:{}".format(*self.ids))
        path = Path("/etc", name)
        return f"{path.read_text() if path.exists() else ''}{entry}\n"

    def client(self, *arguments: str) -> tuple[str, ...]:
        become = ("setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups", "--")
        environment = (f"HOME={self.home}", f"XDG_RUNTIME_DIR={self.runtime_directory}", "TMPDIR=/tmp")
        return (*become, "env", "--chdir=/", *environment, "podman", *arguments)

    def state(self, runtime: Runtime) -> str:
        return f"{self.runtime_directory}/{runtime.name}"


class Buildah(Podman):
    """buildah, which shares podman's configuration and images."""

    name = "buildah"

    def client(self, *arguments: str) -> tuple[str, ...]:
        return ("buildah", *arguments)

    def words(self, runtime: Runtime, *arguments: str) -> tuple[str, ...]:
        return (arguments[0], "--runtime", runtime.path, *arguments[1:])

    def load(self, archive: Path) -> None:
        self.call("pull", f"docker-archive:{archive}").ok()
