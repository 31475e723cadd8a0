# SPDX-License-Identifier: Apache-2.0
"""delete, and the end of whatever a command could not finish.

In this order: the processes, what was made for them, the state directory, the poststop hooks. All that was made is undone
as far as it can be, and the first failure is told. Then the rest waits for another delete: each step may be done again
without harm, also after a delete that was killed.
"""

from __future__ import annotations

from time import monotonic, sleep

from pyoci import jsontext
from pyoci import state as states
from pyoci.cgroups.freezer import is_frozen, thaw, thaw_below
from pyoci.cgroups.processes import kill_all, pids
from pyoci.cgroups.remove import remove as remove_cgroups
from pyoci.container.record import Container, hook_state
from pyoci.errors import ContainerNotFound, InvalidOperation, PyociError, StateError, failed
from pyoci.kernel import basic as k
from pyoci.state import CREATED, CREATING, CRIU_ROOT, STOPPED, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.cgroups.unit import Manager
    from pyoci.container.record import Settings
    from pyoci.log import Log
    from pyoci.state import RuntimeState

_X_OK = 1
_PATIENCE = 10.0
_LOOK_AGAIN = 100  # milliseconds
_MOMENT = 5.0  # seconds; on a busy machine even one that is about to end takes its time


def delete(settings: Settings, container_id: str, force: bool = False) -> None:
    """Remove a container that is stopped or was never started, or whose create was killed; with `force` any, and it is fine
    if there is none.

    Raises ContainerNotFound, InvalidOperation, CgroupError, StateError.
    """
    directory = StateDir(settings.root, container_id)
    try:
        lock = directory.lock()
    except ContainerNotFound:
        if force:
            return
        raise
    try:
        clear(settings, directory, force)
    finally:
        k.close(lock)


def clear(settings: Settings, directory: StateDir, force: bool) -> None:
    """What delete does while it holds the lock."""
    try:
        container = Container(settings, directory.id)
    except ContainerNotFound:
        directory.remove()  # of a create that died before it wrote its record
        if force:
            return
        raise
    except StateError:
        if not force:
            raise
        _salvage(directory, settings)
        return
    status = container.status()
    if status not in (STOPPED, CREATED) and not force and not (status == CREATING and _is_abandoned(container.state)):
        raise InvalidOperation(f"cannot delete container {directory.id} that is not stopped: {status}")
    hooks = _hooks(directory, settings.log)
    end_and_destroy(directory, container.state, hooks, settings.log)


def _is_abandoned(state: RuntimeState) -> bool:
    """Whether its create has died. An init that was ready by then lives on, and nobody can start it."""
    try:
        return not states.has_creator(state)
    except OSError as error:
        raise failed(f"find out who creates container {state.id}", error) from None


def _salvage(directory: StateDir, settings: Settings) -> None:
    """Remove a container whose record is damaged. Its cgroups tell by their marks that they are its own.

    Without marks, as in those that systemd has made, where they are is worked out anew, from its config. That may fall
    short: a relative cgroupsPath is one from where its create was.
    """
    from pyoci.cgroups import layout, marks  # for this alone
    from pyoci.cgroups.plan import plan as plan_cgroup  # and this

    try:
        here = layout.read()
        cgroups = [here.named(path) for path in marks.find(here, settings.root).get(directory.id, ())]
        if not cgroups:
            config = directory.config()
            manager = _manager(config, settings)
            cgroups = [plan_cgroup(config, directory.id, here, systemd=manager, rootless=False).paths]
        for paths in cgroups:
            if pids(paths):
                kill_all(paths, k.SIGKILL)
        for paths in cgroups:
            remove_cgroups(paths)
    except OSError as error:
        raise failed(f"find what container {directory.id} has left", error) from None
    except StateError:
        pass  # no config either: it was not there long enough to have a cgroup
    directory.remove()


def _manager(config: dict[str, Any], settings: Settings) -> Manager | None:
    """The systemd that made the cgroup, if the form of its path, or our caller, says that one has."""
    path = (config.get("linux") or {}).get("cgroupsPath") or ""
    if path.count(":") != 2 if path else not settings.systemd_cgroup:
        return None
    from pyoci import host  # only for a record that is damaged
    from pyoci.cgroups.systemd import find  # likewise

    return find(host.is_rootless() if settings.rootless is None else settings.rootless)


def end_and_destroy(directory: StateDir, state: RuntimeState, hooks: list[dict[str, Any]], log: Log) -> None:
    """As `end` and `destroy`; cgroups that are somebody else's by now are left alone. Raises CgroupError, PyociError."""
    left = end(state, all_ours=lambda: _are_ours(directory, state))
    if left.cgroup_paths != state.cgroup_paths:
        log.warning(f"container {state.id} has ended, and others are in its cgroups: they are left alone")
    destroy(directory, left, hooks, log)


def _are_ours(directory: StateDir, state: RuntimeState) -> bool:
    """Whether who is in the cgroups is of the container, though its init is not there."""
    # What a restore that was killed has left may be alive though the criu that its record names is gone.
    if directory.has(CRIU_ROOT):
        return True
    from pyoci.cgroups import marks  # for this alone

    try:
        root = directory.path.rpartition("/")[0]
        return marks.are_on(state.cgroup_paths.values(), marks.mark_of(root, directory.id))
    except OSError:
        return False


