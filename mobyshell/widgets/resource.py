"""One pipeline for every table: fetch → row → pure renderer → view. Pure; knows no widget.

A `ResourceSpec` says how one kind of thing becomes rows; `ResourceTable` shows any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mobyshell.core.tasks.listing import natural

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
    the column by which rows are in order at first, if that is not their `key`."""

    noun: str
    key: str
    columns: Sequence[Column]
    health: Callable[[Row], str]
    empty: str
    sort: str = ""

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


def matches(row: Row, query: str) -> bool:
    """Whether a row passes the filter `query`: every word must.

    A word is plain text found in any value, `!word` for not, `re:pattern`, or `key=value`.
    """
    return all(_word(row, word) for word in query.split())


def _word(row: Row, word: str) -> bool:
    if word.startswith("!"):
        return len(word) == 1 or not _word(row, word[1:])
    values = [str(value) for value in row.values() if value is not None]
    if word.startswith("re:"):
        import re

        try:
            pattern = re.compile(word[3:], re.IGNORECASE)
        except re.error:
            return True  # unfinished: still being typed
        return any(pattern.search(value) for value in values)
    key, equals, value = word.partition("=")
    if equals and key in row:
        return value.lower() in str(row[key] if row[key] is not None else "").lower()
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


def _rank(value: Any) -> Any:
    return natural(value) if isinstance(value, str) else value
