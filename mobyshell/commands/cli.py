"""The command line: argv in, exit code out. Owns global options, output and error reporting."""

from __future__ import annotations

import os
import sys

from mobyshell.core.errors import ExitCode, MobyshellError, UsageError

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from typing import Any

    from mobyshell.commands.context import Context
    from mobyshell.commands.results import Result

VALUED = ("--root", "--state", "--namespace")
SWITCHES = ("--json", "--yaml", "--table", "-q", "--quiet", "--readonly", "--yes", "--debug",
            "--plan", "-h", "--help")  # fmt: skip


_LONGEST = 400
"""Characters of an error that are shown: some hold what they were given."""


class Options:
    """The options that every verb takes, wherever they stand before `--`."""

    __slots__ = ("debug", "form", "help", "namespace", "plan", "quiet", "readonly", "root",
                 "state", "yes")  # fmt: skip

    def __init__(self) -> None:
        self.root = os.environ.get("MOBYSHELL_ROOT") or None
        self.state = os.environ.get("MOBYSHELL_STATE") or None
        self.namespace = os.environ.get("MOBYSHELL_NAMESPACE") or None
        self.readonly = os.environ.get("MOBYSHELL_READONLY", "") not in ("", "0")
        self.form, self.quiet, self.help, self.plan, self.debug = "", False, False, False, False
        self.yes = False

    def take(self, words: list[str]) -> list[str]:
        """`words` without the global options that stand before the verb or among its options.

        What stands in a command to be run inside is that command's: `run IMAGE ls --help`.
        """
        left: list[str] = []
        words = list(words)
        while words:
            word = words.pop(0)
            if word == "--" or _begins_command(left, word):
                return [*left, word, *words]
            if word.startswith(VALUED) and word.partition("=")[0] in VALUED:
                name, given, value = word.partition("=")
                if not given:
                    if not words:
                        raise UsageError(f"{name} needs a value")
                    value = words.pop(0)
                if not value or "\0" in value:
                    raise UsageError(f"{name} needs a value", hint="not an empty one")
                setattr(self, name[2:], value)
            elif word in SWITCHES:
                self._switch(word)
            else:
                left.append(word)
        return left

    def _switch(self, word: str) -> None:
        if word in ("--json", "--yaml", "--table"):
            self.form = word[2:]
        elif word in ("-q", "--quiet"):
            self.quiet = True
        elif word in ("-h", "--help"):
            self.help = True
        else:
            setattr(self, word[2:], True)


def _begins_command(left: list[str], word: str) -> bool:
    """Whether from `word` on everything belongs to a command that is run inside: the command's
    first word, or, where what follows is its from there on (`exec`), the id before it."""
    from mobyshell.commands.registry import NOUNS, SHORTCUTS, lookup

    if word.startswith("-") or not left or (left[0] not in SHORTCUTS and len(left) < 2):
        return False
    if left[0] not in SHORTCUTS and left[0] not in NOUNS:
        return False
    try:
        verb, given = lookup(left)
    except UsageError:
        return False  # what it is about is told when it is run
    if verb.rest is None or any(one.many for one in verb.positional):
        return False
    from mobyshell.commands.arguments import own_words

    count, waiting = own_words(verb, given)
    return not waiting and count == len(verb.positional) - verb.greedy


def run(argv: list[str]) -> int:
    """Run `mobyshell` with these arguments and return its exit code."""
    options = Options()
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # names need not be UTF-8, and terminals need not be able to show ours
            stream.reconfigure(errors="backslashreplace")
    try:
        words = options.take(argv)
        _hang_door(options)
        code = _dispatch(words, options)
        sys.stdout.flush()  # what cannot be written is told while there is somebody to tell it
        return code
    except MobyshellError as error:
        _show_rows(error, options)
        report(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # the reader went away (`| head`): no complaint, but not a success either
        _give_up_stdout()
        return 141
    except OSError as error:
        if options.debug:
            raise
        _give_up_stdout()
        where = f"{error.filename}: " if error.filename is not None else ""
        report(MobyshellError(f"{where}{error.strerror or error}"))
        return int(ExitCode.FAILED)
    except Exception as error:
        if options.debug:
            raise
        return _bug(error)


def _hang_door(options: Options) -> None:
    """`mobyshell debug` can ask this process from now on."""
    from mobyshell.core.debug.door import hang

    def state() -> str:
        from mobyshell.core.tasks.paths import prepare_state_root, state_root

        root = os.path.abspath(options.state or state_root())
        prepare_state_root(root)
        return root

    hang(state)


def _give_up_stdout() -> None:
    """If what is left for it cannot be written, Python shall not try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_streams() -> None:
    """Who starts us without a standard stream gets /dev/null: else the next file that is opened
    would be it."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(fd)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, open(os.devnull, "r+" if fd else "r", encoding="utf-8"))  # noqa: SIM115


def _dispatch(words: list[str], options: Options) -> int:
    from mobyshell.commands.context import Context

    if not words and not options.help:
        return _tui(options)
    if words[:1] in (["--version"], ["-v"]):
        from mobyshell import __version__

        print(f"mobyshell {__version__}")
        return 0
    if words[:1] == ["repl"] and not options.help:
        from mobyshell.commands import faces

        return faces.repl(words[1:], options)
    if not words or words[0] == "help" or options.help or _asks_for_help(words):
        from mobyshell.commands.help import show_help

        if "help" in words[:2]:
            words.remove("help")
        print(show_help(words), end="")
        return 0
    context = Context.of(options)
    try:
        result = call(context, words, plan=options.plan)
        return show(result, options)
    finally:
        context.close()


def _asks_for_help(words: list[str]) -> bool:
    """`image help`, `image help pull`; behind a shortcut it would be the name of something."""
    from mobyshell.commands.registry import NOUNS

    return words[1:2] == ["help"] and words[0] in NOUNS


def call(context: Context, words: list[str], *, plan: bool = False) -> Result:
    """Run the verb that `words` name. UsageError, Refused, and whatever the verb raises."""
    from mobyshell.commands.arguments import parse
    from mobyshell.commands.registry import lookup

    verb, rest = lookup(words)
    arguments = parse(verb, rest)
    if plan:
        if verb.plan is None:
            raise UsageError(
                f"{verb.name} has no plan to show", hint="task run and task create have"
            )
        return verb.plan(context, **arguments)
    context.permit(verb)
    context.confirm(verb, arguments)
    return verb.run(context, **arguments)


def _tui(options: Options) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "the workbench needs a terminal", hint="`mobyshell help` lists the commands"
        )
    from mobyshell.commands import faces

    return faces.tui(options)


