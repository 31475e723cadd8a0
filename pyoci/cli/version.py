# SPDX-License-Identifier: Apache-2.0
"""`pyoci --version`, which engines ask for when they start."""

from __future__ import annotations

import sys

import pyoci
from pyoci.cli.output import put
from pyoci.thirdparty import libseccomp_version


def put_version() -> None:
    """Show the version as engines read it: line by line, the name and `version` first, and that word in no other.

    An installer that knows the commit adds `__commit__` to the package. What is not known has no line, as in runc.
    """
    lines = {
        "commit": getattr(pyoci, "__commit__", ""),
        "spec": pyoci.SPEC_VERSION,
        "python": ".".join(map(str, sys.version_info[:3])),
        "libseccomp": libseccomp_version(),
    }
    put(f"pyoci version {pyoci.__version__}\n" + "".join(f"{name}: {told}\n" for name, told in lines.items() if told))
