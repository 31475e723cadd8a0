# SPDX-License-Identifier: Apache-2.0
"""Whatever an image has put in the way, nothing outside of the root is reached."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.errors import PyociError
from pyoci.rootfs.mounts import new_filesystem
from pyoci.rootfs.root import Root, is_directory, open_proc
from tests.forked import in_child
from tests.rootfs.roots import descriptors, in_root, private_mounts, refusal


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A root with links of each kind; `secret` lies outside of it, `secret` inside bears the same name."""
    (tmp_path / "secret").write_text("outside")
    path = tmp_path / "root"
    (path / "dir/sub").mkdir(parents=True)
    (path / "secret").write_text("inside")
    (path / "dir/file").write_text("x")
    for name, target in {
        "absolute": "/dir",
        "relative": "dir/sub",
        "up": "../../../..",
        "up-to-secret": "../secret",
        "absolute-secret": f"{tmp_path}/secret",
        "dangling": "/none",
        "dangling-deep": "/dir/none/none",
        "loop": "loop",
        "loop-a": "loop-b",
        "loop-b": "loop-a",
        "dir/back": "../absolute",
    }.items():
        (path / name).symlink_to(target)
    return path


@pytest.fixture
def root(image: Path) -> Root:
    """The root by its directory: opening needs no mount, and no privilege."""
    return Root(os.open(image, os.O_PATH), f"{image}/", os.open("/proc", os.O_PATH))


@pytest.fixture(autouse=True)
def nothing_stays_open(request: pytest.FixtureRequest) -> Any:
    before = descriptors()
    yield
    root = request.node.funcargs.get("root")
    if root:
        os.close(root.fd)
        os.close(root.proc)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/", "/"),
        ("", "/"),
        ("/dir", "/dir"),
        ("dir/sub/", "/dir/sub"),
        ("/absolute", "/dir"),
        ("/absolute/sub", "/dir/sub"),
        ("/relative/..", "/dir"),
        ("/up", "/"),
        ("/up/dir", "/dir"),
        ("/up-to-secret", "/secret"),
        ("/../../secret", "/secret"),
        ("/dir/back/file", "/dir/file"),
    ],
)
def test_links_end_in_the_root(root: Root, path: str, place: str) -> None:
    for fd in (root.open(path or "."), root.open_target(path or "/", True)):
        assert root.where(fd) == place
        os.close(fd)


@pytest.mark.parametrize(
    "path", ["/absolute-secret", "/none", "/dangling", "/dir/file/x", "/loop", "/loop-a", "/loop/x"]
)
def test_links_that_lead_nowhere(root: Root, path: str) -> None:
    with pytest.raises(OSError):
        root.open(path)


def test_magic_links_are_not_followed(root: Root) -> None:
    inner = Root(root.proc, "/proc", root.proc)
    for path in (f"/self/fd/{root.fd}", "/self/root", f"/self/fd/{root.fd}/dir"):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            inner.open(path)


def test_a_link_where_none_may_be(root: Root) -> None:
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        root.open_target("/absolute/sub", True, k.RESOLVE_NO_SYMLINKS)
    os.close(root.open_target("/dir/sub", True, k.RESOLVE_NO_SYMLINKS))


def test_outside_is_noticed(root: Root, image: Path) -> None:
    for outside in (image.parent, image.parent / "secret"):
        fd = os.open(outside, os.O_PATH)
        assert refusal(root.where, fd) == f"{outside} lies outside of the root file system {image}"
        os.close(fd)
    (image.parent / "root2").mkdir()
    fd = os.open(image.parent / "root2", os.O_PATH)
    assert "lies outside" in refusal(root.where, fd)
    os.close(fd)


def test_where_an_entered_root_lies(root: Root) -> None:
    entered = Root(root.fd, "", root.proc)
    for path in ("/", "/usr"):
        fd = os.open(path, os.O_PATH)
        assert entered.where(fd) == os.path.realpath(path)
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("/new", "/new"),
        ("/new/deep/er", "/new/deep/er"),
        ("/absolute/new/er", "/dir/new/er"),
        ("/up/new", "/new"),
        ("//new//./er", "/new/er"),
        ("/relative/new", "/dir/sub/new"),
    ],
)
def test_what_is_missing_is_made(root: Root, image: Path, path: str, made: str) -> None:
    mask = os.umask(0)
    try:
        for directory in (True, False):
            fd = root.open_target(f"{path}-{directory}", directory)
            status = os.fstat(fd)
            assert is_directory(fd) == directory
            assert status.st_mode & 0o7777 == (0o755 if directory else 0o644)
            assert root.where(fd) == f"{made}-{directory}"
            os.close(fd)
    finally:
        os.umask(mask)
    assert sorted(os.listdir(image.parent)) == ["root", "secret"]


