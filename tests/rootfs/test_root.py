# SPDX-License-Identifier: Apache-2.0
"""Whatever an image has put in the way, nothing outside of the root is reached."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
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
@pytest.mark.parametrize(
    ("path", "made"),
    [
        ("/dangling", "/none"),
        ("/dangling/sub/er", "/none/sub/er"),
        ("/dangling-deep", "/dir/none/none"),
        ("/dangling-twice/x", "/dir/none/none/x"),
        ("/dangling-up/x", "/none/x"),
        ("/dir/sub/dangling-near/x", "/dir/none/x"),
        ("/absolute/sub/dangling-near", "/dir/none"),
        ("/dangling-out/x", "/none/x"),
        ("/dangling-name", "{root}/none"),
    ],
)
def test_a_link_that_leads_nowhere_yet(root: Root, image: Path, path: str, made: str, directory: bool) -> None:
    """Debian's /var/lock leads to /run/lock, and /run is an empty tmpfs: what it leads to is made, within the root."""
    for name, target in {
        "dangling-twice": "dangling-deep",
        "dangling-up": "../../../none",
        "dir/sub/dangling-near": ".././none/",
        "dangling-out": f"{'../' * 40}none",
        "dangling-name": f"{image}/none",
    }.items():
        (image / name).symlink_to(target)
    if not directory:
        path, made = f"{path}/file", f"{made}/file"
    fd = root.open_target(path, directory)
    assert root.where(fd) == made.format(root=image)
    assert is_directory(fd) == directory
    os.close(fd)
    assert sorted(os.listdir(image.parent)) == ["root", "secret"]


@pytest.mark.parametrize("path", ["/dangling", "/dangling-deep", "/dangling/x/link"])
def test_a_file_goes_over_a_link_itself(root: Root, image: Path, path: str) -> None:
    """Over /etc/resolv.conf, which often is one: nothing has to be made where it leads."""
    if path == "/dangling/x/link":
        (image / "none/x").mkdir(parents=True)
        (image / "none/x/link").symlink_to("elsewhere")
    before = sorted(image.rglob("*"))
    fd = root.open_target(path, False)
    assert os.fstat(fd).st_mode & 0o170000 == 0o120000
    os.close(fd)
    assert sorted(image.rglob("*")) == before


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("none/../new", "/new"),
        ("/none/../../../new", "/new"),
        ("none/..", "/"),
        ("none/a/b/../../c/../new", "/none/new"),
        ("none/../link/../new", "/dir/none/new"),
    ],
)
def test_dots_behind_a_link(root: Root, image: Path, target: str, place: str) -> None:
    """They are gone as the kernel goes them, when what they are of is there."""
    (image / "link").symlink_to("/dangling-deep")
    (image / "dots").symlink_to(target)
    for path, made in (("/dots", place), ("/dots/x", f"{place.rstrip('/')}/x")):
        fd = root.open_target(path, True)
        assert root.where(fd) == made
        os.close(fd)
    assert sorted(os.listdir(image.parent)) == ["root", "secret"]


@pytest.mark.parametrize("path", ["/loop/x", "/loop-a", "/into-a-loop/x"])
def test_links_in_a_circle(root: Root, image: Path, path: str) -> None:
    (image / "into-a-loop").symlink_to("dir/../loop-b/y")
    before = sorted(image.rglob("*"))
    for directory in (True, False):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            root.open_target(path, directory)
    assert sorted(image.rglob("*")) == before


@pytest.mark.parametrize("directory", [True, False])
def test_links_without_an_end(root: Root, image: Path, monkeypatch: pytest.MonkeyPatch, directory: bool) -> None:
    """Each is there only when it is looked at, and leads to the next: it is given up as the kernel gives up."""
    count = 0

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        nonlocal count
        count += 1
        os.symlink(f"/{name}+", name, dir_fd=dir_fd)
        raise FileExistsError(17, "")

    monkeypatch.setattr(k, "mkdir", mkdir)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        root.open_target("/new/x", directory)
    assert count == 40


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


@pytest.mark.parametrize(
    ("rival", "place"),
    [
        ("/", "/b"),
        ("../..", "/b"),
        ("dir", "/dir/b"),
        ("none", "/none/b"),
        ("/../secret-directory", "/secret-directory/b"),
    ],
)
def test_somebody_puts_a_link_first(
    root: Root, image: Path, monkeypatch: pytest.MonkeyPatch, rival: str, place: str
) -> None:
    """Between our look and our mkdir: it leads no further than any other link of the root."""
    (image.parent / "secret-directory").mkdir()
    real = k.mkdir

    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        if name == "a":
            os.symlink(rival, name, dir_fd=dir_fd)
        real(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(k, "mkdir", mkdir)
    fd = root.make_directories(["a", "b"])
    assert root.where(fd) == place
    os.close(fd)
    assert os.listdir(image.parent / "secret-directory") == []


@pytest.mark.parametrize("rival", ["dir", "none"])
def test_somebody_puts_a_link_where_none_may_be(
    root: Root, image: Path, monkeypatch: pytest.MonkeyPatch, rival: str
) -> None:
    def mkdir(name: str, mode: int, *, dir_fd: int) -> None:
        os.symlink(rival, name, dir_fd=dir_fd)
        raise FileExistsError(17, "")

    monkeypatch.setattr(k, "mkdir", mkdir)
    for path in ("/a", "/b/c"):
        with pytest.raises(OSError, match="Too many levels of symbolic links"):
            root.open_target(path, True, k.RESOLVE_NO_SYMLINKS)
    assert not (image / "none").exists()


@pytest.mark.parametrize("where", ["the link", "before it", "behind it"])
def test_somebody_exchanges_the_way_while_a_link_is_read(
    root: Root, image: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """What is found anew by the target's names may be links by then: they end in the root, as all others."""
    (image.parent / "victim").mkdir()
    (image / "way").mkdir()
    (image / "way/link").symlink_to("../run/lock")
    (image / "run").mkdir()
    real = k.readlink

    def readlink(path: str, *, dir_fd: int) -> str:
        target = real(path, dir_fd=dir_fd)
        monkeypatch.undo()
        if where == "the link":
            (image / "way/link").unlink()
            (image / "way/link").symlink_to(image.parent / "victim")
        else:
            name = "way" if where == "before it" else "run"
            (image / name).rename(image / "away")
            (image / name).symlink_to(image.parent / "victim")
        return target

    monkeypatch.setattr(k, "readlink", readlink)
    fd = root.open_target("/way/link/x", True)
    place = {"the link": "/run/lock/x", "before it": f"{image.parent}/run/lock/x"}
    assert root.where(fd) == place.get(where, f"{image.parent}/victim/lock/x")
    os.close(fd)
    assert os.listdir(image.parent / "victim") == []


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
@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/proc/../dir/file", "/dir/file"),
        ("/proc/sys/../../dir/file", "/dir/file"),
        ("/dir/../proc/sys", "/proc/sys"),
        ("/proc/sys/../uptime", "/proc/uptime"),
        ("/proc/../proc/uptime", "/proc/uptime"),
    ],
)
def test_dots_lead_out_of_a_procfs(image: Path, path: str, place: str) -> None:
    """What is found there is to be hidden, too: not there would pass for hidden."""
    (image / "proc").mkdir()

    def inside(root: Root) -> str:
        _procfs_at(root, "proc")
        (fd,) = root.open_kept(path)
        found = root.where(fd)
        os.close(fd)
        root.forget()
        return found

    assert in_root(image, inside) == place


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
