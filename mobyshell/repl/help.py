"""`help` in a session: the verbs' pages, and those of the REPL's own words."""

from __future__ import annotations

from mobyshell.commands.help import show_help as show_verbs
from mobyshell.repl.stages import FILTERS, expect

_LANGUAGE = """\
Here, beside the verbs:
  NAME = PIPELINE          keep a result; ${NAME}, ${NAME.0.id} put it (or a part of it) into a word
  ${_}                     the last result
  VERB | FILTER …          rows through filters; |! COMMAND gives them to the system's shell as JSON
  'quotes', "quotes", \\    as in sh; a line that ends in one of them, or in |, goes on in the next
  # comment
"""

_OWN = {
    "where": ("CONDITION…", "=, !=, ~ (holds), <, >, <=, >= between a field and a value"),
    "sort": ("[-]FIELD", ""),
    "head": ("[N]", ""),
    "tail": ("[N]", ""),
    "select": ("FIELD…", ""),
    "count": ("[FIELD]", ""),
    "each": (
        "VERB [{}] …",
        "Run a verb for each row: its id is the argument, or stands where {} is. What it answers "
        "are rows again.",
    ),
    "assert": ("[N | CONDITION… | VALUE OPERATOR VALUE]", ""),
    "set": ("[NAME=TEXT]", "List the variables, or set one to a text."),
    "echo": ("WORD…", "Print words, with variables put in."),
    "exit": ("[CODE]", "Leave (ctrl-d does too), with this code or the last line's."),
    "help": ("[VERB | WORD]", "Explain a verb, a noun, or one of these words."),
}


def show_help(words: list[str]) -> str:
    """The page for `words`; for none, the verbs and the language."""
    if not words:
        return f"{show_verbs([])}\n{_LANGUAGE}" + "".join(
            f"  {_usage(word).ljust(24)} {_summary(word)}\n" for word in _OWN
        )
    word = _same(words[0])
    if word not in _OWN:
        return show_verbs(words)
    more = _OWN[word][1] if word in FILTERS else ""
    return f"usage: {_usage(word)}\n\n{_summary(word)}\n" + (f"{more}\n" if more else "")


def _usage(word: str) -> str:
    return f"{word} {_OWN[word][0]}"


def summary(word: str) -> str:
    """What one of the REPL's own words does, in a line; "" of another word."""
    return _summary(_same(word)) if _same(word) in _OWN else ""


def _same(word: str) -> str:
    return {"expect": "assert", "quit": "exit"}.get(word, word)


def _summary(word: str) -> str:
    if word in FILTERS:
        return (FILTERS[word].__doc__ or "").replace("`", "")
    return (expect.__doc__ or "").replace("`", "") if word == "assert" else _OWN[word][1]
