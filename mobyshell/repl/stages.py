"""What can stand after a pipe: filters of rows, and words that a session needs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from mobyshell.commands.arguments import parse_size
from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.core.tasks.listing import natural

Rows: TypeAlias = list[dict[str, Any]]
Filter: TypeAlias = Callable[[Rows, Sequence[str]], Rows]


def is_index(word: str) -> bool:
    """Whether a word is a number of rows, or the place of one."""
    return word.isascii() and word.isdecimal() and len(word) < 19


def _field(row: dict[str, Any], name: str) -> Any:
    value: Any = row
    for part in name.split("."):
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, (list, tuple)) and is_index(part) and int(part) < len(value):
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
    name, sign, wanted = _parts(word)
    return lambda row: holds(_field(row, name), sign, wanted)


def _parts(word: str) -> tuple[str, str, str]:
    """A condition's field, operator and value. UsageError if it is none."""
    places = [(word.find(one), one) for one in _OPERATORS if one in word]
    if not places:
        raise UsageError(
            f"not a condition: {shown(word)}", hint="as in status=running, pids>3, id~web"
        )
    place, sign = min(places, key=lambda one: (one[0], -len(one[1])))
    name, wanted = word[:place], word[place + len(sign) :]
    if sign in (">", "<", ">=", "<="):
        _number(wanted)
    return name, sign, wanted


def holds(found: Any, sign: str, wanted: str) -> bool:
    """Whether a value fits: `=` and `!=` compare texts, `~` looks inside, the others numbers."""
    if sign in ("=", "=="):
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
        having.sort(key=lambda row: _rank(_field(row, name)), reverse=backwards)
    except TypeError:
        having.sort(key=lambda row: natural(str(_field(row, name))), reverse=backwards)
    return having + lacking


def _rank(value: Any) -> Any:
    return natural(value) if isinstance(value, str) else value


def head(rows: Rows, words: Sequence[str]) -> Rows:
    """The first rows: `head 3`."""
    return rows[: _count(words)]


def tail(rows: Rows, words: Sequence[str]) -> Rows:
    """The last rows: `tail 3`."""
    count = _count(words)
    return rows[-count:] if count else []


def _count(words: Sequence[str]) -> int:
    if len(words) > 1 or (words and not is_index(words[0])):
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
    """An `assert` did not hold."""


def expect(rows: Rows, words: Sequence[str]) -> Rows:
    """Fails unless every row fits (`assert status=running`), or there are so many (`assert 3`)."""
    if not words:
        if not rows:
            raise Unexpected("expected something, and there is nothing")
        return rows
    if len(words) == 1 and is_index(words[0]):
        if len(rows) != _count(words):
            raise Unexpected(f"expected {words[0]} rows, and there are {len(rows)}")
        return rows
    conditions = [_parts(word) for word in words]
    wanted = " ".join(words)
    if not rows:
        raise Unexpected(f"expected {wanted}, and there is nothing")
    for number, row in enumerate(rows):
        for name, sign, value in conditions:
            found = _field(row, name)
            if not holds(found, sign, value):
                raise Unexpected(f"expected {name}{sign}{value}, and {name} is {shown(found)}"
                                 f"{_which(rows, number)}")  # fmt: skip
    return rows


def compare(left: str, sign: str, right: str) -> None:
    """Fails unless two words compare so: `assert ${x.pids} = 1`. Numbers where it needs them."""
    found: Any = left
    if sign in (">", "<", ">=", "<="):
        found = _number(left)
    if not holds(found, sign, right):
        raise Unexpected(f"expected {shown(left)} {sign} {shown(right)}")


def is_comparison(words: Sequence[str]) -> bool:
    """Whether these words are two values with an operator between them."""
    return len(words) == 3 and words[1] in (*_OPERATORS, "==")


def _which(rows: Rows, number: int) -> str:
    if len(rows) == 1:
        return ""
    name = rows[number].get("id", "")
    return f" in row {number + 1} of {len(rows)}" + (f" ({name})" if name else "")


def shown(value: Any) -> str:
    """A value in a message: short, and harmless to a terminal."""
    text = "nothing" if value is None else _text(value)
    text = "".join(ch if ch.isprintable() else repr(ch)[1:-1] for ch in text[:100])
    return repr(text) if isinstance(value, str) else text
