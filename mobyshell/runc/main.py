"""argv to a command, and its end to an exit status. Entry point of `mobyshell-runc`."""

from __future__ import annotations

import os
import sys

from mobyshell.runc import quick
from mobyshell.runc.call import Call, Failure
from mobyshell.runc.flags import FlagError, Flags, Help, parse
from mobyshell.runc.log import Log
from mobyshell.runc.table import COMMANDS, GLOBAL, GLOBAL_SHORT, MANY

NO_SUCH_COMMAND = 3


def main(words: list[str] | None = None) -> int:
    """Run one command; its exit status. 255 for errors of `exec`, 1 for those of all others, and for
    words that are no command."""
    log = Log()
    words = sys.argv[1:] if words is None else words
    try:
        status = quick.attempt(words)
        return _run(words, log) if status is None else status
    except Failure as error:
        log.error(str(error))
        return error.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # in help, for one
        log.error(_said(error))
        return 1


def _run(words: list[str], log: Log) -> int:
    options, rest = _globals(words)
    if options.on("version"):
        from mobyshell.runc.version import version

        return _print(version())
    if options.on("help") or not rest or rest[0] in ("help", "h"):
        return _help(rest[1:])
    _open_log(options, log)
    name, rest = rest[0], rest[1:]
    if name not in COMMANDS:
        raise Failure(f"No help topic for '{name}'\n", NO_SUCH_COMMAND)
    module, kinds, short, anywhere, least, most = COMMANDS[name]
    try:
        flags = parse(kinds, short, rest, anywhere=anywhere)
    except Help:
        return _help([name])
    except FlagError as error:
        _print(f"Incorrect Usage: {error}\n\n")
        _help([name])
        raise Failure(str(error)) from None
    _check_count(name, len(flags.words), least, most, log)
    command = __import__(f"mobyshell.runc.{module}", fromlist=("run",))
    return _guarded(command.run, Call(name, options, flags, log))


def _globals(words: list[str]) -> tuple[Flags, list[str]]:
    try:
        options = parse(GLOBAL, GLOBAL_SHORT, words, anywhere=False)
    except FlagError as error:
        from mobyshell.runc.help import overview

        _print(f"Incorrect Usage. {error}\n\n{overview()}")
        raise Failure(str(error)) from None
    return options, options.words


def _open_log(options: Flags, log: Log) -> None:
    form = options.text("log-format", "text")
    log.debugging = options.on("debug")
    if form not in ("text", "json"):
        raise Failure(f"invalid log-format: {form}")
    try:
        log.open(options.text("log"))
    except OSError as error:
        raise Failure(f"open {error.filename}: {_said(error)}") from None
    log.json = form == "json"
    if options.text("rootless", "auto") not in ("auto", "true", "false", "1", "0"):
        raise Failure(f'invalid value "{options.text("rootless")}" for --rootless')


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _check_count(name: str, count: int, least: int, most: int, log: Log) -> None:
    """Most commands without their arguments explain themselves first."""
    wrong = ""
    if least == most and count != least:
        wrong = f"requires exactly {least} argument(s)"
    elif count < least:
        wrong = f"requires a minimum of {least} argument(s)"
    elif most != MANY and count > most:
        wrong = f"requires a maximum of {most} argument(s)"
    if wrong:
        _print("Incorrect Usage.\n\n")
        _help([name])
        raise Failure(f'mobyshell-runc: "{name}" {wrong}')


def _guarded(run: object, call: Call) -> int:
    """Run a command; errors of the runtime become runc's words."""
    from mobyshell.core.errors import MobyshellError

    assert callable(run)
    try:
        status: int = run(call)
        sys.stdout.flush()  # what cannot be written is an error of the command
        return status
    except MobyshellError as error:
        from mobyshell.runc.words import said

        hint = getattr(error, "hint", "")
        if hint:
            call.log.debug(f"hint: {hint}")
        if call.command == "run" and "container init: exec /" in said(error, "run"):
            # the last word of the init itself, as it is when there is nobody else to say it
            os.write(2, said(error, "run").rpartition("container init: ")[2].encode() + b"\n")
        raise Failure(said(error, call.command), 255 if call.command == "exec" else 1) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        from mobyshell.runc.words import prefixed

        text = prefixed(call.command, f"{name}{_said(error)}")
        raise Failure(text, 255 if call.command == "exec" else 1) from None


def _help(names: list[str]) -> int:
    from mobyshell.runc.help import command, overview

    if not names:
        return _print(overview())
    if names[0] not in COMMANDS:
        raise Failure(f"No help topic for '{names[0]}'\n", NO_SUCH_COMMAND)
    return _print(command(names[0]))


def _print(text: str) -> int:
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0
