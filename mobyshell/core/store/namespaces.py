"""Namespaces: containerd's tenancy. Whatever the store keeps belongs to one, and sees only that.

Owns the table `namespaces`. One is there once something is in it, or when it is made; it goes only
when it is empty.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from mobyshell.core.clock import Clock
from mobyshell.core.errors import AlreadyExists, NotFound, WrongState
from mobyshell.core.events import NamespaceCreated, NamespaceDeleted, NamespaceUpdated
from mobyshell.core.store.database import Database
from mobyshell.core.store.events import record
from mobyshell.core.store.labels import changed, decode, encode
from mobyshell.core.store.names import check_identifier
from mobyshell.core.values import field, replace, value

_INSIDE = {
    "images": "image", "containers": "container", "snapshots": "snapshot", "content": "blob",
    "ingests": "ingest", "leases": "lease",
}  # fmt: skip
"""Tables of what a namespace holds, and what one row of them is called."""

_SIZES = {
    "content": "SELECT sum(size) FROM content JOIN blobs USING (digest) WHERE namespace = ?",
    "snapshots": "SELECT sum(size) FROM trees WHERE id IN "
                 "(SELECT tree FROM snapshots WHERE namespace = ?)",
}  # fmt: skip


@value
class NamespaceInfo:
    """A namespace. `inside`: how many of each kind it holds, of those it holds any of."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    inside: Mapping[str, int] = field(default_factory=dict)


class Namespaces:
    """All namespaces of a store."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def create(self, name: str, labels: Mapping[str, str] | None = None) -> NamespaceInfo:
        """Make one. AlreadyExists; UsageError for what cannot be one's name."""
        check_identifier(name, "namespace")
        column, now = encode(labels or {}), self._clock.now_ns()
        with self._database.write() as sql:
            made = sql.execute(
                "INSERT OR IGNORE INTO namespaces (name, labels, created) VALUES (?, ?, ?)",
                (name, column, now / 1e9),
            )
            if not made.rowcount:
                raise AlreadyExists(f"namespace {name} is there already")
            record(sql, now, name, name, NamespaceCreated(name, dict(labels or {})))
            return _get(sql, name)

    def get(self, name: str) -> NamespaceInfo:
        """One, with what it holds. NotFound."""
        with self._database.read() as sql:
            one = _get(sql, name)
            return replace(one, inside=_inside(sql, name))

    def list(self, *, count: bool = False) -> list[NamespaceInfo]:
        """All, by name; with `count` also what they hold."""
        with self._database.read() as sql:
            rows = sql.execute("SELECT name, labels, created FROM namespaces ORDER BY name")
            found = [NamespaceInfo(name, decode(labels), at) for name, labels, at in rows]
            if count:
                found = [replace(one, inside=_inside(sql, one.name)) for one in found]
        return found

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of its blobs (`content`), and of its committed snapshots (`snapshots`), which it may
        share with other namespaces."""
        with self._database.read() as sql:
            found = {}
            for what, query in _SIZES.items():
                (size,) = sql.execute(query, (name,)).fetchone()
                found[what] = int(size or 0)
        return found

    def update(self, name: str, labels: Mapping[str, str | None]) -> NamespaceInfo:
        """Set labels; None takes one away. NotFound."""
        with self._database.write() as sql:
            merged = changed(_get(sql, name).labels, labels)
            sql.execute("UPDATE namespaces SET labels = ? WHERE name = ?", (encode(merged), name))
            record(sql, self._clock.now_ns(), name, name, NamespaceUpdated(name, merged))
            return _get(sql, name)

    def delete(self, name: str) -> None:
        """Remove an empty one. NotFound; WrongState says what is in it."""
        with self._database.write(frees=True) as sql:
            _get(sql, name)
            inside = _inside(sql, name)
            if inside:
                said = ", ".join(
                    f"{count} {_INSIDE[kind]}{'s'[: count != 1]}" for kind, count in inside.items()
                )
                raise WrongState(
                    f"namespace {name} is not empty: {said}",
                    hint="remove what is in it first; blobs and snapshots go with `store gc`",
                )
            sql.execute("DELETE FROM namespaces WHERE name = ?", (name,))
            record(sql, self._clock.now_ns(), name, name, NamespaceDeleted(name))


def _get(sql: sqlite3.Connection, name: str) -> NamespaceInfo:
    row = sql.execute("SELECT labels, created FROM namespaces WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NotFound(f"no namespace {name}", hint="`mobyshell namespace ls` lists them")
    return NamespaceInfo(name, decode(row[0]), row[1])


def _inside(sql: sqlite3.Connection, name: str) -> dict[str, int]:
    found = {}
    for table in _INSIDE:
        (count,) = sql.execute(
            f"SELECT count(*) FROM {table} WHERE namespace = ?", (name,)
        ).fetchone()
        if count:
            found[table] = int(count)
    return found
