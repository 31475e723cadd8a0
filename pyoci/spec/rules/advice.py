# SPDX-License-Identifier: Apache-2.0
"""Warnings: what is allowed, and yet hardly meant. Only `pyoci validate` asks for them."""

from __future__ import annotations

from pyoci.jsontext import quote
from pyoci.spec.pointer import escape
from pyoci.spec.rules.process import OTHER_PLATFORMS, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyoci.spec.rules import Finding, Rule

CAPABILITIES = {
    "CAP_" + name
    for name in (
        "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE"
        " NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT"
        " SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE"
        " AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
        " PERFMON BPF CHECKPOINT_RESTORE"
    ).split()
}
"""What capabilities(7) names."""


def other_platform(config: Any, _: Any) -> Iterator[Finding]:
    for name in (*OTHER_PLATFORMS, "vm"):
        if name in config:
            yield f"/{name}", f'"{name}" has no meaning to pyoci and is ignored', "Linux containers"


def process_missing(config: Any, _: Any) -> Iterator[Finding]:
    if "process" not in config:
        yield "", 'without "process", the container can be created, but not started', "what to run in the container"


def capability_unknown(sets: Any, _: Any) -> Iterator[Finding]:
    for kind in ("bounding", "effective", "inheritable", "permitted", "ambient"):
        for index, name in enumerate(sets.get(kind, ())):
            if name not in CAPABILITIES:
                yield f"/{kind}/{index}", f"{quote(name)} is no known capability and is ignored", "a CAP_ name"


def capability_ambient(sets: Any, _: Any) -> Iterator[Finding]:
    held = set(sets.get("permitted", ())) & set(sets.get("inheritable", ()))
    for index, name in enumerate(sets.get("ambient", ())):
        if name in CAPABILITIES and name not in held:
            wrong = f"{name} cannot be ambient without being permitted and inheritable"
            yield f"/ambient/{index}", wrong, "it in both sets as well"


def env_twice(env: Any, _: Any) -> Iterator[Finding]:
    last = {entry.partition("=")[0]: index for index, entry in enumerate(env)}
    for index, entry in enumerate(env):
        name = entry.partition("=")[0]
        if last[name] != index:
            yield f"/{index}", f"{quote(name)} is set again further on, which counts", "each name once"


def console_without_terminal(_: Any, config: Any) -> Iterator[Finding]:
    if not config["process"].get("terminal"):
        yield "", "a console size without a terminal", '"terminal": true'


def umask_odd(umask: Any, _: Any) -> Iterator[Finding]:
    if umask > 0o777:
        yield "", f"the umask {umask} has bits that no umask has", "0 to 511, as it is a decimal number"


def mount_relative(mount: Any, _: Any) -> Iterator[Finding]:
    if not mount["destination"].startswith("/"):
        yield "/destination", "a relative destination, which is deprecated and taken from /", "an absolute path"


def mount_mappings_unsaid(mount: Any, _: Any) -> Iterator[Finding]:
    options = mount.get("options", ())
    if mount.get("uidMappings") and "idmap" not in options and "ridmap" not in options:
        yield "/uidMappings", "older runtimes do not notice these mappings", '"idmap" or "ridmap" in options'


def hook_deprecated(hooks: Any, _: Any) -> Iterator[Finding]:
    if hooks:
        yield "", "prestart hooks are deprecated", '"createRuntime", "createContainer" or "startContainer"'


def systemd_property(annotations: Any, _: Any) -> Iterator[Finding]:
    for key in annotations:
        name = key.removeprefix("org.systemd.property.")
        if name != key and not (len(name) >= 3 and name.isascii() and name.isalpha()):
            yield f"/{escape(key)}", f"{quote(name)} cannot be a property of systemd", "at least three letters"


def path_and_mappings(items: Any, config: Any) -> Iterator[Finding]:
    linux = config["linux"]
    for index, item in enumerate(items):
        if item["type"] == "user" and item.get("path") and (linux.get("uidMappings") or linux.get("gidMappings")):
            wrong = "both a user namespace to join and id mappings, which must then be the same"
            yield f"/{index}/path", wrong, "one of the two"


def personality_flags(personality: Any, _: Any) -> Iterator[Finding]:
    if personality.get("flags"):
        yield "/flags", "no flags are supported so far", "none"


