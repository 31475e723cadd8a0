# SPDX-License-Identifier: Apache-2.0
"""The entry: right texts come out as configurations, wrong ones with every problem and its place."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyoci import thirdparty
from pyoci.errors import PyociError, SpecError
from pyoci.spec import compiled, explain, validate
from tests.spec import samples
from tests.spec.samples import GONE

MISTAKES = """\
{
    "ociVersion": "1.3",
    "root": {"path": "rootfs", "readonly": "no"},
    "process": {
        "user": {"uid": "root", "gid": 0},
        "cwd": "tmp",
        "args": ["sh"], "env": ["TERM"]
    },
    "mounts": [
        {"destination": "/proc", "type": "proc"},
        {"type": "tmpfs"},
        {"destination": "/x", "source": "/y", "options": ["bind", "size=1m"]}
    ],
    "hostname": "h\\u00e9", "linux": {
        "namespaces": [{"type": "mnt"}],
        "resources": {"memory": {"limit": 1e9}, "pids": {"limit": true}},
        "maskedPaths": ["/proc/kcore", "proc/keys"]
    }
}
"""

PLACES = [
    (2, 19, 'found the string "1.3" (expected a version of the specification, such as "1.3.0")'),
    (3, 44, 'found the string "no" (expected true or false)'),
    (5, 25, 'found the string "root" (expected an integer between 0 and 4294967294)'),
    (6, 16, 'the working directory "tmp" must be an absolute path (expected a path that starts with "/")'),
    (7, 33, 'the environment entry "TERM" has no "=" (expected NAME=VALUE)'),
    (11, 9, 'the property "destination" is missing (expected a string)'),
    (12, 67, 'a bind mount takes no filesystem option, such as "size=1m" (expected options for all filesystems only)'),
    (15, 33, 'found the string "mnt", did you mean "mount"? (expected one of "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")'),
    (16, 43, "found the number 1000000000.0 (expected a 64-bit integer, without a fraction or exponent)"),
    (16, 67, "found the boolean true (expected a 64-bit integer)"),
    (17, 40, 'the path "proc/keys" is not absolute (expected a path that starts with "/")'),
]  # fmt: skip


def problems(text: str, load: Any = validate.load, **options: Any) -> list[Any]:
    with pytest.raises(SpecError) as caught:
        load(text, **options)
    return list(caught.value.problems)


@pytest.mark.parametrize("base", samples.BASES)
def test_right_texts_come_out_as_they_are(base: Any) -> None:
    assert validate.load(samples.text_of(base())) == base()
    assert validate.check(base())
    assert validate.lint(samples.text_of(base())).errors == []


def test_all_mistakes_are_told_at_once_each_with_its_place() -> None:
    found = problems(MISTAKES)
    assert [(problem.line, problem.column, str(problem)) for problem in found] == PLACES
    assert all(problem.rule and problem.section for problem in found)


def test_the_message_has_them_all() -> None:
    with pytest.raises(SpecError) as caught:
        validate.load(MISTAKES, "bundle/config.json")
    lines = caught.value.message.splitlines()
    assert lines[0] == f"bundle/config.json:2:19: error: /ociVersion: {PLACES[0][2]}"
    assert lines[-1] == "11 errors"
    assert len(lines) == 12


@pytest.mark.parametrize(("text", "place", "message"), [
    ("", (1, 1), "expected a value"),
    ('{"ociVersion": "1.0.0",\n  "root" {}}', (2, 10), "expecting ':' delimiter"),
    ('{"ociVersion": NaN}', (1, 16), "NaN is no JSON value"),
    ("{} {}", (1, 4), "unexpected text after the value"),
])  # fmt: skip
def test_what_is_no_json_has_a_place_too(text: str, place: Any, message: str) -> None:
    (problem,) = problems(text)
    assert (problem.line, problem.column) == place
    assert problem.message == message
    assert list(validate.lint(text)) == [problem]


@pytest.mark.parametrize("text", ["null", "[]", "5", '"a"', "true"])
def test_what_is_no_object(text: str) -> None:
    (problem,) = problems(text)
    assert (problem.pointer, problem.expected, problem.line) == ("", "an object", 1)


def test_null_stands_for_absent() -> None:
    config = samples.runc_spec()
    with_nulls = copy.deepcopy(config)
    with_nulls["hooks"] = with_nulls["process"]["rlimits"] = with_nulls["linux"]["seccomp"] = None
    with_nulls["mounts"][0]["options"] = None
    del config["process"]["rlimits"], config["mounts"][0]["options"]
    assert validate.load(samples.text_of(with_nulls)) == config
    warnings = validate.lint(samples.text_of(with_nulls)).warnings
    nulls = {problem.pointer for problem in warnings if problem.rule == "null-property"}
    assert nulls == {"/hooks", "/process/rlimits", "/linux/seccomp", "/mounts/0/options"}


def test_null_is_no_item_and_nothing_that_is_needed() -> None:
    found = problems('{"ociVersion": null, "root": {"path": "r"}, "mounts": [null]}')
    assert [(problem.pointer, problem.message) for problem in found] == [
        ("", 'the property "ociVersion" is missing'),
        ("/mounts/0", "found null"),
    ]


@pytest.mark.parametrize("name", ["\\ud800", "a\\uDFFFb", "\ud800"])
def test_half_a_surrogate_pair_is_refused(name: str) -> None:
    (problem,) = problems(f'{{"ociVersion": "1.0.0", "root": {{"path": "{name}"}}}}')
    assert (problem.pointer, problem.rule) == ("/root/path", "surrogate")
    problem.message.encode()


def test_whole_characters_are_taken_escaped_or_not() -> None:
    for name in ("\\ud83d\\ude00", "\U0001f600"):
        assert validate.load(f'{{"ociVersion": "1.0.0", "root": {{"path": "{name}"}}}}')["root"] == {
            "path": "\U0001f600"
        }


def test_one_mistake_is_one_problem() -> None:
    for pointer, value in (
        ("/process/rlimits/0/type", 5),
        ("/linux/namespaces/0/type", "pit"),
        ("/mounts", {}),
        ("/linux/resources", []),
        ("/process/user/uid", -1),
        ("/linux/sysctl", {"": ""}),
    ):
        assert len(problems(samples.text_of(samples.changed(samples.complete(), pointer, value)))) == 1, pointer


@pytest.mark.parametrize(("pointer", "value", "expected"), [
    ("/linux/namespaces/0/type", "pit", 'found the string "pit", did you mean "pid"? (expected one of "pid",'),
    ("/linux/seccomp/architectures/0", "SCMP_ARCH_X64", 'found the string "SCMP_ARCH_X64", did you mean "SCMP_ARCH_X'),
    ("/linux/seccomp/architectures/0", "", '"SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", 20 more)'),
    ("/linux/seccomp/syscalls/0/names", [], "found an empty list (expected something in it)"),
    ("/root/path", "", "found an empty string (expected something in it)"),
    ("/process/cwd", "/a\0", r'found the string "/a\u0000" (expected a string without NUL characters)'),
    ("/process/args", "sh", 'found the string "sh" (expected a list)'),
    ("/process/args", {}, "found an empty object (expected a list)"),
    ("/process", [1], "found a list (expected an object)"),
    ("/annotations", {"": "x"}, "found a property without a name (expected something in it)"),
    ("/linux/sysctl", {"a\0": "x"}, r'found the name "a\u0000" (expected a string without NUL characters)'),
    ("/linux/resources/hugepageLimits/0/pageSize", "64kB", "(expected a page size in KB, MB or GB, such as"),
    ("/hostname", "x" * 500 + "\0", "x" * 60 + '..." (expected a string without NUL characters)'),
])  # fmt: skip
def test_words(pointer: str, value: Any, expected: str) -> None:
    (problem,) = problems(samples.text_of(samples.changed(samples.complete(), pointer, value)))
    assert expected in str(problem)
    assert problem.section


def test_what_create_needs_is_asked_for_on_demand() -> None:
    config = samples.changed(samples.runc_spec(), "/process/args", GONE)
    text = samples.text_of(config)
    assert validate.load(text) == config
    (problem,) = problems(text, runnable=True)
    assert problem.rule == "args-missing"
    assert [problem.rule for problem in validate.lint(text).warnings] == ["args-missing"]
    assert validate.load(samples.text_of(samples.runc_spec()), runnable=True)


def test_a_config_without_a_process_can_be_created_and_is_warned_of() -> None:
    text = samples.text_of(samples.minimal())
    assert validate.load(text, runnable=True) == samples.minimal()
    assert [problem.rule for problem in validate.lint(text).warnings] == ["process-missing"]


def test_a_process_alone() -> None:
    text = json.dumps({"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}, "consoleSize": None})
    assert "consoleSize" not in validate.load_process(text)
    found = problems('{"cwd": "x", "env": ["A"],\n "args": [], "terminal": 1}', validate.load_process, name="p.json")
    assert [(problem.pointer, problem.line, problem.column) for problem in found] == [
        ("/cwd", 1, 9), ("/env/0", 1, 22), ("/args", 2, 10), ("/terminal", 2, 26),
    ]  # fmt: skip


def test_resources_alone() -> None:
    text = '{"memory":{"limit":33554432,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":0,"period":0}}\n'
    assert validate.load_resources(text) == json.loads(text)
    assert validate.load_resources('{"memory": {"swap": 5}}') == {"memory": {"swap": 5}}
    (problem,) = problems('{"cpu": {"idle": 7}}', validate.load_resources)
    assert (problem.pointer, problem.column) == ("/cpu/idle", 18)


def test_lint_adds_warnings() -> None:
    config = samples.changed(samples.runc_spec(), "/process/capabilities/ambient", [])
    text = samples.text_of(samples.changed(config, "/hostnmae", 1)).replace('"cwd": "/"', '"cwd": "x", "cwd": "/"')
    found = [(problem.level, problem.rule, problem.pointer) for problem in validate.lint(text)]
    assert found == [
        ("warning", "repeated-property", "/process/cwd"),
        ("warning", "unknown-property", "/hostnmae"),
    ]
    assert validate.load(text)["hostnmae"] == 1


def test_without_the_library_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise PyociError(f"the Python library {name} is missing")

    monkeypatch.setattr(thirdparty, "load", missing)
    found = problems('{"ociVersion": 5, "root": {"path": "r"}}')
    assert "the Python library jsonschema is missing" in found[0].message
    (problem,) = problems('{"ociVersion": "1.0.0"}')
    assert problem.rule == "root-missing", "rules need no library"


def test_a_right_configuration_imports_nothing_costly(tmp_path: Path) -> None:
    for number, base in enumerate((samples.docker(), samples.complete())):
        (tmp_path / f"{number}.json").write_text(samples.text_of(base))
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
before = set(sys.modules)
from pyoci.spec import validate
for number in (0, 1):
    with open({str(tmp_path)!r} + f"/{{number}}.json", encoding="utf-8") as file:
        validate.load(file.read(), runnable=True)
print(*sorted(name for name in set(sys.modules) - before if not name.startswith("pyoci")))
"""
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    loaded = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.split()
    assert set(loaded) <= {"__future__", "_json"}


