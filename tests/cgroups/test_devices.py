# SPDX-License-Identifier: Apache-2.0
"""Device rules against a plain model: a BPF interpreter for version 2, the kernel's list of exceptions for version 1."""

from __future__ import annotations

import itertools
import random
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pyoci.cgroups import devices, manage
from pyoci.cgroups.devices import ANY, BLOCK, CHAR, MKNOD, READ, WRITE, Rule
from pyoci.cgroups.plan import CgroupPlan
from pyoci.errors import CgroupError

NUMBERS = (0, 1, 3, 5)
REQUESTS = list(itertools.product((BLOCK, CHAR), NUMBERS, NUMBERS, range(1, 8)))
# The kernel asks for the right to make a device alone (devcgroup_inode_mknod), and for the others when one is opened.
REQUESTS_V1 = [request for request in REQUESTS if request[3] == MKNOD or not request[3] & MKNOD]
DENY_ALL = {"allow": False, "access": "rwm"}
ALLOW_ALL = {"allow": True, "access": "rwm"}


def model(rules: Sequence[Rule], kind: int, major: int, minor: int, access: int) -> bool:
    """For each way of access the last rule that speaks of it counts."""
    for bit in (MKNOD, READ, WRITE):
        if access & bit:
            allowed = False
            for rule in rules:
                if (
                    kind in rule.kinds
                    and rule.major in (ANY, major)
                    and rule.minor in (ANY, minor)
                    and rule.access & bit
                ):
                    allowed = rule.allow
            if not allowed:
                return False
    return True


def run(program: bytes, kind: int, major: int, minor: int, access: int) -> bool:
    """Interpret the few instructions that the compiler uses, as Documentation/bpf/standardization says."""
    context = struct.pack("=III", access << 16 | kind, major, minor)
    registers: dict[int, int] = {1: -1}
    at = 0
    while True:
        code, sides, offset, value = struct.unpack_from("=BBhi", program, at * 8)
        target, source = (sides & 15, sides >> 4) if sys.byteorder == "little" else (sides >> 4, sides & 15)
        at += 1
        if code == 0x61:
            assert source == 1
            registers[target] = struct.unpack_from("=I", context, offset)[0]
        elif code == 0x54:
            registers[target] &= value & 0xFFFFFFFF
        elif code == 0x74:
            registers[target] = (registers[target] & 0xFFFFFFFF) >> value
        elif code == 0xB7:
            registers[target] = value
        elif code == 0x05:
            at += offset
        elif code == 0x55:
            at += offset if registers[target] != value & 0xFFFFFFFFFFFFFFFF else 0
        elif code == 0x45:
            at += offset if registers[target] & value else 0
        elif code == 0x95:
            assert registers[0] in (0, 1)
            return bool(registers[0])
        else:
            raise AssertionError(f"no instruction {code:#x}")


def kernel_v1(lines: Sequence[tuple[str, str]], kind: int, major: int, minor: int, access: int) -> bool:
    """What security/device_cgroup.c does with lines written to devices.allow and devices.deny."""
    allowed = True
    exceptions: dict[tuple[str, str, str], set[str]] = {}
    for file, line in lines:
        letter, numbers, letters = line.split()
        if letter == "a":
            allowed, exceptions = file == "devices.allow", {}
            continue
        key = (letter, *numbers.split(":"))
        if (file == "devices.allow") == allowed:
            exceptions[key] = exceptions.get(key, set()) - set(letters)
        else:
            exceptions[key] = exceptions.get(key, set()) | set(letters)
    wanted = {letter for letter, bit in (("r", READ), ("w", WRITE), ("m", MKNOD)) if access & bit}
    matching = [
        letters
        for (letter, a, b), letters in exceptions.items()
        if letter == {BLOCK: "b", CHAR: "c"}[kind] and a in ("*", str(major)) and b in ("*", str(minor))
    ]
    if allowed:
        return not any(wanted & letters for letters in matching)
    return any(wanted <= letters for letters in matching)


def random_rules(dice: random.Random, most: int = 7) -> list[dict[str, Any]]:
    listed = []
    for _ in range(dice.randrange(most)):
        entry: dict[str, Any] = {"allow": dice.random() < 0.6}
        kind = dice.choice(("a", "b", "c", "c", None))
        if kind is not None:
            entry["type"] = kind
        for key in ("major", "minor"):
            if dice.random() < 0.6:
                entry[key] = dice.choice((*NUMBERS, -1))
        entry["access"] = "".join(letter for letter in "rwm" if dice.random() < 0.6) or "r"
        listed.append(entry)
    if dice.random() < 0.2:
        listed.insert(dice.randrange(len(listed) + 1), dice.choice((DENY_ALL, ALLOW_ALL)))
    return listed


def test_the_program_does_what_the_model_says() -> None:
    dice = random.Random(20261120)
    for _ in range(3000):
        rules = devices.rules(random_rules(dice))
        program = devices.program(rules)
        assert len(program) % 8 == 0
        for request in dice.sample(REQUESTS, 25):
            assert run(program, *request) == model(rules, *request), (rules, request)