def file_mode_odd(device: Any, _: Any) -> Iterator[Finding]:
    if device.get("fileMode", 0) & ~0o170000 > 0o7777:
        yield "/fileMode", f"{device['fileMode']} is no file mode", "a decimal number, such as 438 for octal 0666"


def same_device(devices: Any, _: Any) -> Iterator[Finding]:
    seen = set()
    for index, device in enumerate(devices):
        identity = (device["type"].replace("u", "c"), device.get("major"), device.get("minor"))
        if identity in seen and device["type"] != "p":
            yield f"/{index}", "the same device under a second path", "each device once"
        seen.add(identity)


def cgroups_path_up(path: Any, _: Any) -> Iterator[Finding]:
    if ".." in path.split("/"):
        yield "", 'steps ".." in the path of a cgroup', "a path without them"


def kernel_memory(memory: Any, _: Any) -> Iterator[Finding]:
    for name, why in (("kernel", "no longer has an effect"), ("kernelTCP", "is an error with cgroup v2")):
        if memory.get(name, -1) > 0:
            yield f"/{name}", f'"{name}" is not recommended, and {why}', '"limit" alone'


def reservation_above_limit(memory: Any, _: Any) -> Iterator[Finding]:
    if 0 < memory.get("limit", 0) < memory.get("reservation", 0):
        yield "/reservation", "a reservation above the limit", f"at most {memory['limit']}"


def second_value_unused(rule: Any, _: Any) -> Iterator[Finding]:
    for index, argument in enumerate(rule.get("args", ())):
        if argument.get("valueTwo") and argument["op"] != "SCMP_CMP_MASKED_EQ":
            yield f"/args/{index}/valueTwo", f"{argument['op']} compares with one value", "SCMP_CMP_MASKED_EQ"


def no_mount_namespace(_: Any, config: Any) -> Iterator[Finding]:
    if "mount" not in namespaces(config):
        yield "", "a container without a mount namespace: its mounts are the host's", '"mount"'


_RES, _MAPS = "/linux/resources", ("/linux/uidMappings", "/linux/gidMappings")
_PLATFORMS = tuple(f"/{name}" for name in (*OTHER_PLATFORMS, "vm"))
_PROCESS, _MOUNTS, _DEVICES = "config.md, Linux Process", "config.md, Mounts", "config-linux.md, Devices"
_MEMORY, _SPACES = "config-linux.md, Memory", "config-linux.md, Namespaces"

RULES: tuple[Rule, ...] = (
    ("other-platform", "", _PLATFORMS, "config.md, Platform-specific configuration", other_platform),
    ("process-missing", "", ("/process",), "config.md, Process", process_missing),
    ("capability-unknown", "/process/capabilities", (), _PROCESS, capability_unknown),
    ("capability-ambient", "/process/capabilities", (), _PROCESS, capability_ambient),
    ("env-twice", "/process/env", (), "config.md, Process", env_twice),
    ("console-without-terminal", "/process/consoleSize", ("/process/terminal",), "config.md, Process",
     console_without_terminal),
    ("umask-odd", "/process/user/umask", (), "config.md, POSIX-platform User", umask_odd),
    ("mount-relative", "/mounts/*", (), _MOUNTS, mount_relative),
    ("mount-mappings-unsaid", "/mounts/*", (), "config.md, POSIX-platform Mounts", mount_mappings_unsaid),
    ("hook-deprecated", "/hooks/prestart", (), "config.md, POSIX-platform Hooks", hook_deprecated),
    ("systemd-property", "/annotations", (), "config.md, Annotations", systemd_property),
    ("path-and-mappings", "/linux/namespaces", _MAPS, _SPACES, path_and_mappings),
    ("no-mount-namespace", "/linux/namespaces", (), _SPACES, no_mount_namespace),
    ("personality-flags", "/linux/personality", (), "config-linux.md, Personality", personality_flags),
    ("file-mode-odd", "/linux/devices/*", (), _DEVICES, file_mode_odd),
    ("same-device", "/linux/devices", (), _DEVICES, same_device),
    ("cgroups-path-up", "/linux/cgroupsPath", (), "config-linux.md, Cgroups Path", cgroups_path_up),
    ("kernel-memory", _RES + "/memory", (), _MEMORY, kernel_memory),
    ("reservation-above-limit", _RES + "/memory", (), _MEMORY, reservation_above_limit),
    ("second-value-unused", "/linux/seccomp/syscalls/*", (), "config-linux.md, Seccomp", second_value_unused),
)  # fmt: skip
