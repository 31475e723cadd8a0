// SPDX-License-Identifier: Apache-2.0
/*
 * pyoci, the program: it becomes a Python interpreter that nobody inside a container can write to.
 *
 * The runtime's process enters containers, and whoever is inside can reach the file it executes: through /proc/PID/exe,
 * or by having it executed once more. That file must not be the machine's python3 (CVE-2019-5736). So it is executed
 * from, in this order,
 *
 *   1. a read-only overlay of its directory, mounted nowhere. It has no upper layer, so there is nothing that a write
 *      could go to, whatever flags or capabilities somebody has;
 *   2. the same, made in a user namespace of its own, for callers that may not mount;
 *   3. a sealed copy in memory, where overlays are not to be had. Half again as slow.
 *
 * On the way it sees to what must be right before the interpreter's first line: descriptors 0 to 2 are open, and of the
 * environment only what the runtime knows is left. The process stays the same one (callers count on the pid), and the
 * caller's descriptors from 3 up stay open, for they may be meant for the container.
 *
 * Compiled in: INTERPRETER, the path of a Python as its user would call it; LIBRARY, the directory that has the package;
 * and RUNTIME, if there is one, the interpreter as it was linked for us (embed/runtime.c), which is then executed instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* <sys/mount.h> has these since glibc 2.36, and <linux/mount.h> does not go together with it. */
enum { fsopen_cloexec = 1, fsconfig_set_string = 1, fsconfig_cmd_create = 6, fsmount_cloexec = 1 };
enum { attr_rdonly = 1, attr_nosuid = 2, attr_nodev = 4 };
#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* Linux 6.3 */
#endif

/* What the runtime reads, PATH for the programs it runs, TERM for messages. The list in pyoci.seal is the same one. */
static const char *const passed_on[] = {
    "DBUS_SESSION_BUS_ADDRESS", "LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET",
    "NO_COLOR", "PATH", "TERM", "USER", "XDG_RUNTIME_DIR",
};
enum { passed_on_count = sizeof passed_on / sizeof *passed_on };

/* LC_ALL=C with UTF-8 mode: the same texts and encodings for every caller, and no locale is loaded. */
#define LOCALE "LC_ALL=C"
/*
 * The modules come from one file, if there is one for this version of Python (see pyoci/archive.py). Before they are
 * there, nobody but the hook keeps a traceback from the caller.
 */
#define BOOTSTRAP                                                                                                      \
    "import sys\n"                                                                                                     \
    "def hook(kind, error, trace): sys.stderr.write(f'pyoci: load the runtime itself: {kind.__name__}: {error}\\n')\n" \
    "sys.excepthook = hook\n"                                                                                          \
    "sys.path.insert(0, '" LIBRARY "')\n"                                                                              \
    "path = '" LIBRARY "/modules.' + sys.implementation.cache_tag\n"                                                   \
    "try:\n"                                                                                                           \
    "    with open(path, 'rb') as file: head = file.read(65536)\n"                                                     \
    "except OSError: pass\n"                                                                                           \
    "else:\n"                                                                                                          \
    "    import marshal\n"                                                                                             \
    "    code, contents = marshal.loads(head)\n"                                                                       \
    "    names = {'__name__': 'pyoci.archive'}\n"                                                                      \
    "    exec(code, names)\n"                                                                                          \
    "    names['attach']('" LIBRARY "', names['loader'](path), contents, sys.argv[1:])\n"                              \
    "from pyoci.cli import main\n"                                                                                     \
    "main()\n"
#ifdef RUNTIME
#define EXECUTABLE RUNTIME
static const char *const python[] = {RUNTIME}; /* by which hack/install knows that LIBRARY is in use */
#else
#define EXECUTABLE INTERPRETER
static const char *const python[] = {INTERPRETER, "-I", "-S", "-B", "-X", "utf8", "-c", BOOTSTRAP};
#endif
enum { python_count = sizeof python / sizeof *python };

static _Noreturn void fail(const char *step)
{
    dprintf(STDERR_FILENO, "pyoci: %s: %s\n", step, strerror(errno));
    _exit(1);
}

static void open_standard_streams(void)
{
    int fd;
    do /* the lowest number that is free is taken */
        if ((fd = open("/dev/null", O_RDWR)) < 0)
            fail("open /dev/null");
    while (fd <= STDERR_FILENO);
    close(fd);
}

