"""Images: names for descriptors, in a namespace.

Owns the table `images`. An image is a name and what it is of; that its blobs are there is
garbage collection's to keep and nobody's to promise: one platform of an index is enough for some.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TypeAlias

from mobyshell.core.errors import AlreadyExists, NotFound, UsageError
from mobyshell.core.events import ImageCreated, ImageDeleted, ImageUpdated
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest, is_digest
from mobyshell.core.store.filters import Fields, mapping_fields, parse_filters
from mobyshell.core.store.labels import changed, decode, encode
from mobyshell.core.store.names import check_name
from mobyshell.core.store.scope import Scope
from mobyshell.core.values import field, value

_Row: TypeAlias = tuple[str, str, str, int, str, str, float, float]
_COLUMNS = "name, media_type, digest, size, annotations, labels, created, updated"


@value
class Image:
    """A name and its target. Times in seconds since the epoch."""

    name: str
    target: Descriptor
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0


class Images:
    """The images of one namespace. NotFound names the other namespaces that have one."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def create(
        self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None
    ) -> Image:
        """Name `target`. AlreadyExists; UsageError for what cannot be a name."""
        with self._scope.write() as sql:
            self._insert(sql, name, target, labels or {})
            return self._get(sql, name)

    def put(self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None) -> Image:
        """Name `target`, whatever had the name before: what a pull or a tag does."""
        with self._scope.write() as sql:
            if self._row(sql, name) is None:
                self._insert(sql, name, target, labels or {})
            else:
                self._update(sql, name, target, labels or {})
            return self._get(sql, name)

    def get(self, name: str) -> Image:
        """The image of this name."""
        with self._scope.database.read() as sql:
            return self._get(sql, name)

    def list(self, *filters: str) -> list[Image]:
        """All, or those that match any of the filters, by name.

        Fields: name, target.digest, target.mediatype, labels, annotations.
        """
        chosen = parse_filters(filters)
        with self._scope.database.read() as sql:
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM images WHERE namespace = ? ORDER BY name",
                (self._scope.namespace,),
            ).fetchall()
        images = map(_read, rows)
        return [one for one in images if not filters or chosen.matches(_fields(one))]

    def update(
        self, name: str, *, target: Descriptor | None = None,
        labels: Mapping[str, str | None] | None = None,
    ) -> Image:  # fmt: skip
        """Point it to another target, or set labels; None takes one away."""
        with self._scope.write() as sql:
            self._update(sql, name, target, labels or {})
            return self._get(sql, name)

    def delete(self, name: str, *, target: Digest | None = None) -> None:
        """Forget a name; with `target`, only if it still is of that (else NotFound). Its bytes go
        with the next garbage collection, if nothing else needs them."""
        with self._scope.database.write(frees=True) as sql:
            found = self._get(sql, name)
            if target is not None and found.target.digest != target:
                raise NotFound(f"image {name} is of {found.target.digest} now, not of {target}")
            sql.execute("DELETE FROM images WHERE namespace = ? AND name = ?",
                        (self._scope.namespace, name))  # fmt: skip
            self._scope.record(sql, name, ImageDeleted(name))

    def _insert(
        self, sql: sqlite3.Connection, name: str, target: Descriptor, labels: Mapping[str, str]
    ) -> None:
        scope, now = self._scope, self._scope.now()
        check_name(name, "image")
        check_promise(name, target.digest)
        scope.ensure_namespace(sql)
        made = sql.execute(
            f"INSERT OR IGNORE INTO images (namespace, {_COLUMNS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (scope.namespace, name, target.media_type, target.digest, target.size,
             encode(target.annotations or {}), encode(labels), now, now),
        )  # fmt: skip
        if not made.rowcount:
            raise AlreadyExists(f"image {name} is in namespace {scope.namespace} already",
                                hint="remove it first, or `image tag --force`")  # fmt: skip
        scope.record(sql, name, ImageCreated(name, dict(labels)))

    def _update(
        self, sql: sqlite3.Connection, name: str, target: Descriptor | None,
        labels: Mapping[str, str | None],
    ) -> None:  # fmt: skip
        before = self._get(sql, name)
        if target is not None:
            check_promise(name, target.digest)
        target = target or before.target
        merged = changed(before.labels, labels)
        sql.execute(
            "UPDATE images SET media_type = ?, digest = ?, size = ?, annotations = ?, labels = ?,"
            " updated = ? WHERE namespace = ? AND name = ?",
            (target.media_type, target.digest, target.size, encode(target.annotations or {}),
             encode(merged), self._scope.now(), self._scope.namespace, name),
        )  # fmt: skip
        self._scope.record(sql, name, ImageUpdated(name, merged))

    def _row(self, sql: sqlite3.Connection, name: str) -> _Row | None:
        row: _Row | None = sql.execute(
            f"SELECT {_COLUMNS} FROM images WHERE namespace = ? AND name = ?",
            (self._scope.namespace, name),
        ).fetchone()
        return row

    def _get(self, sql: sqlite3.Connection, name: str) -> Image:
        row = self._row(sql, name)
        if row is None:
            others = sql.execute("SELECT namespace FROM images WHERE name = ?", (name,)).fetchall()
            raise self._scope.missing("image", name, [one for (one,) in others])
        return _read(row)


def check_promise(name: str, digest: Digest) -> None:
    """UsageError where a name says a digest, and this is another: who asks for that name asks for those
    bytes."""
    promised = name.rpartition("@")[2] if "@" in name else ""
    if is_digest(promised) and promised != digest:
        raise UsageError(f"{name} can be the name of nothing else than what it says, and this is {digest}",
                         hint="a name without a digest")  # fmt: skip


def _read(row: _Row) -> Image:
    name, media_type, digest, size, annotations, labels, created, updated = row
    # it was checked when it was written: thousands are listed at once
    named = str.__new__(Digest, digest)
    target = Descriptor(media_type=media_type, digest=named, size=size,
                        annotations=decode(annotations) or None)  # fmt: skip
    return Image(name, target, decode(labels), created, updated)


def _fields(one: Image) -> Fields:
    plain = {"name": one.name, "target.digest": one.target.digest,
             "target.mediatype": one.target.media_type}  # fmt: skip
    return mapping_fields(plain, labels=one.labels, annotations=one.target.annotations or {})
