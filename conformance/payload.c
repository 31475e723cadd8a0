/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container's process, or a hook, finds around itself, as one line of JSON.
 *
 *     payload report [PATH...]           to standard output; each PATH is looked at, too
 *     payload hold [PATH...]             likewise, and then wait for a signal and tell which
 *     payload note FILE NAME STATUS      append it to FILE, with NAME and all of standard input; exit with STATUS
 *
 * A file is "tried" for reading and writing by opening it, a directory by listing it and by making one in it. What a
 * system call refuses is reported as its errno, negative. Linked statically, it needs nothing of the root it runs in.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static FILE *out;

static void put_text(const char *text, size_t length)
{
    fputc('"', out);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = text[i];
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void put_string(const char *text)
{
    put_text(text, strlen(text));
}

/* A key of an object, with the comma that separates it from the one before. */
static void put_key(const char *key)
{
    fputs(", ", out);
    put_string(key);
    fputs(": ", out);
}

static void put_number(const char *key, long long number)
{
    put_key(key);
    fprintf(out, "%lld", number);
}

static long long or_errno(long long result)
{
    return result < 0 ? -errno : result;
}

static void put_strings(const char *key, char **strings)
{
    put_key(key);
    fputc('[', out);
    for (char **one = strings; *one; one++) {
        if (one != strings)
            fputs(", ", out);
        put_string(*one);
    }
    fputc(']', out);
}

static void put_content(const char *key, int fd)
{
    char *content = NULL;
    size_t length = 0, room = 0;
    ssize_t got;

    do {
        if (length == room && !(content = realloc(content, room += 65536)))
            abort();
        got = read(fd, content + length, room - length);
        if (got > 0)
            length += got;
    } while (got > 0 && length < 1 << 20);
    put_key(key);
    if (got < 0)
        fprintf(out, "%d", -errno);
    else
        put_text(content, length);
    free(content);
}

static void put_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        put_number(path, -errno);
    else {
        put_content(path, fd);
        close(fd);
    }
}

static void put_link(const char *key, const char *path)
{
    char target[4096];
    ssize_t length = readlink(path, target, sizeof target);

    put_key(key);
    if (length < 0)
        fprintf(out, "%d", -errno);
    else
        put_text(target, length);
}

static int try_directory(const char *path)
{
    char name[4096];

    snprintf(name, sizeof name, "%s/.payload-%d", path, getpid());
    if (mkdir(name, 0700) < 0)
        return -errno;
    return rmdir(name) < 0 ? -errno : 0;
}

static int try_open(const char *path, int flags)
{
    int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

static void put_path(const char *path)
{
    struct stat found;
    const char *kind = "?";

    put_key(path);
    if (lstat(path, &found) < 0) {
        fprintf(out, "{\"error\": %d}", -errno);
        return;
    }
    switch (found.st_mode & S_IFMT) {
    case S_IFREG: kind = "file"; break;
    case S_IFDIR: kind = "directory"; break;
    case S_IFLNK: kind = "link"; break;
    case S_IFCHR: kind = "c"; break;
    case S_IFBLK: kind = "b"; break;
    case S_IFIFO: kind = "p"; break;
    }
    fprintf(out, "{\"kind\": \"%s\", \"mode\": %u, \"uid\": %u, \"gid\": %u, \"major\": %u, \"minor\": %u", kind,
            found.st_mode & 07777, found.st_uid, found.st_gid, major(found.st_rdev), minor(found.st_rdev));
    if (S_ISLNK(found.st_mode))
        put_link("link", path);
    if (stat(path, &found) == 0) {
        put_number("size", found.st_size);
        put_number("read", try_open(path, O_RDONLY));
        put_number("write", S_ISDIR(found.st_mode) ? try_directory(path) : try_open(path, O_WRONLY));
        put_number("execute", access(path, X_OK) < 0 ? -errno : 0);
        if (S_ISREG(found.st_mode)) {
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd >= 0) {
                put_content("content", fd);
                close(fd);
            }
        } else if (S_ISDIR(found.st_mode)) {
            DIR *directory = opendir(path);
            struct dirent *entry;
            put_key("entries");
            fputs("[", out);
            for (int some = 0; directory && (entry = readdir(directory));) {
                if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
                    continue;
                fputs(some++ ? ", " : "", out);
                put_string(entry->d_name);
            }
            fputs("]", out);
            if (directory)
                closedir(directory);
        }
    }
    fputc('}', out);
}

