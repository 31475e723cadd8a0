/* SPDX-License-Identifier: Apache-2.0 */
/* spy SECRET: look at each process that comes, as fast as possible: read a file called SECRET below each directory that
 * it holds, search its environment for that word, and attach to it. What was got from a process that executes no program
 * of the image's /bin is told. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static dev_t own_device;
static ino_t own_program;

static int is_the_runtime(int pid)
{
    char path[64];
    struct stat program;

    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    if (stat(path, &program)) /* of one that has ended there is nothing to be seen, of a hidden one nothing to be had */
        return errno == EACCES || errno == EPERM;
    return program.st_dev != own_device || program.st_ino != own_program;
}

static void tell(const char *what, int pid)
{
    printf("got %s %d\n", what, pid);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char path[600], content[65536];
    struct stat program;

    if (argc != 2 || stat("/bin/busybox", &program))
        return 2;
    own_device = program.st_dev;
    own_program = program.st_ino;
    tell("ready", 0);
    for (int seen = 0;;) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(proc));) {
            int pid = atoi(entry->d_name);
            if (pid < 2 || pid == getpid() || !is_the_runtime(pid))
                continue;
            if (!seen++)
                tell("sight", pid);
            if (!ptrace(PTRACE_SEIZE, pid, 0, 0)) {
                if (is_the_runtime(pid))
                    tell("hold", pid);
                ptrace(PTRACE_INTERRUPT, pid, 0, 0);
                waitpid(pid, NULL, __WALL);
                ptrace(PTRACE_DETACH, pid, 0, 0);
            }
            snprintf(path, sizeof path, "/proc/%d/environ", pid);
            int fd = open(path, O_RDONLY);
            ssize_t size = fd < 0 ? 0 : read(fd, content, sizeof content);
            if (size > 0 && memmem(content, size, argv[1], strlen(argv[1])) && is_the_runtime(pid))
                tell("environment", pid);
            if (fd >= 0)
                close(fd);
            for (int number = -2; number < 40; number++) {
                if (number < 0)
                    snprintf(path, sizeof path, "/proc/%d/%s/%s", pid, number == -1 ? "cwd" : "root", argv[1]);
                else
                    snprintf(path, sizeof path, "/proc/%d/fd/%d/%s", pid, number, argv[1]);
                fd = open(path, O_RDONLY);
                if (fd >= 0) {
                    tell("descriptor", pid);
                    close(fd);
                }
            }
        }
        closedir(proc);
    }
}