@pytest.mark.parametrize("directory", [True, False])
@pytest.mark.parametrize("path", ["/dangling", "/dangling/sub", "/dangling-deep", "/dir/../dangling"])
def test_a_link_that_leads_nowhere_is_in_the_way(root: Root, image: Path, path: str, directory: bool) -> None:
    """Neither followed, which would make something elsewhere, nor taken for the place itself."""
    before = sorted(image.rglob("*"))
    try:
        fd = root.open_target(path, directory)
    except PyociError as error:
        assert "link that leads nowhere" in error.message or ".." in error.message
    else:
        # The link itself, opened as such, is refused by whoever looks at what it is.
        assert os.fstat(fd).st_mode & 0o170000 == 0o120000
        os.close(fd)
    assert sorted(image.rglob("*")) == before


@pytest.mark.parametrize("path", ["/none/../x", "/dir/none/../x", "/none/.."])
def test_dots_are_not_made(root: Root, image: Path, path: str) -> None:
    before = sorted(image.rglob("*"))
    assert refusal(root.open_target, path, True) == f"{path}: not there, and a path with .. is not made"
    assert refusal(root.open_parent, path) == f"{path}: not a path at which something can be made"
    assert sorted(image.rglob("*")) == before


@pytest.mark.parametrize("path", ["/", "", "/.", "//"])
def test_the_root_itself_has_no_parent(root: Root, path: str) -> None:
    assert refusal(root.open_parent, path) == f"{path}: not a path at which something can be made"


def test_a_file_in_the_way_of_a_directory(root: Root) -> None:
    with pytest.raises(NotADirectoryError):
        root.open_target("/secret/new", True)
    fd = root.open_target("/secret", True)  # there already: whoever mounts looks at what it is
    assert not is_directory(fd)
    os.close(fd)


def test_a_parent(root: Root, image: Path) -> None:
    fd, name = root.open_parent("/absolute/new//node/")
    assert (root.where(fd), name) == ("/dir/new", "node")
    assert not (image / "dir/new/node").exists()
    os.close(fd)