def end(state: RuntimeState, all_ours: Callable[[], bool] = lambda: False) -> RuntimeState:
    """Kill init and whatever else of the container is in the cgroup, and wait for their end. Raises CgroupError, PyociError.

    The state that `destroy` is to go by: without cgroups if they are somebody else's by now. Whoever is in them is, if the
    container never had an init, or if that has ended with all of its pid namespace, unless `all_ours` knows better.
    """
    paths = state.cgroup_paths
    pidfd = states.open_init(state)
    try:
        may_be_ours = pidfd >= 0 or states.may_have_processes(state)
        if pidfd >= 0:
            _kill(pidfd)
            if "freezer" in paths and is_frozen(paths):
                thaw(paths)
            _await_end(pidfd, state)
        if paths and states.had_init(state) and pids(paths):
            if may_be_ours or all_ours():
                kill_all(paths, k.SIGKILL)
            elif _stay(paths):
                return state.replace(cgroup_paths={}, systemd_unit="")
    except OSError as error:
        raise failed(f"kill the processes of container {state.id}", error) from None
    finally:
        if pidfd >= 0:
            k.close(pidfd)
    return state


def _stay(paths: dict[str, str]) -> bool:
    """Whether somebody is there for more than a moment. An exec that came too late for its container ends by itself."""
    deadline = monotonic() + _MOMENT
    while pids(paths):
        if monotonic() >= deadline:
            return True
        sleep(0.01)
    return False


def destroy(directory: StateDir | None, state: RuntimeState, hooks: list[dict[str, Any]], log: Log) -> None:
    """Undo what create made for a container that has no process any more, and run its poststop hooks, if there are any.

    To be called with the lock of the directory held; without one where that has gone already.
    What cannot be undone is raised, and then the directory stays, and the hooks wait for a delete that can: they are to be
    run when the container is gone. One that fails is a warning (runtime.md, Lifecycle, step 13). Raises CgroupError,
    PyociError.
    """
    failure = _first_failure(
        lambda: _unmount(directory, state, log),
        lambda: _remove_rdt(state),
        lambda: _remove_cgroups(state, log),
    )
    if directory is not None:
        if failure is not None:
            raise failure  # or the record of where the cgroups are would be lost, and the hooks be run each time
        directory.remove()
    if hooks:
        from pyoci.hooks import run_hooks  # most containers have none

        told = jsontext.dumps({**hook_state(state), "status": STOPPED, "pid": 0}).encode()
        # In the bundle, as the others: but that may be gone by now, and a container without one can be deleted.
        bundle = state.bundle if k.access(f"{state.bundle}/", _X_OK) else None
        run_hooks("poststop", hooks, told, directory=bundle, on_failure=lambda error: log.warning(error.message))
    if failure is not None:
        raise failure


def _first_failure(*steps: Callable[[], None]) -> PyociError | None:
    """Take each of the steps, whatever has become of the others."""
    failure = None
    for step in steps:
        try:
            step()
        except PyociError as error:
            failure = failure or error
    return failure


def _unmount(directory: StateDir | None, state: RuntimeState, log: Log) -> None:
    if not state.root_mount:
        return
    from pyoci.rootfs.attach import detach  # few containers have no mount namespace

    detach(state.rootfs, state.root_mount)
    if directory is not None:  # should this delete be repeated, the id may be another mount's
        _save(directory, state.replace(root_mount=0), log)


def _remove_rdt(state: RuntimeState) -> None:
    if not state.intel_rdt_path:
        return
    from pyoci.process.intel_rdt import remove  # few hosts have it

    try:
        remove(state.intel_rdt_path if state.intel_rdt_is_own else "", state.intel_rdt_mon_path)
    except PyociError:
        if states.had_init(state):  # else what is in our way there is not ours
            raise


def _remove_cgroups(state: RuntimeState, log: Log) -> None:
    """A unit is made with init in it, so before there was one, whatever has that name is somebody else's. The same goes for
    what keeps a cgroup busy."""
    if not state.cgroup_paths:
        return
    if states.had_init(state):
        if state.systemd_unit:
            _stop_unit(state, log)
        remove_cgroups(state.cgroup_paths)
        return
    try:
        remove_cgroups(state.cgroup_paths, timeout=0, below=False)
    except PyociError:
        pass


def _save(directory: StateDir, state: RuntimeState, log: Log) -> None:
    """That it cannot be written is no reason not to remove it."""
    try:
        directory.save(state)
    except PyociError as error:
        log.warning(error.message)


def _stop_unit(state: RuntimeState, log: Log) -> None:
    """A unit without processes and without cgroup ends by itself, so that systemd cannot be asked is not the end."""
    from pyoci.cgroups.systemd import stop  # only where systemd has made the cgroup

    try:
        stop(state.systemd_unit, state.rootless)
    except PyociError as error:
        log.warning(error.message)


def _hooks(directory: StateDir, log: Log) -> list[dict[str, Any]]:
    """The poststop hooks. A create that died early has left no config."""
    try:
        return directory.hooks("poststop")
    except StateError as error:
        log.debug(error.message)
        return []


def _kill(pidfd: int) -> None:
    try:
        k.pidfd_send_signal(pidfd, k.SIGKILL)
    except ProcessLookupError:
        pass


def _await_end(pidfd: int, state: RuntimeState) -> None:
    waiting = k.poll()
    waiting.register(pidfd, k.POLLIN)
    deadline = monotonic() + _PATIENCE
    while not waiting.poll(_LOOK_AGAIN):
        thaw_below(state.cgroup_paths)  # the init of a pid namespace ends after all the others in it
        if monotonic() >= deadline:
            raise PyociError(
                f"container {state.id}: init (pid {state.init_process_pid}) is still there 10 s after SIGKILL"
            )
