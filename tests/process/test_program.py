# SPDX-License-Identifier: Apache-2.0
"""The last stretch: user, groups, directory, descriptors, and the program with what it was given and nothing else."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyoci import syscalls as k
from pyoci.capabilities import NUMBERS, CapabilityPlan
from pyoci.plan.model import Limit, Process
from pyoci.process import program as programs
from pyoci.process.channel import pair
from pyoci.process.program import Program, set_labels, set_limits, set_user
from tests.forked import in_child
from tests.rootfs.roots import descriptors, refusal

needs_root = pytest.mark.needs_root
KILL = 1 << NUMBERS["CAP_KILL"]


def process(*args: str, **more: Any) -> Process:
    values: dict[str, Any] = {
        "args": args or ("sh",),
        "env": ("PATH=/bin",),
        "cwd": "/",
        "uid": 0,
        "gid": 0,
        "groups": (),
        "umask": 0o22,
        "terminal": False,
        "console_size": (0, 0),
        "no_new_privileges": False,
        "capabilities": CapabilityPlan(last=int(Path("/proc/sys/kernel/cap_last_cap").read_text())),
        "limits": (),
        "oom_score_adj": None,
        "apparmor": "",
        "selinux": "",
        "keyring": False,
    }
    return Process(**{**values, **more})


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A root file system with busybox, in a directory that any user may enter."""
    root = tmp_path / "root"
    for name in ("bin", "etc", "proc", "home/of user", "tmp"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "id", "env", "pwd", "cat", "ls"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/of user:/bin/sh\n")
    return root


def executed(image: Path, wanted: Process, before: Callable[[], object] = lambda: None, preserve_fds: int = 0) -> str:
    """What a program prints that is executed in a root; or why it is not."""
    reading, writing = os.pipe()
    errors, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            k.unshare(k.CLONE_NEWNS)
            k.mount(None, "/", None, k.MS_REC | k.MS_PRIVATE)
            proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
            k.mount("/proc", str(image / "proc"), None, k.MS_BIND | k.MS_REC)
            os.chroot(image)
            os.chdir("/")
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            before()
            root = os.open("/", os.O_PATH | os.O_DIRECTORY)
            program = Program(wanted, b"", 0, in_user_namespace=False)
            program.find_home(root, proc)
            set_limits(0, wanted)
            program.prepare(root, preserve_fds, proc, pair()[0], (told,))
            program.execute()
        except BaseException as error:
            os.write(told, str(error).encode())
            os.write(told, program.explanation().encode())
        finally:
            os._exit(1)
    os.close(writing)
    os.close(told)
    with os.fdopen(reading) as output, os.fdopen(errors) as message:
        printed, why = output.read(), message.read()
    os.waitpid(pid, 0)
    return printed or f"refused: {why}"


pytestmark = [needs_root, pytest.mark.needs_busybox]


def test_the_user(image: Path) -> None:
    wanted = process("sh", "-c", "id -u; id -g; id -G; umask", uid=1000, gid=2000, groups=(3, 4), umask=0o27)
    assert executed(image, wanted).split() == ["1000", "2000", "2000", "3", "4", "0027"]


def test_no_group_of_the_callers_is_left(image: Path) -> None:
    assert executed(image, process("id", "-G", uid=1000, gid=2000), lambda: os.setgroups([5, 6])) == "2000\n"


@pytest.mark.parametrize("uid", [0, 1000])
def test_capabilities(image: Path, uid: int) -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    held = CapabilityPlan(bounding=KILL, effective=KILL, permitted=KILL, inheritable=KILL, ambient=KILL, last=last)
    shown = executed(image, process("cat", "/proc/self/status", uid=uid, capabilities=held))
    masks = {line.split()[0]: int(line.split()[1], 16) for line in shown.splitlines() if line.startswith("Cap")}
    assert masks == dict.fromkeys(("CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"), KILL)


@pytest.mark.parametrize("wanted", [False, True])
def test_no_new_privileges(image: Path, wanted: bool) -> None:
    shown = executed(image, process("cat", "/proc/self/status", no_new_privileges=wanted))
    assert f"NoNewPrivs:\t{int(wanted)}\n" in shown


def test_signals_and_descriptors_are_its_own(image: Path) -> None:
    def before() -> None:
        for fd in (10, 11):
            os.dup2(0, fd, inheritable=True)

    assert executed(image, process("ls", "/proc/self/fd"), before).split() == ["0", "1", "2", "3"], "3 is what ls reads"
    shown = executed(image, process("cat", "/proc/self/status"), before)
    assert "SigIgn:\t0000000000000000\n" in shown
    assert "SigBlk:\t0000000000000000\n" in shown


def test_descriptors_that_are_to_be_preserved(image: Path) -> None:
    def before() -> None:
        os.dup2(0, 3, inheritable=False)
        os.dup2(0, 4, inheritable=False)
        os.dup2(0, 50, inheritable=True)

    assert executed(image, process("ls", "/proc/self/fd"), before, preserve_fds=2).split() == [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
    ]


@pytest.mark.parametrize(
    ("env", "uid", "home"),
    [
        ((), 1000, "/home/of user"),
        (("HOME=/mine",), 1000, "/mine"),
        (("HOME=",), 1000, "/home/of user"),
        ((), 0, "/root"),
        ((), 77, "/"),
    ],
)
def test_home(image: Path, env: tuple[str, ...], uid: int, home: str) -> None:
    shown = executed(image, process("env", env=("PATH=/bin", *env), uid=uid)).splitlines()
    assert [line for line in shown if line.startswith("HOME")] == [f"HOME={home}"]
    assert len(shown) == 2


# The working directory


def test_a_working_directory_that_cannot_be(image: Path) -> None:
    (image / "file").touch()
    (image / "loop").symlink_to("loop")
    for cwd, why in (("/file", "not a directory"), ("/loop", "too many levels of symbolic links")):
        assert executed(image, process("pwd", cwd=cwd)) == f"refused: chdir to cwd (/process/cwd) {cwd}: {why}"


def test_a_working_directory_that_is_not_there_is_not_made_any_more(image: Path) -> None:
    assert executed(image, process("pwd", cwd="/a/b")) == (
        "refused: chdir to cwd (/process/cwd) /a/b: no such file or directory"
    )
    assert not (image / "a").exists()


def test_a_directory_that_only_the_user_may_enter(image: Path) -> None:
    """As on a file system that does not trust root: where root may not, the user is asked again."""
    (image / "private").mkdir(mode=0o700)
    os.chown(image / "private", 1000, 1000)
    assert executed(image, process("pwd", cwd="/private", uid=1000)) == "/private\n"
    # root enters it with its capabilities; the program is there, though it could not have come there itself
    assert executed(image, process("pwd", cwd="/private", uid=1001)) == "/private\n"


def test_a_directory_that_is_a_descriptor_of_the_hosts(image: Path) -> None:
    """CVE-2024-21626."""

    def before() -> None:
        os.dup2(os.open("/proc/self/root", os.O_PATH), 60)

    assert executed(image, process("pwd", cwd="/proc/self/fd/60"), before).startswith(
        "refused: chdir to cwd (/process/cwd) /proc/self/fd/60: too many levels of symbolic links"
    )


def test_a_directory_outside_of_the_root_is_noticed(image: Path) -> None:
    def inside() -> str:
        host = os.open("/usr", os.O_PATH)
        os.chroot(image)
        os.fchdir(host)
        return refusal(programs._check_cwd)

    assert "possible container breakout detected" in in_child(inside)


def test_and_that_is_looked_for(image: Path) -> None:
    def before() -> None:
        k.getcwd = lambda: "(unreachable)/usr"

    assert "possible container breakout detected" in executed(image, process("pwd"), before)


# The program


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("none",), 'exec: "none": executable file not found in $PATH'),
        (("/none",), "no such file or directory"),
        (("/etc",), "is a directory"),
        (("/etc/passwd",), "permission denied"),
    ],
)
def test_a_program_that_there_is_not(image: Path, args: tuple[str, ...], why: str) -> None:
    assert why in executed(image, process(*args)).replace("refused: ", "")


