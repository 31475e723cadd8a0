# SPDX-License-Identifier: Apache-2.0
"""Hooks: that they are called, when, where, in which order, and what it means that one fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.lifecycle.harness import eventually, is_gone_or_zombie

from ..box import PAYLOAD, Box, namespaces
from ..suite import each, proves

KINDS = {
    "prestart": "prestart",
    "create-runtime": "createRuntime",
    "create-container": "createContainer",
    "start-container": "startContainer",
    "poststart": "poststart",
    "poststop": "poststop",
}
"""The name of a kind in our ids, and in config.json."""

STATUS = {
    "prestart": "created", "createRuntime": "created", "createContainer": "created", "startContainer": "created",
    "poststart": "running", "poststop": "stopped",
}  # fmt: skip
"""A container is created after step 2 of the lifecycle, and hooks are called from step 3 on."""

IN_CONTAINER = ("createContainer", "startContainer")
KINDS_OF_NAMESPACES = ("mnt", "net", "ipc", "uts", "pid")
NOTES = "/notes"


class Diary:
    """A directory that hooks and the container write to, in `path` on the host and in NOTES inside."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.path = box.scratch / "notes"
        self.path.mkdir()
        self.log = self.path / "log"
        box.mounts.append({"destination": NOTES, "type": "bind", "source": str(self.path), "options": ["bind"]})

    def hook(self, kind: str, name: str = "", status: int = 0, **more: Any) -> None:
        """Add a hook. Those of the container are found in the container, the others in the host, where alone they are."""
        inside = kind == "startContainer"
        program = "/hook" if inside else str(self.box.scratch / "hook")
        target = self.box.rootfs / "hook" if inside else Path(program)
        if not target.exists():
            target.write_bytes(self.box.payload.read_bytes())
            target.chmod(0o755)
        log = f"{NOTES}/log" if inside else str(self.log)
        entry = {"path": program, "args": ["hook", "note", log, name or kind, str(status)], **more}
        self.box.config.setdefault("hooks", {}).setdefault(kind, []).append(entry)

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def names(self) -> list[str]:
        return [str(entry["name"]) for entry in self.entries()]

    def program(self) -> None:
        """Have the container's program write to it, too."""
        self.box.process["args"] = [PAYLOAD, "note", f"{NOTES}/log", "program", "0"]


def live(box: Box) -> dict[str, str]:
    """A whole life; the namespaces that the container had."""
    box.create().ok()
    found = box.namespaces()
    box.start().ok()
    box.wait()
    box.delete().ok()
    return found


@each(KINDS, "lifecycle-{}", "hooks-{}", "{}-where")
def where_a_hook_runs(box: Box, kind: str) -> None:
    diary = Diary(box)
    diary.hook(kind, env=["ONE=1", "TWO="])
    container = live(box)
    (entry,) = diary.entries()
    expected = container if kind in IN_CONTAINER else namespaces()
    found = {name: entry["namespaces"][name] for name in KINDS_OF_NAMESPACES}
    assert found == {name: expected[name] for name in KINDS_OF_NAMESPACES}
    assert entry["argv"][0] == "hook"
    assert sorted(entry["env"]) == ["ONE=1", "TWO="]


@each(KINDS, "{}-when", "features-hooks")
def when_a_hook_runs(box: Box, kind: str) -> None:
    """The operation during which it does, and with which root."""
    diary = Diary(box)
    diary.hook(kind)
    box.create().ok()
    assert len(diary.entries()) == (kind in ("prestart", "createRuntime", "createContainer")), "after create"
    box.start().ok()
    box.wait()
    assert len(diary.entries()) == (kind != "poststop"), "after start"
    box.delete().ok()
    (entry,) = diary.entries()
    root = Path("/").stat()
    on_host = entry["root"] == [root.st_dev, root.st_ino]
    assert on_host == (kind != "startContainer"), f"its root is {'' if on_host else 'not '}the host's"


@proves(
    "prestart-first", "create-container-after", "start-container-when", "poststart-when", "poststop-when", "hooks-order"
)
def the_order_of_all_hooks(box: Box) -> None:
    diary = Diary(box)
    for kind in reversed(KINDS.values()):
        for name in ("1", "2", "3"):
            diary.hook(kind, f"{kind} {name}")
    diary.program()
    live(box)
    names = diary.names()
    assert names.index("startContainer 3") < names.index("program")
    names.remove("program")
    expected = [f"{kind} {name}" for kind in KINDS.values() for name in ("1", "2", "3")]
    assert names == expected, f"in this order: {names}"


@each(KINDS, "hooks-state", "state-status", "state-pid")
def what_a_hook_is_told(box: Box, kind: str) -> None:
    diary = Diary(box)
    diary.hook(kind)
    box.config["annotations"] = {"com.example.told": "yes"}
    live(box)
    (entry,) = diary.entries()
    state = json.loads(entry["stdin"])
    assert (state["id"], state["bundle"]) == (box.id, str(box.bundle)), state
    assert state["annotations"]["com.example.told"] == "yes", state
    assert state["status"] == STATUS[kind], state
    if kind in IN_CONTAINER:
        assert state["pid"] == 1, state
    elif kind != "poststop":
        assert state["pid"] == box.pid, state


def fails(box: Box, kind: str) -> None:
    """The operation that calls this hook fails, and the container is no more."""
    if kind in ("startContainer", "poststart"):
        box.create().ok()
        assert box.start().status != 0, "start should fail"
        eventually("the end of the process", lambda: is_gone_or_zombie(box.pid))
    else:
        assert box.create().status != 0, "create should fail"


@each({name: kind for name, kind in KINDS.items() if name != "poststop"}, "lifecycle-{}-fails")
def a_hook_that_fails(box: Box, kind: str) -> None:
    diary = Diary(box)
    diary.hook(kind, status=1)
    diary.hook("poststop")
    box.process["args"] = [PAYLOAD, "hold"]
    fails(box, kind)
    assert box.call("state", box.id).status != 0, "the container is still there"
    assert diary.names() == [kind, "poststop"], "poststop hooks are called when a container was destroyed"
    assert box.traces() == []


@proves("lifecycle-poststop-fails", "warning-continues")
def a_poststop_hook_that_fails(box: Box) -> None:
    diary = Diary(box)
    diary.hook("poststop", "first", status=1)
    diary.hook("poststop", "second")
    box.look(delete=False)
    result = box.delete().ok()
    assert result.err.strip(), "no warning"
    assert diary.names() == ["first", "second"]
    assert box.call("state", box.id).status != 0
