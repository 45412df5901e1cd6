"""From JSON paths to places in the text, and back. Pure: a scanner that copes with half-typed JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A value's place: offsets of its first character and after its last, its key's before it."""

    start: int
    end: int
    key: int


def spans(text: str) -> dict[str, Span]:
    """The place of every value in `text`, by path (`linux.namespaces[0].type`).

    Stops at the first character that is not JSON; what came before it is in the answer.
    """
    scanner = _Scanner(text)
    try:
        scanner.value("", 0)
    except (IndexError, ValueError):
        pass
    return scanner.found


def line_column(text: str, offset: int) -> tuple[int, int]:
    """The line and column of an offset, both from 0."""
    before = text[:offset]
    return before.count("\n"), offset - (before.rfind("\n") + 1)


def offset_of(text: str, line: int, column: int) -> int:
    """The offset of a line and column."""
    lines = text.split("\n")
    return sum(len(one) + 1 for one in lines[:line]) + column


def place_of(text: str, path: str) -> tuple[int, int] | None:
    """Where `path` is, or, if it is missing, the nearest thing around it."""
    found = spans(text)
    while path not in found:
        cut = max(path.rfind("."), path.rfind("["))
        if cut <= 0:
            return (0, 0) if "" in found else None
        path = path[:cut]
    return line_column(text, found[path].key)


def path_at(text: str, offset: int) -> str:
    """The path of the innermost value that holds `offset`; "" for the document itself."""
    best, size = "", len(text) + 1
    for path, span in spans(text).items():
        if span.key <= offset <= span.end and span.end - span.key <= size:
            best, size = path, span.end - span.key
    return best


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found: dict[str, Span] = {}

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\r\n":
            self.at += 1

    def value(self, path: str, key: int) -> None:
        self.space()
        start = self.at
        opening = self.text[start]
        # noted before it is read: an unfinished value has a place, too
        self.found[path] = Span(start, len(self.text), key)
        if opening == "{":
            self.members(path)
        elif opening == "[":
            self.elements(path)
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

    def members(self, path: str) -> None:
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
            self.value(f"{path}.{name}" if path else name, key)
            self.next("}")
        self.at += 1

    def elements(self, path: str) -> None:
        self.at += 1
        self.space()
        index = 0
        while self.text[self.at] != "]":
            self.value(f"{path}[{index}]", self.at)
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
