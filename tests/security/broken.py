# SPDX-License-Identifier: Apache-2.0
"""Builds of pyoci that are broken on purpose, each in one respect: what a test finds in them it would find in ours.

Where the runtimes of a distribution still have a hole they are the proof that its test can fail (holes.py); these stand in
for all others. A build is a copy of this checkout with some lines replaced, and is never installed but into a test's own
directory. Whoever changes one of the lines changes it here, too.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parent.parent.parent
PARTS = ("pyoci", "hack", "specs", "docs")


class Edit(NamedTuple):
    file: str
    old: str
    new: str


class Broken(NamedTuple):
    """What is broken by `edits`, and which tests must fail then (or `torture:CASE`)."""

    what: str
    tests: tuple[str, ...]
    edits: tuple[Edit, ...]


NOT_SEALED = Edit("pyoci/seal/__init__.py", "    if near_container and not is_sealed():", "    if False:")
NO_LAUNCHER = Edit("hack/install", "compile=yes", "compile=")

BROKEN: dict[str, Broken] = {
    "interpreter": Broken(
        "the host's own interpreter enters containers, with the caller's environment in its memory",
        (
            "tests/security/test_python_executable.py::test_the_images_own_loader_cannot_keep_the_interpreter",
            "tests/security/test_python_caller.py::test_nothing_of_the_callers_environment_is_in_the_memory_of_the_waiting_init",
        ),
        (NOT_SEALED, NO_LAUNCHER),
    ),
    "isolated": Broken(
        "the interpreter starts without -I, -S and -B",
        ("tests/security/test_python_caller.py::test_no_variable_of_the_caller_changes_anything",),
        (NOT_SEALED, NO_LAUNCHER, Edit("hack/install", "#!$interpreter -ISBX$library", "#!$interpreter")),
    ),
    "dumpable": Broken(
        "whoever enters a container can be looked into",
        ("tests/security/test_identity.py::test_who_joins_is_out_of_reach",),
        (
            Edit(
                "pyoci/kernel/basic.py",
                '    """prctl(2) with plain integers."""\n',
                '    """prctl(2) with plain integers."""\n    arg2 = 1 if option == PR_SET_DUMPABLE else arg2\n',
            ),
        ),
    ),
    "descriptors": Broken(
        "all that is open is passed on, and a working directory may be reached through it",
        (
            "tests/lifecycle/test_descriptors.py::test_the_callers_descriptors_stay_outside",
            "tests/lifecycle/test_descriptors.py::test_exec_has_none_of_them",
            "tests/lifecycle/test_descriptors.py::test_no_working_directory_is_reached_through_a_descriptor",
            "tests/security/test_python_caller.py::test_directories_of_the_host_that_are_open_stay_outside",
        ),
        (
            Edit(
                "pyoci/process/program.py",
                "        k.reset_signals()\n",
                "        k.reset_signals()\n        for fd in k.listdir('/proc/self/fd'):\n            try:\n"
                "                k.set_inheritable(int(fd), True)\n            except OSError:\n                pass\n",
            ),
            Edit("pyoci/process/program.py", "_IN_ROOT = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS", "_IN_ROOT = 0"),
            Edit("pyoci/process/program.py", '    if not path.startswith("/"):', "    if False:"),
        ),
    ),
    "links": Broken(
        "links of the image are followed as those of the host",
        (
            "tests/security/test_mount_destinations.py::test_mount_dest_symlink_escape",
            "tests/security/test_mount_dev.py::test_dev_symlink",
            "tests/security/test_identity.py::test_nothing_of_ours_is_put_into_the_image_by_links",
        ),
        (
            Edit(
                "pyoci/rootfs/root.py",
                "return k.openat2(self.fd, path, flags, resolve=k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS | resolve)",
                'return k.openat2(self.fd, "./" + path, flags, resolve=0)',
            ),
            Edit("pyoci/rootfs/root.py", 'if full != self.path and not full.startswith(self.path + "/"):', "if False:"),
            Edit("pyoci/process/program.py", "_IN_ROOT = k.RESOLVE_IN_ROOT | k.RESOLVE_NO_MAGICLINKS", "_IN_ROOT = 0"),
        ),
    ),
    "open at the end": Broken(
        "the host's descriptors are open until a program has been found",
        ("tests/security/test_image_files.py::test_no_program_of_the_host_is_reached_through_a_descriptor",),
        (
            Edit(
                "pyoci/process/program.py",
                "        k.close_all_but(_FIRST_FD + preserve_fds, (channel.fd, *needed))\n",
                "",
            ),
        ),
    ),
    "opened": Broken(
        "what the image has in the place of a file is opened to be looked at",
        (
            "tests/security/test_image_files.py::test_a_users_home_is_looked_for_in_files_alone",
            "tests/security/test_image_files.py::test_copying_up_opens_files_alone",
        ),
        (
            Edit(
                "pyoci/users.py", "openat2(root_fd, PASSWD, O_PATH,", "openat2(root_fd, PASSWD, O_RDONLY | O_NONBLOCK,"
            ),
            Edit(
                "pyoci/rootfs/copyup.py",
                "k.open(name, k.O_PATH | _NEW,",
                "k.open(name, k.O_RDONLY | k.O_NONBLOCK | _NEW,",
            ),
        ),
    ),
    "confined late": Broken(
        "who enters a user namespace asks the /proc in there about itself",
        ("tests/security/test_image_files.py::test_who_enters_does_not_ask_the_containers_proc",),
        (
            Edit("pyoci/process/joiner.py", "        confine(_TITLE)\n        # All", "        # All"),
            Edit(
                "pyoci/process/joiner.py",
                "        if not program.in_user_namespace:  # else",
                "        if True:  # else",
            ),
        ),
    ),
    "clocks": Broken(
        "clocks are set through whatever is at /proc once namespaces have been joined",
        ("tests/security/test_image_files.py::test_clocks_are_set_through_the_hosts_proc",),
        (
            Edit(
                "pyoci/process/clone.py",
                'k.open("self/timens_offsets", k.O_WRONLY | k.O_CLOEXEC, dir_fd=proc)',
                'k.open("/proc/self/timens_offsets", k.O_WRONLY | k.O_CLOEXEC)',
            ),
        ),
    ),
    "streams": Broken(
        "a file that is the standard input is given to the program's user",
        ("tests/security/test_image_files.py::test_a_file_that_is_read_stays_its_owners",),
        (
            Edit(
                "pyoci/process/streams.py",
                "return bool(k.fcntl(stream, F_GETFL) & (k.O_WRONLY | k.O_RDWR))",
                "return True",
            ),
        ),
    ),
    "depth": Broken(
        "directories are copied up as deep as they go",
        ("tests/security/test_image_files.py::test_copying_up_has_an_end",),
        (Edit("pyoci/rootfs/copyup.py", "    if not depth:\n", "    if False:\n"),),
    ),
    "codecs": Broken(
        "text that is none has Python look for its codecs inside of a container",
        ("tests/security/test_image_files.py::test_what_a_hook_from_the_image_says_is_shown_whatever_it_is",),
        (
            Edit(
                "pyoci/process/confine.py",
                "    sys.path_importer_cache.clear()\n    _settle_codecs()\n",
                "    sys.path_importer_cache.clear()\n",
            ),
        ),
    ),
    "over proc": Broken(
        "anything may be mounted over /proc",
        ("tests/security/test_mount_proc.py::test_mount_over_proc",),
        (
            Edit(
                "pyoci/rootfs/mounts.py",
                'raise PyociError(f"mount {destination}: {place} cannot be mounted over, it is inside /proc")',
                "return",
            ),
        ),
    ),
    "proc as a link": Broken(
        "proc and sysfs are mounted where a link leads",
        ("tests/security/test_mount_proc.py::test_proc_or_sys_is_symlink",),
        (Edit("pyoci/rootfs/mounts.py", "k.RESOLVE_NO_SYMLINKS if fstype in _DIRECTORY_ONLY else 0", "0"),),
    ),
    "proc by its name": Broken(
        "what is to be masked is looked for below whatever is called /proc by then",
        ("tests/security/test_mount_proc_race.py::test_proc_race",),
        (Edit("pyoci/rootfs/mounts.py", "            self.root.keep(destination, tree)\n", ""),),
    ),
    "parameter": Broken(
        "kernel parameters of the whole host may be set",
        ("tests/security/test_mount_proc.py::test_host_sysctl_refused",),
        (
            Edit(
                "pyoci/plan/sysctl.py",
                'raise SpecError(f"sysctl {key}: not in any namespace, it would be set for the whole host")',
                "return path",
            ),
            Edit(
                "pyoci/spec/rules/linux.py",
                "        name = sysctl_name(key)\n",
                "        name = 'net.core.somaxconn'\n",
            ),
        ),
    ),
    "parameter inside": Broken(
        "kernel parameters are written to whatever the container has at /proc",
        ("tests/security/test_mount_proc.py::test_a_covered_proc_gets_no_parameters",),
        (
            Edit(
                "pyoci/process/init.py",
                'self.handed.proc, f"sys/{path}", k.O_WRONLY, resolve=k.RESOLVE_BENEATH | k.RESOLVE_NO_SYMLINKS',
                'self.root.fd, f"proc/sys/{path}", k.O_WRONLY, resolve=k.RESOLVE_BENEATH',
            ),
        ),
    ),
    "hook": Broken(
        "a hook is found by whatever path",
        ("tests/lifecycle/test_hooks.py::test_a_relative_hook_path_is_refused",),
        (Edit("pyoci/spec/rules/process.py", """    if not hook["path"].startswith("/"):""", "    if False:"),),
    ),
    "user": Broken(
        "a user's digits are not taken for the number that they are",
        ("tests/security/test_identity.py::test_numeric_users",),
        (Edit("pyoci/container/exec.py", '"uid": int(uid),', '"uid": 0,'),),
    ),
    "user unchecked": Broken(
        "whatever a lenient conversion makes of a user is taken for one",
        ("tests/security/test_identity.py::test_what_is_no_number_is_no_user",),
        (
            Edit(
                "pyoci/cli/exec.py",
                "def _check_user(user: str) -> None:\n",
                "def _check_user(user: str) -> None:\n    return\n",
            ),
        ),
    ),
    "inheritable": Broken(
        "capabilities that exec adds are inheritable",
        ("tests/security/test_identity.py::test_inheritable_caps",),
        (
            Edit(
                "pyoci/container/exec.py",
                'return {**present, **extended, "ambient": ambient}',
                'return {**present, **extended, "ambient": ambient, "inheritable": [*inheritable, *more]}',
            ),
        ),
    ),
    "devices": Broken(
        "the rules for devices start from all that there are",
        ("tests/lifecycle/test_devices.py::test_devices_are_denied_without_resources",),
        (Edit("pyoci/cgroups/devices.py", "return (_NOTHING, *(", "return (_NOTHING.replace(allow=True), *("),),
    ),
    "mappings": Broken(
        "a long list of ids is cut off",
        ("tests/security/test_identity.py::test_many_id_mappings",),
        (Edit("pyoci/process/idmap.py", "for line in id_map)\n    _put", "for line in id_map[:100])\n    _put"),),
    ),
    "labels": Broken(
        "a security label that nobody heeds is passed over",
        ("tests/lifecycle/test_process_properties.py::test_an_apparmor_profile_that_nobody_would_heed",),
        (
            Edit(
                "pyoci/plan/process.py",
                '("apparmorProfile", "AppArmor", host.apparmor),',
                '("apparmorProfile", "AppArmor", True),',
            ),
            Edit(
                "pyoci/process/program.py",
                "        if not label:\n            continue",
                "        if True:\n            continue",
            ),
        ),
    ),
    "ids": Broken(
        "an id may be any path",
        ("tests/lifecycle/test_command_line.py::test_ids_that_are_refused",),
        (
            Edit(
                "pyoci/state.py",
                "    if not container_id:\n",
                "    if container_id:\n        return\n    if not container_id:\n",
            ),
        ),
    ),
    "filter": Broken(
        "no filter is loaded",
        ("tests/security/test_identity.py::test_exec_is_as_confined_as_run",),
        (
            Edit(
                "pyoci/process/program.py",
                "seccomp.Filter(filter_program, filter_flags) if filter_program else None",
                "None",
            ),
        ),
    ),
    "imports": Broken(
        "modules are still looked for inside a container",
        ("tests/lifecycle/test_isolation.py::test_nothing_is_loaded_from_the_image",),
        (
            Edit(
                "pyoci/process/confine.py",
                "    sys.path.clear()\n    sys.meta_path.clear()\n    sys.path_hooks.clear()\n",
                "",
            ),
            Edit(
                "pyoci/process/program.py",
                "        self.channel = channel\n",
                "        self.channel = channel\n        import colorsys\n",
            ),
        ),
    ),
    "signals": Broken(
        "the program has the interpreter's ways with signals",
        ("tests/security/test_python_caller.py::test_signals_of_the_caller_stay_with_it",),
        (Edit("pyoci/process/program.py", "        k.reset_signals()\n", ""),),
    ),
    "thread": Broken(
        "init has a second thread",
        ("tests/security/test_identity.py::test_there_is_one_thread",),
        (
            Edit(
                "pyoci/process/waiting.py",
                "        self.fd = self._open(",
                "        __import__('_thread').start_new_thread(__import__('time').sleep, (1000,))\n        self.fd = self._open(",
            ),
        ),
    ),
    "helper": Broken(
        "the process that joins makes another one",
        ("tests/security/test_identity.py::test_an_exec_takes_no_process_beside_itself",),
        (
            Edit(
                "pyoci/process/program.py",
                "        self.channel = channel\n",
                "        self.channel = channel\n        k.fork() or k._exit(0)\n",
            ),
        ),
    ),
    "text": Broken(
        "all text has to be UTF-8",
        ("tests/security/test_python_values.py::test_arguments_of_exec_that_are_no_text_arrive_whole",),
        (
            Edit(
                "pyoci/kernel/basic.py",
                'isinstance(path, bytes) else path.encode("utf-8", "surrogateescape")',
                'isinstance(path, bytes) else path.encode("utf-8")',
            ),
        ),
    ),
    "numbers": Broken(
        "whatever Python takes for a number is one",
        ("tests/security/test_python_values.py::test_numbers_that_only_python_knows",),
        (
            Edit(
                "pyoci/jsontext.py",
                "    parse_constant = staticmethod(_constant)",
                "    parse_constant = staticmethod(lambda name: 0)",
            ),
        ),
    ),
    "traceback": Broken(
        "a failure is shown with the inside of the program",
        ("tests/lifecycle/test_failures.py::test_a_body_that_is_no_config_is_refused",),
        (
            Edit(
                "pyoci/cli/__init__.py",
                "                status = invocation.report(error)",
                "                __import__('traceback').print_exc()",
            ),
        ),
    ),
    "temporary file": Broken(
        "a file is made in a directory that everybody may write to",
        ("tests/security/test_identity.py::test_no_temporary_files",),
        (
            Edit(
                "pyoci/seal/__init__.py",
                "    prctl(PR_SET_DUMPABLE, 0)",
                "    import posix\n    name = f'/tmp/pyoci-broken-{posix.getpid()}'\n"
                "    posix.close(posix.open(name, posix.O_CREAT))\n    posix.unlink(name)\n    prctl(PR_SET_DUMPABLE, 0)",
            ),
        ),
    ),
    "memory": Broken(
        "the waiting init takes 64 MiB",
        ("tests/lifecycle/test_cgroups.py::test_little_memory_is_enough_to_start",),
        (
            Edit(
                "pyoci/process/init.py",
                "        enter_root(self.plan.rootfs, self.root)\n",
                "        enter_root(self.plan.rootfs, self.root)\n        self.ballast = bytearray(b'x') * (64 << 20)\n",
            ),
        ),
    ),
    "first thread": Broken(
        "a process whose first thread has ended is taken for a zombie",
        ("tests/security/test_mistaken.py::test_who_ends_its_first_thread_has_not_stopped",),
        (
            Edit(
                "pyoci/state.py",
                'letter = "S" if fields[0] == b"Z" and int(fields[17]) > 1 else fields[0].decode()',
                "letter = fields[0].decode()",
            ),
        ),
    ),
    "lines": Broken(
        "mountinfo is parted at whatever ends a line for Python",
        ("tests/security/test_mistaken.py::test_a_mount_by_any_name_keeps_nobody_from_making_containers",),
        (
            Edit(
                "pyoci/cgroups/layout.py",
                'return [fields for line in mountinfo.split("\\n") if len(fields := line.split(" ", 5)) == 6]',
                'return [line.split(" ", 5) for line in mountinfo.splitlines()]',
            ),
        ),
    ),
    "ended": Broken(
        "whoever is in the cgroup of a container that has ended is taken for a part of it",
        ("tests/security/test_mistaken.py::test_who_got_the_cgroup_of_a_container_that_has_ended",),
        (
            Edit(
                "pyoci/container/delete.py",
                "may_be_ours = pidfd >= 0 or states.may_have_processes(state)",
                "may_be_ours = True",
            ),
        ),
    ),
    "unfinished": Broken(
        "exec enters a container that is being created",
        ("tests/lifecycle/test_half_made.py::test_a_container_in_the_making_is_creating",),
        (Edit("pyoci/container/exec.py", "    if status == CREATING:", "    if False:"),),
    ),
    "terminal of the caller": Broken(
        "whoever is executed without a terminal has its caller's",
        ("tests/lifecycle/test_console.py::test_what_exec_leaves_behind_has_nothing_of_the_callers_terminal",),
        (Edit("pyoci/foreground.py", "[stream for stream in (0, 1, 2) if isatty(stream)]", "[]"),),
    ),
    "owner of the terminal": Broken(
        "the caller's terminal is given to the container's user",
        ("tests/lifecycle/test_console.py::test_a_created_container_does_not_own_the_callers_terminal",),
        (Edit("pyoci/process/streams.py", "return own_terminal and status", "return status"),),
    ),
    "reused pid": Broken(
        "a process is known by its number alone",
        ("torture:pid_reuse_is_noticed",),
        (
            Edit(
                "pyoci/state.py",
                'return letter not in ("", "Z", "X", "x") and started == start',
                'return letter not in ("", "Z", "X", "x")',
            ),
        ),
    ),
}


def build(name: str, directory: Path) -> Path:
    """Make the broken build of this name in a directory: its program. Raises AssertionError if a line is not there."""
    source = directory / "source"
    for part in PARTS:
        shutil.copytree(REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in BROKEN[name].edits:
        file = source / edit.file
        text = file.read_text()
        assert text.count(edit.old) == 1, f"{edit.file} has changed: no longer (once) has it {edit.old!r}"
        file.write_text(text.replace(edit.old, edit.new))
    prefix = directory / "prefix"
    subprocess.run([str(source / "hack" / "install"), "--prefix", str(prefix)], check=True, stdout=subprocess.DEVNULL)
    return prefix / "bin" / "pyoci"