static void put_limits(void)
{
    static const struct { const char *name; int kind; } known[] = {
        {"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_CORE", RLIMIT_CORE}, {"RLIMIT_CPU", RLIMIT_CPU},
        {"RLIMIT_DATA", RLIMIT_DATA}, {"RLIMIT_FSIZE", RLIMIT_FSIZE}, {"RLIMIT_LOCKS", RLIMIT_LOCKS},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, {"RLIMIT_NICE", RLIMIT_NICE},
        {"RLIMIT_NOFILE", RLIMIT_NOFILE}, {"RLIMIT_NPROC", RLIMIT_NPROC}, {"RLIMIT_RSS", RLIMIT_RSS},
        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO}, {"RLIMIT_RTTIME", RLIMIT_RTTIME},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING}, {"RLIMIT_STACK", RLIMIT_STACK},
    };
    struct rlimit limit;

    fputs(", \"rlimits\": {\"\": 0", out);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (getrlimit(known[i].kind, &limit) == 0) {
            put_key(known[i].name);
            fprintf(out, "[%llu, %llu]", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
        }
    fputc('}', out);
}

static void put_user(void)
{
    gid_t groups[1024];
    int count = getgroups(1024, groups);
    mode_t mask = umask(0);

    umask(mask);
    put_number("uid", getuid());
    put_number("gid", getgid());
    put_number("umask", mask);
    fputs(", \"groups\": [", out);
    for (int i = 0; i < count; i++)
        fprintf(out, "%s%u", i ? ", " : "", groups[i]);
    fputc(']', out);
}

static void put_scheduling(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {0};
    int mode = -1;
    unsigned long nodes[16] = {0};

    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0)
        fprintf(out, ", \"scheduler\": {\"policy\": %u, \"nice\": %d, \"priority\": %u, \"flags\": %llu}",
                attributes.policy, attributes.nice, attributes.priority, (unsigned long long)attributes.flags);
    put_number("io_priority", or_errno(syscall(SYS_ioprio_get, 1, 0)));
    if (syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, NULL, 0) < 0)
        mode = -errno;
    put_number("memory_policy", mode);
    put_number("memory_nodes", nodes[0]);
    put_number("personality", personality(0xffffffff));
}

static void put_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    struct dirent *entry;

    fputs(", \"descriptors\": {\"\": 0", out);
    while (directory && (entry = readdir(directory))) {
        char path[64];
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%.20s", entry->d_name);
        put_link(entry->d_name, path);
    }
    fputc('}', out);
    if (directory)
        closedir(directory);
}

static void put_namespaces(void)
{
    static const char *kinds[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};

    fputs(", \"namespaces\": {\"\": 0", out);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
        put_link(kinds[i], path);
    }
    fputc('}', out);
}

static void put_network(void)
{
    struct if_nameindex *devices = if_nameindex();
    struct ifaddrs *addresses = NULL;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    getifaddrs(&addresses);
    fputs(", \"devices\": {\"\": 0", out);
    for (struct if_nameindex *one = devices; one && one->if_index; one++) {
        struct ifreq request = {0};
        char text[INET6_ADDRSTRLEN];
        int some = 0;

        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", one->if_name);
        put_key(one->if_name);
        ioctl(fd, SIOCGIFFLAGS, &request);
        fprintf(out, "{\"up\": %s", request.ifr_flags & IFF_UP ? "true" : "false");
        ioctl(fd, SIOCGIFMTU, &request);
        put_number("mtu", request.ifr_mtu);
        ioctl(fd, SIOCGIFHWADDR, &request);
        fputs(", \"mac\": \"", out);
        for (int i = 0; i < 6; i++)
            fprintf(out, "%s%02x", i ? ":" : "", (unsigned char)request.ifr_hwaddr.sa_data[i]);
        fputs("\", \"addresses\": [", out);
        for (struct ifaddrs *a = addresses; a; a = a->ifa_next) {
            if (!a->ifa_addr || strcmp(a->ifa_name, one->if_name))
                continue;
            if (a->ifa_addr->sa_family == AF_INET)
                inet_ntop(AF_INET, &((struct sockaddr_in *)a->ifa_addr)->sin_addr, text, sizeof text);
            else if (a->ifa_addr->sa_family == AF_INET6)
                inet_ntop(AF_INET6, &((struct sockaddr_in6 *)a->ifa_addr)->sin6_addr, text, sizeof text);
            else
                continue;
            fputs(some++ ? ", " : "", out);
            put_string(text);
        }
        fputs("]}", out);
    }
    fputc('}', out);
    close(fd);
}

