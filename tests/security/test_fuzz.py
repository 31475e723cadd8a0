# SPDX-License-Identifier: Apache-2.0
"""Configs, records and command lines that nobody would write: each is taken, or refused with a word.

`hack/test` tries the same ones each time. `hack/test tests/security/test_fuzz.py --fuzz 100000` tries as many others, and
tells of one that fails how to try it again.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyoci import jsontext
from pyoci import state as states
from pyoci.bundle import read_config
from pyoci.cli import COMMANDS, load
from pyoci.cli.options import FLAG, Call, check_arguments, parse
from pyoci.cli.settings import GLOBAL
from pyoci.container.record import Container, Settings
from pyoci.errors import PyociError, StateError, UsageError
from pyoci.log import Log
from pyoci.plan import Request
from pyoci.plan import plan as make_plan
from pyoci.plan.text import render
from pyoci.record import Record
from pyoci.spec import validate
from pyoci.state import STATE, RuntimeState, StateDir

from ..cgroups import hosts as cgroup_hosts
from ..plan import hosts
from ..spec import samples

hypothesis: Any
st: Any
try:
    import hypothesis
    from hypothesis import strategies as st
    from hypothesis.configuration import set_hypothesis_home_dir
except ImportError:
    if os.environ.get("PYOCI_CI") == "1":
        raise
    pytest.skip("needs hypothesis (Debian's python3-hypothesis)", allow_module_level=True)

# What it keeps for itself is none of this directory's.
set_hypothesis_home_dir(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyoci-tests" / "hypothesis")

PATIENCE = 60
"""Seconds for one example, of which none takes a tenth of one; longer is a hang."""

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", ".", "..", "/", "//", "/../..", "a\0b", "/proc/self/fd/7", "\ud800", "ä" * 300, "0", "-1", "1e9", "root"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-2, 2),
    st.integers(),
    st.sampled_from([2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**40, -(2**63)]),
    st.floats(allow_nan=False),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture
def budget(request: pytest.FixtureRequest) -> Callable[[int], Any]:
    """A decorator for a function of examples: a few that are always the same, or as many others as --fuzz says."""
    asked = int(request.config.getoption("--fuzz"))

    def few(usual: int) -> Any:
        return hypothesis.settings(
            max_examples=asked or usual,
            derandomize=not asked,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            print_blob=True,
        )

    return few


@contextmanager
def no_hang() -> Iterator[None]:
    def hang(number: int, frame: object) -> None:
        raise AssertionError(f"no end within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def in_one_piece(error: PyociError) -> None:
    """A message that can be shown: with something in it, and nothing that no terminal or log should get."""
    assert error.message.strip()
    error.message.encode("utf-8", "backslashreplace")


# Configs

SAMPLES = [
    samples.complete(),
    samples.runc_spec(),
    samples.podman(),
    samples.docker(3),
    samples.minimal(),
    samples.others(),
]


@st.composite  # type: ignore[untyped-decorator]
def changed_configs(draw: Any) -> Any:
    """A good config with one to four places changed, removed or repeated."""
    config = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        there = list(samples.places(config))
        if not there:
            break
        holder, step = draw(st.sampled_from(there))
        match draw(st.sampled_from(["value", "value", "value", "gone", "more", "moved"])):
            case "value":
                holder[step] = draw(VALUES)
            case "gone":
                del holder[step]
            case "more" if isinstance(holder, list):
                holder.insert(step, copy.deepcopy(holder[step]))
            case "more":
                holder[draw(TEXTS)] = draw(VALUES)
            case "moved":
                other, place = draw(st.sampled_from(there))
                other[place] = copy.deepcopy(holder[step])
    return config


HOSTS = [
    hosts.host(),
    hosts.host(rootless=True),
    hosts.host(cgroups=hosts.layout.parse(cgroup_hosts.HYBRID, cgroup_hosts.HYBRID_SELF)),
    hosts.host(cgroups=hosts.layout.parse("", "")),
]


def goes_as_far_as_it_can(text: str, host: Any) -> None:
    """As `create` and `plan` do, up to where the kernel would be asked."""
    with no_hang():
        try:
            config = validate.load(text, runnable=True)
        except PyociError as error:
            in_one_piece(error)
            validate.lint(text)
            return
        try:
            plan = make_plan(config, host, Request(id="box", bundle="/srv/box"))
        except PyociError as error:
            in_one_piece(error)
            return
        assert isinstance(plan, Record)
        render(plan)
        jsontext.dumps(plan.asdict())


def test_any_config(budget: Callable[[int], Any]) -> None:
    @budget(600)
    @hypothesis.given(changed_configs(), st.sampled_from(HOSTS))
    def attempt(config: Any, host: Any) -> None:
        goes_as_far_as_it_can(json.dumps(config), host)

    attempt()


def test_any_value_is_a_config_or_none(budget: Callable[[int], Any]) -> None:
    @budget(200)
    @hypothesis.given(VALUES)
    def attempt(value: Any) -> None:
        goes_as_far_as_it_can(json.dumps(value), HOSTS[0])

    attempt()


@st.composite  # type: ignore[untyped-decorator]
def damaged_texts(draw: Any) -> bytes:
    """A config's text with bytes changed, cut out or put in."""
    content = bytearray(json.dumps(draw(st.sampled_from(SAMPLES[1:]))).encode())
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(content)))
        size = draw(st.integers(0, 30))
        more = draw(
            st.one_of(
                st.binary(max_size=5), st.sampled_from([b"[" * 5000, b'"', b"\\u", b"\\ud800", b"9" * 5000, b"NaN"])
            )
        )
        content[at : at + size] = more
    return bytes(content)


