# SPDX-License-Identifier: Apache-2.0
"""The entry: a configuration's text in, the configuration out, or every problem of it.

    load(text)            for create and run: the configuration, or SpecError
    load_process(text)    the same for a process alone, as `exec --process` takes it
    load_resources(text)  the same for resources alone, as `update --resources` takes them
    lint(text)            for validate: all errors and warnings

A right configuration passes the compiled schema and the rules, and nothing else is imported. For a wrong one
pyoci.spec.explain looks for the reasons. A property that is null counts as absent, as it does for runc and crun.
"""

from __future__ import annotations

from pyoci import jsontext
from pyoci.errors import SpecError
from pyoci.spec import compiled, rules
from pyoci.spec.pointer import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyoci.spec.report import Report

    Kind = tuple[Callable[[Any], bool], str, str]
    """The compiled schema, its name, and where in a configuration it stands."""

_CONFIG: Kind = (compiled.config, "config", "")
_PROCESS: Kind = (compiled.process, "config-process", "/process")
_RESOURCES: Kind = (compiled.resources, "config-linux-resources", "/linux/resources")


def load(text: str, name: str = "config.json", runnable: bool = False) -> dict[str, Any]:
    """The configuration that `text` holds. `name` is what messages call it.

    With `runnable`, what a runtime must know by the time it creates the container is asked for as well. Raises
    SpecError, whose `problems` are all there are (pyoci.spec.report.Problem) and whose message lists them.
    """
    return _load(text, name, _CONFIG, runnable)


def load_process(text: str, name: str = "process.json") -> dict[str, Any]:
    """The `process` that `text` holds. Raises SpecError."""
    return _load(text, name, _PROCESS, False)


def load_resources(text: str, name: str = "resources.json") -> dict[str, Any]:
    """The `linux.resources` that `text` holds. Raises SpecError."""
    return _load(text, name, _RESOURCES, False)


def check(config: object) -> bool:
    """Whether a configuration is right."""
    return compiled.config(config) and next(rules.faults(config), None) is None


def lint(text: str) -> Report:
    """All errors and warnings of a configuration."""
    try:
        value = jsontext.loads(text)
    except jsontext.JsonError as error:
        return _syntax_report(error)
    from pyoci.spec import explain  # the search for reasons, and for what is only worth a warning

    nulls = ["".join(f"/{escape(step)}" for step in steps) for steps in jsontext.drop_nulls(value)]
    return explain.advise(text, value, compiled.config(value), nulls)


def _load(text: str, name: str, kind: Kind, runnable: bool) -> dict[str, Any]:
    is_right, schema, within = kind
    try:
        value = jsontext.loads(text)
    except jsontext.JsonError as error:
        raise _spec_error(_syntax_report(error), name) from None
    if "null" in text:
        jsontext.drop_nulls(value)
    sound = is_right(value)
    if not sound or _may_hold_surrogates(text) or _breaks_rules(value, within, runnable):
        from pyoci.spec import explain  # only for what is wrong

        report = explain.explain(text, value, schema, within, sound, runnable)
        if report:
            raise _spec_error(report, name)
    loaded: dict[str, Any] = value
    return loaded


def _breaks_rules(value: Any, within: str, runnable: bool) -> bool:
    if runnable and rules.check_runnable(value):
        return True
    return next(rules.faults(value, within=within), None) is not None


def _may_hold_surrogates(text: str) -> bool:
    """Whether a string could be one that cannot be encoded: escaped so, or so in the text."""
    if "\\ud" in text or "\\uD" in text:
        return True
    try:
        return not text.isascii() and not text.encode()
    except UnicodeEncodeError:
        return True


def _syntax_report(error: jsontext.JsonError) -> Report:
    from pyoci.spec.report import Problem, Report  # only for what is wrong

    problem = Problem(pointer="", message=error.message, rule="json", line=error.line, column=error.column)
    return Report([problem])


def _spec_error(report: Report, name: str) -> SpecError:
    from pyoci.spec import render  # only for what is wrong

    return SpecError(render.text(report, name), tuple(report))
