# SPDX-License-Identifier: Apache-2.0
"""The processes of a container: the launcher, which is our side, and init and joiner, which become the program.

The two sides talk over one channel, in this order (only what a plan needs is said):

    launcher                                 init
    --------                                 ----
    clone3                              ->
                                        <-   ENTERED   (cgroups of ours, not systemd's:) those that it could join
                                             (a new user namespace:) waits
    writes the id maps   MAPPED         ->   becomes root in there
    joins the others     PLACED         ->   (meanwhile) namespaces, mounts, devices; waits for it before it
                                             takes a cgroup namespace or mounts a cgroup file system
                                        <-   HOOKS     the root is complete, and not yet entered
    prestart, createRuntime hooks
                         GO             ->   createContainer hooks; enters the root, closes paths
                                        <-   LIMITS    (a user namespace:) resource limits and priorities, please
    sets them            GO             ->   becomes the user, finds the program
                                        <-   LISTENER  (a filter with one:) its number, when it is loaded
    copies it            GO             ->   goes on; or, if the launcher may not copy:
                         LISTENER       ->   sends the descriptor itself
                                        <-   READY     from here on only `start` matters
    writes the pid file, ends                waits on the exec fifo

A step that fails in init comes back as FAILED with its text; a channel that closes without one means that init was
killed; where a joiner's program was refused, another FAILED may add to it. Once it waits on the fifo, init tells whoever
opened it: one byte, then a text if the program cannot be executed, or the end of the stream because it was.
"""
