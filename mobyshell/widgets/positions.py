"""From JSON paths to places in the text, and back. Pure: a scanner that copes with half-typed JSON."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

MOST = 100_000
"""Values whose places are noted; a text of four megabytes can have millions."""

DEEPEST = 64
"""Levels, as in what is read as JSON at all."""


@dataclass(frozen=True, slots=True)
class Span:
    """A value's place: offsets of its first character and after its last, its key's before it."""

    start: int
    end: int
    key: int


def spans(text: str) -> dict[str, Span]:
    """The place of every value in `text`, by path (`linux.namespaces[0].type`).

    Stops at the first character that is not JSON, after MOST values, and below DEEPEST levels;
    what came before is in the answer.
    """
    scanner = _Scanner(text)
    try:
        scanner.value("", 0, 0)
    except (IndexError, ValueError):
        pass
    return scanner.found


class Places:
    """The places of the values of one text, worked out once (which for long texts takes a while)."""

    def __init__(self, text: str) -> None:
        self._spans = spans(text)
        self._starts = [0]
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def line_column(self, offset: int) -> tuple[int, int]:
        """The line and column of an offset, both from 0."""
        line = bisect_right(self._starts, offset) - 1
        return line, offset - self._starts[line]

    def offset_of(self, line: int, column: int) -> int:
        """The offset of a line and column."""
        return self._starts[min(line, len(self._starts) - 1)] + column

    def place_of(self, path: str) -> tuple[int, int] | None:
        """Where `path` is, or, if it is missing, the nearest thing around it."""
        while path not in self._spans:
            cut = max(path.rfind("."), path.rfind("["))
            if cut <= 0:
                return (0, 0) if "" in self._spans else None
            path = path[:cut]
        return self.line_column(self._spans[path].key)

    def path_at(self, line: int, column: int) -> str:
        """The path of the innermost value that holds a place; "" for the document itself."""
        offset = self.offset_of(line, column)
        best, size = "", -1
        for path, span in self._spans.items():
            if span.key <= offset <= span.end and (size < 0 or span.end - span.key <= size):
                best, size = path, span.end - span.key
        return best


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found: dict[str, Span] = {}

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def value(self, path: str, key: int, depth: int) -> None:
        if len(self.found) >= MOST or depth > DEEPEST:
            raise ValueError("enough")
        self.space()
        start = self.at
        opening = self.text[start]
        # noted before it is read: an unfinished value has a place, too
        self.found[path] = Span(start, len(self.text), key)
        if opening == "{":
            self.members(path, depth + 1)
        elif opening == "[":
            self.elements(path, depth + 1)
        elif opening == '"':
            self.string()
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]} \t\r\n":
                self.at += 1
            if self.at == start:
                raise ValueError("not a value")
        self.found[path] = Span(start, self.at, key)

    def string(self) -> str:
        start = self.at + 1
        self.at = start
        while self.text[self.at] != '"':
            self.at += 2 if self.text[self.at] == "\\" else 1
        self.at += 1
        return self.text[start : self.at - 1]

    def members(self, path: str, depth: int) -> None:
        self.at += 1
        self.space()
        while self.text[self.at] != "}":
            key = self.at
            if self.text[key] != '"':
                raise ValueError("not a key")
            name = self.string()
            self.space()
            if self.text[self.at] != ":":
                raise ValueError("no colon")
            self.at += 1
            self.value(f"{path}.{name}" if path else name, key, depth)
            self.next("}")
        self.at += 1

    def elements(self, path: str, depth: int) -> None:
        self.at += 1
        self.space()
        index = 0
        while self.text[self.at] != "]":
            self.value(f"{path}[{index}]", self.at, depth)
            index += 1
            self.next("]")
        self.at += 1

    def next(self, closing: str) -> None:
        self.space()
        if self.text[self.at] == ",":
            self.at += 1
            self.space()
        elif self.text[self.at] != closing:
            raise ValueError("no comma")
