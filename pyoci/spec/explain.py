# SPDX-License-Identifier: Apache-2.0
"""Why a configuration is wrong: every problem of it at once, each with its place in the text.

The compiled validator only says that something is wrong. The reasons are found here with the same schemas and the
library `jsonschema`, which costs a hundred times as much and is imported for nothing else.
"""

from __future__ import annotations

import re  # cold path, as all that is imported here

from pyoci import thirdparty
from pyoci.errors import PyociError
from pyoci.jsontext import quote
from pyoci.spec import rules, schemas
from pyoci.spec.formats import FORMATS, is_text
from pyoci.spec.pointer import escape
from pyoci.spec.positions import Positions
from pyoci.spec.report import ERROR, WARNING, Problem, Report
from pyoci.spec.rules import advice
from pyoci.spec.typos import suggestion, unknown_properties

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    Schema = dict[str, Any]

BOUNDS = {
    (None, None): "an integer",
    (-(1 << 63), (1 << 63) - 1): "a 64-bit integer",
    (0, (1 << 64) - 1): "a 64-bit integer that is not negative",
}
"""Bounds that are better said than shown."""
SHOWN = 60
"""Characters of a string that a message shows."""
MANY = 12
"""Allowed values of which a message shows the first ones only."""


def explain(
    text: str, value: Any, kind: str = "config", within: str = "", sound: bool = False, runnable: bool = False
) -> Report:
    """All errors of `value`, which was read from `text` and has the schema `kind`.

    `within` says where in a configuration the value would stand (JSON pointer). `sound` is the verdict of the
    compiled schema; `runnable` asks for what creating a container needs, too.
    """
    return _located(text, _errors(value, kind, within, sound, runnable))


def advise(text: str, value: Any, sound: bool, nulls: Iterable[str]) -> Report:
    """Errors and warnings of a configuration; `nulls` are pointers to the properties that were null."""
    found = _errors(value, "config", "", sound, False)
    rejected = [problem.pointer for problem in found]
    found += _rule_problems(value, advice.RULES + rules.RUNNABLE, "", rejected, WARNING)
    found += unknown_properties(value, schemas.load("config"))
    found += [_warning(pointer, "null stands for an absent property", "null-property") for pointer in nulls]
    report = _located(text, found)
    positions = Positions(text)
    for pointer, span in positions.repeated:
        line, column, width = positions.place(span.key_start, span.key_end)
        problem = _warning(pointer, "the same property stands again further on, which counts", "repeated-property")
        report.add(problem.replace(line=line, column=column, width=width))
    return report


def _errors(value: Any, kind: str, within: str, sound: bool, runnable: bool) -> list[Problem]:
    found = [] if sound else list(_schema_problems(value, schemas.load(kind)))
    if not sound and not found:
        found.append(Problem(pointer="", message="not what the schema asks for", rule="schema"))
    found += _surrogate_problems(value)
    tables = rules.ERRORS + (rules.RUNNABLE if runnable else ())
    rejected = [problem.pointer for problem in found]
    return found + list(_rule_problems(value, tables, within, rejected))


def _warning(pointer: str, message: str, rule: str) -> Problem:
    return Problem(pointer=pointer, message=message, level=WARNING, rule=rule, on_key=True)


def _located(text: str, problems: Iterable[Problem]) -> Report:
    """The problems, each with line and column of the text."""
    positions = Positions(text)
    report = Report()
    for problem in problems:
        span = positions.span(problem.pointer)
        start, end = (span.key_start, span.key_end) if problem.on_key and span.key_end else (span.start, span.end)
        if problem.rule == "schema-required" or text[start : start + 1] in ("{", "["):
            end = start + 1
        line, column, width = positions.place(start, end)
        report.add(problem.replace(line=line, column=column, width=width))
    return report


def _rule_problems(
    value: Any, tables: Iterable[rules.Rule], within: str, rejected: Iterable[str], level: str = ERROR
) -> Iterator[Problem]:
    """What the rules find, in parts that nothing is wrong with so far."""
    for (name, _, _, section, _), pointer, message, wanted in rules.faults(value, tables, rejected, within):
        yield Problem(pointer=pointer, message=message, expected=wanted, level=level, rule=name, section=section)


