# SPDX-License-Identifier: Apache-2.0
"""containerd by the Container Runtime Interface: pods and their containers, as the kubelet makes and ends them.

The handler of a RuntimeClass chooses the runtime: there is one for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..conftest import missing
from ..lifecycle.harness import Runtime, eventually, status_field
from .cri import CONTAINER, EXITED, NODE, NOT_READY, READY, RUNNING, RUNTIME_DEFAULT, TARGET, Message, Refused
from .engines import Cri
from .images import NAME

PAUSE = ("pause",)


class Pod:
    """A pod of one runtime, and what is done with its containers."""

    def __init__(self, engine: Cri, runtime: Runtime, name: str, hostname: str, linux: Message) -> None:
        self.engine, self.runtime, self.name = engine, runtime, name
        self.logs = engine.world.scratch / "logs" / name
        self.logs.mkdir(parents=True)
        self.config: Message = {
            "metadata": {"name": name, "uid": name, "namespace": "default"},
            "hostname": hostname,
            "log_directory": str(self.logs),
            "labels": {"test": name},
            "linux": {"cgroup_parent": f"/kubepods/{name}", **linux},
        }
        self.containers: list[str] = []
        self.id: str = self.call("RunPodSandbox", config=self.config, runtime_handler=runtime.name)["pod_sandbox_id"]

    def call(self, method: str, /, **fields: Any) -> Message:
        return self.engine.client.call(method, **fields)

    def create(self, *command: str, linux: Message | None = None, **config: Any) -> str:
        """The id of a container that has not been started."""
        name = f"c{len(self.containers)}"
        whole = {
            "metadata": {"name": name},
            "image": {"image": NAME},
            "command": command or PAUSE,
            "log_path": f"{name}.log",
            "linux": linux or {},
            **config,
        }
        answer = self.call("CreateContainer", pod_sandbox_id=self.id, config=whole, sandbox_config=self.config)
        self.containers.append(answer["container_id"])
        return self.containers[-1]

    def start(self, *command: str, **config: Any) -> str:
        """The id of a container that runs; it sleeps if there is no command."""
        id = self.create(*command, **config)
        self.call("StartContainer", container_id=id)
        return id

    def output(self, *command: str, **config: Any) -> str:
        """What a container has said by its end, which has to be a good one."""
        id = self.start(*command, **config)
        status = self.ended(id)
        assert status["exit_code"] == 0, (status, self.log(id))
        return self.log(id)

    def log(self, id: str, stream: str = "stdout") -> str:
        """What a container has said so far. A line of the file: the time, the stream, F for a full line, the text."""
        path = self.logs / f"c{self.containers.index(id)}.log"
        lines = (line.split(" ", 3) for line in path.read_text().splitlines())
        return "".join(text + "\n" * (tag == "F") for _, name, tag, text in lines if name == stream)

    def status(self, id: str) -> Message:
        found: Message = self.call("ContainerStatus", container_id=id)["status"]
        return found

    def ended(self, id: str) -> Message:
        eventually(f"the end of {id}", lambda: self.status(id)["state"] == EXITED)
        return self.status(id)

    def exec(self, id: str, *command: str) -> tuple[int, str, str]:
        answer = self.call("ExecSync", container_id=id, cmd=command, timeout=30)
        return answer["exit_code"], answer["stdout"].decode(), answer["stderr"].decode()

    def said(self, id: str, *command: str) -> str:
        """What a command in a container prints, which has to succeed."""
        status, out, err = self.exec(id, *command)
        assert (status, err) == (0, ""), (command, out)
        return out

    def state(self) -> int:
        found: int = self.call("PodSandboxStatus", pod_sandbox_id=self.id)["status"]["state"]
        return found

    def kept(self) -> set[str]:
        """Those of the pod's containers that the runtime has state of."""
        root = self.engine.world.path(f"/run/{self.runtime.name}/k8s.io")
        return {id for id in (self.id, *self.containers) if (root / id).exists()}

    def remove(self) -> None:
        self.call("StopPodSandbox", pod_sandbox_id=self.id)
        self.call("RemovePodSandbox", pod_sandbox_id=self.id)
        assert not self.kept()
        assert not [path for id in (self.id, *self.containers) for path in self.engine.world.cgroups_of(id)]


Pods = Callable[..., Pod]


@pytest.fixture
def pods(cri: Cri, runtime: Runtime, fresh: Callable[[], str]) -> Iterator[Pods]:
    """A function that makes pods; all are removed in the end, and must then be gone without a trace."""
    made: list[Pod] = []

    def make(hostname: str = "a-pod", **linux: Any) -> Pod:
        made.append(Pod(cri, runtime, fresh(), hostname, linux))
        return made[-1]

    yield make
    for pod in made:
        pod.remove()


