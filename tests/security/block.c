/* SPDX-License-Identifier: Apache-2.0 */
/* block ERRNO CALL,... PROGRAM [ARGUMENT]...: run a program that has these system calls blocked, as old kernels (ENOSYS)
 * and old profiles of container engines (EPERM) do. Its children have, too. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Calls from 2019 on have one number on all machines. */
static const struct {
    const char *name;
    unsigned number;
} calls[] = {
    {"pidfd_send_signal", 424}, {"open_tree", 428},  {"move_mount", 429},   {"fsopen", 430},
    {"fsconfig", 431},          {"fsmount", 432},    {"fspick", 433},       {"pidfd_open", 434},
    {"clone3", 435},            {"close_range", 436}, {"openat2", 437},     {"pidfd_getfd", 438},
    {"faccessat2", 439},        {"mount_setattr", 442},
};

int main(int argc, char **argv)
{
    struct sock_filter filter[64] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    struct sock_fprog program = {1, filter};

    if (argc < 4)
        return 2;
    int error = strcmp(argv[1], "EPERM") ? ENOSYS : EPERM;
    for (char *name = strtok(argv[2], ","); name; name = strtok(NULL, ",")) {
        size_t at = 0;
        while (at < sizeof calls / sizeof *calls && strcmp(calls[at].name, name))
            at++;
        if (at == sizeof calls / sizeof *calls) {
            fprintf(stderr, "block: no call %s\n", name);
            return 2;
        }
        filter[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[at].number, 0, 1);
        filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
    }
    filter[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    /* As root: no_new_privs would change what is run. */
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("block: load the filter");
        return 2;
    }
    execvp(argv[3], argv + 3);
    perror(argv[3]);
    return 127;
}
