# SPDX-License-Identifier: Apache-2.0
"""Nothing of the host shows inside, and nothing of the image runs outside."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .configs import ENGINE_CAPABILITIES, podman_config
from .harness import Container, eventually

differs = pytest.mark.differs

SECRET = "HOST_SECRET=do-not-show"


def with_secret() -> dict[str, str]:
    name, _, text = SECRET.partition("=")
    return {"PATH": os.environ["PATH"], name: text}


# A created container waits, perhaps for days, while others may run in it.


@pytest.fixture
def waiting(container: Container) -> Container:
    """A created container whose caller had something to hide in its environment."""
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind] = [*ENGINE_CAPABILITIES, "CAP_SYS_PTRACE"]
    container.create(args=["sleep", "1000"], env=with_secret()).ok()
    return container


@pytest.mark.parametrize("file", ["environ", "mem", "maps", "auxv"])
def test_the_waiting_init_hides_its_memory(waiting: Container, file: str) -> None:
    """Being not dumpable, it belongs to the host's root; in the container's user namespace that helps, and here
    the text must not be there in the first place."""
    if file == "mem":
        result = waiting.exec("sh", "-c", "dd if=/proc/1/mem bs=1 count=1 2>&1; true")
    else:
        result = waiting.exec("sh", "-c", f"cat /proc/1/{file} 2>&1; true")
    assert "do-not-show" not in result.out
    assert "do-not-show" not in waiting.exec("sh", "-c", "cat /proc/1/environ 2>&1; true").out


def test_the_waiting_init_shows_no_file_of_the_host(waiting: Container) -> None:
    """Its root, its directory and its descriptors are all inside, or pipes."""
    script = (
        "for f in /proc/1/cwd /proc/1/root /proc/1/fd/*; do ls $f/.pyoci-canary 2> /dev/null; readlink $f; done; true"
    )
    (waiting.scratch / ".pyoci-canary").write_text("")
    seen = waiting.exec("sh", "-c", script).ok().out
    assert ".pyoci-canary" not in seen


def test_the_waiting_inits_environment_is_not_its_callers(waiting: Container) -> None:
    assert SECRET.encode() not in Path(f"/proc/{waiting.pid}/environ").read_bytes()


def test_the_waiting_init_has_no_descriptor_of_a_host_directory(waiting: Container) -> None:
    """Nothing but its root, and a procfs that shows the container's own pid namespace and no more than processes."""
    root = os.stat(f"/proc/{waiting.pid}/root")
    for name in os.listdir(f"/proc/{waiting.pid}/fd"):
        path = f"/proc/{waiting.pid}/fd/{name}"
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode) and (info.st_dev, info.st_ino) != (root.st_dev, root.st_ino):
            assert info.st_dev != os.stat("/proc").st_dev, name
            assert set(os.listdir(path)) <= {"1", "self", "thread-self"}, name


def test_the_waiting_init_is_confined_in_its_directory(waiting: Container) -> None:
    assert os.path.samefile(f"/proc/{waiting.pid}/root", waiting.rootfs)
    assert os.path.samefile(f"/proc/{waiting.pid}/cwd", waiting.rootfs)


def test_the_program_sees_nothing_of_the_runtimes_name(container: Container) -> None:
    container.launch()
    eventually("sleep", lambda: Path(f"/proc/{container.pid}/comm").read_text() == "sleep\n")
    assert Path(f"/proc/{container.pid}/cmdline").read_bytes() == b"sleep\x001000\x00"


# The interpreter: /proc/PID/exe of what runs inside is a way to the host's file.


def test_the_waiting_inits_program_cannot_be_written(waiting: Container) -> None:
    """Opened through /proc/1/exe from inside, the host's program must be out of reach for writing."""
    exe = os.stat(f"/proc/{waiting.pid}/exe")
    program = Path(os.readlink(f"/proc/{waiting.pid}/exe").removesuffix(" (deleted)"))
    result = waiting.exec("sh", "-c", "chmod 755 /proc/1/exe && echo changed; (: >> /proc/1/exe) && echo opened; true")
    assert "opened" not in result.out
    if "changed" in result.out:
        assert not program.exists() or not os.path.samestat(program.stat(), exe), "a file of the host was changed"


# The image is full of files that Python or libc might ask for.


MARK = "/mark-of-the-trap"


