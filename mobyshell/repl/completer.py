"""What the word before the cursor could become: verbs, options, live ids, files, variables, fields."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from mobyshell.commands import registry
from mobyshell.commands.completion import complete
from mobyshell.core.errors import UsageError
from mobyshell.repl.evaluate import CHECKS, STARTERS, Evaluator
from mobyshell.repl.help import summary
from mobyshell.repl.stages import FILTERS

_TAKE_FIELDS = ("where", "sort", "select", "count", *CHECKS)
_SPECIAL = frozenset(" \t\n'\"\\|#$")


def last_stage(text: str) -> tuple[list[str], int]:
    """The words of the last stage of unfinished `text`, the last one perhaps empty, and where that
    begins. Quotes and backslashes as in `parse`, open ones too."""
    words: list[str] = []
    word, begun, start, quote, at = "", False, 0, "", 0
    while at < len(text):
        one = text[at]
        if quote:
            if one == quote:
                quote = ""
            elif one == "\\" and quote == '"' and text[at + 1 : at + 2] in ('"', "\\", "$"):
                at += 1
                word += text[at]
            else:
                word += one
        elif one == "|":
            words, word, begun = [], "", False
        elif one.isspace():
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            start, begun = (start if begun else at), True
            if one in "'\"":
                quote = one
            elif one == "\\":
                at += 1
                word += text[at : at + 1]
            else:
                word += one
        at += 1
    return [*words, word], start if begun else len(text)


def stage_words(text: str) -> list[str]:
    """The words of the last stage, without the variable that takes its result."""
    words, _ = last_stage(text)
    return words[2:] if len(words) > 2 and words[1] == "=" else words


def quoted(word: str) -> str:
    """A word as it must be typed."""
    return "".join(f"\\{one}" if one in _SPECIAL else one for one in word)


class VerbCompleter(Completer):
    """Asked in a thread, so it may look at the disk."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        """What the word before the cursor could become."""
        text = document.text_before_cursor
        words, start = stage_words(text), last_stage(text)[1]
        last = words[-1]
        if "${" in last and "}" not in last.rpartition("${")[2]:
            yield from self._variables(last.rpartition("${")[2])
            return
        for word in self._words(words, piped="|" in text):
            yield Completion(quoted(word), start - len(text), display=word,
                             display_meta=self._meta(words, word))  # fmt: skip

    def _words(self, words: list[str], *, piped: bool) -> list[str]:
        last = words[-1]
        if len(words) == 1:
            own = (*FILTERS, *CHECKS, "each") if piped else STARTERS
            found = [] if piped else complete(self._evaluator.context, words)
            return [*found, *(one for one in own if one.startswith(last))]
        if words[0] in _TAKE_FIELDS:
            return self._fields(last)
        if words[0] == "each":
            return complete(self._evaluator.context, words[1:])
        return complete(self._evaluator.context, words)

    def _fields(self, last: str) -> list[str]:
        """The fields of what was seen last."""
        seen = self._evaluator.variables["_"]
        rows = seen if isinstance(seen, list) else [seen]
        minus = "-" if last.startswith("-") else ""
        names = [f"{minus}{name}" for row in rows[:1] if isinstance(row, dict) for name in row]
        return [name for name in names if name.startswith(last)]

    def _variables(self, opened: str) -> Iterable[Completion]:
        """Names, and what is inside of what they hold."""
        head, dot, last = opened.rpartition(".")
        if not dot:
            for name in self._evaluator.variables:
                if name.startswith(opened):
                    yield Completion(name + "}", -len(opened))
            return
        value = self._evaluator.value_at(head)
        keys = (
            list(value) if isinstance(value, dict)
            else [str(n) for n in range(min(len(value), 100))] if isinstance(value, list) else []
        )  # fmt: skip
        for key in keys:
            if str(key).startswith(last):
                yield Completion(f"{key}}}", -len(last))

    def _meta(self, words: list[str], word: str) -> str:
        try:
            if len(words) == 1:
                if word in registry.SHORTCUTS:
                    return registry.find(*registry.SHORTCUTS[word]).summary
                return registry.NOUNS.get(word) or summary(word)
            if len(words) == 2 and words[0] in registry.NOUNS:
                return registry.find(words[0], word).summary
            if word.startswith("-"):
                verb, _ = registry.lookup([one for one in words[:-1] if one])
                return next((one.help for one in verb.parameters if word in one.flags), "")
        except UsageError:
            return ""
        return ""