def test_the_lines_for_v1_do_what_the_model_says_or_are_refused() -> None:
    dice = random.Random(20261121)
    refused = stricter = 0
    for _ in range(3000):
        rules = devices.rules(random_rules(dice, most=4))
        try:
            lines = [(write.file, write.value) for write in devices.lines(rules)]
        except CgroupError:
            refused += 1
            continue
        for request in dice.sample(REQUESTS_V1, 40):
            expected, got = model(rules, *request), kernel_v1(lines, *request)
            assert expected or not got, (rules, lines, request)
            stricter += expected and not got
    assert 100 < refused < 2500
    # Only for rules that overlap without one holding the other (c 1:* r and c *:3 w) is version 1 stricter than asked.
    assert stricter < 300


def test_default_devices_are_always_allowed() -> None:
    rules = devices.rules([DENY_ALL])
    program = devices.program(rules)
    lines = [(write.file, write.value) for write in devices.lines(rules)]
    everything = READ | WRITE | MKNOD
    usual = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, 0), (136, 77), (10, 200)]
    for check in (lambda *r: run(program, *r), lambda *r: kernel_v1(lines, *r)):
        assert all(check(CHAR, *number, everything) for number in usual)
        assert check(BLOCK, 8, 0, MKNOD)
        assert not check(BLOCK, 8, 0, READ)
        assert not check(CHAR, 1, 1, READ)  # mem
        assert not check(CHAR, 5, 1, WRITE)  # the host's console


def test_without_any_rule_everything_else_is_denied() -> None:
    program = devices.program(devices.rules([]))
    assert not run(program, CHAR, 1, 1, READ)
    assert not run(program, BLOCK, 8, 0, WRITE)


def test_a_privileged_container_has_no_rules_to_enforce() -> None:
    assert devices.allow_everything(devices.rules([ALLOW_ALL]))
    assert devices.allow_everything(devices.rules([DENY_ALL, ALLOW_ALL]))
    assert not devices.allow_everything(devices.rules([]))
    assert not devices.allow_everything(devices.rules([ALLOW_ALL, {"allow": False, "type": "c", "access": "r"}]))
    assert [w.text() for w in devices.lines(devices.rules([ALLOW_ALL]))] == ["devices.allow = a *:* rwm"]


def test_a_denied_write_also_denies_opening_for_both() -> None:
    rules = devices.rules([ALLOW_ALL, {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "w"}])
    program = devices.program(rules)
    assert run(program, CHAR, 10, 229, READ)
    assert not run(program, CHAR, 10, 229, READ | WRITE)


def test_access_allowed_by_two_rules_together() -> None:
    one, other = ({"allow": True, "type": "c", "major": 10, "minor": 229, "access": letter} for letter in "rw")
    rules = devices.rules([one, other])
    assert run(devices.program(rules), CHAR, 10, 229, READ | WRITE)
    assert ("devices.allow", "c 10:229 rw") in [(w.file, w.value) for w in devices.lines(rules)]


def test_rules_are_written_in_their_order_and_with_their_own_access() -> None:
    """Whoever reads devices.list finds there what the config says; that all devices may be made is said once."""
    listed = [("c", 10, 229, "rwm"), ("b", 8, 20, "rw"), ("b", 10, 200, "r")]
    wanted = [{"allow": True, "type": a, "major": b, "minor": c, "access": d} for a, b, c, d in listed]
    lines = [write.value for write in devices.lines(devices.rules([DENY_ALL, *wanted]))]
    assert lines[:4] == ["a *:* rwm", "c 10:229 rwm", "b 8:20 rw", "b 10:200 r"]
    assert lines[4:6] == ["b *:* m", "c *:* m"]


def test_numbers_of_32_bits() -> None:
    huge = (1 << 32) - 1
    rules = devices.rules([{"allow": True, "type": "c", "major": huge, "minor": 3, "access": "r"}])
    program = devices.program(rules)
    assert not run(program, CHAR, 10, 3, READ)
    assert ("devices.allow", f"c {huge}:3 r") in [(w.file, w.value) for w in devices.lines(rules)]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"allow": True, "type": "c"}, "cannot be empty"),
        ({"allow": True, "access": ""}, "cannot be empty"),
        ({"allow": True, "access": "rx"}, "only r, w and m"),
        ({"allow": True, "type": "p", "access": "r"}, 'invalid cgroup device type "p"'),
        ({"allow": True, "type": "c", "major": -2, "access": "r"}, "invalid major number -2"),
        ({"allow": True, "type": "c", "minor": 1 << 32, "access": "r"}, "invalid minor number"),
    ],
)
def test_rules_that_make_no_sense(entry: dict[str, Any], text: str) -> None:
    with pytest.raises(CgroupError, match=r"linux.resources.devices.1.") as caught:
        devices.rules([DENY_ALL, entry])
    assert text in caught.value.message


def test_v1_refuses_a_hole_in_a_wildcard() -> None:
    allowed = {"allow": True, "type": "c", "access": "rwm"}
    hole = {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    with pytest.raises(CgroupError, match=r"cgroup v1 cannot deny c 10:229 once c \*:\* has been allowed"):
        devices.lines(devices.rules([allowed, hole]))


def test_a_cgroup_that_has_gone_takes_no_rules(tmp_path: Path) -> None:
    gone = f"{tmp_path}/gone"
    plan = CgroupPlan(mode="v2", paths={"": gone}, directories=(), mount_points={}, devices_by_bpf=True)
    with pytest.raises(CgroupError, match=f"^open {gone} for its device rules: no such file or directory$"):
        manage.apply(plan, plan.paths)
    assert manage.apply(plan.replace(devices_lenient=True), plan.paths) == ()
