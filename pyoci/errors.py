# SPDX-License-Identifier: Apache-2.0
"""Every error that pyoci raises on purpose, and nothing else.

    PyociError                  what a caller reads: one message, and the code to exit with
     +- UsageError              the command line is wrong
     +- SpecError               config.json is wrong; carries all of its problems
     +- StateError              what a state directory holds cannot be used
     |   +- ContainerNotFound
     |   +- ContainerExists
     |   +- InvalidId
     |   +- InvalidOperation    the container's status does not allow it
     +- StageFailed             a step in the container's own process failed
     +- HookFailed
     +- CgroupError

Kernel failures stay OSError, with the object in `filename`, until the place that knows what was being attempted wraps
them, once, with `failed()`. Only `pyoci.cli` prints and exits.
"""

from __future__ import annotations

from posix import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class PyociError(Exception):
    """`message` is one line in plain words that names the step and the object; `exit_code` is for the command line, `errno`
    the kernel's reason, if it was the kernel that refused.
    """

    exit_code = 1
    errno: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class UsageError(PyociError):
    """The command line cannot be understood."""


class SpecError(PyociError):
    """The configuration is wrong. `problems` holds every problem found (pyoci.spec.report.Problem), `message` their text."""

    def __init__(self, message: str, problems: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class StateError(PyociError):
    """A state directory holds nothing that can be used."""


class ContainerNotFound(StateError):
    """No such id below the root. Engines look for the words "does not exist"."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f'container does not exist: "{container_id}"')


class ContainerExists(StateError):
    """The id is taken."""

    def __init__(self, container_id: str) -> None:
        super().__init__(f'container with given ID already exists: "{container_id}"')


class InvalidId(StateError):
    """The id has characters that no container may have."""


class InvalidOperation(StateError):
    """The operation is not allowed in the container's present status."""


class StageFailed(PyociError):
    """A step of the container's own process failed before the program ran."""

    @classmethod
    def heard(cls, said: str) -> StageFailed:
        """What that process said of it: see `said_of`."""
        number, zero, text = said.partition("\0")
        if not (zero and number.isdigit()):
            return cls(said)
        failure = cls(text)
        failure.errno = int(number)
        return failure


def said_of(error: BaseException, text: str) -> str:
    """A failure in the form that `StageFailed.heard` understands: its errno, if there is one, and NUL go before the text."""
    number = error.errno if isinstance(error, (OSError, PyociError)) else None
    return text if number is None else f"{number}\0{text}"


class HookFailed(PyociError):
    """A hook could not be run, ended with an error or took too long."""


class CgroupError(PyociError):
    """The limits asked for cannot be had, or the cgroup is not fit for use."""


def reason(error: OSError) -> str:
    """The kernel's reason as the engines look for it: `permission denied`, not `Permission denied`."""
    if error.errno is None:
        return str(error)
    text = strerror(error.errno)
    return text[:1].lower() + text[1:]


def describe(error: OSError) -> str:
    """The reason together with the object that the system call was about, if it names one."""
    if error.filename is None:
        return reason(error)
    name = error.filename
    return f"{name.decode('utf-8', 'replace') if isinstance(name, bytes) else name}: {reason(error)}"


def failed(step: str, error: OSError, hint: str = "") -> PyociError:
    """An OSError as the failure of a named step: `failed("mount /proc", error)`. hint: what to say behind the reason."""
    failure = PyociError(f"{step}: {reason(error)}{hint}")
    failure.errno = error.errno
    return failure
