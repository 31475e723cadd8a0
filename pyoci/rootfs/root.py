# SPDX-License-Identifier: Apache-2.0
"""The container's root as a descriptor, and the one way to reach what lies in it. Runs inside."""

from __future__ import annotations

from errno import EEXIST, ELOOP, ENOENT

from pyoci import syscalls as k
from pyoci.errors import PyociError, failed

_PATH = k.O_PATH | k.O_CLOEXEC
_LINKS = 40  # that lead nowhere are followed on one way, as the kernel follows no more (path_resolution(7))


class Root:
    """`fd` is the root's mount, `path` where it is attached as we see it, `proc` the host's own /proc as a descriptor."""

    def __init__(self, fd: int, path: str, proc: int) -> None:
        self.fd, self.path, self.proc = fd, path.rstrip("/"), proc
        self.kept: dict[str, list[int]] = {}

    def open(self, path: str, flags: int = _PATH, resolve: int = 0) -> int:
        """Open a path of the container: links are followed, and end, within the root. Raises OSError."""
        return k.openat2(self.fd, path, flags, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS | resolve)

    def keep(self, place: str, tree: int) -> None:
        """Remember a procfs or sysfs that was mounted at a place of the container, for `open_kept`."""
        if k.fstatfs_type(tree) in (k.PROC_SUPER_MAGIC, k.SYSFS_MAGIC):
            self.kept.setdefault(_cleaned(place), []).append(k.dup(tree))

    def look_again(self) -> None:
        """A hook may have mounted another of the kind in the same place: it is meant, too.

        The one before is so all the same: what is found by a name now need not be what was mounted there (see `open_kept`).
        """
        for place, kept in self.kept.items():
            try:
                fd = self.open(place)
            except OSError:
                continue
            known = [self._mount_id(each) for each in kept]
            if k.fstatfs_type(fd) == k.fstatfs_type(kept[0]) and self._mount_id(fd) not in known:
                kept.append(fd)
            else:
                k.close(fd)

    def forget(self) -> None:
        """Close what was kept."""
        for kept in self.kept.values():
            for fd in kept:
                k.close(fd)
        self.kept.clear()

    def open_kept(self, path: str) -> list[int]:
        """As `open`, but what lies in a procfs or sysfs of ours is found in that, wherever it has got to by now.

        Another container that shares our files may exchange the directory that it is mounted on (CVE-2019-19921). Where
        several have been mounted, one descriptor for each that has something there. Where a path with `..` leads, the kernel alone
        can say.
        """
        cleaned = _cleaned(path)
        if ".." in cleaned.split("/"):
            return [self.open(path)]
        for place, kept in self.kept.items():
            if cleaned.startswith(place + "/"):
                found = [self._open_in(fd, cleaned[len(place) + 1 :]) for fd in kept]
                return [fd for fd in found if fd >= 0]
        return [self.open(path)]

    @staticmethod
    def _open_in(mount: int, path: str) -> int:
        try:
            return k.openat2(mount, path, _PATH, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno == ENOENT:
                return -1
            raise

    def _mount_id(self, fd: int) -> int:
        """The id of the mount that a descriptor is on (proc_pid_fdinfo(5))."""
        info = k.open(f"self/fdinfo/{fd}", k.O_RDONLY | k.O_CLOEXEC, dir_fd=self.proc)
        try:
            lines = k.read(info, 4096).split(b"\n")
        finally:
            k.close(info)
        return next(int(line[7:]) for line in lines if line.startswith(b"mnt_id:"))

    def where(self, fd: int) -> str:
        """The path in the container of what was opened, as the kernel sees it now. Raises PyociError if it is outside."""
        full = k.readlink(f"self/fd/{fd}", dir_fd=self.proc)
        if full != self.path and not full.startswith(self.path + "/"):
            raise PyociError(f"{full} lies outside of the root file system {self.path}")
        return full[len(self.path) :] or "/"

    def open_target(self, path: str, directory: bool, resolve: int = 0) -> int:
        """What is to be mounted on, made if it is not there: a directory (0755) or an empty file (0644)."""
        try:
            return self.open(path, _PATH, resolve)
        except OSError as error:
            if error.errno != ENOENT:
                raise
        parts = _steps(path)
        if ".." in parts:
            raise PyociError(f"{path}: not there, and a path with .. is not made")
        return self._make(parts, directory, resolve)

    def make_directories(self, parts: list[str]) -> int:
        """Open a directory, making what is missing of the way to it."""
        return self._make(parts, directory=True)

    def _make(self, parts: list[str], directory: bool, resolve: int = 0) -> int:
        """Open what a way leads to, making what is missing of it; its end is a directory or a file. Raises OSError.

        Where something is to be made, there may be a link that leads to what is not there yet: /var/lock to /run/lock, with
        an empty /run. Its target takes its place in the way, which is gone anew from the root on, by the kernel. So it ends in
        the root, whatever the link says, and whoever exchanges what on the way meanwhile. What is mounted on a file goes over a
        link itself.
        """
        for _ in range(1 if resolve & k.RESOLVE_NO_SYMLINKS else _LINKS):
            fd, depth = self._open_there(parts, directory, resolve)
            for position in range(depth, len(parts)):
                if parts[position] == "..":  # of what is there by now
                    break
                folder = directory or position + 1 < len(parts)
                try:
                    below = (self.make_directory if folder else self.make_file)(fd, parts[position])
                finally:
                    k.close(fd)
                fd = below
                if folder and k.S_IFMT(k.fstat(fd).st_mode) == k.S_IFLNK:
                    target = k.readlink("", dir_fd=fd)
                    before = [] if target.startswith("/") else parts[:position]
                    parts = [*before, *_steps(target), *parts[position + 1 :]]
                    break
            else:
                return fd
            k.close(fd)
        raise OSError(ELOOP, k.strerror(ELOOP))

    def _open_there(self, parts: list[str], directory: bool, resolve: int) -> tuple[int, int]:
        """The part of a way that is there, and how many steps it has."""
        depth = len(parts)
        while True:
            flags = _PATH | k.O_DIRECTORY if directory or depth < len(parts) else _PATH
            try:
                return self.open("/".join(parts[:depth]) or "/", flags, resolve), depth
            except OSError as error:
                if error.errno != ENOENT or depth == 0:
                    raise
                depth -= 1

    def open_parent(self, path: str) -> tuple[int, str]:
        """The directory that an entry lies in, made if it is missing, and the entry's name."""
        parts = _steps(path)
        if not parts or ".." in parts:
            raise PyociError(f"{path}: not a path at which something can be made")
        return self.make_directories(parts[:-1]), parts[-1]

    @staticmethod
    def make_directory(parent: int, name: str) -> int:
        """Make a directory and open it, or what was there before, a link as such."""
        try:
            k.mkdir(name, 0o755, dir_fd=parent)
        except OSError as error:
            if error.errno != EEXIST:
                raise
        return k.open(name, _PATH | k.O_NOFOLLOW, dir_fd=parent)

    @staticmethod
    def make_file(parent: int, name: str) -> int:
        """Make an empty file and open it, or what was there before, a link as such."""
        try:
            k.close(k.open(name, k.O_CREAT | k.O_EXCL | k.O_NOFOLLOW | k.O_CLOEXEC, 0o644, dir_fd=parent))
        except OSError as error:
            if error.errno != EEXIST:
                raise
        return k.open(name, _PATH | k.O_NOFOLLOW, dir_fd=parent)


def _steps(path: str) -> list[str]:
    """The steps of a path, without those that have no meaning."""
    return [part for part in path.split("/") if part not in ("", ".")]


def _cleaned(path: str) -> str:
    """A path without what has no meaning in it."""
    return "/" + "/".join(_steps(path))


def open_proc() -> int:
    """The host's /proc, known to be a procfs: labels and parameters are written through it, and must get to the kernel.

    Raises PyociError.
    """
    try:
        proc = k.open("/proc", _PATH | k.O_DIRECTORY)
        kind = k.fstatfs_type(proc)
    except OSError as error:
        raise failed("open /proc", error) from None
    if kind != k.PROC_SUPER_MAGIC:
        raise PyociError("/proc of the host is no procfs")
    return proc


def reopen(fd: int, flags: int, proc: int) -> int:
    """Open for use what an O_PATH descriptor stands for, once it is known that this has no effects: it is no device.

    By its name it might be another by now. `proc` is the host's /proc. Raises OSError.
    """
    return k.open(f"self/fd/{fd}", flags | k.O_CLOEXEC, dir_fd=proc)


def is_directory(fd: int) -> bool:
    """Whether a descriptor stands for a directory."""
    return k.S_ISDIR(k.fstat(fd).st_mode)
