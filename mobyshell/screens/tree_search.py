"""Finding paths in a tree of files by the words of a filter. Pure but for what it is given to read with.

Owns the way through the tree, and what of a path a filter can name. Never keeps a tree: it may be a
stranger's, of a million files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from mobyshell.core.errors import NotFound
from mobyshell.moby.survey import TreeRow
from mobyshell.widgets.resource import matches

MOST = 500
"""Paths that are shown of what was found."""

_CHANGED = re.compile(r"(^|\s)way=\w")


def values(row: TreeRow) -> dict[str, Any]:
    """What a filter can name: `way=changed`, `kind=link`, `uid=0`, `mode=4755`; else words of it."""
    one = row.file
    return {
        "path": one.path, "kind": one.kind, "way": row.way.value if row.way is not None else "",
        "uid": one.uid, "gid": one.gid, "mode": f"{one.mode:04o}", "target": one.target,
    }  # fmt: skip


def sought(
    read: Callable[[str], list[TreeRow]], query: str, stopped: Callable[[], bool]
) -> Iterator[TreeRow | None]:
    """The paths that match, directory by directory as `read` answers them; None after each, so that
    a caller hears of the way, too. Where it is asked what has changed, nobody looks where nothing has.
    """
    only_changed = _CHANGED.search(query) is not None
    pending = ["/"]
    while pending and not stopped():
        try:
            rows = read(pending.pop())
        except NotFound:  # gone meanwhile, as in what is being written
            continue
        yield from (row for row in rows if matches(values(row), query))
        pending += [
            row.file.path for row in reversed(rows)
            if row.file.kind == "directory" and (not only_changed or row.touched or row.way)
        ]  # fmt: skip
        yield None