def _surrogate_problems(value: Any) -> Iterator[Problem]:
    """Strings with half of a surrogate pair, which JSON can write and nothing can encode."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        pointer, node = stack.pop()
        if type(node) is dict:
            stack += [(f"{pointer}/{escape(key)}", key) for key in node]
            stack += [(f"{pointer}/{escape(key)}", item) for key, item in node.items()]
        elif type(node) is list:
            stack += [(f"{pointer}/{index}", item) for index, item in enumerate(node)]
        elif type(node) is str and any("\ud800" <= char <= "\udfff" for char in node):
            message = f"found {describe(node)}, which holds half of a surrogate pair"
            yield Problem(pointer=pointer, message=message, expected="whole characters", rule="surrogate")


def _schema_problems(value: Any, schema: Schema) -> Iterator[Problem]:
    """What the schema refuses. Of a value of the wrong type, nothing else is said."""
    try:
        jsonschema = thirdparty.load("jsonschema")
    except PyociError as missing:
        message = f"not what the schema asks for; what it is, pyoci cannot tell: {missing}"
        yield Problem(pointer="", message=message, rule="schema")
        return
    errors = list(_validator_class(jsonschema)(schema).iter_errors(value))
    mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
    for error in errors:
        if error.validator == "type" or tuple(error.absolute_path) not in mistyped:
            yield _problem(error, schema)


def _validator_class(jsonschema: Any) -> Any:
    """The library's validator, made to keep to JSON where Python differs."""

    def pattern(_: Any, expression: str, instance: Any, __: Any) -> Iterator[Any]:
        # Python's `$` lets a final newline pass, which in JSON Schema (ECMA 262) it does not.
        whole = expression[:-1] + r"\Z" if expression.endswith("$") else expression
        if isinstance(instance, str) and not re.search(whole, instance):
            yield jsonschema.ValidationError(expression)

    def required(_: Any, names: list[str], instance: Any, __: Any) -> Iterator[Any]:
        # The library puts the name into a sentence only.
        for name in names:
            if type(instance) is dict and name not in instance:
                yield jsonschema.ValidationError(name)

    base = jsonschema.Draft202012Validator
    # The runtime computes with integers: 1.0 is none to it.
    types = base.TYPE_CHECKER.redefine("integer", lambda _, instance: type(instance) is int)
    return jsonschema.validators.extend(base, {"pattern": pattern, "required": required}, type_checker=types)


def _problem(error: Any, root: Schema) -> Problem:
    schema: Schema = error.schema
    pointer = "".join(f"/{escape(step)}" for step in error.absolute_path)
    section = _section(root, error.absolute_schema_path)
    on_key = "propertyNames" in error.absolute_schema_path
    message, wanted = f"found {describe(error.instance)}", expected(schema, error.validator)
    if error.validator == "required":
        part = schema["properties"][error.message]
        message, wanted = f"the property {quote(error.message)} is missing", expected(part)
        section = schemas.section(part)
    elif error.validator == "enum":
        message += suggestion(error.instance, schema["enum"])
    elif error.validator in ("minItems", "minLength"):
        message, wanted = f"found an empty {'list' if error.validator == 'minItems' else 'string'}", "something in it"
    if on_key:
        pointer += f"/{escape(error.instance)}"
        message = f"found the name {_shown(error.instance)}" if error.instance else "found a property without a name"
    return Problem(
        pointer=pointer,
        message=message,
        expected=wanted + _fraction_hint(error),
        rule=f"schema-{error.validator}",
        section=section,
        on_key=on_key,
    )


def _section(root: Schema, path: Iterable[Any]) -> str:
    """The section of the specification that the innermost description on the way to a keyword names."""
    node: Any = root
    section = ""
    for step in path:
        node = node[step]
        section = (schemas.section(node) if type(node) is dict else "") or section
    return section


def _fraction_hint(error: Any) -> str:
    whole = type(error.instance) is float and error.instance.is_integer() and error.schema.get("type") == "integer"
    return ", without a fraction or exponent" if whole else ""


def describe(value: Any) -> str:
    """A value that was found, in words."""
    if value is None:
        return "null"
    if type(value) is bool:
        return f"the boolean {'true' if value else 'false'}"
    if type(value) in (int, float):
        return f"the number {value}"
    if type(value) is str:
        return f"the string {_shown(value)}"
    word = "list" if type(value) is list else "object"
    return ("an " if not value or word == "object" else "a ") + ("" if value else "empty ") + word


def _shown(value: str) -> str:
    return quote(value if len(value) <= SHOWN else value[:SHOWN] + "...")


def expected(schema: Schema, keyword: str = "") -> str:
    """What a schema asks for, in words; `keyword` is the one that was not met."""
    kind = schema.get("type")
    if kind == "integer":
        bounds = schema.get("minimum"), schema.get("maximum")
        return BOUNDS.get(bounds) or f"an integer between {bounds[0]} and {bounds[1]}"
    if kind == "boolean":
        return "true or false"
    if kind == "object":
        return "an object"
    if kind == "array":
        return "a list"
    if "enum" in schema:
        values = [quote(value) for value in schema["enum"] if value]
        if len(values) > MANY:
            values[3:] = [f"{len(values) - 3} more"]
        return f"one of {', '.join(values)}"
    function, words = FORMATS.get(schema.get("pattern", ""), (is_text, "a string"))
    return "a string" if function is is_text and keyword != "pattern" else words
