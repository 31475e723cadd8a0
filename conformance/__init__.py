# SPDX-License-Identifier: Apache-2.0
"""What the OCI runtime specification demands, and tests that show how far a runtime does it."""
