"""A Dockerfile taken apart into instructions: directives, continued lines, here-documents.

Owns the lines; what an instruction means is `reading`'s.
https://docs.docker.com/reference/dockerfile/#format, #parser-directives, #here-documents
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mobyshell.moby.build.words import split, wrong

_DIRECTIVE = re.compile(r"#\s*([a-z]+)\s*=\s*(\S.*?)\s*$", re.IGNORECASE)
_SYNTAX = re.compile(
    r"(docker\.io/)?docker/dockerfile(-upstream)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?"
)
_HERE = re.compile(r"(\d*)<<(-?)([^<]+)")
_TABS = re.compile(r"^\t+", re.MULTILINE)
_WITH_DOCUMENTS = ("RUN", "COPY", "ADD")
MOST_DOCUMENTS = 100


@dataclass(frozen=True, slots=True)
class Document:
    """A here-document. `raw` is what stands there, `cut`: tabs at the beginning of its lines do not
    count (`<<-`); `expand`: variables in it do (its name is not quoted)."""

    name: str
    raw: str = ""
    expand: bool = True
    cut: bool = False

    @property
    def text(self) -> str:
        """What it says."""
        return _TABS.sub("", self.raw) if self.cut else self.raw


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: `word` in capitals, and the rest of it."""

    line: int
    word: str
    rest: str
    documents: tuple[Document, ...] = ()
    escape: str = "\\"

    @property
    def text(self) -> str:
        """As it is told to people, and in the history."""
        if not self.documents:
            return f"{self.word} {self.rest}"
        first = next((one for one in self.documents[0].text.splitlines() if one.strip()), "")
        return f"{self.word} {self.rest} ({first.strip():.60}…)"

    @property
    def whole(self) -> str:
        """As it was written, documents included."""
        return f"{self.word} {self.rest}" + "".join(
            f"\n{one.raw}{one.name}" for one in self.documents
        )


def instructions(text: str) -> Iterator[Instruction]:
    """The instructions; comments are left out. InvalidSpec names the line."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    escape, at = _directives(lines)
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
        if not joined.strip():
            continue
        word, rest = (*joined.split(None, 1), "")[:2]
        word, rest = word.upper(), rest.strip()
        documents: list[Document] = []
        for one in heads(word, rest, start):
            raw, at = _document(lines, at, one, start)
            documents.append(Document(one.name, raw, one.expand, one.cut))
        yield Instruction(start, word, rest, tuple(documents), escape)


def _directives(lines: list[str]) -> tuple[str, int]:
    """The escape character, and where the directives end: with the first line that is none."""
    escape, seen, at = "\\", set[str](), 0
    while at < len(lines) and (found := _DIRECTIVE.match(lines[at])):
        name, value = found[1].lower(), found[2]
        if name not in ("escape", "syntax", "check"):
            break
        if name in seen:
            raise wrong(at + 1, f"the directive {name} is there twice")
        seen.add(name)
        if name == "escape":
            if value not in ("\\", "`"):
                raise wrong(at + 1, f"escape is \\ or `, not {value!r:.10}")
            escape = value
        elif name == "syntax" and not _SYNTAX.fullmatch(value):
            raise wrong(at + 1, f"another syntax than Dockerfile's: {value!r:.60}",
                        "programs that read other syntaxes are not run here")  # fmt: skip
        at += 1
    return escape, at


def heads(word: str, rest: str, line: int) -> list[Document]:
    """The here-documents that an instruction announces, without what they say."""
    if word == "ONBUILD":
        word, _, rest = rest.partition(" ")
    if word.upper() not in _WITH_DOCUMENTS or "<<" not in rest:
        return []
    found = []
    for one in split(rest, line, strict=False):
        if head := here(one):
            found.append(head)
    if len(found) > MOST_DOCUMENTS:
        raise wrong(line, f"more than {MOST_DOCUMENTS} here-documents")
    return found


def here(word: str) -> Document | None:
    """The here-document that a word announces: `<<EOF`, `<<-EOF`, `<<"EOF"`, `3<<EOF`."""
    found = _HERE.fullmatch(word)
    if found is None:
        return None
    name = found[3]
    bare = re.sub(r"['\"\\]", "", name)
    if not bare or bare.strip() != bare or (bare == name and len(bare.split()) > 1):
        return None
    return Document(bare, expand=bare == name, cut=bool(found[2]))


def _document(lines: list[str], at: int, head: Document, start: int) -> tuple[str, int]:
    found: list[str] = []
    while at < len(lines):
        line = lines[at]
        at += 1
        if (line.lstrip("\t") if head.cut else line) == head.name:
            return "".join(f"{one}\n" for one in found), at
        found.append(line)
    raise wrong(start, f"the here-document {head.name:.40} does not end",
                f"a line that is {head.name:.40} and nothing else")  # fmt: skip
