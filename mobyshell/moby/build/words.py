"""The words of a Dockerfile: lines joined, variables put in, lists and options taken apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from mobyshell.core.errors import InvalidSpec

_DIRECTIVE = re.compile(r"#\s*([a-z]+)\s*=\s*(\S.*?)\s*$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LARGEST = 1 << 20
"""Bytes of a Dockerfile."""


def wrong(line: int, what: str, hint: str = "") -> InvalidSpec:
    """The error of a line."""
    return InvalidSpec(f"Dockerfile, line {line}: {what}", hint=hint)


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """(line, word in capitals, the rest) of each instruction; comments are left out."""
    escape, lines, at = "\\", text.splitlines(), 0
    while at < len(lines) and (found := _DIRECTIVE.match(lines[at])):
        name, value = found[1].lower(), found[2]
        if name == "escape":
            if value not in ("\\", "`"):
                raise wrong(at + 1, f"escape is \\ or `, not {value!r:.10}")
            escape = value
        elif name == "syntax" and not re.match(
            r"(docker\.io/)?docker/dockerfile(:1[\d.]*)?$", value
        ):
            raise wrong(at + 1, f"another syntax than Dockerfile's: {value!r:.60}",
                        "programs that read other syntaxes are not run here")  # fmt: skip
        at += 1
    while at < len(lines):
        start, joined = at + 1, ""
        while at < len(lines):
            line = lines[at]
            at += 1
            if line.lstrip().startswith("#") or (joined and not line.strip()):
                if not joined:
                    break
                continue  # among continued lines, comments and empty ones are nothing
            bare = line.rstrip()
            if bare.endswith(escape) and not bare.endswith(escape * 2):
                joined += bare[: -len(escape)]
                continue
            joined += line
            break
        if joined.strip():
            word, _, rest = joined.strip().partition(" ")
            yield start, word.upper(), rest.strip()


def substitute(text: str, variables: Mapping[str, str], line: int) -> str:
    """`text` with `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+instead}` put in; what is
    between single quotes, or behind a backslash, stays."""
    out: list[str] = []
    at, quoted = 0, False
    while at < len(text):
        char = text[at]
        if char == "'":
            quoted = not quoted
        if char == "\\" and not quoted and at + 1 < len(text):
            out.append(text[at + 1] if text[at + 1] == "$" else text[at : at + 2])
            at += 2
            continue
        if char != "$" or quoted:
            out.append(char)
            at += 1
            continue
        value, at = _variable(text, at + 1, variables, line)
        out.append(value)
    return "".join(out)


def _variable(text: str, at: int, variables: Mapping[str, str], line: int) -> tuple[str, int]:
    if text[at : at + 1] != "{":
        found = _NAME.match(text, at)
        if found is None:
            return "$", at
        return variables.get(found[0], ""), found.end()
    end = text.find("}", at)
    found = _NAME.match(text, at + 1)
    if end < 0 or found is None or found.end() > end:
        raise wrong(line, f"a variable that does not end: {text[at - 1 : at + 30]!r}")
    name, rest = found[0], text[found.end() : end]
    value = variables.get(name, "")
    if not rest:
        return value, end + 1
    kind, word = rest[:2], rest[2:]
    if kind not in (":-", ":+"):
        raise wrong(line, f"${{{name}{rest}}}: of such forms :- and :+ are known")
    if kind == ":-":
        return value or substitute(word, variables, line), end + 1
    return substitute(word, variables, line) if value else "", end + 1


def words(text: str, line: int) -> list[str]:
    """Words parted by blanks; quotes hold together, a backslash keeps the next character."""
    found: list[str] = []
    current, begun, quote, at = "", False, "", 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'" and at + 1 < len(text):
            following = text[at + 1]
            current += following if not quote or following in '"\\$' else char + following
            begun, at = True, at + 2
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                current += char
        elif char in "\"'":
            quote, begun = char, True
        elif char.isspace():
            if begun:
                found.append(current)
            current, begun = "", False
        else:
            current, begun = current + char, True
        at += 1
    if quote:
        raise wrong(line, f"a quote that does not end: {text[:40]!r}")
    return [*found, current] if begun else found


def json_list(text: str) -> tuple[str, ...] | None:
    """The words of `["…", …]`; None for what is written as one text."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None  # as Docker: then it is for the shell
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return None
    return tuple(found)


def options(text: str, known: frozenset[str], line: int) -> tuple[dict[str, str], str]:
    """`--name=value` words at the beginning, and the rest."""
    found: dict[str, str] = {}
    while text.startswith("--"):
        word, _, text = text.partition(" ")
        name, _, value = word[2:].partition("=")
        if name not in known:
            raise wrong(line, f"--{name:.40} is not supported",
                        f"known here: {', '.join(sorted(known)) or 'none'}")  # fmt: skip
        found[name] = value
        text = text.lstrip()
    return found, text


def pairs(text: str, line: int) -> dict[str, str]:
    """`NAME=value …`, or the old form `NAME value`."""
    found = words(text, line)
    if found and "=" not in found[0]:
        name, _, value = text.partition(" ")
        if not value.strip():
            raise wrong(line, f"{name:.40} has no value", "NAME=value")
        return {name: value.strip()}
    pairs: dict[str, str] = {}
    for one in found:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise wrong(line, f"{one!r:.40} is no NAME=value")
        pairs[name] = value
    if not pairs:
        raise wrong(line, "nothing is set")
    return pairs
