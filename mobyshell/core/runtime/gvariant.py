"""Values of `org.systemd.property.*` annotations: the text form of GVariant, as D-Bus variants. Pure.

The part of it that properties of units need: booleans, numbers, strings, arrays and tuples of
these, with a type in front where the default (int32, double, string) is not meant: `uint64 5`,
`@as []`. Source: GLib's "GVariant Text Format".
"""

from __future__ import annotations

import re
from typing import Any

from mobyshell.core.errors import InvalidSpec

Variant = tuple[str, Any]
"""(D-Bus signature, value)."""

_KEYWORDS = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u",
    "int64": "x", "uint64": "t", "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
_BITS = {
    "y": (0, 8),
    "n": (-15, 15),
    "q": (0, 16),
    "i": (-31, 31),
    "u": (0, 32),
    "x": (-63, 63),
    "t": (0, 64),
}
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<type>@[a-z()]+)"""
    r"""|(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?))"""
    r"""|(?P<word>[a-z][a-z0-9]*)|(?P<mark>[\[\](),]))"""
)
_DEEPEST = 16


def parse(text: str, where: str) -> Variant:
    """The value in `text`. InvalidSpec, naming the annotation `where`, if it is none."""
    parser = _Parser(text)
    try:
        text.encode()  # D-Bus has UTF-8, and no NUL
        if "\0" in text:
            raise ValueError("a NUL in it")
        found = parser.value(None, 0)
        parser.end()
    except (ValueError, IndexError) as error:
        raise InvalidSpec(
            f"{where} = {text:.100}: not a value in the text format of GVariant: {error}",
            hint="for example: true, 'text', uint64 5, ['one', 'two']",
        ) from None
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def _next(self) -> tuple[str, str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None or found.lastgroup is None:
            raise ValueError(f"at {self._text[self._at : self._at + 20]!r}")
        self._at = found.end()
        return found.lastgroup, found[found.lastgroup]

    def _peek(self) -> str:
        at = self._at
        _, token = self._next()
        self._at = at
        return token

    def end(self) -> None:
        if self._text[self._at :].strip():
            raise ValueError(f"more after it: {self._text[self._at :].strip()[:20]!r}")

    def value(self, wanted: str | None, depth: int) -> Variant:
        """A value, of the type `wanted` if one is given."""
        if depth > _DEEPEST:
            raise ValueError("too deep")
        kind, token = self._next()
        if kind == "type":
            return self.value(token[1:], depth + 1)
        if kind == "word":
            if token in _KEYWORDS:
                return self.value(_KEYWORDS[token], depth + 1)
            if token in ("true", "false") and wanted in (None, "b"):
                return "b", token == "true"
        if kind == "number":
            return _number(token, wanted)
        if kind == "text" and wanted in (None, "s", "o", "g"):
            return wanted or "s", re.sub(r"\\(.)", r"\1", token[1:-1])
        if token == "[":
            return self._array(wanted, depth)
        if token == "(":
            return self._tuple(wanted, depth)
        raise ValueError(f"{token} is not {'a value' if wanted is None else 'of type ' + wanted}")

    def _array(self, wanted: str | None, depth: int) -> Variant:
        if wanted is not None and (wanted == "a" or not wanted.startswith("a")):
            raise ValueError(f"an array is not of type {wanted}")
        inner, values = wanted[1:] if wanted else None, []
        while self._peek() != "]":
            inner, value = self.value(inner, depth + 1)
            values.append(value)
            if self._peek() == ",":
                self._next()
        self._next()
        if not inner:
            raise ValueError("an empty array needs its type: @as []")
        return f"a{inner}", values

    def _tuple(self, wanted: str | None, depth: int) -> Variant:
        inner = list(wanted[1:-1]) if wanted else []
        if wanted is not None and any(one not in "bynqiuxtdsog" for one in inner):
            raise ValueError(f"tuples of type {wanted} are not read here")
        signature = ""
        values: list[Any] = []
        while self._peek() != ")":
            kind, value = self.value(inner[len(values)] if wanted else None, depth + 1)
            signature += kind
            values.append(value)
            if self._peek() == ",":
                self._next()
        self._next()
        if not values or (wanted and len(values) != len(inner)):
            raise ValueError("a tuple with other members than its type has")
        return f"({signature})", tuple(values)


def _number(token: str, wanted: str | None) -> Variant:
    whole = not re.search(r"[.eE]", token) or token.lower().lstrip("+-").startswith("0x")
    kind = wanted or ("i" if whole else "d")
    if kind == "d":
        return "d", float(int(token, 0) if whole else token)
    if not whole or kind not in _BITS:
        raise ValueError(f"{token} is not of type {kind}")
    low, high = _BITS[kind]
    number = int(token, 16 if "x" in token.lower() else 10)
    if not (-(2**-low) if low else 0) <= number < 2**high:
        raise ValueError(f"{token} does not fit into type {kind}")
    return kind, number
