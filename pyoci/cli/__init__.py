# SPDX-License-Identifier: Apache-2.0
"""The command line: one call, one command, one exit code.

This is the only place that reports a failure and picks the exit code, and no traceback leaves it. Each command is a
module of its own with a table `COMMAND` and a function `run(call, log) -> int`; the one that is called is imported,
and no other.

Exit codes: 0 done, 1 failed, 255 for an `exec` that failed, and for `run` and `exec` in the foreground what the
container's process exits with (128 + signal if one killed it).
"""

from __future__ import annotations

import sys

from pyoci import __version__
from pyoci.cli.options import CONTAINER_ID, Call, check_arguments, parse, suggestion
from pyoci.cli.output import ReaderGone, occupy_standard_descriptors
from pyoci.cli.settings import GLOBAL
from pyoci.errors import PyociError, SpecError, UsageError, describe, failed
from pyoci.kernel.basic import _exit, getpid
from pyoci.log import Log
from pyoci.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any, NoReturn

COMMANDS = {
    "create": "pyoci.cli.create",
    "start": "pyoci.cli.start",
    "state": "pyoci.cli.state",
    "kill": "pyoci.cli.kill",
    "delete": "pyoci.cli.delete",
    "run": "pyoci.cli.run",
    "exec": "pyoci.cli.exec",
    "list": "pyoci.cli.list",
    "gc": "pyoci.cli.gc",
    "ps": "pyoci.cli.ps",
    "pause": "pyoci.cli.pause",
    "resume": "pyoci.cli.resume",
    "update": "pyoci.cli.update",
    "events": "pyoci.cli.events",
    "checkpoint": "pyoci.cli.checkpoint",
    "restore": "pyoci.cli.restore",
    "spec": "pyoci.cli.spec",
    "features": "pyoci.cli.features",
    "validate": "pyoci.cli.validate",
    "plan": "pyoci.cli.plan",
}
"""The commands in the order of the help text, and the modules that they are in."""


def main() -> NoReturn:
    """Carry out the call in sys.argv and leave, without the interpreter's teardown."""
    pid = getpid()
    invocation = _Invocation()
    status = 1
    try:
        try:
            occupy_standard_descriptors()
            status = invocation.run(sys.argv[1:])
        except ReaderGone:
            pass
        except BaseException as error:
            # A child of ours that got lost on its way may be inside a container by now, and must touch nothing.
            if getpid() == pid:
                status = invocation.report(error)
    finally:
        _exit(status)  # even if the report itself is interrupted


class _Invocation:
    """One call, and what is known of it so far if it comes to a report."""

    def __init__(self) -> None:
        self.log = Log()
        self.failure = 1

    def run(self, words: list[str]) -> int:
        call = Call(GLOBAL)
        try:
            parse(call, words, first_only=True)
        except UsageError:
            _find_log_options(call, words)
            raise
        finally:
            self._open_log(call)
        return self._run_globally(call)

    def _open_log(self, call: Call) -> None:
        """Before all else that may fail: an engine that finds no log cannot tell its user why."""
        self.log.verbose = call.flag("debug")
        self.log.json = call.text("log-format") == "json"
        path = call.text("log")
        if path:
            try:
                self.log.open(path)
            except OSError as error:
                raise failed(f"open the log file {path}", error) from error

    def _run_globally(self, call: Call) -> int:
        if call.flag("version"):
            from pyoci.cli import version  # no command needs it

            version.put_version()
            return 0
        asked = call.rest[:1] in (["help"], ["h"])
        if not call.rest or asked or call.flag("help"):
            topics = call.rest[1:2] if asked else call.rest[:1]
            _help().put_help(load(topics[0]).COMMAND if topics else GLOBAL)
            return 0
        name, *words = call.rest
        if name not in COMMANDS and ("-h" in words or "--help" in words):
            raise UsageError(f"No help topic for '{name}': there is no such command")
        module = load(name)
        return self._run_command(module, parse(Call(module.COMMAND, call), words))

    def _run_command(self, module: Any, call: Call) -> int:
        if call.flag("help"):
            _help().put_help(call.command)
            return 0
        check_arguments(call)
        if call.command.arguments[:1] == (CONTAINER_ID,):
            self.log.container = call.argument(0)
        self.log.debug(f"pyoci {__version__}: {call.command.name}, {call.values}, {call.arguments}")
        if call.outer is not None and call.outer.given("criu"):
            self.log.warning("--criu is ignored: criu is looked for in $PATH")
        self.failure = call.command.failure
        _harden(call.command.near_container)
        status: int = module.run(call, self.log)
        return status

    def report(self, error: BaseException) -> int:
        """Tell why the call fails, once, and give the exit code."""
        if self.log.verbose and self.log.fd >= 0:
            self.log.debug(_trace(error))
        self.log.error(_explained(_message(error)), **_details(error))
        return self.failure


def load(name: str) -> Any:
    """The module of a command. Raises UsageError if there is no such command."""
    if name not in COMMANDS:
        raise UsageError(f"unknown command {name!r}{suggestion(name, list(COMMANDS))} (pyoci --help lists them all)")
    return __import__(COMMANDS[name], None, None, ("run",))


def _help() -> Any:
    from pyoci.cli import help as texts  # only when somebody asks

    return texts


def _harden(near_container: bool) -> None:
    """Make this process safe to be seen from inside a container; that may start it anew, with the same arguments."""
    from pyoci import seal  # here, for help texts and usage errors need none of it

    seal.harden(near_container=near_container)


def _find_log_options(call: Call, words: Sequence[str]) -> None:
    """The log options of a call that cannot be parsed, wherever before the command they stand."""
    for at, word in enumerate(words):
        name, equals, value = word.lstrip("-").partition("=")
        if word[:1] == "-" and name in ("log", "log-format") and (equals or at + 1 < len(words)):
            call.values.setdefault(name, value if equals else words[at + 1])
        elif word in COMMANDS:
            return


def _message(error: BaseException) -> str:
    if isinstance(error, PyociError):
        text = error.message
    elif isinstance(error, OSError):
        text = describe(error)
    elif isinstance(error, KeyboardInterrupt):
        text = "interrupted"
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, RecursionError):
        text = "the input is nested too deeply"
    elif isinstance(error, UnicodeError):
        text = f"text that is not valid UTF-8: {error}"
    else:
        kind = type(error).__name__
        text = f"internal error: {kind}: {error} ({_place(error.__traceback__)}; --debug with --log tells more)"
    return "; ".join((text, *getattr(error, "__notes__", ())))


def _explained(text: str) -> str:
    """A message that may be about a system call which is not to be had here, with a word about that."""
    if "not implemented" not in text and "not permitted" not in text:
        return text
    from pyoci import kernel_calls  # to tell why something has failed

    return text + kernel_calls.hint()


def _details(error: BaseException) -> dict[str, object]:
    """Keys beside the message in a JSON log, for programs: the kind of failure, the kernel's error number, and of a
    configuration the problems one by one."""
    details: dict[str, object] = {"kind": type(error).__name__}
    if isinstance(error, SpecError) and error.problems:
        details["problems"] = [problem.asdict() for problem in error.problems if isinstance(problem, Record)]
    for known in (error, error.__cause__):
        if isinstance(known, (OSError, PyociError)) and known.errno is not None:
            details["errno"] = known.errno
            break
    return details


def _place(trace: TracebackType | None) -> str:
    place = "nowhere"
    while trace is not None:
        place = f"{trace.tb_frame.f_globals.get('__name__')}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _trace(error: BaseException) -> str:
    import traceback  # for a developer who asked for it

    return "".join(traceback.format_exception(error))