@pytest.fixture
def pod(pods: Pods) -> Pod:
    return pods()


def within(**options: Any) -> Message:
    """The field `linux` of a container with a security context."""
    return {"security_context": options}


def test_the_handler_chooses_the_runtime(pod: Pod, runtime: Runtime) -> None:
    status = pod.call("PodSandboxStatus", pod_sandbox_id=pod.id)["status"]
    assert (status["state"], status["runtime_handler"]) == (READY, runtime.name)
    id = pod.start()
    assert pod.kept() == {pod.id, id}


def test_an_unknown_handler_is_refused(pod: Pod) -> None:
    with pytest.raises(Refused, match="no runtime for"):
        another = {**pod.config, "metadata": {"name": "another", "uid": "another", "namespace": "default"}}
        pod.call("RunPodSandbox", config=another, runtime_handler="nonexistent")


@pytest.mark.parametrize("code", [0, 7])
def test_exit_codes_and_logs(pod: Pod, code: int) -> None:
    id = pod.start("sh", "-c", f"echo out; echo err >&2; exit {code}")
    status = pod.ended(id)
    assert (status["exit_code"], status["reason"]) == (code, "Error" if code else "Completed")
    assert (pod.log(id), pod.log(id, "stderr")) == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("nonexistent", 'exec: "nonexistent": executable file not found in $PATH'),
        ("/nonexistent", 'exec: "/nonexistent": stat /nonexistent: no such file or directory'),
        ("/bin/not-executable", 'exec: "/bin/not-executable": permission denied'),
    ],
)
def test_a_command_that_cannot_be_run(pod: Pod, command: str, reason: str) -> None:
    id = pod.create(command)
    with pytest.raises(Refused) as raised:
        pod.call("StartContainer", container_id=id)
    assert reason in str(raised.value)
    status = pod.status(id)
    assert (status["state"], status["exit_code"], status["reason"]) == (EXITED, 128, "StartError")
    assert pod.kept() == {pod.id}


def test_exec(pod: Pod) -> None:
    id = pod.start()
    assert pod.exec(id, "sh", "-c", "echo out; echo err >&2; exit 5") == (5, "out\n", "err\n")
    with pytest.raises(Refused, match="executable file not found in"):
        pod.exec(id, "nonexistent")
    with pytest.raises(Refused, match="timeout"):
        pod.call("ExecSync", container_id=id, cmd=["sleep", "1000"], timeout=1)


def test_a_terminal(pod: Pod) -> None:
    assert pod.output("tty", tty=1).replace("\r", "") == "/dev/pts/0\n"


def test_a_pods_containers_share_its_namespaces(pod: Pod) -> None:
    one, two = pod.start(), pod.start()

    def namespaces(id: str, *kinds: str) -> list[str]:
        return [pod.said(id, "readlink", f"/proc/self/ns/{kind}") for kind in kinds]

    assert namespaces(one, "net", "ipc", "uts", "pid") == namespaces(two, "net", "ipc", "uts", "pid")
    assert namespaces(one, "mnt") != namespaces(two, "mnt")
    assert pod.said(one, "hostname") == "a-pod\n"
    assert pod.said(one, "ps").count("{pause}") == 3
    assert "10.9.8.7/24" in pod.said(one, "ip", "address")


def test_a_pid_namespace_for_each_container(pods: Pods) -> None:
    pod = pods(security_context={"namespace_options": {"pid": CONTAINER}})
    own = within(namespace_options={"pid": CONTAINER})
    one = pod.start(linux=own)
    assert pod.said(one, "ps").count("{pause}") == 1
    debugger = pod.start(linux=within(namespace_options={"pid": TARGET, "target_id": one}))
    assert pod.said(debugger, "ps").count("{pause}") == 2


def test_the_hosts_namespaces(pods: Pods) -> None:
    host = {"network": NODE, "pid": NODE, "ipc": NODE}
    pod = pods(hostname="", security_context={"namespace_options": host})
    id = pod.start(linux=within(namespace_options=host))
    assert "python" in pod.said(id, "ps")  # the world's init
    assert "10.9.8.7/24" not in pod.said(id, "ip", "address")


