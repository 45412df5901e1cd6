"""The interactive session: prompt-toolkit's line editing over the evaluator."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import ThreadedCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style

from mobyshell import __version__
from mobyshell.commands import registry
from mobyshell.commands.cli import report
from mobyshell.commands.output import clean
from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.repl.completer import VerbCompleter, stage_words
from mobyshell.repl.evaluate import BUILTINS, Evaluator, Leave
from mobyshell.repl.parse import Unfinished, parse

STYLE = Style.from_dict(
    {
        "noun": "ansicyan bold", "verb": "ansicyan", "option": "ansiyellow", "string": "ansigreen",
        "variable": "ansimagenta", "pipe": "bold", "comment": "ansibrightblack",
        "unknown": "ansired", "builtin": "ansiblue bold", "bottom-toolbar": "noreverse dim",
        "prompt": "ansicyan bold", "failed": "ansired bold",
    }
)  # fmt: skip


class VerbLexer(Lexer):
    """Colours for what is known, and for what is not."""

    def lex_document(self, document: Document) -> Any:
        """A function from a line's number to its coloured parts."""

        def line(number: int) -> StyleAndTextTuples:
            return colour(document.lines[number])

        return line


def colour(text: str) -> StyleAndTextTuples:
    """One line in coloured parts, that together are the line."""
    parts: StyleAndTextTuples = []
    place, noun = 0, ""
    for piece in _pieces(text):
        style = ""
        if piece.isspace():
            pass
        elif piece.startswith("#"):
            style = "class:comment"
        elif piece in ("|", "|!"):
            style, place, noun = "class:pipe", -1, ""
        elif piece[0] in "'\"":
            style = "class:string"
        elif "${" in piece:
            style = "class:variable"
        elif piece.startswith("-"):
            style = "class:option"
        elif place == 0:
            style, noun = _first(piece)
        elif place == 1 and noun:
            known = noun in registry.NOUNS and piece in registry.verbs_of(noun)
            style = "class:verb" if known else "class:unknown"
            noun = ""
        if not piece.isspace():
            place += 1
        parts.append((style, piece))
    return parts


def _first(piece: str) -> tuple[str, str]:
    if piece in registry.SHORTCUTS:
        return "class:noun", ""
    if piece in registry.NOUNS:
        return "class:noun", "" if "" in registry.verbs_of(piece) else piece
    return ("class:builtin" if piece in BUILTINS else ""), ""


def _pieces(text: str) -> Iterable[str]:
    """Words, white space, quotes and pipes, in order; joined they are the text."""
    at = 0
    while at < len(text):
        end = at + 1
        if text[at].isspace():
            while end < len(text) and text[end].isspace():
                end += 1
        elif text[at] in "'\"":
            closing = text.find(text[at], end)
            end = len(text) if closing < 0 else closing + 1
        elif text[at] == "#":
            end = len(text)
        elif text[at] == "|":
            end = at + (2 if text.startswith("|!", at) else 1)
        else:
            while end < len(text) and not text[end].isspace() and text[end] not in "|'\"":
                end += 1
        yield text[at:end]
        at = end


def hint(text: str) -> str:
    """What the verb being typed takes: for the line below the prompt."""
    words = stage_words(text)
    try:
        verb, rest = registry.lookup([word for word in words if word])
    except MobyshellError:
        return "tab completes · ctrl-r finds · ${name} · | where … | each … · ctrl-d leaves"
    if rest and rest[-1].startswith("-"):
        for one in verb.parameters:
            if rest[-1] in one.flags:
                return f"{one.usage.strip('[]')}: {one.help}"
    return f"{verb.short_usage}   {verb.summary}"


def history() -> History:
    """Lines of earlier sessions, in the user's state directory; none where it cannot be written."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    path = Path(base) / "mobyshell" / "history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        """Run what is complete; a new line inside quotes, after a backslash, after a pipe."""
        buffer = event.current_buffer
        try:
            parse(buffer.text)
        except Unfinished:
            buffer.insert_text("\n")
            return
        except UsageError:
            pass  # complete, and wrong: running it says so
        buffer.validate_and_handle()

    return keys


def make_session(evaluator: Evaluator, **more: Any) -> PromptSession[str]:
    """A session over `evaluator`; `more` goes to prompt-toolkit (input and output, in tests)."""
    session: PromptSession[str] = PromptSession(
        history=more.pop("history", None) or history(),
        completer=ThreadedCompleter(VerbCompleter(evaluator)),
        complete_while_typing=False,
        auto_suggest=AutoSuggestFromHistory(),
        lexer=VerbLexer(),
        style=STYLE,
        multiline=True,
        key_bindings=_keys(),
        prompt_continuation="… ",
        include_default_pygments_style=False,
        **more,
    )
    return session


def prompt(evaluator: Evaluator) -> str:
    """`moby> `, with the namespace where that is not the usual one."""
    namespace = evaluator.context.namespace
    return "moby> " if namespace == "default" else f"moby {clean(namespace)}> "


def interact(evaluator: Evaluator, session: PromptSession[str] | None = None) -> int:
    """Read and run lines until ctrl-d or `exit`; ctrl-c gives up a line or a command, no more."""
    session = session or make_session(evaluator)
    print(f"mobyshell {__version__}: `help` lists the verbs, ctrl-d leaves", file=sys.stderr)

    def toolbar() -> str:
        return hint(session.default_buffer.document.text_before_cursor)

    while True:
        try:
            failed = "class:failed" if evaluator.code else "class:prompt"
            text = session.prompt([(failed, prompt(evaluator))], bottom_toolbar=toolbar)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return evaluator.code
        try:
            evaluator.line(text)
        except Leave as leave:
            return leave.code
        except MobyshellError as error:
            report(error)
            evaluator.code = int(error.exit_code)
        except KeyboardInterrupt:
            evaluator.code = 130
            print(file=sys.stderr)
