# SPDX-License-Identifier: Apache-2.0
"""pyoci, an OCI container runtime. This file imports nothing: every command pays for what stands here."""

__version__ = "0.1.0"
SPEC_VERSION = "1.3.0"