def test_a_program_in_no_format_that_the_kernel_knows(image: Path) -> None:
    (image / "bin/junk").write_text("junk")
    (image / "bin/junk").chmod(0o755)
    (image / "bin/script").write_text("#!/no/such/interpreter\n")
    (image / "bin/script").chmod(0o755)
    assert executed(image, process("junk")) == (
        "refused: exec junk: exec format error: it is neither a program nor a script that names its interpreter after #!"
    )
    assert executed(image, process("script")) == (
        "refused: exec script: no such file or directory: "
        'its interpreter "/no/such/interpreter" is not in the container'
    )


def test_arguments_as_they_are(image: Path) -> None:
    shown = executed(image, process("sh", "-c", 'printf "%s|" "$0" "$@"', "", "a b", "ä"))
    assert shown == "|a b|ä|"


# One by one


def test_limits(image: Path) -> None:
    limits = (
        Limit(name="RLIMIT_NOFILE", number=7, soft=100, hard=200),
        Limit(name="RLIMIT_CORE", number=4, soft=0, hard=0),
    )

    def inside() -> list[Any]:
        set_limits(0, process(limits=limits))
        return [resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)]

    assert in_child(inside) == [[100, 200], [0, 0]]


def test_a_limit_that_cannot_be_had() -> None:
    wrong = (Limit(name="RLIMIT_NOFILE", number=7, soft=200, hard=100),)
    message = in_child(lambda: refusal(set_limits, 0, process(limits=wrong)))
    assert message == "set RLIMIT_NOFILE to 200 (soft) and 100 (hard): invalid argument"


