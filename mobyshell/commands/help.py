"""Help pages and the reference, made from the verb table."""

from __future__ import annotations

from mobyshell.commands import registry as r
from mobyshell.commands.registry import Parameter, Verb

_GLOBAL = """\
Everywhere:
  --root DIR           where what is kept is kept (MOBYSHELL_ROOT)
  --state DIR          where running tasks are kept (MOBYSHELL_STATE)
  --namespace NAME     whose tasks (MOBYSHELL_NAMESPACE)
  --json --yaml --table -q    how to print (default: a table on a terminal, else JSON lines)
  --plan               show what would be done, and do not do it
  --readonly           refuse whatever makes, changes or destroys
  --yes                do not ask before something is deleted
  --debug              show the traceback of an internal error
"""


_REPL = """\
usage: mobyshell repl [-k] [FILE | -c LINE… | -]

The verbs with variables and pipes: a session at a terminal, or the lines of a file, of -c, or of
standard input. It stops at the first line that fails, with its exit code, and says which.

  -c LINE              run this line; may be given several times
  -k, --keep-going     go on after a line that failed

`mobyshell repl -c help` explains the language.

example: mobyshell repl -c 'task ls | where status=running | count'
"""


def show_help(words: list[str]) -> str:
    """The page for `words`: a noun, a verb, or the whole table."""
    if words[:1] == ["--markdown"]:
        return reference()
    if not words:
        return _overview()
    if words[0] == "repl":
        return _REPL
    if words[0] in r.SHORTCUTS:
        return _page(r.find(*r.SHORTCUTS[words[0]]), words[0])
    table = r.verbs_of(words[0])
    if "" in table:
        return _page(table[""])
    if len(words) == 1:
        return _noun(words[0])
    return _page(r.find(words[0], words[1]))


def _overview() -> str:
    lines = [
        "mobyshell: the Moby building blocks, to look at and to use", "",
        "  mobyshell                     the workbench, full screen",
        "  mobyshell repl [FILE | -c LINE | -]",
        "  mobyshell NOUN VERB …         `mobyshell help NOUN` explains", "", "Nouns:",
    ]  # fmt: skip
    lines += [f"  {noun:12} {text}" for noun, text in r.NOUNS.items()]
    lines += ["", "Everyday shortcuts:"]
    for word, (noun, name) in r.SHORTCUTS.items():
        lines.append(f"  {word:12} {noun} {name}: {r.find(noun, name).summary}")
    return "\n".join(lines) + "\n\n" + _GLOBAL


def _noun(noun: str) -> str:
    lines = [f"mobyshell {noun}: {r.NOUNS[noun]}", ""]
    for one in r.verbs_of(noun).values():
        lines.append(f"  {one.name:18} {one.summary}")
    return "\n".join(lines) + f"\n\n`mobyshell help {noun} VERB` explains one, with its options.\n"


def _parameter(one: Parameter) -> tuple[str, str]:
    word = ", ".join(one.flags) if one.flags else one.metavar
    if one.flags and not one.switch:
        word += f" {one.metavar}"
    text = one.help
    if one.default not in (None, False, (), ""):
        text += f" (default: {one.default})"
    return word, text


def _page(verb: Verb, called: str = "") -> str:
    lines = [f"usage: mobyshell {verb.short_usage}", ""]
    if called:
        lines.insert(1, f"       (short: mobyshell {called})")
    lines += [verb.description, ""]
    pairs = [_parameter(one) for one in verb.parameters]
    width = max((len(word) for word, _ in pairs), default=0)
    lines += [f"  {word.ljust(width)}  {text}" for word, text in pairs]
    if pairs:
        lines.append("")
    lines += [f"example: mobyshell {verb.example}", ""]
    return "\n".join(lines)


def reference() -> str:
    """Every verb as Markdown: docs/reference.md."""
    lines = ["# Reference", "", "Made by `mobyshell help --markdown`; do not edit.", "",
             "```", _GLOBAL.rstrip(), "```", ""]  # fmt: skip
    lines += ["| shortcut | stands for |", "|---|---|"]
    lines += [f"| `{word}` | `{noun} {name}` |" for word, (noun, name) in r.SHORTCUTS.items()]
    for noun, text in r.NOUNS.items():
        lines += ["", f"## {noun}", "", text[0].upper() + text[1:] + "."]
        for one in r.verbs_of(noun).values():
            lines += [
                "",
                f"### {one.name}",
                "",
                f"`mobyshell {one.usage}`",
                "",
                one.description,
                "",
            ]
            pairs = [_parameter(parameter) for parameter in one.parameters]
            if pairs:
                lines += ["| argument | |", "|---|---|"]
                lines += [f"| `{word}` | {text} |" for word, text in pairs]
                lines.append("")
            key = f" Key: `{one.key}`." if one.key else ""
            lines.append(f"Effect: {one.effect}.{key} Example: `mobyshell {one.example}`")
    return "\n".join(lines) + "\n"
