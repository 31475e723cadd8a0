# SPDX-License-Identifier: Apache-2.0
"""The kernel, as this program sees it: the only package that makes system calls.

Each wrapper bears the name of its system call and takes its arguments in the kernel's order; each constant bears the name
it has in the kernel's headers. A failed call raises OSError with the errno and, where there is one, the object in
`filename`. Calls that the interpreter has as C functions come straight from `posix` (without the `os` module around it,
which takes a millisecond to load); all others go through libc (see pyoci.libc).

Everything here is bound when a module is loaded, so that nothing is looked up inside a container. Calls hold the
interpreter lock: there is one thread, and so the child of a raw clone3 finds a sane interpreter.

    basic       files, and what every command does, however short its way
    mounts      mounts, paths below a root, and what lies there
    processes   new processes and namespaces, privileges, signals
    sockets     sockets

`pyoci.syscalls` has all of it under one name.
"""