static char **clean_environment(char **environment)
{
    static char *cleaned[passed_on_count + 2] = {LOCALE};
    int count = 1;

    for (int i = 0; i < passed_on_count; i++) {
        size_t length = strlen(passed_on[i]);
        for (char **entry = environment; *entry; entry++)
            if (!strncmp(*entry, passed_on[i], length) && (*entry)[length] == '=') {
                cleaned[count++] = *entry;
                break;
            }
    }
    return cleaned;
}

/* The file as seen through a read-only overlay; -1 where the kernel or the caller's rights do not allow for that. */
static int overlay_view(const char *path)
{
    char layers[PATH_MAX + sizeof LIBRARY "/pyoci" + 1];
    const char *name = strrchr(path, '/') + 1;
    int fs = -1, mount = -1, view = -1;

    if (strpbrk(path, ":\\") || strpbrk(LIBRARY, ":\\")) /* these mean something in a list of layers */
        return -1;
    /* Without an upper layer there must be two lower ones. The second only makes up the number. */
    snprintf(layers, sizeof layers, "%.*s:%s", (int)(name - path), path, LIBRARY "/pyoci");

    if ((fs = syscall(SYS_fsopen, "overlay", fsopen_cloexec)) < 0)
        return -1;
    syscall(SYS_fsconfig, fs, fsconfig_set_string, "xino", "off", 0); /* unused, and noisy in the kernel's log */
    if (syscall(SYS_fsconfig, fs, fsconfig_set_string, "lowerdir", layers, 0) == 0 &&
        syscall(SYS_fsconfig, fs, fsconfig_cmd_create, NULL, NULL, 0) == 0)
        mount = syscall(SYS_fsmount, fs, fsmount_cloexec, attr_rdonly | attr_nosuid | attr_nodev);
    if (mount >= 0) {
        view = openat(mount, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        close(mount); /* from here on the mount is in nobody's namespace, and nobody can change its flags */
    }
    close(fs);
    return view;
}

struct request {
    const char *path;
    int view;
};

static int view_for_parent(void *argument)
{
    struct request *request = argument;
    request->view = overlay_view(request->path);
    _exit(0);
}

/* The same for a caller that may not mount: a child in a user namespace makes the view, in our descriptor table. */
static int overlay_view_of_child(const char *path)
{
    static char stack[64 * 1024] __attribute__((aligned(16)));
    struct request request = {path, -1};
    int flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_FILES | CLONE_VM | CLONE_VFORK;
    pid_t child = clone(view_for_parent, stack + sizeof stack, flags, &request);

    if (child < 0)
        return -1;
    while (waitpid(child, NULL, __WALL) < 0 && errno == EINTR)
        ;
    return request.view;
}

/* The kernel refuses while anybody holds a page of the file, be it a worker that moves pages about, or one of its lists of
 * such as were used last. It waits for them by itself, but for 150 ms only: too little on a machine that is busy. */
static int seal(int file)
{
    int attempts = 50;

    while (fcntl(file, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        if (errno != EBUSY || !--attempts)
            return -1;
    return 0;
}

static int sealed_copy(const char *path)
{
    struct stat status;
    int source = open(path, O_RDONLY | O_CLOEXEC);
    if (source < 0 || fstat(source, &status))
        fail(path);

    int copy = memfd_create("pyoci", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (copy < 0 && errno == EINVAL)
        copy = memfd_create("pyoci", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0)
        fail("make a file in memory for a sealed copy of the interpreter");
    for (off_t rest = status.st_size; rest > 0;) {
        ssize_t copied = sendfile(copy, source, NULL, rest);
        if (copied <= 0)
            fail("copy the interpreter into memory");
        rest -= copied;
    }
    if (fchmod(copy, 0555) || seal(copy))
        fail("seal the copy of the interpreter");
    close(source);
    return copy;
}

int main(int argc, char **argv, char **environment)
{
    static int (*const ways[])(const char *) = {overlay_view, overlay_view_of_child, sealed_copy};
    char path[PATH_MAX];
    char **arguments = calloc(python_count + argc + 1, sizeof *arguments);

    open_standard_streams();
    if (!arguments)
        fail("start");
    memcpy(arguments, python, sizeof python);
    if (argc > 1)
        memcpy(arguments + python_count, argv + 1, (argc - 1) * sizeof *argv);
    environment = clean_environment(environment);

    if (!realpath(EXECUTABLE, path))
        fail(EXECUTABLE);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int image = ways[i](path);
        if (image >= 0) /* security modules may refuse what is mounted nowhere; then the next way is tried */
            syscall(SYS_execveat, image, "", arguments, environment, AT_EMPTY_PATH);
    }
    fail("execute " EXECUTABLE);
}
