# SPDX-License-Identifier: Apache-2.0
"""What commands that were killed left below a root, found and cleared.

A container that was made in full is its engine's, even if it has stopped; here it is about creates and deletes that did
not come to their end, about nobody's directories, and about cgroups that are marked as those of a container of which
nothing else is left. Whatever somebody may still be at is left alone.
"""

from __future__ import annotations

from time import time

from pyoci import state as states
from pyoci.cgroups import layout, marks
from pyoci.cgroups.processes import pids
from pyoci.cgroups.remove import remove as remove_cgroups
from pyoci.container.delete import clear
from pyoci.errors import ContainerExists, ContainerNotFound, PyociError, StateError, failed
from pyoci.kernel import basic as k
from pyoci.record import Record
from pyoci.state import CONFIG, STATE, UNFINISHED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.container.record import Settings

# A create has made its directory, and writes its record next: from then on it is known who is at it.
_RECORDED_WITHIN = 60.0


class Finding(Record):
    """Something that a dead command has left. `failure` tells why it could not be cleared, or is empty."""

    id: str
    what: str
    failure: str = ""


def collect(settings: Settings, pretend: bool = False) -> list[Finding]:
    """Clear what is left below the root, or with `pretend` only find it. What is damaged is told as a warning.

    Raises FileNotFoundError if the root is not there.
    """
    found = [_look_at(settings, StateDir(settings.root, name), pretend) for name in states.container_ids(settings.root)]
    try:
        marked = marks.find(layout.read(), settings.root)
    except OSError as error:
        raise failed("look for cgroups whose containers are gone", error) from None
    found += [_without_state(settings, name, marked[name], pretend) for name in sorted(marked)]
    return [finding for finding in found if finding is not None]


def _look_at(settings: Settings, directory: StateDir, pretend: bool) -> Finding | None:
    try:
        what = _left_by(directory)
        if not what or pretend:
            return Finding(id=directory.id, what=what) if what else None
        lock = directory.lock()
    except ContainerNotFound:
        return None  # deleted meanwhile
    except PyociError as error:
        settings.log.warning(f"container {directory.id} is left alone: {error.message}")
        return None
    try:
        what = _left_by(directory)  # once more: by now it may be another container
        if what:
            clear(settings, directory, force=True)
            return Finding(id=directory.id, what=what)
    except ContainerNotFound:
        pass
    except PyociError as error:
        return Finding(id=directory.id, what=what, failure=error.message)
    finally:
        k.close(lock)
    return None


def _left_by(directory: StateDir) -> str:
    """Which command has left it and died; "" for a container that is as it should be. Raises StateError."""
    try:
        if not directory.has(STATE):
            age = time() - k.stat(directory.path).st_mtime
            return "a create or delete that was killed has left its directory" if age > _RECORDED_WITHIN else ""
        state = directory.load()
        if states.has_creator(state):
            return ""
        if not states.had_init(state):
            return "a create was killed before there was an init"
        if directory.has(UNFINISHED):
            return "a create was killed before it was done"
        if not directory.has(CONFIG) and not states.is_alive(state):
            return "a delete was killed before it was done"
    except FileNotFoundError:
        raise ContainerNotFound(directory.id) from None
    except OSError as error:
        raise StateError(failed(f"look at {directory.path}", error).message) from None
    return ""


def _without_state(settings: Settings, container_id: str, cgroups: list[str], pretend: bool) -> Finding | None:
    """Remove marked cgroups if their container's state is gone and nobody is in them.

    To hold the id, and its lock, makes sure that it stays gone: a create comes by its cgroups after its directory, a delete
    loses them before it.
    """
    directory = StateDir(settings.root, container_id)
    what = f"the state is gone, and left are {len(cgroups)} cgroups, such as {cgroups[0]}"
    if directory.exists():
        return None
    try:
        members = [pid for path in cgroups for pid in pids({"": path})]
        if members:
            text = f"{len(set(members))} process(es) in them, the first is {members[0]}"
            return Finding(id=container_id, what=what, failure=text)
        if pretend:
            return Finding(id=container_id, what=what)
        directory.make(settings.root)
        lock = directory.lock()
        try:
            if not directory.is_made_by_us(lock):
                return None
            try:
                remove_cgroups({path: path for path in cgroups}, timeout=0)
            finally:
                directory.remove()
        finally:
            k.close(lock)
    except (ContainerExists, ContainerNotFound):  # somebody else has come by the id
        return None
    except OSError as error:
        return Finding(id=container_id, what=what, failure=failed("list the processes in them", error).message)
    except PyociError as error:
        return Finding(id=container_id, what=what, failure=error.message)
    return Finding(id=container_id, what=what)
