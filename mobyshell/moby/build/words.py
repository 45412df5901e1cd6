"""The words of a Dockerfile's instructions: parted by blanks, options and lists taken apart.

Quotes and escapes stay in the words; `variables.expand` takes them off.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from mobyshell.core.errors import InvalidSpec

LARGEST = 1 << 20
"""Bytes of a Dockerfile."""

Expand = Callable[[str], str]


def wrong(line: int, what: str, hint: str = "") -> InvalidSpec:
    """The error of a line."""
    return InvalidSpec(f"Dockerfile, line {line}: {what}", hint=hint)


def split(text: str, line: int, *, escape: str = "\\", strict: bool = True) -> list[str]:
    """Words parted by blanks; quotes hold together, and stay. InvalidSpec for one that does not end,
    unless it is not `strict`."""
    found: list[str] = []
    while text := text.lstrip():
        word, text = _first(text, line, escape=escape, strict=strict)
        found.append(word)
    return found


def _first(text: str, line: int, *, escape: str, strict: bool) -> tuple[str, str]:
    """The first word, and the rest."""
    at, quote = 0, ""
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            break
        at += 1
    if quote and strict:
        raise wrong(line, f"a quote that does not end: {text[:40]!r}")
    return text[:at], text[at:]


def json_list(text: str) -> tuple[str, ...] | None:
    """The words of `["…", …]`; None for what is written as one text."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None  # as Docker: then it is for the shell
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        return None
    return tuple(found)


class Flags:
    """The options of an instruction."""

    def __init__(self, found: dict[str, list[str]], line: int) -> None:
        self._found, self._line = found, line

    def all(self, name: str) -> list[str]:
        """Every value that was given."""
        return self._found.get(name, [])

    def one(self, name: str) -> str:
        """The value; "" if there is none. InvalidSpec if there are several."""
        values = self.all(name)
        if len(values) > 1:
            raise wrong(self._line, f"--{name} is there twice")
        return values[0] if values else ""

    def on(self, name: str) -> bool:
        """Whether it is switched on."""
        if name not in self._found:
            return False
        word = self.one(name).lower()
        if word not in ("", "true", "false"):
            raise wrong(self._line, f"--{name}={word:.20}: true or false")
        return word != "false"


def flags(text: str, known: Collection[str], line: int) -> tuple[Flags, str]:
    """`--name=value` words at the beginning, and the rest."""
    found: dict[str, list[str]] = {}
    while text.startswith("--"):
        word, text = _first(text, line, escape="\\", strict=True)
        text = text.lstrip()
        name, _, value = word[2:].partition("=")
        if name not in known:
            raise wrong(line, f"--{name:.40} is not supported",
                        f"known here: {', '.join(sorted(known)) or 'none'}")  # fmt: skip
        found.setdefault(name, []).append(value)
    return Flags(found, line), text


def pairs(text: str, line: int, expand: Expand, escape: str = "\\") -> dict[str, str]:
    """`NAME=value …`, or the old form `NAME value`."""
    found = split(text, line, escape=escape)
    if found and "=" not in found[0]:
        value = text[len(found[0]) :].strip()
        if not value:
            raise wrong(line, f"{found[0]:.40} has no value", "NAME=value")
        return {expand(found[0]): expand(value)}
    pairs: dict[str, str] = {}
    for one in found:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise wrong(line, f"{one!r:.40} is no NAME=value")
        pairs[expand(name)] = expand(value)
    if not pairs:
        raise wrong(line, "nothing is set")
    return pairs
