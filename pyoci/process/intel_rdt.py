# SPDX-License-Identifier: Apache-2.0
"""Carries out the part of a plan that is about resctrl, the kernel's file system for Intel RDT (config-linux.md, IntelRdt).

Loaded only for containers that have `intelRdt`. A group of a caller's (`closID`) may have other containers in it: what it
has been set to is looked at and left alone, and it is never removed.
"""

from __future__ import annotations

from errno import ENOSPC

from pyoci.errors import PyociError, failed, reason
from pyoci.kernel import basic as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyoci.plan.model import IntelRdt

_LIMIT = 1 << 20


def make(rdt: IntelRdt) -> bool:
    """Make the groups that are missing and set them up. Whether the class's group is ours to remove. Raises PyociError.

    A group that could not be set up is taken back, whoever it would have belonged to: it would be neither as the config has
    it nor the default, and the next container that asks for the class would be told that it is there already.
    """
    made = False
    try:
        if rdt.made_if_missing:
            made = _make_directory(rdt.group)
        else:
            k.stat(rdt.group)
    except FileNotFoundError:
        raise PyociError(
            f"Intel RDT: there is no class of service {rdt.group}, and without a schema it is not for us to make"
        ) from None
    except OSError as error:
        raise _failed(f"make the class of service {rdt.group}", error, rdt.group) from None
    try:
        _set_up(rdt, made)
    except BaseException as error:
        if made:
            _take_back(rdt.group, error)
        raise
    return made and rdt.own


def _set_up(rdt: IntelRdt, made: bool) -> None:
    try:
        if not made:
            _compare(rdt)
    except OSError as error:
        raise failed(f"Intel RDT: read {rdt.group}/schemata", error) from None
    set_schemata(rdt.group, rdt.schemata)
    try:
        if rdt.monitoring:
            _make_directory(rdt.monitoring)
    except OSError as error:
        raise _failed(f"make the monitoring group {rdt.monitoring}", error, rdt.group) from None


def _take_back(group: str, error: BaseException) -> None:
    try:
        k.rmdir(group)  # and with it the monitoring groups in it
    except OSError as problem:
        error.add_note(f"undoing failed: remove {group}: {reason(problem)}")


def set_schemata(group: str, lines: tuple[str, ...]) -> None:
    """Set what a class of service may use; each line is about one resource, and of two about the same the later one counts.
    On failure all is as it was. Raises PyociError.

    The kernel takes a domain only once in one write(2), so each line has its own.
    """
    if not lines:
        return
    path = f"{group}/schemata"
    former = ""
    try:
        if len(lines) > 1:
            former = _read(path)
        fd = k.open(path, k.O_WRONLY | k.O_CLOEXEC)
    except OSError as error:
        raise _failed(f"open {path}", error, group) from None
    try:
        for number, line in enumerate(lines):
            try:
                k.write(fd, f"{line}\n".encode())
            except OSError as error:
                failure = _failed(f"write {line} to {path}", error, group)
                if number:
                    _put_back(path, former, failure)
                raise failure from None
    finally:
        k.close(fd)


def _put_back(path: str, former: str, failure: PyociError) -> None:
    try:
        _write(path, former)
    except OSError as problem:
        failure.add_note(f"undoing failed: write to {path} what was in it: {reason(problem)}")


def enter(pid: int, group: str, monitoring: str) -> None:
    """Put a process, which has one thread yet, into its class of service and its monitoring group. Raises PyociError."""
    for directory in filter(None, (group, monitoring)):
        try:
            _write(f"{directory}/tasks", str(pid))
        except OSError as error:
            raise failed(f"Intel RDT: write {pid} to {directory}/tasks", error) from None


def remove(group: str, monitoring: str) -> None:
    """Remove what was made for a container; "" for what was not. What is gone is fine. Raises PyociError."""
    for directory in filter(None, (monitoring, group)):
        try:
            k.rmdir(directory)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise failed(f"Intel RDT: remove {directory}", error) from None


def _make_directory(path: str) -> bool:
    try:
        k.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def _compare(rdt: IntelRdt) -> None:
    """That a class of service which was there before is the one that the config means. Raises PyociError, OSError."""
    if not rdt.compared:
        return
    present = dict(_parse(line) for line in _read(f"{rdt.group}/schemata").splitlines())
    for line in rdt.compared:
        resource, wanted = _parse(line)
        if any(present.get(resource, {}).get(cache) != value for cache, value in wanted.items()):
            raise PyociError(f"Intel RDT: the class of service {rdt.group} is there already, and not as {line} has it")


def _parse(line: str) -> tuple[str, dict[str, int | str]]:
    """A line of a schemata file as numbers: L3:0=7f;1=1f, in which masks are hexadecimal and bandwidths (MB) decimal."""
    resource, _, values = "".join(line.split()).partition(":")
    pairs = (pair.partition("=") for pair in values.split(";") if pair)
    return resource, {cache: _number(value, 10 if resource.startswith("MB") else 16) for cache, _, value in pairs}


def _number(text: str, base: int) -> int | str:
    try:
        return int(text, base)
    except ValueError:
        return text


def _failed(step: str, error: OSError, group: str) -> PyociError:
    """The failure of a step, with what resctrl says about it in its top directory, which is the group or holds it."""
    said = ""
    for directory in (group, group.rpartition("/")[0]):
        try:
            said = _read(f"{directory}/info/last_cmd_status").strip()
            break
        except OSError:
            pass
    hint = (
        f" ({said})" if said and said != "ok" else " (it has no more groups to give)" if error.errno == ENOSPC else ""
    )
    return failed(f"Intel RDT: {step}", error, hint)


def _write(path: str, text: str) -> None:
    fd = k.open(path, k.O_WRONLY | k.O_CLOEXEC)
    try:
        k.write(fd, text.encode())
    finally:
        k.close(fd)


def _read(path: str) -> str:
    fd = k.open(path, k.O_RDONLY | k.O_CLOEXEC)
    try:
        return k.read(fd, _LIMIT).decode("utf-8", "replace")
    finally:
        k.close(fd)
