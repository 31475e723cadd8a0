# SPDX-License-Identifier: Apache-2.0
"""`--regex`, which crun has, too: one call for every container whose id matches."""

from __future__ import annotations

from pyoci import state as states
from pyoci.errors import ContainerNotFound, InvalidOperation, PyociError, UsageError, failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyoci.container.record import Settings


def for_each(settings: Settings, pattern: str, act: Callable[[str], None]) -> None:
    """Call `act` with the id of each container below the root that the regular expression is found in.

    One whose status does not allow it is a warning, as it may have ended by itself meanwhile. Whatever else fails, the
    others have their turn first. Raises UsageError, PyociError.
    """
    import re  # a single container is called by its name

    try:
        matches = re.compile(pattern).search
    except re.error as error:
        raise UsageError(f"--regex: {pattern!r} is no regular expression: {error}") from None
    try:
        names = states.container_ids(settings.root)
    except FileNotFoundError as error:
        raise failed(f"list the containers below {settings.root}", error) from None
    failure: PyociError | None = None
    for name in filter(matches, names):
        try:
            act(name)
        except (ContainerNotFound, InvalidOperation) as error:
            settings.log.warning(f"container {name}: {error.message}")
        except PyociError as error:
            if failure is None:
                failure = error
            else:
                failure.add_note(error.message)
    if failure is not None:
        raise failure