@pytest.mark.parametrize(
    ("more", "step"),
    [
        ({"groups": (5,)}, "set additional groups"),
        ({"gid": 5}, "become group 5"),
        ({"uid": 5, "gid": 1000}, "become user 5"),
    ],
)
def test_what_an_ordinary_user_cannot_become(more: dict[str, Any], step: str) -> None:
    def inside() -> str:
        os.setgroups([])
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        return refusal(set_user, process(**{"uid": 1000, "gid": 1000, **more}))

    assert in_child(inside) == f"{step}: operation not permitted"


def test_without_groups_to_set_it_does_not_matter_that_one_may_not() -> None:
    def inside() -> list[int]:
        os.setresgid(1000, 1000, 1000)
        os.setresuid(1000, 1000, 1000)
        set_user(process(uid=1000, gid=1000))
        return [os.getuid(), os.getgid()]

    assert in_child(inside) == [1000, 1000]


def labels_in(proc: Path, *paths: str) -> int:
    """A stand-in for /proc, with these files in it."""
    for path in paths:
        (proc / path).parent.mkdir(parents=True, exist_ok=True)
        (proc / path).touch()
    return os.open(proc, os.O_PATH)


@pytest.mark.parametrize(
    ("present", "more", "written"),
    [
        (("self/attr/apparmor/exec", "self/attr/exec"), {"apparmor": "p"}, {"self/attr/apparmor/exec": "exec p"}),
        (("self/attr/exec",), {"apparmor": "p"}, {"self/attr/exec": "exec p"}),
        (("self/attr/exec",), {"selinux": "a:b:c"}, {"self/attr/exec": "a:b:c"}),
        (("self/attr/exec",), {}, {"self/attr/exec": ""}),
    ],
)
def test_labels(tmp_path: Path, present: tuple[str, ...], more: dict[str, str], written: dict[str, str]) -> None:
    fd = labels_in(tmp_path, *present)
    before = descriptors()
    set_labels(process(**more), fd)
    assert descriptors() == before
    os.close(fd)
    assert {path: (tmp_path / path).read_text() for path in written} == written


def test_a_label_that_cannot_be_set(tmp_path: Path) -> None:
    fd = labels_in(tmp_path, "other")
    assert refusal(set_labels, process(apparmor="p"), fd) == (
        "set the security label `p` (write `/proc/self/attr/exec`): no such file or directory"
    )
    os.close(fd)


def test_a_procfs_with_links_leads_nowhere(tmp_path: Path) -> None:
    """What is written as a label must get to the kernel, or nowhere."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/exec").touch()
    (tmp_path / "proc/self/attr").symlink_to("../../victim")
    fd = os.open(tmp_path / "proc", os.O_PATH)
    assert "invalid cross-device link" in refusal(set_labels, process(selinux="p"), fd)
    os.close(fd)
    assert (tmp_path / "victim/exec").read_text() == ""