static void put_clocks(void)
{
    struct timespec now;

    fputs(", \"clocks\": {\"\": 0", out);
    clock_gettime(CLOCK_MONOTONIC, &now);
    put_number("monotonic", now.tv_sec);
    clock_gettime(CLOCK_BOOTTIME, &now);
    put_number("boottime", now.tv_sec);
    fputc('}', out);
}

static void put_terminal(void)
{
    struct winsize size = {0};

    fprintf(out, ", \"terminal\": [%d, %d, %d]", isatty(0), isatty(1), isatty(2));
    ioctl(0, TIOCGWINSZ, &size);
    put_number("rows", size.ws_row);
    put_number("columns", size.ws_col);
}

static void put_report(char **argv, char **paths)
{
    static const char *files[] = {
        "/proc/self/status", "/proc/self/mountinfo", "/proc/self/cgroup", "/proc/self/oom_score_adj",
        "/proc/self/timens_offsets", "/proc/self/limits",
    };
    struct utsname names;
    struct stat root;
    char directory[4096];

    fputs("\"argv\": [", out);
    for (char **one = argv; *one; one++) {
        fputs(one == argv ? "" : ", ", out);
        put_string(*one);
    }
    fputc(']', out);
    put_strings("env", environ);
    put_key("cwd");
    put_string(getcwd(directory, sizeof directory) ? directory : "?");
    put_number("pid", getpid());
    put_number("sid", or_errno(getsid(0)));
    put_number("no_new_privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    put_user();
    put_limits();
    if (uname(&names) == 0) {
        put_key("hostname");
        put_string(names.nodename);
        put_key("domainname");
        put_string(names.domainname);
        put_key("machine");
        put_string(names.machine);
    }
    if (stat("/", &root) == 0) {
        put_key("root");
        fprintf(out, "[%llu, %llu]", (unsigned long long)root.st_dev, (unsigned long long)root.st_ino);
    }
    put_scheduling();
    put_terminal();
    put_clocks();
    put_namespaces();
    put_descriptors();
    put_network();
    fputs(", \"files\": {\"\": 0", out);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        put_file(files[i]);
    fputs("}, \"paths\": {\"\": 0", out);
    for (; *paths; paths++)
        put_path(*paths);
    fputc('}', out);
}

/* Whole, so that several processes can append to one file. */
static void write_whole(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0)
            exit(120);
        text += written;
        length -= written;
    }
}

int main(int argc, char **argv)
{
    char *text, *path = argc > 2 ? argv[2] : NULL;
    size_t length;
    int note = argc == 5 && !strcmp(argv[1], "note"), hold = argc > 1 && !strcmp(argv[1], "hold"), fd = 1, number;
    sigset_t all;

    if (!note && !hold && !(argc > 1 && !strcmp(argv[1], "report")))
        return 121;
    sigfillset(&all);
    if (hold)
        sigprocmask(SIG_BLOCK, &all, NULL);
    out = open_memstream(&text, &length);
    fputc('{', out);
    put_report(argv, note ? argv + argc : argv + 2);
    if (note) {
        put_key("name");
        put_string(argv[3]);
        put_content("stdin", 0);
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0)
            return 122;
    }
    fputs("}\n", out);
    fclose(out);
    write_whole(fd, text, length);
    if (hold) {
        sigwait(&all, &number);
        printf("{\"signal\": %d}\n", number);
    }
    return note ? atoi(argv[4]) : 0;
}