def libraries_worth_faking() -> list[str]:
    """Shared objects that libc opens by itself, or the interpreter is linked with or loads."""
    names = ["libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libnss_systemd.so.2", "libnss_myhostname.so.2",
             "libgcc_s.so.1", "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libz.so.1", "libexpat.so.1",
             "libpython3.so", "libseccomp.so.2", "libffi.so.8", "libcrypto.so.3", "libssl.so.3", "libpcre2-8.so.0",
             "libselinux.so.1", "libresolv.so.2"]  # fmt: skip
    maps = Path("/proc/self/maps").read_text()
    names += {Path(line.split()[-1]).name for line in maps.splitlines() if ".so" in line}
    return sorted(set(names))


def trap(rootfs: Path) -> int:
    """Fill a rootfs with files that leave a mark on whoever loads them; returns their number."""
    python = f"import os\nos.close(os.open({MARK!r}, os.O_CREAT | os.O_WRONLY))\nraise SystemExit('trapped')\n"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefixes = {Path("/usr/lib") / version, Path("/usr/local/lib") / version, Path(os.__file__).parent}
    prefixes |= {Path(entry) for entry in sys.path if entry.startswith("/")}
    modules = set(sys.stdlib_module_names) | {"sitecustomize", "usercustomize", "seccomp", "pyseccomp", "jsonschema",
                                              "pyroute2", "pyoci", "site", "apt_pkg"}  # fmt: skip
    encodings = [Path(name).stem for name in os.listdir(Path(os.__file__).parent / "encodings") if name.endswith(".py")]
    count = 0

    templates: dict[str | bytes, str] = {}
    made: set[str] = set()

    def put(path: Path | str, content: str | bytes) -> None:
        nonlocal count
        target = f"{rootfs}/{str(path).lstrip('/')}"
        directory = os.path.dirname(target)
        if directory not in made:
            os.makedirs(directory, exist_ok=True)
            made.add(directory)
        if content not in templates:
            templates[content] = f"{rootfs}.template.{len(templates)}"
            Path(templates[content]).write_bytes(content if isinstance(content, bytes) else content.encode())
            os.chmod(templates[content], 0o755)
        with contextlib.suppress(FileExistsError):
            os.link(templates[content], target)
            count += 1

    for prefix in prefixes:
        for module in modules - {"encodings"}:
            put(prefix / f"{module}.py", python)
        put(prefix / "encodings" / "__init__.py", python)
        for encoding in encodings:
            put(prefix / "encodings" / f"{encoding}.py", python)
    for directory in ("", "root", "tmp", "home"):
        for module in ("os", "sys", "json", "encodings", "traceback", "linecache", "pyoci", "sitecustomize"):
            put(Path("/") / directory / f"{module}.py", python)
    library = shared_object()
    for directory in (
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/lib/x86_64-linux-gnu",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/local/lib",
    ):
        for name in libraries_worth_faking():
            put(f"{directory}/{name}", library)
        for module in ("UTF-16", "ISO8859-1", "UNICODE", "ANSI_X3.110"):
            put(f"{directory}/gconv/{module}.so", library)
        put(f"{directory}/gconv/gconv-modules", "module  INTERNAL  UTF-8//  UTF-16  1\n")
        put(f"{directory}/locale/locale-archive", b"\0" * 64)
    put("/etc/ld.so.preload", "/lib/libnss_files.so.2\n")
    put("/etc/ld.so.cache", b"\0" * 64)
    put("/etc/nsswitch.conf", "passwd: files systemd evil\ngroup: files evil\nhosts: files dns evil\n")
    put("/etc/localtime", b"TZif" + b"\0" * 40)
    put("/etc/python3/sitecustomize.py", python)
    put("/etc/gai.conf", "")
    return count


