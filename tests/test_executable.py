# SPDX-License-Identifier: Apache-2.0
"""Which file a command stands for, and the texts that engines take their exit codes from."""

from __future__ import annotations

import os
import struct
import tempfile
from errno import EACCES, ENOENT, ENOEXEC
from pathlib import Path

import pytest

from pyoci import syscalls as k
from pyoci.executable import NotExecutable, explain, find_executable, quote
from pyoci.kernel.basic import MACHINE
from tests.forked import in_child
from tests.rootfs.roots import private_mounts

MS_NOEXEC = 8


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("first", "second", "first/subdirectory"):
        (tmp_path / name).mkdir()
    for path, mode in (("first/plain", 0o644), ("second/plain", 0o755), ("second/run", 0o755), ("here", 0o755)):
        (tmp_path / path).write_text("#!/bin/sh\n")
        (tmp_path / path).chmod(mode)
    (tmp_path / "dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(name: str, search_path: str | None = None) -> str:
    with pytest.raises(NotExecutable) as caught:
        find_executable(name, search_path)
    return caught.value.message


def test_search(tree: Path) -> None:
    search_path = f"{tree}/none:{tree}/first/:{tree}/second"
    assert find_executable("run", search_path) == f"{tree}/second/run"
    assert find_executable("plain", search_path) == f"{tree}/second/plain"  # not the one that is not executable
    assert find_executable("sh", "/bin") == "/bin/sh"


@pytest.mark.parametrize("name", ["missing", "subdirectory", "", ".", "..", "plain"])
def test_not_found(tree: Path, name: str) -> None:
    assert refusal(name, f"{tree}/first") == f'exec: "{name}": executable file not found in $PATH'


def test_no_path_at_all(tree: Path) -> None:
    for search_path in (None, ""):
        assert refusal("sh", search_path) == 'exec: "sh": executable file not found in $PATH'


@pytest.mark.parametrize("search_path", [":/bin", "second", "./second", "none:/none:"])
def test_relative_directories_of_path_are_refused(tree: Path, search_path: str) -> None:
    name = "here" if search_path in (":/bin", "none:/none:") else "run"
    assert refusal(name, search_path) == f'exec: "{name}": cannot run executable found relative to current directory'


def test_a_name_with_a_slash_is_not_searched(tree: Path) -> None:
    assert find_executable("./here", None) == "./here"
    assert find_executable("second/run", "/bin") == "second/run"
    assert find_executable(f"{tree}/here", None) == f"{tree}/here"


def test_texts_for_a_name_with_a_slash(tree: Path) -> None:
    assert refusal("/no/such") == 'exec: "/no/such": stat /no/such: no such file or directory'
    assert refusal("./dangling") == 'exec: "./dangling": stat ./dangling: no such file or directory'
    assert refusal("first/plain") == 'exec: "first/plain": permission denied'
    assert refusal("/bin/") == 'exec: "/bin/": is a directory: permission denied'
    assert refusal("here/x") == 'exec: "here/x": stat here/x: not a directory'


@pytest.mark.needs_root
def test_access_is_that_of_the_effective_user() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        tree = Path(name)
        tree.chmod(0o755)
        (tree / "mine").touch(0o744)
        (tree / "closed").mkdir(0o700)

        def inside() -> list[str]:
            os.setresuid(0, 1000, 0)
            return [refusal(f"{tree}/mine"), refusal(f"{tree}/closed/x")]

        assert in_child(inside) == [
            f'exec: "{tree}/mine": permission denied',
            f'exec: "{tree}/closed/x": stat {tree}/closed/x: permission denied',
        ]


# Why the kernel refuses


def elf(machine: int = 62, loader: bytes = b"", wide: bool = True, order: str = "<") -> bytes:
    """The head of a program: as much of elf(5) as the kernel looks at before it refuses."""
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    if wide:
        header = struct.pack(f"{order}HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
        entries = [struct.pack(f"{order}IIQQQQQQ", kind, 4, 176, 0, 0, len(loader), 0, 1) for kind in (6, 3)]
    else:
        header = struct.pack(f"{order}HHIIIIIHHHHHH", 3, machine, 1, 0, 52, 0, 0, 52, 32, 2, 0, 0, 0)
        entries = [struct.pack(f"{order}IIIIIIII", kind, 116, 0, 0, len(loader), 0, 4, 1) for kind in (6, 3)]
    return ident + header + b"".join(entries if loader else ()) + loader


OTHER, NAME = (183, "aarch64") if MACHINE != "aarch64" else (62, "x86_64")
OF_ANOTHER = f"it is a program for {NAME}, and this machine is {MACHINE}"
NO_LOADER = 'the loader "/no/ld.so.1" that it needs is not in the container'


@pytest.mark.parametrize(
    ("content", "number", "why"),
    [
        (b"#!/no/such/bash -e\n", ENOENT, 'its interpreter "/no/such/bash" is not in the container'),
        (b"#! \t/no/such\t-e", ENOENT, 'its interpreter "/no/such" is not in the container'),
        (b"#!/bin/sh\r\nx", ENOENT, 'its interpreter "/bin/sh\\r" is not in the container: its first line ends with a carriage'
                                   " return"),
        (b"#!/\xff\n", ENOENT, 'its interpreter "/\\xff" is not in the container'),
        (b"#!/no\0/x\n", ENOENT, 'its interpreter "/no" is not in the container'),
        (b"#!/etc/passwd\n", EACCES, 'its interpreter "/etc/passwd": permission denied'),
        (b"#!other\n", ENOEXEC, f'its interpreter "other": {OF_ANOTHER}'),
        (b"#!needy\n", ENOENT, f'its interpreter "needy": {NO_LOADER}'),
        (b"#!script\n", ENOEXEC, ""),
        (b"#!\n", ENOEXEC, ""),
        (b"#!/bin/sh\n", ENOENT, ""),
        (elf(OTHER), ENOEXEC, OF_ANOTHER),
        (elf(OTHER, wide=False), ENOEXEC, OF_ANOTHER),
        (elf(22, order=">"), ENOEXEC, f"it is a program for s390x, and this machine is {MACHINE}"),
        (elf(9999), ENOEXEC, f"it is a program for another kind of machine, and this machine is {MACHINE}"),
        (elf(loader=b"/no/ld.so.1\0"), ENOENT, NO_LOADER),
        (elf(loader=b"/no/ld.so.1\0", wide=False), ENOENT, NO_LOADER),
        (elf(loader=b"/no/ld.so.1\0", order=">"), ENOENT, NO_LOADER),
        (elf(loader=b"/bin/sh\0"), ENOENT, ""),
        (elf(loader=b"/no/ld.so.1\0")[:100], ENOENT, ""),
        (b"\x7fELF\2" + b"\xff" * 5000, ENOENT, ""),
        (b"\x7fELF", ENOENT, ""),
        (b"", ENOEXEC, "it is empty"),
        (b"junk", ENOEXEC, "it is neither a program nor a script that names its interpreter after #!"),
        (b"junk", EACCES, ""),
    ],
)  # fmt: skip
def test_why_the_kernel_refuses(tree: Path, content: bytes, number: int, why: str) -> None:
    for name, bytes_of in {"it": content, "other": elf(OTHER), "needy": elf(loader=b"/no/ld.so.1\0")}.items():
        (tree / name).write_bytes(bytes_of)
    (tree / "script").write_bytes(b"#!it\n")
    before = os.listdir("/proc/self/fd")
    assert in_child(lambda: explain("it", number), sealed=True) == why
    assert explain("it", number) == why
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_what_is_no_file_is_not_looked_at(tree: Path) -> None:
    os.mkfifo(tree / "fifo")
    for name in ("fifo", "first", "dangling", "/dev/zero"):
        assert explain(name, ENOENT) == ""


@pytest.mark.needs_root
def test_a_file_system_without_programs(tmp_path: Path) -> None:
    def inside() -> list[str]:
        private_mounts()
        k.mount("tmpfs", str(tmp_path), "tmpfs", MS_NOEXEC)
        for name, mode in (("program", 0o755), ("text", 0o644)):
            (tmp_path / name).touch(mode)
        (tmp_path / "program").chmod(0o755)
        return [refusal(f"{tmp_path}/program"), refusal(f"{tmp_path}/text")]

    assert in_child(inside) == [
        f'exec: "{tmp_path}/program": permission denied (its file system is mounted noexec)',
        f'exec: "{tmp_path}/text": permission denied',
    ]


def test_quoting() -> None:
    assert quote('a"b\\c\n\x01é\udcff\u200b') == '"a\\"b\\\\c\\n\\x01é\\xff\\u200b"'


def test_needs_no_import_inside(tree: Path) -> None:
    assert in_child(lambda: [find_executable("sh", "/bin"), refusal("/\udcff")], sealed=True) == [
        "/bin/sh",
        'exec: "/\\xff": stat /\udcff: no such file or directory',
    ]
