// SPDX-License-Identifier: Apache-2.0
// End this program's first thread, while another one lives on: /proc/PID/stat calls the process a zombie then.
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *sleep_on(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

int main(void)
{
    pthread_t thread;

    if (pthread_create(&thread, 0, sleep_on, 0))
        return 1;
    syscall(SYS_exit, 0); /* of this thread alone */
    return 2;
}
