# SPDX-License-Identifier: Apache-2.0
"""Processes into files and back: what criu(8) is asked for, and the conversation with it.

    rpc.py          criu's messages, as bytes and as dicts
    options.py      what criu is asked for, worked out of the command line and the container; pure
    images.py       the directories of its files, and the one file there that is ours
    service.py      one `criu swrk`: started, asked, answered, ended
    restorer.py     the launcher of a container that is restored
    root.py         the root for a restore, in a mount namespace that nobody else sees. Runs in criu's process to be
    failure.py      what went wrong, in one line

criu is driven by its RPC and not by its command line. Only so does it hand over the master of a container's terminal, run
our part (hooks, the record) at the right moment, say what failed, and tell in one process what it is able to.
"""
