# SPDX-License-Identifier: Apache-2.0
"""The fault suite: break a runtime at every moment and in every way, and see that nothing is left broken (hack/torture).

    world.py       where cases run: the runtime, its containers, the witness, and what counts as left behind
    commands.py    each command, with the container that it needs and what its success must mean
    killing.py     SIGKILL at random moments; a system call that fails, or is the last one
    creation.py    creates and hooks that fail
    races.py       many at once, and many about the same id
    dying.py       inits that die, zombies, reused pids; processes, cgroups and freezers in the way
    shortage.py    no space, no descriptors, no memory
    damage.py      damaged records, bad command lines, closed streams
    growth.py      nothing accumulates
    strange.py     configs that nobody would write
    report.py      a table of what runs have printed

A case is a function from a World to a remark on what it did; it raises AssertionError with all that was wrong. Only the
standard library is used, and nothing is known of the runtime but runc's command line.
"""