def show(result: Result, options: Options) -> int:
    """Print a result and return the exit code."""
    from mobyshell.commands import results as r

    tty = sys.stdout.isatty()
    form = options.form or ("table" if tty else "json")
    write = sys.stdout.write
    if isinstance(result, r.Done):
        if sys.stderr.isatty() or result.code:  # why something ended as it did, a script wants too
            _say(result.said, options)
        if result.id:
            from mobyshell.commands.output import clean

            write(clean(result.id) + "\n")
        return result.code
    if isinstance(result, r.Text):
        write(_harmless(result.text) if tty else result.text)
    elif isinstance(result, r.Bytes):
        _bytes(result, tty)
    elif isinstance(result, r.Rows):
        _say(result.said, options)
        _rows(result, form, options.quiet, write, tty)
    elif isinstance(result, r.Record):
        _record(result, form, options.quiet, write)
    else:
        _stream(result, options.form or ("table" if result.document else form), write)
    sys.stdout.flush()
    return 0


def _bytes(result: Any, tty: bool) -> None:
    if tty or not hasattr(sys.stdout, "buffer"):
        raise result.refused()
    sys.stdout.flush()
    for piece in result.pieces:
        sys.stdout.buffer.write(piece)


def _harmless(text: str) -> str:
    """A document on a terminal; a file gets it as it is."""
    from mobyshell.commands.output import clean

    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(one if one in "\n\t" else clean(one) for one in text)


def _say(text: str, options: Options) -> None:
    """Narration, line by line."""
    if text and not options.quiet:
        from mobyshell.commands.output import clean

        for line in text.splitlines():
            print(clean(line), file=sys.stderr)


def _width(tty: bool) -> int | None:
    if not tty:
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and 0 < int(columns[:5]) < 10_000:
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _rows(result: Any, form: str, quiet: bool, write: Any, tty: bool) -> None:
    from mobyshell.commands import output

    if quiet:
        for row in result.rows:
            write(f"{output.clean(str(row[result.key]))}\n")
    elif form == "json":
        for row in result.rows:
            write(output.json_line(row) + "\n")
    elif form == "yaml":
        write(output.yaml_document(result.rows))
    else:
        write(output.table(result, _width(tty)) + "\n")


def _record(result: Any, form: str, quiet: bool, write: Any) -> None:
    from mobyshell.commands import output

    if quiet:
        write(f"{output.clean(str(result.fields.get(result.key, '')))}\n")
    elif form == "json":
        write(output.json_line(result.fields) + "\n")
    elif form == "yaml":
        write(output.yaml_document(result.fields))
    else:
        write(output.record(result) + "\n")


def _stream(result: Any, form: str, write: Any) -> None:
    from mobyshell.commands import output

    for item in result.items:
        if form == "json":
            write(output.json_line(item) + "\n")
        elif form == "yaml":
            write("---\n" + output.yaml_document(item))
        else:
            write(result.show(item) + "\n")
        sys.stdout.flush()


def _show_rows(error: MobyshellError, options: Options) -> None:
    """The table that some errors bring along (`bundle validate`): data, so on stdout."""
    rows = getattr(error, "rows", None)
    if rows is not None:
        show(rows, options)


def report(error: MobyshellError) -> None:
    """One line of what, one of what to do, on stderr."""
    from mobyshell.commands.output import clean

    for head, text in (("mobyshell", error.message), ("hint", error.hint)):
        line = clean(text)
        if line:
            print(f"{head}: {line if len(line) <= _LONGEST else line[:_LONGEST] + '…'}",
                  file=sys.stderr)  # fmt: skip


def _bug(error: Exception) -> int:
    """A mistake of ours: one line, and the traceback in a file for whoever mends it."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="mobyshell-", suffix=".traceback", delete=False
    ) as file:
        traceback.print_exc(file=file)
    report(MobyshellError(f"internal error: {type(error).__name__}: {error}",
                          hint=f"the traceback is in {file.name}; --debug shows it"))  # fmt: skip
    return int(ExitCode.FAILED)
