"""Variables put into the words of a Dockerfile, and their quotes taken off.

https://docs.docker.com/reference/dockerfile/#environment-replacement
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mobyshell.moby.build.words import wrong

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORM = re.compile(r"(:?[-+?]|##?|%%?|//?)(.*)", re.DOTALL)


def expand(
    text: str, variables: Mapping[str, str], line: int, *, escape: str = "\\", quotes: bool = True
) -> str:
    """`text` with its variables put in and its quotes and escapes taken off.

    Without `quotes` they are characters like others, as BuildKit has it in here-documents. InvalidSpec
    names the line.
    """
    out: list[str] = []
    at, quote = 0, ""
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'" and at + 1 < len(text):
            following = text[at + 1]
            stays = quote == '"' and following not in ('"', "$", escape)
            out.append(char + following if stays else following)
            at += 2
        elif quotes and char in "'\"" and quote in ("", char):
            quote = "" if quote else char
            at += 1
        elif char == "$" and quote != "'":
            value, at = _variable(text, at + 1, variables, line)
            out.append(value)
        else:
            out.append(char)
            at += 1
    if quote:
        raise wrong(line, f"a quote that does not end: {text[:40]!r}")
    return "".join(out)


def _variable(text: str, at: int, variables: Mapping[str, str], line: int) -> tuple[str, int]:
    """The value of the variable whose name begins at `at`, and where the text goes on."""
    if text[at : at + 1] != "{":
        found = _NAME.match(text, at)
        if found is None:
            return "$", at
        return variables.get(found[0], ""), found.end()
    end = _end(text, at + 1)
    found = _NAME.match(text, at + 1)
    if end < 0 or found is None or found.end() > end:
        raise wrong(line, f"a variable that does not end: {text[at - 1 : at + 30]!r}")
    name, rest = found[0], text[found.end() : end]
    if not rest:
        return variables.get(name, ""), end + 1
    form = _FORM.fullmatch(rest)
    if form is None:
        raise wrong(line, f"${{{name}{rest:.20}}} is no form of a variable",
                    "such as ${A:-default}, ${A:+instead}, ${A#start}, ${A%end}, ${A/this/that}")  # fmt: skip
    return _formed(name, form[1], form[2], variables, line), end + 1


def _end(text: str, at: int) -> int:
    """Where the brace closes; -1 if it does not."""
    deep = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text.startswith("${", at):
            deep += 1
        elif text[at] == "}":
            if not deep:
                return at
            deep -= 1
        at += 1
    return -1


def _formed(name: str, kind: str, word: str, variables: Mapping[str, str], line: int) -> str:
    value = variables.get(name)
    if kind[-1] in "-+?":
        missing = value is None or (kind[0] == ":" and not value)
        if kind[-1] == "+":
            return "" if missing else expand(word, variables, line)
        if not missing:
            return value or ""
        said = expand(word, variables, line)
        if kind[-1] == "?":
            raise wrong(line, f"{name} is not set" + (f": {said:.100}" if said else ""))
        return said
    value = value or ""
    if kind[0] == "/":
        pattern, _, instead = word.partition("/")
        made = re.compile(_glob(expand(pattern, variables, line)), re.DOTALL)
        new = expand(instead, variables, line)
        return made.sub(lambda _: new, value, count=0 if kind == "//" else 1)
    made = re.compile(_glob(expand(word, variables, line)), re.DOTALL)
    # of a beginning or an end the shortest that fits, or with two signs the longest
    sizes = range(len(value), -1, -1) if len(kind) == 2 else range(len(value) + 1)
    for size in sizes:
        if kind[0] == "#" and made.fullmatch(value[:size]):
            return value[size:]
        if kind[0] == "%" and made.fullmatch(value[len(value) - size :]):
            return value[: len(value) - size]
    return value


def _glob(pattern: str) -> str:
    parts = re.split(r"([*?])", pattern)
    return "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in parts)
