# SPDX-License-Identifier: Apache-2.0
"""Damaged records, calls that make no sense, and streams that are closed or that nobody reads."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...lifecycle.harness import Container, eventually
from .world import Skipped, World, answers, case, collect, sleeper, stranger

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    "half": lambda old: old[: len(old) // 2],
    "no JSON": lambda old: b"\xff\xfe garbage",
    "null": lambda old: b"null",
    "a list": lambda old: b"[]",
    "an empty object": lambda old: b"{}",
    "deep": lambda old: b"[" * 100_000,
    "all values null": lambda old: json.dumps(dict.fromkeys(json.loads(old))).encode(),
    "all values strings": lambda old: json.dumps(dict.fromkeys(json.loads(old), "x")).encode(),
    "from an older version": lambda old: json.dumps(dict(list(json.loads(old).items())[:3])).encode(),
}


@case
def corrupt_state(world: World) -> str:
    """That container is told to be damaged, the others are listed, and `delete --force` removes it with all it has."""
    complaints = []
    for name, damage in DAMAGES.items():
        try:
            with world.container() as box:
                box.launch()
                record = _record(box)
                record.write_bytes(damage(record.read_bytes()))
                answers(box.call("state", box.id), 0, 1)
                listed = answers(box.call("list", "--quiet"), 0)
                assert world.witness.id in listed.out, f"the others are not listed: {listed}"
                answers(box.delete(), 0, 1)
                world.deleted(box)
                box.leaves_nothing()
        except AssertionError as error:
            complaints.append(f"{name}: {error}")
    complaints += _wrong_pids(world)
    return collect(complaints, len(DAMAGES) + 5, "damaged records removed")


def _wrong_pids(world: World) -> list[str]:
    """A record with the pid of somebody else: nobody else is killed for it."""
    complaints = []
    for pid in (0, 1, -1, 1 << 40, None):
        try:
            with stranger(world, sleeper) as process, world.container() as box:
                box.launch()
                record = _record(box)
                text = record.read_text()
                wanted = process.pid if pid is None else pid
                record.write_text(text.replace(f":{box.pid},", f":{wanted},").replace(f": {box.pid},", f": {wanted},"))
                answers(box.call("state", box.id), 0, 1)
                answers(box.kill("KILL"), 0, 1)
                world.deleted(box)
        except AssertionError as error:
            complaints.append(f"pid {pid}: {error}")
    return complaints


def _record(box: Container) -> Path:
    for name in ("state.json", "status"):
        if (box.root / box.id / name).exists():
            return box.root / box.id / name
    raise Skipped("there is no record that is known here")


@case
def bad_command_lines(world: World) -> str:
    """Refused with exit code 1 (exec: 255) and a word, and without any change."""
    bad = 0
    with world.container() as box:
        box.create().ok()
        box.start().ok()
        for arguments in (
            *_MEANINGLESS,
            ["start", box.id],
            ["delete", box.id],
            ["create", "--bundle", str(box.bundle), box.id],
            ["run", "--bundle", str(box.bundle), box.id],
            ["resume", box.id],
            ["kill", box.id, "NOSUCHSIGNAL"],
            ["kill", box.id, "1000"],
            ["kill", box.id, "-1"],
            ["exec", box.id],
            ["exec", "--user", "1x", box.id, "true"],
            ["exec", "--user", "-1", box.id, "true"],
            ["exec", "--user", str(1 << 32), box.id, "true"],
            ["exec", "--cwd", "relative", box.id, "true"],
            ["exec", "--process", "/no/such/file", box.id],
        ):
            answers(box.call(*arguments), 1, 2, 3, 125, 126, 127, 255)
            bad += 1
        assert box.status == "running"
        box.kill("KILL").ok()
        box.wait()
        for arguments in (
            ["kill", box.id, "KILL"],
            ["exec", box.id, "true"],
            ["start", box.id],
            ["pause", box.id],
            ["resume", box.id],
        ):
            answers(box.call(*arguments), 1, 255)
            bad += 1
        assert box.status == "stopped"
        box.delete().ok()
        for verb in ("state", "start", "kill", "delete", "ps", "pause", "resume", "exec"):
            answers(box.call(verb, box.id, *(["true"] if verb == "exec" else [])), 1, 255)
            bad += 1
    return f"{bad} refused"


_IDS = ("..", ".", "../x", "a/b", "/etc", "a b", "a\nb", "é", "", "a" * 1025, "-")
_MEANINGLESS: list[list[str]] = [
    ["no-such-command"],
    ["--no-such-option", "list"],
    ["list", "--no-such-option"],
    ["list", "--format", "xml"],
    ["--log-format", "xml", "list"],
    ["--root"],
    ["create"],
    ["create", "a", "b"],
    ["create", "--preserve-fds", "x", "a"],
    ["delete"],
    ["state"],
    *([verb, name] for verb in ("state", "delete", "kill", "create") for name in _IDS),
]


@case
def closed_stdio_and_broken_pipes(world: World) -> str:
    """Whatever of the standard streams is closed or leads nowhere: no crash, and nothing is written where it must not."""
    tried = 0
    for closed in itertools.chain.from_iterable(itertools.combinations((0, 1, 2), n) for n in (1, 2, 3)):
        wrapper = ["sh", "-c", f'exec "$0" "$@" {" ".join(f"{fd}>&-" for fd in closed)}']
        with world.container() as box:
            box.process["args"] = ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"]
            box.write_config()
            box.call(
                "create", "--bundle", str(box.bundle), "--pid-file", str(box.pid_file), box.id, wrapper=wrapper
            ).ok()
            box.pid = int(box.pid_file.read_text())
            box.call("start", box.id, wrapper=wrapper).ok()
            for arguments in (["state", box.id], ["list"], ["ps", box.id], ["exec", box.id, "true"]):
                box.call(*arguments, wrapper=wrapper)
                tried += 1
            record = _record(box).read_bytes()
            assert b"out\n" not in record, "the program wrote to the record"
            json.loads(record)
    for arguments in (["list"], ["state", world.witness.id], ["ps", world.witness.id], ["features"], ["--help"]):
        for stream in ("stdout", "stderr"):
            reader, writer = os.pipe()
            os.close(reader)
            options: dict[str, Any] = {stream: writer}
            world.witness.call(*arguments, **options)
            os.close(writer)
            tried += 1
    with open("/dev/full", "wb") as full:
        for arguments in (["list"], ["state", world.witness.id], ["features"]):
            answers(world.witness.call(*arguments, stdout=full), 0, 1)
            tried += 1
    eventually("nothing else", lambda: world.witness.status == "running")
    return f"{tried} calls"
