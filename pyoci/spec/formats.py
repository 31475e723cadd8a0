# SPDX-License-Identifier: Apache-2.0
"""The patterns of the schemas as functions, so that a valid configuration is checked without `re`.

Each function takes a string and answers as its pattern does (ECMA 262: `$` is the very end). FORMATS ties them
together; the compiler refuses a pattern that is not in it, and a test holds every function against its pattern.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIGITS = "0123456789"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IDENTIFIER = _DIGITS + _UPPER + _UPPER.lower() + "-"


def is_text(value: str) -> bool:
    """A string that the kernel can take."""
    return "\0" not in value


def is_line(value: str) -> bool:
    return "\0" not in value and "\n" not in value


def is_memory_bandwidth(value: str) -> bool:
    """A schema line for intelRdt."""
    return value.startswith("MB:") and is_line(value)


def is_rlimit(value: str) -> bool:
    name = value.removeprefix("RLIMIT_")
    return bool(name) and len(name) == len(value) - 7 and not name.strip(_UPPER)


def is_page_size(value: str) -> bool:
    """A size of huge pages as the kernel names it, such as 2MB."""
    number = value[:-2]
    return bool(number) and number[0] != "0" and not number.strip(_DIGITS) and value[-2:] in ("KB", "MB", "GB")


def is_device_access(value: str) -> bool:
    return not value.strip("rwm")


def is_cpu_list(value: str) -> bool:
    """Only the characters of a list of CPUs; pyoci.spec.rules looks at the numbers."""
    return not value.strip(_DIGITS + ", -")


def is_version(value: str) -> bool:
    """Semantic Versioning 2.0.0."""
    rest, plus, build = value.partition("+")
    if plus and not all(part and not part.strip(_IDENTIFIER) for part in build.split(".")):
        return False
    core, dash, pre = rest.partition("-")
    if dash and not all(_is_prerelease(part) for part in pre.split(".")):
        return False
    numbers = core.split(".")
    return len(numbers) == 3 and all(_is_number(number) for number in numbers)


def _is_number(part: str) -> bool:
    return bool(part) and not part.strip(_DIGITS) and (part == "0" or part[0] != "0")


def _is_prerelease(part: str) -> bool:
    if not part or part.strip(_IDENTIFIER):
        return False
    return bool(part.strip(_DIGITS)) or _is_number(part)


FORMATS: dict[str, tuple[Callable[[str], bool], str]] = {
    r"^[^\u0000]*$": (is_text, "a string without NUL characters"),
    r"^[^\n\u0000]*$": (is_line, "a single line without NUL characters"),
    r"^MB:[^\n\u0000]*$": (is_memory_bandwidth, 'a single line that starts with "MB:"'),
    r"^RLIMIT_[A-Z]+$": (is_rlimit, 'the name of a resource limit, such as "RLIMIT_NOFILE"'),
    r"^[1-9][0-9]*[KMG]B$": (is_page_size, 'a page size in KB, MB or GB, such as "2MB"'),
    r"^[rwm]*$": (is_device_access, 'letters out of "r", "w" and "m"'),
    r"^[0-9, -]*$": (is_cpu_list, 'numbers and ranges, such as "0-3,7"'),
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$": (is_version, 'a version of the specification, such as "1.3.0"'),
}
"""By pattern: the function that equals it, and what is expected, in words."""
