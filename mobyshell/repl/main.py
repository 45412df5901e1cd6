"""`mobyshell repl [FILE | -c LINE | -]`: where the lines come from, and what a failure does."""

from __future__ import annotations

import sys

from mobyshell.commands.cli import Options, report
from mobyshell.commands.context import Context
from mobyshell.core.errors import ExitCode, MobyshellError, NotFound, UsageError
from mobyshell.repl.evaluate import Evaluator, Leave
from mobyshell.repl.parse import statements


def run(context: Context, words: list[str], options: Options) -> int:
    """Run lines, a file, standard input, or a session; the exit code of the last, or of the first
    that failed (`-k`: go on)."""
    lines, files, keep_going = _arguments(words)
    evaluator = Evaluator(context, options)
    if lines or files or not sys.stdin.isatty():
        context.yes = True  # in a script the words themselves are the decision
    if lines:
        return _script("".join(f"{line}\n" for line in lines), "-c", evaluator, keep_going)
    if files and files[0] != "-":
        try:
            with open(files[0], encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise NotFound(f"{files[0]}: {reason}") from None
        return _script(text, files[0], evaluator, keep_going)
    if files or not sys.stdin.isatty():
        return _script(sys.stdin.read(), "-", evaluator, keep_going)
    from mobyshell.repl.session import interact

    return interact(evaluator)


def _arguments(words: list[str]) -> tuple[list[str], list[str], bool]:
    lines: list[str] = []
    files: list[str] = []
    keep_going = False
    words = list(words)
    while words:
        word = words.pop(0)
        if word == "-c":
            if not words:
                raise UsageError("repl: -c needs a line")
            lines.append(words.pop(0))
        elif word in ("-k", "--keep-going"):
            keep_going = True
        elif word.startswith("-") and word != "-":
            raise UsageError(f"repl: unknown option {word!r}",
                             hint="usage: mobyshell repl [-k] [FILE | -c LINE | -]")  # fmt: skip
        else:
            files.append(word)
    if len(files) > 1 or (files and lines):
        raise UsageError("repl takes one file, or lines", hint="mobyshell repl FILE, or -c LINE")
    return lines, files, keep_going


def _script(text: str, name: str, evaluator: Evaluator, keep_going: bool) -> int:
    """Run statement after statement; stop at the first that fails, unless told to go on."""
    failed = 0
    for number, statement in statements(text):
        try:
            code = evaluator.line(statement)
        except Leave as leave:
            return leave.code
        except MobyshellError as error:
            if name != "-c":
                print(f"{name}:{number}: {statement.splitlines()[0]}", file=sys.stderr)
            report(error)
            code = int(error.exit_code)
        except KeyboardInterrupt:
            return int(ExitCode.INTERRUPTED)
        if code:
            if not keep_going:
                return code
            failed = code
    return failed
