# SPDX-License-Identifier: Apache-2.0
"""A guest of `hack/vm` that is booted when the session starts, and asked at its end how its own tests went.

It takes many minutes, which the tests of this machine pass meanwhile, and needs qemu: so it takes the option --guest, which
`hack/test` takes too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ..bystanders import BYSTANDERS

REPOSITORY = Path(__file__).parent.parent.parent
SUITE = "bookworm"
PLACES = ("root", "root-systemd", "dev", "dev-systemd")
TESTS = (
    *("-m", "needs_root or needs_cgroups or needs_cgroup_v2 or needs_systemd"),
    *(
        "tests/cgroups",
        "tests/lifecycle/test_systemd.py",
        "tests/lifecycle/test_resources.py",
        "tests/lifecycle/test_cgroups.py",
    ),
)
"""What depends most on what a guest has and this machine may lack: systemd, cgroup v2 alone, and a cgroup for who is not
root. `hack/vm test` has time for more."""
LIMIT = 5400
"""Seconds for boot and tests. It takes a sixth of that where nothing else runs."""


class Guest:
    """A guest at work. `directory` gets its output and, once it has ended, its results; `told` is for the summary."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.directory = Path(tempfile.mkdtemp(prefix="pyoci-guest-"))
        self.output = self.directory / "output"
        options = {"suite": SUITE, "timeout": LIMIT, "places": ",".join(PLACES), "report": self.directory}
        words = [f"{word}" for name, value in options.items() for word in (f"--{name}", value)]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [str(REPOSITORY / "hack" / "vm"), *words, "test", *TESTS],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        BYSTANDERS.add(self.process.pid)

    def said(self) -> str:
        """The end of its output: the console's, if it did not come up."""
        return "\n".join(self.output.read_text(errors="backslashreplace").splitlines()[-80:])

    def results(self, place: str) -> ElementTree.Element:
        """The cases of a place, once it is at its end; fails if there are none."""
        self.process.wait()
        file = self.directory / f"{SUITE}-{place}.xml"
        if not file.exists():
            pytest.fail(f"the guest has no results, and exit status {self.process.returncode}:\n{self.said()}", False)
        suite = ElementTree.parse(file).getroot().find("testsuite")
        assert suite is not None
        return suite

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)


GUEST = pytest.StashKey[Guest]()


def is_about_the_guest(item: pytest.Item) -> bool:
    return str(item.path).startswith(os.path.dirname(__file__))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=is_about_the_guest)
    for item in filter(is_about_the_guest, items):
        item.add_marker(pytest.mark.needs_root)
        if not config.getoption("--guest"):
            item.add_marker(pytest.mark.skip(reason="boots a guest, which takes --guest"))


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = session.config.getoption("--guest") and not session.config.getoption("--collect-only")
    if wanted and any(map(is_about_the_guest, session.items)):
        session.config.stash[GUEST] = Guest()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if GUEST in config.stash:
        terminalreporter.section("in the guest")
        for line in config.stash[GUEST].told:
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    if GUEST in config.stash:
        config.stash[GUEST].end()


@pytest.fixture
def guest(pytestconfig: pytest.Config) -> Guest:
    return pytestconfig.stash[GUEST]
