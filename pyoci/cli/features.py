# SPDX-License-Identifier: Apache-2.0
"""`pyoci features`: what this runtime knows, whether or not this host has it (features.md, features-linux.md).

The lists are those that the code itself goes by.
"""

from __future__ import annotations

from pyoci import SPEC_VERSION, __version__, capabilities, seccomp, thirdparty
from pyoci.cli.options import Call, Command
from pyoci.cli.output import put
from pyoci.jsontext import dumps
from pyoci.plan.model import Hooks
from pyoci.plan.mounts import option_names
from pyoci.plan.namespaces import FLAGS
from pyoci.plan.scheduling import MEMORY_FLAGS, MEMORY_MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyoci.log import Log

COMMAND = Command(
    name="features",
    summary="Show what this runtime knows",
    description="""\
Writes a JSON object, the "features structure" of the runtime specification: the versions of the specification, hooks,
mount options, namespaces, capabilities, seccomp actions and so on that config.json may name. It tells nothing about
the host.""",
    examples=(("pyoci features", "show it"),),
)
_OLDEST_SPEC = "1.0.0"
# What libseccomp 2.5 knows, the oldest one that is of use; a newer one may know more.
_ARCHITECTURES = (
    "AARCH64 ARM MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 PPC PPC64 PPC64LE RISCV64 S390 S390X"
    " X32 X86 X86_64"
).split()


def run(call: Call, log: Log) -> int:
    put(dumps(features(), indent=4) + "\n")
    return 0


def features() -> dict[str, Any]:
    """The features structure."""
    systemd = thirdparty.is_there("jeepney")
    return {
        "ociVersionMin": _OLDEST_SPEC,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(Hooks._fields),
        "mountOptions": option_names(),
        "linux": {
            "namespaces": sorted(FLAGS),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": systemd, "systemdUser": systemd, "rdma": True},
            "seccomp": {
                "enabled": thirdparty.is_there("seccomp"),
                "actions": sorted(seccomp.ACTIONS),
                "operators": sorted(seccomp.OPERATORS),
                "archs": [f"SCMP_ARCH_{name}" for name in _ARCHITECTURES],
                "knownFlags": sorted(seccomp.FLAGS),
                "supportedFlags": sorted(seccomp.supported_flags()),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_MODES), "flags": sorted(MEMORY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "true", "pyoci.version": __version__},
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property."],
    }
