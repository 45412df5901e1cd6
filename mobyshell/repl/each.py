"""What `each` makes of the answers of a verb that was run for several things: rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from mobyshell.commands import output
from mobyshell.commands import results as r

OF = "of"
"""The column of whom an answer is about, where the answers have one of its name themselves."""

RESULT = "result"
"""The column of answers that are no objects."""


def plain(result: r.Result) -> Any:
    """A result as the value of a variable."""
    match result:
        case r.Rows():
            return [dict(row) for row in result.rows]
        case r.Record():
            return dict(result.fields)
        case r.Text():
            return result.text.rstrip("\n")
        case r.Bytes():
            raise result.refused()
        case r.Done():
            return result.id
        case r.Stream():
            return [output.to_plain(item) for item in result.items]


def of_each(key: str, answered: Iterable[tuple[str, r.Result]]) -> r.Rows:
    """All answers as one table: a row for each object in them, and first in it whom it is about.

    Objects are rows, records, what a stream has, and JSON in a text; of anything else the answer is
    one row.
    """
    found = [(subject, one) for subject, result in answered for one in _objects(result)]
    kinds = {name: (title, kind) for _, result in answered if isinstance(result, r.Rows)
             for name, title, kind in result.columns}  # fmt: skip
    clash = any(str(one.get(key, subject)) != subject for subject, one in found)
    first = OF if clash else key
    rows = [{first: subject, **one} for subject, one in found]
    names = dict.fromkeys(name for row in rows for name in row) or {first: None}
    columns = [(name, *kinds.get(name, (name.upper(), "id" if name == first else "text")))
               for name in names]  # fmt: skip
    return r.Rows(columns, rows, first)


def _objects(result: r.Result) -> list[dict[str, Any]]:
    value = plain(result)
    if isinstance(result, r.Text):
        value = _json(value)
    values = value if isinstance(value, list) else [value]
    return [dict(one) if isinstance(one, dict) else {RESULT: one} for one in values]


def _json(text: str) -> Any:
    """What a text says in JSON; itself, if that is no object."""
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass  # it only begins like it
    return text
