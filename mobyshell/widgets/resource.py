"""One pipeline for every table: fetch → row → pure renderer → view. Pure; knows no widget.

A `ResourceSpec` says how one kind of thing becomes rows; `ResourceTable` shows any of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rich.cells import cell_len, set_cell_size

from mobyshell.core.tasks.listing import natural

_DIGEST = re.compile(r"[a-z0-9]+:(?=[0-9a-f]{12})")

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """`key` of the row's value, `title`, `width` in characters (0: takes what is left), how it is
    shown (`kind` as in commands.results.Rows), and from which width of the table on it is."""

    key: str
    title: str
    width: int
    kind: str = "text"
    from_width: int = 0


@dataclass(frozen=True, slots=True)
class ResourceSpec:
    """How one kind of thing is shown. `health` gives good, busy, bad or off for a row; `sort` is
    the value by which rows are in order at first, if that is not their `key`, and `descending`
    whether the largest is the first; `parent`, if there is one, the value that is the key of the row
    that a row stands upon: they are shown as a tree."""

    noun: str
    key: str
    columns: Sequence[Column]
    health: Callable[[Row], str]
    empty: str
    sort: str = ""
    parent: str = ""
    descending: bool = False

    @property
    def plural(self) -> str:
        """What several of them are called."""
        return f"{self.noun}s"


def visible_columns(spec: ResourceSpec, width: int) -> tuple[Column, ...]:
    """The columns that fit into `width`, the flexible one with its width worked out."""
    chosen = [one for one in spec.columns if width >= one.from_width]
    fixed = sum(one.width + 2 for one in chosen)
    flexible = [one for one in chosen if one.width == 0]
    rest = max(8, (width - fixed - 2 * len(flexible)) // max(len(flexible), 1))
    return tuple(
        Column(one.key, one.title, one.width or rest, one.kind, one.from_width) for one in chosen
    )


def fitted(text: str, width: int, *, middle: bool = False) -> str:
    """`text` in at most `width` cells, `…` for what is left out: at the end, or in the `middle`,
    where that of the end is more telling (names whose beginnings are all alike). Of a digest the
    beginning tells, and first goes by what it was made."""
    if cell_len(text) <= width:
        return text
    if middle and (digest := _DIGEST.match(text)):
        text, middle = text[digest.end() :], False
        if len(text) <= width:
            return text
    tail = (width - 1) * 3 // 5 if middle and width > 2 else 0
    end = set_cell_size(text[::-1], tail)[::-1].strip() if tail else ""
    return f"{set_cell_size(text, width - 1 - tail).rstrip()}…{end}"


def matches(row: Row, query: str) -> bool:
    """Whether a row passes the filter `query`: every word must.

    A word is plain text found in any value, `!word` for not, `re:pattern`, or `key=value`;
    as in containerd's filters, `key==value` is all of it, and `key!=value` not that.
    """
    return all(_word(row, word) for word in query.split())


def _word(row: Row, word: str) -> bool:
    if word.startswith("!"):
        return len(word) == 1 or not _word(row, word[1:])
    values = [str(value) for value in row.values() if value is not None]
    if word.startswith("re:"):
        try:
            pattern = re.compile(word[3:], re.IGNORECASE)
        except re.error:
            return True  # unfinished: still being typed
        return any(pattern.search(value) for value in values)
    key, equals, value = word.partition("=")
    if equals and key.removesuffix("!") in row:
        here = row[key.removesuffix("!")]
        here, value = str(here if here is not None else "").lower(), value.lower()
        if key.endswith("!"):
            return here != value
        return here == value[1:] if value.startswith("=") else value in here
    return any(word.lower() in one.lower() for one in values)


def ordered(rows: Sequence[Row], key: str, *, reverse: bool) -> list[Row]:
    """`rows` by the value of `key`; those without one at the end."""
    having = [row for row in rows if row.get(key) is not None]
    lacking = [row for row in rows if row.get(key) is None]
    try:
        having.sort(key=lambda row: _rank(row[key]), reverse=reverse)
    except TypeError:
        having.sort(key=lambda row: natural(str(row[key])), reverse=reverse)
    return [*having, *lacking]


def nested(rows: Sequence[Row], key: str, parent: str) -> list[tuple[Row, str]]:
    """Rows as a tree, each with the stem that stands before it; siblings stay in their order.

    Who is alone upon another is not indented (`↳`): chains are long, and trees are about branches.
    """
    there = {row[key] for row in rows}
    below: dict[Any, list[Row]] = {}
    for row in rows:
        below.setdefault(row[parent] if row[parent] in there else None, []).append(row)
    found: list[tuple[Row, str]] = []
    pending = [(row, "", "") for row in reversed(below.get(None, []))]
    while pending:
        row, stem, lead = pending.pop()
        found.append((row, stem))
        children = below.get(row[key], [])
        if len(children) == 1:
            pending.append((children[0], f"{lead}↳ ", lead))
            continue
        for child in reversed(children):
            branch, below_it = ("└─ ", "   ") if child is children[-1] else ("├─ ", "│  ")
            pending.append((child, lead + branch, lead + below_it))
    return found


def _rank(value: Any) -> Any:
    return natural(value) if isinstance(value, str) else value