def test_any_text(budget: Callable[[int], Any], tmp_path: Path) -> None:
    path = tmp_path / "config.json"

    @budget(300)
    @hypothesis.given(damaged_texts())
    def attempt(content: bytes) -> None:
        path.write_bytes(content)
        try:
            text = read_config(str(path), "config.json")
        except PyociError as error:
            in_one_piece(error)
            return
        goes_as_far_as_it_can(text, HOSTS[0])

    attempt()


# Records

RECORD = RuntimeState(
    id="box", oci_version="1.2.0", bundle="/srv/box", rootfs="/srv/box/rootfs", created="2026-01-01T00:00:00Z",
    annotations={"a": "b"}, cgroup_paths={"memory": "/no/such/cgroup", "": "/no/such/other"},
).asdict()  # fmt: skip


def test_any_record(budget: Callable[[int], Any], tmp_path: Path) -> None:
    """Whatever state.json holds: a state, or a word about what is wrong with it."""
    directory = StateDir(str(tmp_path), "box")
    directory.make(str(tmp_path))
    file = tmp_path / "box" / STATE
    chosen = Settings(root=str(tmp_path), log=Log())

    def looked_at(content: bytes) -> None:
        file.write_bytes(content)
        with no_hang():
            try:
                container = Container(chosen, "box")
            except StateError as error:
                in_one_piece(error)
                return
            try:
                states.has_creator(container.state)
                jsontext.dumps(container.describe())
            except PyociError as error:
                in_one_piece(error)

    @budget(400)
    @hypothesis.given(
        st.one_of(
            st.dictionaries(st.sampled_from(sorted(RECORD)), VALUES, max_size=4).map(lambda more: {**RECORD, **more}),
            st.sets(st.sampled_from(sorted(RECORD)), min_size=1).map(
                lambda gone: {name: value for name, value in RECORD.items() if name not in gone}
            ),
            VALUES,
        )
    )
    def attempt(record: Any) -> None:
        looked_at(json.dumps(record).encode())

    @budget(200)
    @hypothesis.given(st.one_of(st.binary(max_size=200), st.integers(0, len(json.dumps(RECORD)))))
    def attempt_bytes(content: bytes | int) -> None:
        looked_at(json.dumps(RECORD).encode()[:content] if isinstance(content, int) else content)

    attempt()
    attempt_bytes()


# Command lines


def words_for(name: str) -> Any:
    """Words that may follow a command: its options in all spellings, with and without values, and anything else."""
    command = load(name).COMMAND
    names = [option.name for option in command.options] + [option.short for option in command.options if option.short]
    spelled = st.builds(
        lambda dashes, option, value: f"{dashes}{option}" if value is None else f"{dashes}{option}={value}",
        st.sampled_from(["-", "--", "---"]),
        st.sampled_from([*names, "help", "no-such-option", ""]),
        st.one_of(st.none(), TEXTS, NUMBERS.map(str), st.sampled_from(["true", "false", "1:1", "KILL", "64m"])),
    )
    return st.lists(st.one_of(spelled, spelled, TEXTS, st.sampled_from(["--", "-", "box"])), max_size=6)


@pytest.mark.parametrize("name", COMMANDS)
def test_any_words(budget: Callable[[int], Any], name: str) -> None:
    command = load(name).COMMAND

    @budget(60)
    @hypothesis.given(words_for(name))
    def attempt(words: list[str]) -> None:
        with no_hang():
            call = Call(command, Call(GLOBAL))
            try:
                check_arguments(parse(call, list(words)))
            except UsageError as error:
                in_one_piece(error)
                return
        for option in command.options:
            assert (
                call.flag(option.name) in (True, False) if option.kind == FLAG else call.text(option.name) is not None
            )

    attempt()


SPAREABLE = sorted(set(COMMANDS) - {"gc"})
"""gc takes roots, and would be shown those of this host."""


@pytest.mark.needs_root
@pytest.mark.needs_cgroups
def test_any_call(budget: Callable[[int], Any], pyoci_program: Path, tmp_path: Path) -> None:
    """Of the installed program, below a root without containers."""

    @budget(60)
    @hypothesis.given(
        st.sampled_from(SPAREABLE).flatmap(lambda name: words_for(name).map(lambda words: [name, *words]))
    )
    def attempt(words: list[str]) -> None:
        passable = [word.replace("\0", "").encode("utf-8", "surrogatepass") for word in words]
        done = subprocess.run(
            [pyoci_program, "--root", str(tmp_path / "root"), *passable],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=tmp_path,
            timeout=PATIENCE,
        )
        said = done.stdout + done.stderr
        assert done.returncode in (0, 1, 255), (words, done)
        assert done.returncode == 0 or done.stderr.strip(), words
        assert b"Traceback" not in said and b"internal error" not in said, (words, said)

    attempt()