def test_somebody_makes_the_directory_first(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    real = k.mkdir

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        real(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(k, "mkdir", mkdir)
    fd = root.make_directories(["a", "b"])
    assert root.where(fd) == "/a/b"
    os.close(fd)


@pytest.mark.parametrize("rival", ["/", "../..", "dir", "none"])
def test_somebody_puts_a_link_first(root: Root, image: Path, monkeypatch: pytest.MonkeyPatch, rival: str) -> None:
    """Between our look and our mkdir: what is there then must be a directory, not a link to one."""

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        os.symlink(rival, name, dir_fd=dir_fd)
        raise FileExistsError(17, "")

    monkeypatch.setattr(k, "mkdir", mkdir)
    assert "link that leads nowhere, or a file" in refusal(root.make_directories, ["a", "b"])
    assert not (image / "b").exists() and not (image / "dir/b").exists()


def test_somebody_puts_a_link_where_a_file_is_made(root: Root, image: Path) -> None:
    (image / "new").symlink_to("../secret")
    fd = root.make_file(root.fd, "new")
    assert os.fstat(fd).st_mode & 0o170000 == 0o120000, "the link, not what it leads to"
    os.close(fd)
    assert (image.parent / "secret").read_text() == "outside"


@pytest.mark.needs_root
def test_a_directory_that_was_moved_out(image: Path) -> None:
    """A descriptor still works when what it stands for has been moved; only a look tells where it is now."""

    def inside(root: Root) -> list[str]:
        place = str(image)
        fd = root.open("/dir/sub")
        before = root.where(fd)
        k.mount("tmpfs", f"{place}/dir", "tmpfs", 0)
        hidden = root.where(fd)
        other = os.open("/tmp", os.O_PATH)
        return [before, hidden, refusal(root.where, other)]

    before, hidden, message = in_root(image, inside)
    assert (before, hidden) == ("/dir/sub", "/dir/sub")
    assert message == f"/tmp lies outside of the root file system {image}"


def _procfs_at(root: Root, name: str) -> None:
    tree = new_filesystem("proc", "proc", [], 0)
    target = root.open(name)
    k.move_mount(tree, target)
    root.keep(f"/./{name}", tree)
    for fd in (tree, target):
        os.close(fd)


@pytest.mark.needs_root
def test_a_procfs_is_found_wherever_it_has_got_to(image: Path) -> None:
    """Its directory is exchanged for another, as who shares the files may do: what lies in it is still what is meant."""
    (image / "proc").mkdir()

    def inside(root: Root) -> list[Any]:
        _procfs_at(root, "proc")
        os.rename(image / "dir", image / "away")
        k.mount(None, "/", None, k.MS_SLAVE | k.MS_REC)
        exchanged = os.fork()
        if exchanged == 0:  # a mount point can be renamed by those alone who do not see that it is one
            status = os.system(
                f"unshare -m sh -c 'umount {image}/proc && mv {image}/proc {image}/dir && mkdir {image}/proc'"
            )
            os._exit(status != 0)
        failed = os.waitpid(exchanged, 0)[1]
        root.look_again()
        (fd,) = root.open_kept("/proc/sys/kernel/ostype")
        kind = k.fstatfs_type(fd)
        os.close(fd)
        (elsewhere,) = root.open_kept("/away/sub")
        os.close(elsewhere)
        root.forget()
        return [failed, kind, root.kept]

    assert in_root(image, inside) == [0, k.PROC_SUPER_MAGIC, {}]


@pytest.mark.needs_root
def test_what_a_hook_mounts_over_it_is_what_is_meant_then(image: Path) -> None:
    (image / "proc").mkdir()

    def inside(root: Root) -> list[Any]:
        _procfs_at(root, "proc")
        before = os.fstat(root.kept["/proc"][0]).st_dev
        k.mount("proc", f"{image}/proc", "proc", 0)
        root.look_again()
        root.look_again()
        found = root.open_kept("//./proc//sys")
        after, visible = [os.fstat(fd).st_dev for fd in found], os.stat(image / "proc").st_dev
        for fd in found:
            os.close(fd)
        root.forget()
        return [before, after, visible]

    before, after, visible = in_root(image, inside)
    assert before != visible and after == [before, visible]


@pytest.mark.needs_root
def test_another_procfs_does_not_take_the_place_of_the_one_that_was_meant(image: Path) -> None:
    """Who shares the files exchanges the two directories that they are mounted on while a hook runs."""
    (image / "proc").mkdir()
    (image / "host").mkdir()

    def inside(root: Root) -> list[Any]:
        _procfs_at(root, "proc")
        _procfs_at(root, "host")
        k.mount(None, "/", None, k.MS_SLAVE | k.MS_REC)
        script = f"umount {image}/proc {image}/host && mv {image}/proc {image}/x && mv {image}/host {image}/proc"
        failed = os.system(f"unshare -m sh -c '{script} && mv {image}/x {image}/host'")
        root.look_again()
        found = root.open_kept("/proc/sys/kernel/ostype")
        devices = [os.fstat(fd).st_dev for fd in found]
        meant = os.stat(image / "host").st_dev
        for fd in found:
            os.close(fd)
        root.forget()
        return [failed, meant in devices]

    assert in_root(image, inside) == [0, True]


def test_other_file_systems_are_not_kept(root: Root) -> None:
    fd = root.open("/dir")
    root.keep("/dir", fd)
    os.close(fd)
    assert root.kept == {}


@pytest.mark.needs_root
def test_the_hosts_proc_is_known_to_be_one() -> None:
    """What is written as a label or a parameter must get to the kernel (CVE-2019-16884, CVE-2025-52881)."""

    def inside() -> list[Any]:
        private_mounts()
        kind = k.fstatfs_type(open_proc())
        k.mount("tmpfs", "/proc", "tmpfs", 0)
        return [kind == k.PROC_SUPER_MAGIC, refusal(open_proc)]

    assert in_child(inside) == [True, "/proc of the host is no procfs"]