def test_stop(pod: Pod) -> None:
    polite = pod.start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    eventually("the trap", lambda: "ready" in pod.log(polite))
    pod.call("StopContainer", container_id=polite, timeout=30)
    assert pod.status(polite)["exit_code"] == 3
    assert "bye" in pod.log(polite)
    deaf = pod.start("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    eventually("the trap", lambda: "ready" in pod.log(deaf))
    pod.call("StopContainer", container_id=deaf, timeout=1)
    assert pod.status(deaf)["exit_code"] == 137
    pod.call("StopContainer", container_id=deaf, timeout=1)  # the kubelet may say so again


def test_what_a_container_leaves_running_ends_with_it(pod: Pod) -> None:
    """Nothing in the pod's pid namespace dies with a container's init: the shim asks the runtime to kill all."""
    other = pod.start()
    id = pod.start("sh", "-c", "sleep 1000 & sleep 1001 & wait")

    def sleeps() -> int:
        return sum(line.endswith(("sleep 1000", "sleep 1001")) for line in pod.said(other, "ps").splitlines())

    eventually("the others", lambda: sleeps() == 2)
    pod.call("StopContainer", container_id=id, timeout=0)
    eventually("their end", lambda: sleeps() == 0)


def test_a_container_again(pod: Pod) -> None:
    """As the kubelet restarts it: another container of the same name, one attempt later."""
    first = pod.start("false", metadata={"name": "again", "attempt": 0})
    pod.ended(first)
    second = pod.start(metadata={"name": "again", "attempt": 1})
    assert pod.status(second)["state"] == RUNNING
    pod.call("RemoveContainer", container_id=first)
    assert pod.kept() == {pod.id, second}


def test_stats(pod: Pod) -> None:
    id = pod.start("sh", "-c", "while :; do :; done")
    eventually("some work", lambda: _stats(pod, id)["cpu"]["usage_core_nano_seconds"]["value"] > 10**6)
    assert _stats(pod, id)["memory"]["working_set_bytes"]["value"] > 0


def _stats(pod: Pod, id: str) -> Message:
    found: Message = pod.call("ContainerStats", container_id=id)["stats"]
    return found


def test_limits_and_update(pod: Pod) -> None:
    resources = {"memory_limit_in_bytes": 64 << 20, "cpu_period": 100_000, "cpu_quota": 50_000, "cpuset_cpus": "0"}
    id = pod.start(linux={"resources": resources})
    world = pod.engine.world
    assert world.cgroup(id, "cpuset").joinpath("cpuset.cpus").read_text().strip() == "0"
    memory, pids, cpu = (world.cgroup(id, name) for name in ("memory", "pids", "cpu"))
    assert f"/kubepods/{pod.name}/" in str(memory) and pids and cpu
    assert _memory_limit(memory) == 64 << 20
    pod.call("UpdateContainerResources", container_id=id, linux={"memory_limit_in_bytes": 128 << 20})
    assert _memory_limit(memory) == 128 << 20
    assert world.cgroup(id, "cpuset").joinpath("cpuset.cpus").read_text().strip() == "0"


def _memory_limit(cgroup: Path) -> int:
    version2 = cgroup / "memory.max"
    return int((version2 if version2.exists() else cgroup / "memory.limit_in_bytes").read_text())


def test_the_memory_limit_kills(pod: Pod) -> None:
    resources = {"memory_limit_in_bytes": 16 << 20}
    id = pod.start("sh", "-c", "sleep 1; exec tail /dev/zero", linux={"resources": resources})
    status = pod.ended(id)
    assert (status["exit_code"], status["reason"]) == (137, "OOMKilled")


def test_mounts_environment_and_directory(pod: Pod, place: Path) -> None:
    shared = place / f"cri-{pod.runtime.name}"
    shared.mkdir(exist_ok=True)
    (shared / "file").write_text("from the host\n")
    mounts = [
        {"container_path": "/rw", "host_path": str(shared)},
        {"container_path": "/ro", "host_path": str(shared), "readonly": 1},
    ]
    script = "cat /ro/file; echo back > /rw/answer; ! touch /ro/x; echo $A; pwd"
    said = pod.output("sh", "-c", script, mounts=mounts, envs=[{"key": "A", "value": "b"}], working_dir="/tmp")
    assert said == "from the host\nb\n/tmp\n"
    assert (shared / "answer").read_text() == "back\n"


def test_mount_propagation(pods: Pods) -> None:
    pod = pods(security_context={"privileged": 1})
    shared = pod.engine.world.scratch / pod.name
    shared.mkdir()
    world = pod.engine.world
    world.call("sh", "-c", f"mount -t tmpfs shared {shared} && mount --make-shared {shared} && mkdir {shared}/sub").ok()
    id = pod.start(mounts=[{"container_path": "/mnt", "host_path": str(shared), "propagation": 1}])
    world.call("mount", "-t", "tmpfs", "later", f"{shared}/sub").ok()
    assert "later" in pod.said(id, "df", "/mnt/sub")
    world.call("umount", "-R", str(shared)).ok()


def test_devices(pod: Pod) -> None:
    there = next(path for path in ("/dev/fuse", "/dev/loop-control", "/dev/net/tun") if Path(path).exists())
    devices = [{"container_path": "/dev/another", "host_path": there, "permissions": "r"}]
    id = pod.start(devices=devices)
    assert pod.said(id, "sh", "-c", "test -c /dev/another && : < /dev/another; echo $?") == "0\n"
    assert pod.exec(id, "sh", "-c", ": > /dev/another")[0] != 0


def test_users(pod: Pod) -> None:
    script = ("sh", "-c", "id -un; id -G")
    assert pod.output(*script, linux=within(run_as_username="user")) == "user\n1000 2000\n"
    ids = within(run_as_user={"value": 1234}, run_as_group={"value": 5678}, supplemental_groups=[99])
    assert pod.output("sh", "-c", "id -u; id -G", linux=ids) == "1234\n5678 99\n"


def test_capabilities_and_new_privileges(pod: Pod) -> None:
    def status(**options: Any) -> str:
        return pod.output("cat", "/proc/self/status", linux=within(**options))

    plain = int(status_field(status(), "CapEff"), 16)
    more = int(status_field(status(capabilities={"add_capabilities": ["SYS_TIME"]}), "CapEff"), 16)
    assert more == plain | 1 << 25
    none = status(capabilities={"drop_capabilities": ["ALL"]}, no_new_privs=1)
    assert int(status_field(none, "CapEff"), 16) == 0
    assert status_field(none, "NoNewPrivs") == "1"


def test_privileged(pods: Pods) -> None:
    pod = pods(security_context={"privileged": 1})
    if pod.runtime.name == "runc" and missing("needs_sys_resource"):
        pytest.skip("runc cannot leave out a capability that it has not got itself, here CAP_SYS_RESOURCE")
    id = pod.start(linux=within(privileged=1))
    assert status_field(pod.said(id, "cat", "/proc/self/status"), "Seccomp") == "0"
    assert pod.said(id, "sh", "-c", "mount -t tmpfs x /home && echo mounted") == "mounted\n"


def test_seccomp(pod: Pod) -> None:
    profile = within(seccomp={"profile_type": RUNTIME_DEFAULT})
    id = pod.start(linux=profile)
    assert status_field(pod.said(id, "cat", "/proc/self/status"), "Seccomp") == "2"
    assert pod.exec(id, "unshare", "-U", "true")[0] != 0


def test_a_read_only_root_and_masked_paths(pod: Pod) -> None:
    options = within(readonly_rootfs=1, masked_paths=["/etc/passwd"], readonly_paths=["/proc/sys"])
    script = "! touch /x && wc -c < /etc/passwd && ! echo 1 > /proc/sys/kernel/msgmax && echo done"
    assert pod.output("sh", "-c", script, linux=options) == "0\ndone\n"


def test_sysctls(pods: Pods) -> None:
    pod = pods(sysctls={"net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "9000"})
    files = ("/proc/sys/net/ipv4/ip_default_ttl", "/proc/sys/kernel/msgmax")
    assert pod.output("cat", *files).split() == ["77", "9000"]


def test_a_pod_stops_with_all_its_containers(pod: Pod) -> None:
    ids = [pod.start() for _ in range(3)]
    pod.call("StopPodSandbox", pod_sandbox_id=pod.id)
    assert pod.state() == NOT_READY
    assert [pod.status(id)["state"] for id in ids] == [EXITED] * 3


def test_a_pod_whose_own_container_dies_is_not_ready(pod: Pod) -> None:
    id = pod.start()
    pod.said(id, "kill", "-TERM", "1")  # the pause container's: all share its pid namespace
    eventually("the end", lambda: pod.state() == NOT_READY)
    assert pod.ended(id)["state"] == EXITED


def test_twenty_containers_at_once(pods: Pods) -> None:
    """In five pods, and beside the five that keep those."""
    started = [
        (pod, pod.start("sh", "-c", f"echo {number}; exec pause"), f"{number}\n")
        for pod in [pods() for _ in range(5)]
        for number in range(4)
    ]
    for pod, id, word in started:
        eventually("its word", lambda pod=pod, id=id, word=word: pod.log(id) == word)  # type: ignore[misc]
        assert pod.status(id)["state"] == RUNNING
