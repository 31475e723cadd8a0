# SPDX-License-Identifier: Apache-2.0
"""A client of the Container Runtime Interface, by which the kubelet asks containerd for pods and containers.

The messages are those of Kubernetes' api.proto, runtime.v1, as far as the tests use them: a table of field numbers and
types takes the place of generated code.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # it would print its doubts whenever a test forks

NUMBER, TEXT, BYTES, MAP = "number", "text", "bytes", "map"
Message = dict[str, Any]

_POD = {"pod_sandbox_id": (1, TEXT)}
_CONTAINER = {"container_id": (1, TEXT)}
_RESOURCES = {
    "cpu_period": (1, NUMBER),
    "cpu_quota": (2, NUMBER),
    "cpu_shares": (3, NUMBER),
    "memory_limit_in_bytes": (4, NUMBER),
    "oom_score_adj": (5, NUMBER),
    "cpuset_cpus": (6, TEXT),
}

FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    # Pods
    "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig"), "runtime_handler": (2, TEXT)},
    "RunPodSandboxResponse": _POD,
    "StopPodSandboxRequest": _POD,
    "StopPodSandboxResponse": {},
    "RemovePodSandboxRequest": _POD,
    "RemovePodSandboxResponse": {},
    "PodSandboxStatusRequest": _POD,
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus")},
    "PodSandboxStatus": {
        "id": (1, TEXT),
        "state": (3, NUMBER),
        "network": (5, "PodSandboxNetworkStatus"),
        "runtime_handler": (9, TEXT),
    },
    "PodSandboxNetworkStatus": {"ip": (1, TEXT)},
    "PodSandboxConfig": {
        "metadata": (1, "PodSandboxMetadata"),
        "hostname": (2, TEXT),
        "log_directory": (3, TEXT),
        "labels": (6, MAP),
        "annotations": (7, MAP),
        "linux": (8, "LinuxPodSandboxConfig"),
    },
    "PodSandboxMetadata": {"name": (1, TEXT), "uid": (2, TEXT), "namespace": (3, TEXT), "attempt": (4, NUMBER)},
    "LinuxPodSandboxConfig": {
        "cgroup_parent": (1, TEXT),
        "security_context": (2, "LinuxSandboxSecurityContext"),
        "sysctls": (3, MAP),
    },
    "LinuxSandboxSecurityContext": {"namespace_options": (1, "NamespaceOption"), "privileged": (6, NUMBER)},
    "NamespaceOption": {"network": (1, NUMBER), "pid": (2, NUMBER), "ipc": (3, NUMBER), "target_id": (4, TEXT)},
    # Containers
    "CreateContainerRequest": {
        "pod_sandbox_id": (1, TEXT),
        "config": (2, "ContainerConfig"),
        "sandbox_config": (3, "PodSandboxConfig"),
    },
    "CreateContainerResponse": _CONTAINER,
    "StartContainerRequest": _CONTAINER,
    "StartContainerResponse": {},
    "StopContainerRequest": {**_CONTAINER, "timeout": (2, NUMBER)},
    "StopContainerResponse": {},
    "RemoveContainerRequest": _CONTAINER,
    "RemoveContainerResponse": {},
    "ContainerStatusRequest": _CONTAINER,
    "ContainerStatusResponse": {"status": (1, "ContainerStatus")},
    "ContainerStatus": {
        "id": (1, TEXT),
        "state": (3, NUMBER),
        "exit_code": (7, NUMBER),
        "reason": (10, TEXT),
        "message": (11, TEXT),
    },
    "UpdateContainerResourcesRequest": {**_CONTAINER, "linux": (2, "LinuxContainerResources")},
    "UpdateContainerResourcesResponse": {},
    "ExecSyncRequest": {**_CONTAINER, "cmd": (2, f"{TEXT}*"), "timeout": (3, NUMBER)},
    "ExecSyncResponse": {"stdout": (1, BYTES), "stderr": (2, BYTES), "exit_code": (3, NUMBER)},
    "ContainerStatsRequest": _CONTAINER,
    "ContainerStatsResponse": {"stats": (1, "ContainerStats")},
    "ContainerStats": {"cpu": (2, "CpuUsage"), "memory": (3, "MemoryUsage")},
    "CpuUsage": {"usage_core_nano_seconds": (2, "Wrapped")},
    "MemoryUsage": {"working_set_bytes": (2, "Wrapped")},
    "Wrapped": {"value": (1, NUMBER)},
    "ContainerConfig": {
        "metadata": (1, "ContainerMetadata"),
        "image": (2, "ImageSpec"),
        "command": (3, f"{TEXT}*"),
        "working_dir": (5, TEXT),
        "envs": (6, "KeyValue*"),
        "mounts": (7, "Mount*"),
        "devices": (8, "Device*"),
        "log_path": (11, TEXT),
        "tty": (14, NUMBER),
        "linux": (15, "LinuxContainerConfig"),
    },
    "ContainerMetadata": {"name": (1, TEXT), "attempt": (2, NUMBER)},
    "ImageSpec": {"image": (1, TEXT)},
    "KeyValue": {"key": (1, TEXT), "value": (2, TEXT)},
    "Mount": {"container_path": (1, TEXT), "host_path": (2, TEXT), "readonly": (3, NUMBER), "propagation": (5, NUMBER)},
    "Device": {"container_path": (1, TEXT), "host_path": (2, TEXT), "permissions": (3, TEXT)},
    "LinuxContainerConfig": {
        "resources": (1, "LinuxContainerResources"),
        "security_context": (2, "LinuxContainerSecurityContext"),
    },
    "LinuxContainerResources": _RESOURCES,
    "LinuxContainerSecurityContext": {
        "capabilities": (1, "Capability"),
        "privileged": (2, NUMBER),
        "namespace_options": (3, "NamespaceOption"),
        "run_as_user": (5, "Wrapped"),
        "run_as_group": (12, "Wrapped"),
        "run_as_username": (6, TEXT),
        "readonly_rootfs": (7, NUMBER),
        "supplemental_groups": (8, f"{NUMBER}*"),
        "no_new_privs": (11, NUMBER),
        "masked_paths": (13, f"{TEXT}*"),
        "readonly_paths": (14, f"{TEXT}*"),
        "seccomp": (15, "SecurityProfile"),
    },
    "Capability": {"add_capabilities": (1, f"{TEXT}*"), "drop_capabilities": (2, f"{TEXT}*")},
    "SecurityProfile": {"profile_type": (1, NUMBER), "localhost_ref": (2, TEXT)},
    # Images, and the engine itself
    "ImageStatusRequest": {"image": (1, "ImageSpec")},
    "ImageStatusResponse": {"image": (1, "Image")},
    "Image": {"id": (1, TEXT)},
    "StatusRequest": {},
    "StatusResponse": {"status": (1, "RuntimeStatus")},
    "RuntimeStatus": {"conditions": (1, "RuntimeCondition*")},
    "RuntimeCondition": {"type": (1, TEXT), "status": (2, NUMBER), "message": (4, TEXT)},
}

# The enumerations.
POD, CONTAINER, NODE, TARGET = range(4)  # NamespaceMode
READY, NOT_READY = range(2)  # PodSandboxState
CREATED, RUNNING, EXITED = range(3)  # ContainerState
RUNTIME_DEFAULT, UNCONFINED = range(2)  # SecurityProfile.ProfileType


class Refused(Exception):
    """The engine has answered with an error; its text is the exception's."""


