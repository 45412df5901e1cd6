"""containerd's filter language: which of many things are meant.

    filter   = selector { "," selector }          all of them must match
    selector = path [ operator value ]            without an operator: the field is there
    path     = field { "." field }
    field    = quoted | letter { letter | digit | "_" }
    operator = "==" | "!=" | "~="
    value    = quoted | characters but white space and ","
    quoted   = "…" with Go's escapes; after ~= also /…/ or |…|

Of several filters one must match; of none, everything does. `~=` looks for a regular expression
anywhere in the value, in time that grows no faster than both (`regex`).

Owns parsing (UsageError with the position) and matching; what fields a thing has, its `Fields`
says. After containerd's pkg/filters, whose language this is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.safejson import show
from mobyshell.core.store.regex import Regex, compile_regex
from mobyshell.core.values import value

LONGEST = 64 << 10
"""Characters of one filter."""

Fields: TypeAlias = Callable[[tuple[str, ...]], str | None]
"""The value of a field of one thing, by its path; None if it has no such field."""

_OPERATORS = ("==", "!=", "~=")
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
            "\\": "\\", "'": "'", '"': '"'}  # fmt: skip
_HEX = {"x": 2, "u": 4, "U": 8}


@value
class Selector:
    """One condition. `operator` "" asks only whether the field is there."""

    path: tuple[str, ...]
    operator: str = ""
    value: str = ""
    regex: Regex | None = None

    def matches(self, fields: Fields) -> bool:
        """Whether a thing with these fields is meant."""
        found = fields(self.path)
        if self.operator == "!=":
            return (found or "") != self.value
        if found is None:
            return False
        if self.regex is not None:
            return self.regex.search(found)
        return not self.operator or found == self.value


@value
class Filter:
    """Any of several conjunctions of selectors; of none, everything."""

    any_of: tuple[tuple[Selector, ...], ...] = ()

    def matches(self, fields: Fields) -> bool:
        """Whether a thing with these fields is meant."""
        if not self.any_of:
            return True
        return any(all(one.matches(fields) for one in each) for each in self.any_of)


def parse_filters(texts: Iterable[str]) -> Filter:
    """The filter that matches where one of these does. UsageError says where one goes wrong.

    An empty text matches everything, as in containerd.
    """
    each = [_Parser(text).parse() for text in texts]
    return Filter(()) if not all(each) else Filter(tuple(each))


def mapping_fields(values: Mapping[str, str], **mappings: Mapping[str, str]) -> Fields:
    """Fields of a thing with plain `values` (by their dotted path) and with `mappings`, such as
    labels, whose keys may hold dots: `labels."a.b"` and `labels.a.b` mean the same."""

    def fields(path: tuple[str, ...]) -> str | None:
        table = mappings.get(path[0])
        if table is not None:
            return table.get(".".join(path[1:])) if len(path) > 1 else None
        return values.get(".".join(path))

    return fields


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise UsageError("the filter is too long", hint=f"at most {LONGEST} characters")
        self.text, self.at = text, 0

    def parse(self) -> tuple[Selector, ...]:
        """The selectors; none of an empty text."""
        self.blanks()
        if self.ended:
            return ()
        found = [self.selector()]
        while not self.ended:
            if self.text[self.at] != ",":
                raise self.error("a comma or the end")
            self.at += 1
            self.blanks()
            found.append(self.selector())
        return tuple(found)

    @property
    def ended(self) -> bool:
        return self.at >= len(self.text)

    def selector(self) -> Selector:
        path = [self.field()]
        while not self.ended and self.text[self.at] == ".":
            self.at += 1
            path.append(self.field())
        self.blanks()
        operator = self.text[self.at : self.at + 2]
        if operator not in _OPERATORS:
            if not self.ended and self.text[self.at] != ",":
                raise self.error("one of == != ~=, or a comma")
            return Selector(tuple(path))
        self.at += 2
        self.blanks()
        start = self.at
        value = self.value(alternative=operator == "~=")
        self.blanks()
        if operator != "~=":
            return Selector(tuple(path), operator, value)
        try:
            regex = compile_regex(value)
        except UsageError as error:
            self.at = start
            raise self.error(f"a regular expression ({error.message})") from None
        return Selector(tuple(path), operator, value, regex)

    def field(self) -> str:
        if not self.ended and self.text[self.at] == '"':
            return self.quoted('"')
        start = self.at
        while not self.ended and _is_field(self.text[self.at], first=self.at == start):
            self.at += 1
        if self.at == start:
            raise self.error("the name of a field")
        return self.text[start : self.at]

    def value(self, *, alternative: bool) -> str:
        if not self.ended and self.text[self.at] in ('"/|' if alternative else '"'):
            return self.quoted(self.text[self.at])
        start = self.at
        while not self.ended and self.text[self.at] != "," and not self.text[self.at].isspace():
            self.at += 1
        if self.at == start:
            raise self.error("a value")
        return self.text[start : self.at]

    def quoted(self, quote: str) -> str:
        start = self.at
        self.at += 1
        found: list[str] = []
        while not self.ended and self.text[self.at] != quote:
            character = self.text[self.at]
            if character == "\n":
                break
            if character == "\\":
                found.append(self.escape(quote))
            else:
                found.append(character)
                self.at += 1
        if self.ended or self.text[self.at] != quote:
            self.at = start
            raise self.error(f"a quoted text that ends with {quote}")
        self.at += 1
        return "".join(found)

    def escape(self, quote: str) -> str:
        """One escape. Between / or |, where a regular expression stands, only the quote has one."""
        self.at += 1
        letter = self.text[self.at : self.at + 1]
        if quote != '"':
            self.at += len(letter)
            return letter if letter == quote else "\\" + letter
        if letter in _ESCAPES:
            self.at += 1
            return _ESCAPES[letter]
        octal = letter in "01234567" and letter != ""
        length = 3 if octal else _HEX.get(letter, 0)
        digits = self.text[self.at + (not octal) :][:length]
        try:
            code = int(digits, 8 if octal else 16) if len(digits) == length and length else -1
        except ValueError:
            code = -1
        if not digits.isalnum() or not 0 <= code < 0x110000 or 0xD800 <= code < 0xE000:
            raise self.error("an escape such as \\n, \\x41 or \\u00e9")
        self.at += length + (not octal)
        return chr(code)

    def blanks(self) -> None:
        while not self.ended and self.text[self.at].isspace():
            self.at += 1

    def error(self, expected: str) -> UsageError:
        return UsageError(
            f"filter {show(self.text)}, character {self.at + 1}: expected {expected}",
            hint='such as name==alpine, labels."a.b"~=x+, size; a comma means and',
        )


def _is_field(character: str, *, first: bool) -> bool:
    if not character.isascii():
        return False
    return character.isalpha() or (not first and (character.isdigit() or character == "_"))