def test_the_explanation_agrees_with_the_verdict() -> None:
    chance = random.Random(11)
    for number in range(600):
        config = samples.mutate(samples.BASES[number % len(samples.BASES)](), chance)
        text = json.dumps(config)
        report = explain.explain(text, config, sound=compiled.config(config))
        assert validate.check(config) is not bool(report), list(report)
        assert all(problem.line == 1 and problem.column >= 1 for problem in report)


def test_nothing_but_a_spec_error_comes_of_any_text() -> None:
    chance = random.Random(12)
    texts = [samples.text_of(base()) for base in samples.BASES]
    junk = [
        "null",
        "NaN",
        "1e999",
        "-",
        "9" * 70,
        "\\ud800",
        "\ud800",
        "\0",
        "[" * 50,
        "{" * 50,
        '"',
        ",",
        "\u2028",
        "\ufeff",
    ]
    for _ in range(1500):
        text = chance.choice(texts)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text) + 1)
            end = min(len(text), at + chance.choice((0, 0, 1, 5, 200)))
            text = text[:at] + chance.choice([*junk, "", ""]) + text[end:]
        if chance.random() < 0.2:
            text = text[: chance.randrange(len(text) + 1)]
        load = chance.choice((validate.load, validate.load_process, validate.load_resources))
        try:
            assert isinstance(load(text), dict)
        except SpecError as error:
            assert error.problems and error.message
        validate.lint(text)


@pytest.mark.parametrize("depth", [200, 900, 5000, 100_000])
def test_deep_nesting(depth: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inner = opening * depth + "null" + closing * depth
        text = f'{{"ociVersion": "1.0.0", "root": {{"path": "r"}}, "x": {inner}, "hostname": 5}}'
        assert problems(text)
        validate.lint(text)