@functools.cache
def shared_object() -> bytes:
    """A library whose constructor leaves the mark; where there is no compiler, a file that is no library at all."""
    if shutil.which("cc") is None:
        return b"\x7fELF not a library"
    source = f"""int creat(const char *, unsigned);
    __attribute__((constructor)) static void trap(void) {{ creat("{MARK}", 0600); }}"""
    build = subprocess.run(
        ["cc", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-o", "/dev/stdout", "-"],
        input=source.encode(),
        capture_output=True,
    )
    return build.stdout if build.returncode == 0 else b"\x7fELF not a library"


@pytest.fixture
def trapped(container: Container) -> Container:
    assert trap(container.rootfs) > 500
    return container


def no_mark(container: Container) -> None:
    assert not Path(MARK).exists(), "something of the image ran outside"
    assert not (container.rootfs / MARK[1:]).exists(), "something of the image ran as the runtime"


def test_the_trap_works(trapped: Container) -> None:
    """An interpreter that enters the image and only then imports: it must leave the mark, or these tests prove nothing."""
    script = f"import os; os.chroot({str(trapped.rootfs)!r}); os.chdir('/'); import colorsys"
    subprocess.run([sys.executable, "-I", "-S", "-c", script], stderr=subprocess.DEVNULL, check=False)
    assert (trapped.rootfs / MARK[1:]).exists()


def test_nothing_is_loaded_from_the_image(trapped: Container) -> None:
    """The program itself is static and loads nothing; whatever leaves the mark is the runtime."""
    trapped.launch()
    no_mark(trapped)
    trapped.exec("true").ok()
    trapped.exec("true", options=("--user", "1000", "--env", "Ä=ö")).ok()
    no_mark(trapped)
    trapped.call("ps", trapped.id).ok()
    trapped.delete("--force").ok()
    no_mark(trapped)


def test_nothing_is_loaded_for_a_rich_config(trapped: Container) -> None:
    trapped.config = podman_config(trapped.bundle, f"/{trapped.id}")
    trapped.launch()
    trapped.exec("true").ok()
    no_mark(trapped)


@pytest.mark.parametrize(
    "args",
    [["no-such-program"], ["/etc/passwd"], ["/no/such/ä"], ["/etc"], ["\udcff"]],
    ids=["missing", "mode", "path", "directory", "bytes"],
)
def test_nothing_is_loaded_to_report_an_error(trapped: Container, args: list[str]) -> None:
    assert trapped.create(args=args).status == 1
    no_mark(trapped)


def test_nothing_is_loaded_to_report_an_error_of_exec(trapped: Container) -> None:
    trapped.launch()
    for command in ("no-such-program", "/etc/passwd", "/etc"):
        assert trapped.exec(command).status == 255
    trapped.exec("true", options=("--cwd", "/no/such/directory"))
    trapped.exec("true", options=("--user", "77777777"))
    no_mark(trapped)


def test_a_start_container_hook_that_fails_loads_nothing(trapped: Container) -> None:
    trapped.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 1"]}]}
    trapped.create().ok()
    trapped.start()
    trapped.wait()
    no_mark(trapped)


# The same, as the kernel sees it


OPENS = re.compile(
    r"^(\d+) +(?:[\d:.]+ )?(open|openat|openat2|execve|execveat|pivot_root|chroot|setns)\((.*)", re.MULTILINE
)
HARMLESS = re.compile(
    r'"(/proc/|proc/|self/|\.|/dev/null|/dev/pts/|/dev/console|/dev/ptmx|dev|dev/|etc/passwd|/etc/passwd|/etc/group|etc/group|/sys/|/$|/"|/bin/)'
)


@pytest.mark.needs_strace
@differs(runc="1.1.5 is no interpreter, and its trace has nothing to show", crun="the same")
def test_strace_shows_no_load_after_pivot_root(container: Container) -> None:
    """After pivot_root the only files opened are those of proc, the devices and the container's user database."""
    if container.runtime.name == "runc":
        pytest.fail("nothing to show")
    trace = container.bundle / "trace"
    container.process["args"] = ["true"]
    container.write_config()
    wrapper = ["strace", "-f", "-o", str(trace), "-e", "trace=open,openat,openat2,execve,execveat,pivot_root,chroot"]
    container.call("run", "--bundle", str(container.bundle), container.id, wrapper=wrapper).ok()
    inside: set[str] = set()
    strange = []
    programs = 0
    for pid, call, rest in OPENS.findall(trace.read_text()):
        if call in ("pivot_root", "chroot"):
            inside.add(pid)
        elif pid in inside and call.startswith("execve"):
            programs += 1
            inside.discard(pid)
        elif pid in inside and call.startswith("open") and not HARMLESS.search(rest) and "O_PATH" not in rest:
            strange.append(f"{call}({rest}")
    assert programs == 1
    assert not strange, "\n".join(strange)
