"""What can stand after a pipe: filters of rows, and words that a session needs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from mobyshell.commands.arguments import parse_size
from mobyshell.core.errors import MobyshellError, UsageError

Rows: TypeAlias = list[dict[str, Any]]
Filter: TypeAlias = Callable[[Rows, Sequence[str]], Rows]


def _field(row: dict[str, Any], name: str) -> Any:
    value: Any = row
    for part in name.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, (list, tuple)) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


_OPERATORS = ("!=", ">=", "<=", "=", "~", ">", "<")


def where(rows: Rows, words: Sequence[str]) -> Rows:
    """Rows that fit: `where status=running pids>3 command~sleep`; every condition must."""
    if not words:
        raise UsageError("where needs a condition", hint="where status=running")
    conditions = [_condition(word) for word in words]
    return [row for row in rows if all(one(row) for one in conditions)]


def _condition(word: str) -> Callable[[dict[str, Any]], bool]:
    places = [(word.find(one), one) for one in _OPERATORS if one in word]
    if not places:
        raise UsageError(f"not a condition: {word!r}", hint="as in status=running, pids>3, id~web")
    place, sign = min(places, key=lambda one: (one[0], -len(one[1])))
    name, wanted = word[:place], word[place + len(sign) :]

    def holds(row: dict[str, Any]) -> bool:
        found = _field(row, name)
        if sign == "=":
            return _text(found) == wanted
        if sign == "!=":
            return _text(found) != wanted
        if sign == "~":
            return wanted.lower() in _text(found).lower()
        if not isinstance(found, (int, float)):
            return False
        number = _number(wanted)
        return {">": found > number, "<": found < number,
                ">=": found >= number, "<=": found <= number}[sign]  # fmt: skip

    return holds


def _text(value: Any) -> str:
    return (
        ""
        if value is None
        else "true"
        if value is True
        else "false"
        if value is False
        else str(value)
    )


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return parse_size(word, "number")


def sort(rows: Rows, words: Sequence[str]) -> Rows:
    """By a field: `sort memory`, the other way round with `sort -memory`."""
    if len(words) != 1:
        raise UsageError("sort takes one field", hint="sort created, or sort -created")
    name, backwards = words[0].removeprefix("-"), words[0].startswith("-")
    having = [row for row in rows if _field(row, name) is not None]
    lacking = [row for row in rows if _field(row, name) is None]
    try:
        having.sort(key=lambda row: _field(row, name), reverse=backwards)
    except TypeError:
        having.sort(key=lambda row: str(_field(row, name)), reverse=backwards)
    return having + lacking


def head(rows: Rows, words: Sequence[str]) -> Rows:
    """The first rows: `head 3`."""
    return rows[: _count(words)]


def tail(rows: Rows, words: Sequence[str]) -> Rows:
    """The last rows: `tail 3`."""
    count = _count(words)
    return rows[-count:] if count else []


def _count(words: Sequence[str]) -> int:
    if len(words) > 1 or (words and not words[0].isdecimal()):
        raise UsageError("how many? one number", hint="head 3")
    return int(words[0]) if words else 10


def select(rows: Rows, words: Sequence[str]) -> Rows:
    """Only these fields: `select id status`."""
    if not words:
        raise UsageError("select needs fields", hint="select id status")
    return [{name: _field(row, name) for name in words} for row in rows]


def count(rows: Rows, words: Sequence[str]) -> Rows:
    """How many rows; with a field, how many of each value."""
    if not words:
        return [{"count": len(rows)}]
    found: dict[str, int] = {}
    for row in rows:
        key = _text(_field(row, words[0]))
        found[key] = found.get(key, 0) + 1
    return [{words[0]: key, "count": number} for key, number in found.items()]


FILTERS: dict[str, Filter] = {
    "where": where, "sort": sort, "head": head, "tail": tail, "select": select, "count": count,
}  # fmt: skip


class Unexpected(MobyshellError):
    """An `expect` did not hold."""


def expect(rows: Rows, words: Sequence[str]) -> Rows:
    """Fails unless every row fits (`expect status=running`), or there are so many (`expect 3`)."""
    if not words:
        if not rows:
            raise Unexpected("expected something, and there is nothing")
        return rows
    if len(words) == 1 and words[0].isdecimal():
        if len(rows) != int(words[0]):
            raise Unexpected(f"expected {words[0]} rows, and there are {len(rows)}")
        return rows
    wrong = len(rows) - len(where(rows, words))
    if wrong or not rows:
        raise Unexpected(f"expected {' '.join(words)}: {wrong} of {len(rows)} rows do not fit")
    return rows
