# SPDX-License-Identifier: Apache-2.0
"""The container's life: what each command does, and in which status it may (runtime.md, Lifecycle and Operations).

                    create            start               (the program ends)
    (nothing) ---> creating ---> created ---> running ---> stopped ---> (nothing)
                                                |  ^                delete
                                          pause v  | resume
                                               paused

    record.py    Settings, what commands are told, and Container: a state directory and where the container stands
    query.py     state, list, ps               control.py   kill, pause, resume
    create.py    create, and what run and plan share with it
    start.py     start                         run.py       run
    exec.py      exec                          delete.py    delete, and the end of whatever fails
    checkpoint.py  checkpoint                restore.py  restore

Where a container stands is never stored; it follows from its init, its fifo and its freezer. Each command imports the one
module that it needs.
"""
