"""The content of one namespace: which blobs it has, and the way to their bytes.

Owns the table `content`: a blob is visible here only if this namespace has it, whatever lies on
the disk for others. After containerd's content store, whose rules these are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from mobyshell.core.errors import AlreadyExists, NotFound
from mobyshell.core.events import ContentCreated, ContentDeleted
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.content.blobs import Blob, Blobs
from mobyshell.core.store.content.ingest import Ingest, name_blob
from mobyshell.core.store.content.ingests import Ingests
from mobyshell.core.store.content.values import FRESH, Info, Sharing, Status
from mobyshell.core.store.content.whole import Whole, placed
from mobyshell.core.store.filters import mapping_fields, parse_filters
from mobyshell.core.store.labels import SHAREABLE, changed, decode, encode
from mobyshell.core.store.scope import Scope

_Row: TypeAlias = tuple[str, int, str, float, float]
_COLUMNS = "content.digest, blobs.size, content.labels, content.created, content.updated"
_JOINED = "content JOIN blobs ON blobs.digest = content.digest"


class Content:
    """See the module. NotFound names the other namespaces that have the blob."""

    def __init__(self, scope: Scope, sharing: Sharing = Sharing.ISOLATED) -> None:
        self._scope, self._sharing = scope, sharing
        self._blobs, self._ingests = Blobs(scope.root), Ingests(scope)

    def info(self, digest: Digest) -> Info:
        """What is known of a blob."""
        with self._scope.database.read() as sql:
            return self._info(sql, digest)

    def has(self, digest: Digest) -> bool:
        """Whether this namespace has it."""
        with self._scope.database.read() as sql:
            return self._row(sql, digest) is not None

    def claim(self, digest: Digest) -> Info:
        """As `info`, and from now on the lease, if there is one, holds it."""
        with self._scope.write() as sql:
            info = self._info(sql, digest)
            self._scope.hold(sql, "content", digest)
            return info

    def update(self, digest: Digest, labels: Mapping[str, str | None]) -> Info:
        """Set labels; None takes one away. Nothing else of content can be changed."""
        with self._scope.write() as sql:
            info = self._info(sql, digest)
            sql.execute(
                "UPDATE content SET labels = ?, updated = ? WHERE namespace = ? AND digest = ?",
                (encode(changed(info.labels, labels)), self._scope.now(), self._scope.namespace,
                 digest),
            )  # fmt: skip
            return self._info(sql, digest)

    def walk(self, *filters: str) -> Iterator[Info]:
        """All, or those that match any of the filters, by digest. Fields: digest, size, labels."""
        chosen = parse_filters(filters)
        with self._scope.database.read() as sql:
            rows = sql.execute(
                f"SELECT {_COLUMNS} FROM {_JOINED} WHERE content.namespace = ?"
                " ORDER BY content.digest",
                (self._scope.namespace,),
            ).fetchall()
        for row in rows:
            one = _read(row)
            plain = {"digest": one.digest, "size": str(one.size)}
            if chosen.matches(mapping_fields(plain, labels=one.labels)):
                yield one

    def delete(self, digest: Digest) -> None:
        """Have it no more. Its bytes go with the next garbage collection, if nobody has them."""
        with self._scope.database.write(frees=True) as sql:
            self._info(sql, digest)
            sql.execute("DELETE FROM content WHERE namespace = ? AND digest = ?",
                        (self._scope.namespace, digest))  # fmt: skip
            self._scope.record(sql, digest, ContentDeleted(digest))

    def open(self, digest: Digest) -> Blob:
        """Open a blob for reading. StoreDamaged if its file is missing or of another size."""
        info = self.info(digest)
        try:
            return self._blobs.open(digest, info.size)
        except Exception:
            self.info(digest)  # NotFound, if it was removed meanwhile
            raise

    def read(self, digest: Digest, offset: int = 0, length: int = -1) -> bytes:
        """Bytes of a blob; see `open` and `Blob.read`."""
        with self.open(digest) as blob:
            return blob.read(offset, length)

    def verify(self, digest: Digest) -> Info:
        """Read it all. StoreDamaged unless it is what the digest names."""
        with self.open(digest) as blob:
            blob.verify()
        return self.info(digest)

    def writer(
        self, ref: str, *, total: int | None = None, expected: Digest | None = None,
        patience: float = 0.0, kept: bool = True,
    ) -> Ingest:  # fmt: skip
        """Write under a reference, behind what is there of it already. Not `kept`: what is not
        committed is gone when the writer is closed, and not listed before.

        Raises:
            AlreadyExists: the namespace has `expected` (perhaps because another one shares it);
                the lease holds it now.
            Locked: another writer is at it, and still is after `patience` seconds.
            UsageError: this is no reference.
        """
        self._refuse_known(expected)
        ingest = self._ingests.open(ref, total, expected, patience, kept=kept)
        try:
            self._refuse_known(expected)  # the writer that we waited for has done it
        except BaseException:
            if kept:
                self._ingests.forget(ref)
            ingest.close()
            raise
        return ingest

    def add(self, new: Sequence[Whole]) -> None:
        """Have these blobs, all at once; of those that are here already, the labels are added."""
        with placed(self._blobs, new), self._scope.write() as sql:
            scope, now = self._scope, self._scope.now()
            for one in new:
                labels = encode(one.labels)
                made = name_blob(sql, scope, one.digest, len(one.data), labels, now)
                if not made and one.labels:
                    self.update(one.digest, one.labels)

    def status(self, ref: str) -> Status:
        """How far an ingest is. NotFound."""
        return self._ingests.status(ref)

    def statuses(self, *filters: str) -> list[Status]:
        """Of all ingests, or of those that match any of the filters. Fields: ref."""
        return self._ingests.statuses(*filters)

    def abort(self, ref: str) -> None:
        """Give up an ingest and its bytes. NotFound; Locked while it is being written."""
        self._ingests.abort(ref)

    def diff_id(self, digest: Digest) -> Digest | None:
        """What a layer unpacks to, if it has been unpacked here."""
        with self._scope.database.read() as sql:
            self._info(sql, digest)
            row = sql.execute("SELECT diff_id FROM blobs WHERE digest = ?", (digest,)).fetchone()
        return Digest(row[0]) if row and row[0] else None

    def unpacked(self, digest: Digest, diff_id: Digest) -> None:
        """Note what it unpacks to. Only for who has just unpacked these very bytes."""
        with self._scope.write() as sql:
            self._info(sql, digest)
            sql.execute("UPDATE blobs SET diff_id = ? WHERE digest = ?", (diff_id, digest))

    def _refuse_known(self, expected: Digest | None) -> None:
        if expected is None:
            return
        with self._scope.database.read() as sql:
            if self._row(sql, expected) is None and not self._shared(sql, expected):
                return
        with self._scope.write() as sql:
            # again: what we saw may be gone
            if self._row(sql, expected) is None and not self._take_over(sql, expected):
                return
            self._scope.hold(sql, "content", expected)
        raise AlreadyExists(f"content {expected} is in namespace {self._scope.namespace} already")

    def _shared(self, sql: sqlite3.Connection, digest: Digest) -> str | None:
        """The labels of another namespace's, if this one may have it for the asking."""
        rows = sql.execute("SELECT labels FROM content WHERE digest = ?", (digest,)).fetchall()
        for (labels,) in rows:
            if self._sharing == Sharing.SHARED or decode(labels).get(SHAREABLE) == "true":
                return str(labels)
        return None

    def _take_over(self, sql: sqlite3.Connection, digest: Digest) -> bool:
        if self._shared(sql, digest) is None:
            return False
        scope, now = self._scope, self._scope.now()
        scope.ensure_namespace(sql)
        sql.execute(
            "INSERT INTO content (namespace, digest, created, updated, fresh)"
            " VALUES (?, ?, ?, ?, ?)",
            (scope.namespace, digest, now, now, None if scope.lease else now + FRESH),
        )
        scope.record(sql, digest, ContentCreated(digest, self._info(sql, digest).size))
        return True

    def _row(self, sql: sqlite3.Connection, digest: Digest) -> _Row | None:
        row: _Row | None = sql.execute(
            f"SELECT {_COLUMNS} FROM {_JOINED} WHERE content.namespace = ? AND content.digest = ?",
            (self._scope.namespace, digest),
        ).fetchone()
        return row

    def _info(self, sql: sqlite3.Connection, digest: Digest) -> Info:
        row = self._row(sql, digest)
        if row is None:
            raise self._missing(sql, digest)
        return _read(row)

    def _missing(self, sql: sqlite3.Connection, digest: Digest) -> NotFound:
        others = sql.execute("SELECT namespace FROM content WHERE digest = ?", (digest,)).fetchall()
        return self._scope.missing("content", digest, [one for (one,) in others])


def _read(row: _Row) -> Info:
    digest, size, labels, created, updated = row
    return Info(Digest(digest), size, decode(labels), created, updated)
