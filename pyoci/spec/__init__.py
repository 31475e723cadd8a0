# SPDX-License-Identifier: Apache-2.0
"""Whether a configuration is right, and where and why not. Pure functions over text and plain data."""