class Client:
    """A connection to the engine that listens at the path `socket`."""

    def __init__(self, socket: str) -> None:
        import grpc

        self.grpc = grpc
        self.channel = grpc.insecure_channel(f"unix:{socket}")

    def call(self, method: str, seconds: float = 60, /, **fields: Any) -> Message:
        """Call a method of the runtime's or the image service, and give its answer. Raises Refused."""
        service = "ImageService" if method.startswith("Image") else "RuntimeService"
        remote = self.channel.unary_unary(f"/runtime.v1.{service}/{method}")
        try:
            answer = remote(encode(f"{method}Request", fields), timeout=seconds)
        except self.grpc.RpcError as error:
            raise Refused(error.details()) from None
        return decode(f"{method}Response", answer)

    def close(self) -> None:
        self.channel.close()


# Protocol Buffers: a message is a sequence of fields, each a number and a value (protobuf.dev, Encoding).

_VARINT, _LENGTH = 0, 2
_WIDTHS = {1: 8, 5: 4}


def encode(name: str, message: Message) -> bytes:
    data = bytearray()
    for field, value in message.items():
        number, kind = FIELDS[name][field]
        if kind == MAP:
            items: list[Any] = [_text(1, key) + _text(2, item) for key, item in value.items()]
            kind = BYTES
        else:
            items = value if kind.endswith("*") else [value]
            kind = kind.rstrip("*")
        for item in items:
            data += _field(number, kind, item)
    return bytes(data)


def _field(number: int, kind: str, value: Any) -> bytes:
    if kind == NUMBER:
        return _varint(number << 3 | _VARINT) + _varint(value & (1 << 64) - 1)
    if kind == TEXT:
        return _text(number, value)
    return _bytes(number, value if kind == BYTES else encode(kind, value))


def _text(number: int, value: str) -> bytes:
    return _bytes(number, value.encode())


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def decode(name: str, data: bytes) -> Message:
    """The fields of a message that the table knows; those that are not there have their empty values."""
    known = {number: (field, kind) for field, (number, kind) in FIELDS[name].items()}
    message: Message = {field: _empty(kind) for field, kind in known.values()}
    for number, value in _fields(data):
        if number not in known:
            continue
        field, kind = known[number]
        single = kind.rstrip("*")
        if single == TEXT:
            value = value.decode()
        elif single not in (NUMBER, BYTES):
            value = decode(single, value)
        if kind.endswith("*"):
            message[field].append(value)
        else:
            message[field] = value
    return message


def _empty(kind: str) -> Any:
    if kind.endswith("*"):
        return []
    plain: dict[str, Any] = {NUMBER: 0, TEXT: "", BYTES: b""}
    return plain[kind] if kind in plain else decode(kind, b"")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == _VARINT:
            yield key >> 3, varint()
        else:
            length = varint() if key & 7 == _LENGTH else _WIDTHS[key & 7]
            yield key >> 3, data[at : at + length]
            at += length
