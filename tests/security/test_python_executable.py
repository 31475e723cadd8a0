# SPDX-License-Identifier: Apache-2.0
"""The interpreter's file, which our processes execute inside containers, is out of reach for writing (CVE-2019-5736)."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ..lifecycle.configs import ENGINE_CAPABILITIES
from ..lifecycle.harness import Container, eventually

pytestmark = [pytest.mark.needs_compiler]

INTERPRETER = Path(os.path.realpath(sys.executable))
ROUNDS = 25

WATCHER = r"""
/* Gets at the file that each process executes, and at the files that it has mapped, by way of proc, as fast as it can. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void attack(const char *path)
{
    struct stat file;
    int written;

    if (stat(path, &file))
        return;
    /* While a program runs its file cannot be opened for writing, but its mode can be changed: to what it is. */
    int changed = chmod(path, file.st_mode & 07777) ? errno : 0;
    int fd = open(path, O_WRONLY | O_APPEND);
    written = fd < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    printf("%s %lu %lu %d %d\n", path, (unsigned long)file.st_dev, (unsigned long)file.st_ino, changed, written);
    fflush(stdout);
}

int main(void)
{
    char path[600];

    for (;;) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(proc));) {
            int pid = atoi(entry->d_name);
            if (pid < 2 || pid == getpid())
                continue;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            attack(path);
            snprintf(path, sizeof path, "/proc/%d/map_files", pid);
            DIR *maps = opendir(path);
            for (struct dirent *map; maps && (map = readdir(maps));) {
                snprintf(path, sizeof path, "/proc/%d/map_files/%.200s", pid, map->d_name);
                if (map->d_name[0] != '.')
                    attack(path);
            }
            if (maps)
                closedir(maps);
        }
        closedir(proc);
    }
}
"""

LOADER = r"""
/* A program interpreter (ld.so) of the image's, without a libc: it runs in place of the one the executable asks for. */
#include <fcntl.h>
#include <sys/syscall.h>

static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return result;
}

void _start(void)
{
    static const char *const args[] = {
        "sh", "-c",
        "echo loaded; stat -L -c 'file %d %i' /proc/self/fd/7; chmod 755 /proc/self/fd/7 && echo changed;"
        "(: >> /proc/self/fd/7) && echo opened; [ ! -e /bin/victim ] || (: > /proc/self/fd/7); true", 0};
    static const char *const environment[] = {"PATH=/bin", 0};
    long fd = call(SYS_open, (long)"/proc/self/exe", O_RDONLY, 0);

    call(SYS_dup2, fd, 7, 0);
    call(SYS_execve, (long)"/bin/busybox", (long)args, (long)environment);
    call(SYS_exit, 1, 0, 0);
}
"""


def compiled(source: str, path: Path, *options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cc", "-O1", "-static", *options, "-x", "c", "-o", str(path), "-"], input=source.encode(), check=True
    )


def program_interpreter(program: Path) -> str:
    """The loader that an ELF program asks for (elf(5), PT_INTERP)."""
    content = program.read_bytes()
    (offset,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for at in range(offset, offset + size * count, size):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", content, at)
        if kind == 3:
            return content[start : start + length].rstrip(b"\0").decode()
    pytest.skip(f"{program} has no loader")


def is_the_hosts(device: int, inode: int) -> bool:
    """Whether this is a file that others on the host execute or map, too."""
    files = [
        INTERPRETER,
        *{Path(line.split()[-1]) for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line},
    ]
    return any(
        (info.st_dev, info.st_ino) == (device, inode) for info in (path.stat() for path in files if path.exists())
    )


@pytest.mark.parametrize(
    "capabilities", [ENGINE_CAPABILITIES, [*ENGINE_CAPABILITIES, "CAP_SYS_PTRACE"]], ids=["usual", "ptrace"]
)
def test_who_watches_processes_enter_gets_none_of_the_hosts_files(
    container: Container, capabilities: list[str]
) -> None:
    compiled(WATCHER, container.rootfs / "bin" / "watcher")
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind] = capabilities
    container.launch("watcher")
    for _ in range(ROUNDS):
        container.exec("true").ok()
    container.kill("KILL").ok()
    container.wait()
    own = {(info.st_dev, info.st_ino) for info in (path.stat() for path in (container.rootfs / "bin").iterdir())}
    seen = [line.split() for line in container.printed().splitlines() if len(line.split()) == 5]
    assert seen, "the watcher has seen nobody"
    for path, device, inode, changed, written in seen:
        got_hold = "0" in (changed, written)
        if got_hold and (int(device), int(inode)) not in own:
            assert not is_the_hosts(int(device), int(inode)), f"{path} led to a file of the host"
            assert "map_files" not in path, f"{path}, {device}:{inode}"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader is written for one machine")
@pytest.mark.parametrize("how", ["run", "exec", "script", "hook"])
def test_the_images_own_loader_cannot_keep_the_interpreter(container: Container, how: str) -> None:
    """A program that is a link to /proc/self/exe executes the runtime's file once more, with the image's loader in it."""
    loader = container.rootfs / program_interpreter(INTERPRETER).lstrip("/")
    compiled(LOADER, loader, "-nostdlib", "-fno-stack-protector")
    (container.rootfs / "bin" / "evil").symlink_to("/proc/self/exe")
    (container.rootfs / "bin" / "script").write_text("#!/proc/self/exe\n")
    (container.rootfs / "bin" / "script").chmod(0o755)
    before = INTERPRETER.stat()
    if how == "exec":
        container.launch()
        shown = container.exec("/bin/evil").out
    elif how == "hook":
        container.config["hooks"] = {"startContainer": [{"path": "/bin/evil"}]}
        container.create(args=["sleep", "1000"]).ok()
        shown = container.start().err
    else:
        shown = container.run(args=["/bin/script" if how == "script" else "/bin/evil"]).out
    after = INTERPRETER.stat()
    assert (before.st_ctime_ns, before.st_mtime_ns, before.st_size) == (
        after.st_ctime_ns,
        after.st_mtime_ns,
        after.st_size,
    )
    assert "opened" not in shown, shown
    if "changed" in shown:
        device, inode = next(line.split()[1:] for line in shown.splitlines() if line.startswith("file "))
        assert not is_the_hosts(int(device), int(inode))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the loader is written for one machine")
def test_the_loader_works(container: Container) -> None:
    """Against an interpreter that nobody seals it gets what it wants, or the tests above prove nothing."""
    loader = container.rootfs / program_interpreter(INTERPRETER).lstrip("/")
    compiled(LOADER, loader, "-nostdlib", "-fno-stack-protector")
    victim = container.rootfs / "bin" / "victim"
    victim.write_bytes(INTERPRETER.read_bytes())
    victim.chmod(0o755)
    shown = container.output("/bin/victim")
    assert "loaded" in shown and "changed" in shown and "opened" in shown
    eventually("the file's end", lambda: victim.stat().st_size == 0)
