/* SPDX-License-Identifier: Apache-2.0 */
/* swap ONE OTHER: exchange two names on and on, until whoever started this ends. Pauses of all lengths up to 60 us lie
 * between, so that every gap between another's look at a name and its use is hit sooner or later. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define AT_HERE (-100) /* AT_FDCWD */
#define EXCHANGE 2     /* RENAME_EXCHANGE */

int main(int argc, char **argv)
{
    unsigned long chance = 88172645463325252UL;

    if (argc != 3)
        return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct timespec now, then;

        syscall(SYS_renameat2, AT_HERE, argv[1], AT_HERE, argv[2], EXCHANGE);
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        clock_gettime(CLOCK_MONOTONIC, &then);
        do
            clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - then.tv_sec) * 1000000000L + now.tv_nsec - then.tv_nsec < (long)(chance % 60000));
    }
}
