# SPDX-License-Identifier: Apache-2.0
"""Carries out the part of a plan that makes the container's root. All of it runs in init, before the program.

The root file system is hostile: its directories may be links, its files devices, and a neighbour with a shared volume
may swap any of them while we look. So a path in it is never joined to another one; it is opened in the root
(openat2(2), RESOLVE_IN_ROOT), what was opened is looked at, and everything is done to the descriptor.
"""
