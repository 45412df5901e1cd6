"""The ingests of one namespace: finding, opening and giving them up.

Owns the table `ingests` and the directories `content/ingest/<id>`. An id is made from namespace
and reference, so that two who want the same meet at the same directory; its lock says who writes.
The directory comes before the row and goes after it: one without a row is garbage.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TypeAlias

from mobyshell.core.errors import Locked, NotFound, SyscallFailed
from mobyshell.core.linux.files import sync_directory
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.safejson import show
from mobyshell.core.store.content.blobs import Blobs, discard
from mobyshell.core.store.content.ingest import DATA, Ingest
from mobyshell.core.store.content.values import Status
from mobyshell.core.store.filters import mapping_fields, parse_filters
from mobyshell.core.store.locks import lock_directory, who
from mobyshell.core.store.names import check_name
from mobyshell.core.store.scope import Scope

_Row: TypeAlias = tuple[str, str, int | None, str | None, float, float]
_COLUMNS = "ref, directory, total, expected, started, updated"


class Ingests:
    """See the module."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def open(
        self, ref: str, total: int | None, expected: Digest | None, patience: float, *, kept: bool
    ) -> Ingest:
        """The ingest of a reference, made if there is none. Locked if it is being written, and
        still is after `patience` seconds. Not `kept`: without a row, and gone when it is closed."""
        check_name(ref, "reference")
        directory = self._scope.root.ingests / _id(self._scope.namespace, ref)
        fd = self._lock(directory, ref, patience)
        try:
            if kept:
                status = self._begin(ref, directory.name, total, expected)
            else:
                now = self._scope.now()
                status = self._status((ref, directory.name, total, expected, now, now))
        except BaseException:
            os.close(fd)
            raise
        return Ingest(self._scope, status, directory, fd, kept=kept)

    def _lock(self, directory: Path, ref: str, patience: float) -> int:
        deadline = time.monotonic() + patience
        while True:
            # not while the sweep looks for directories that nobody has locked
            with Blobs(self._scope.root).door.shared():
                try:
                    os.mkdir(directory, 0o700)
                except FileExistsError:
                    pass  # it may be gone by now: `Path.mkdir` would look, and take that for a file
                except OSError as error:
                    raise SyscallFailed.of(error, "mkdir", path=str(directory)) from error
                fd = lock_directory(directory)
            if fd is None:
                fd = lock_directory(directory, max(0.0, deadline - time.monotonic()))
            if fd is not None:
                return fd
            # None may also mean: removed by who had it
            if directory.exists() and time.monotonic() >= deadline:
                raise self._locked(directory, ref)

    def _locked(self, directory: Path, ref: str) -> Locked:
        writer = "another process"
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            writer = who(fd)
            os.close(fd)
        except OSError:
            pass  # just gone
        return Locked(f"ref {show(ref)} in namespace {self._scope.namespace} is being written by "
                      f"{writer}", hint="wait for it, or end it: what it wrote is kept")  # fmt: skip

    def _begin(
        self, ref: str, directory: str, total: int | None, expected: Digest | None
    ) -> Status:
        scope, now = self._scope, self._scope.now()
        with scope.write() as sql:
            scope.ensure_namespace(sql)
            known = sql.execute("SELECT 1 FROM ingests WHERE namespace = ? AND ref = ?",
                                (scope.namespace, ref)).fetchone()  # fmt: skip
            if known is None:
                scope.database.beforehand(self._sync)
            sql.execute(
                f"INSERT INTO ingests (namespace, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET total = coalesce(excluded.total, total),"
                " expected = coalesce(excluded.expected, expected), updated = excluded.updated",
                (scope.namespace, ref, directory, total, expected, now, now),
            )
            scope.hold(sql, "ingests", ref)
            row = sql.execute(
                f"SELECT {_COLUMNS} FROM ingests WHERE namespace = ? AND ref = ?",
                (scope.namespace, ref),
            ).fetchone()
        return self._status(row)

    def _sync(self) -> None:
        """A row must not outlive a power cut that its directory does not."""
        place = self._scope.root.ingests
        try:
            sync_directory(place)
        except OSError as error:
            raise SyscallFailed.of(error, "fsync", path=str(place)) from error

    def status(self, ref: str) -> Status:
        """How far one is. NotFound."""
        with self._scope.database.read() as sql:
            row = sql.execute(
                f"SELECT {_COLUMNS} FROM ingests WHERE namespace = ? AND ref = ?",
                (self._scope.namespace, ref),
            ).fetchone()
        if row is None:
            raise NotFound(f"no ingest {show(ref)} in namespace {self._scope.namespace}")
        return self._status(row)

    def statuses(self, *filters: str) -> list[Status]:
        """Of all, or of those that match any of the filters, by reference."""
        chosen = parse_filters(filters)
        with self._scope.database.read() as sql:
            rows = sql.execute(f"SELECT {_COLUMNS} FROM ingests WHERE namespace = ? ORDER BY ref",
                               (self._scope.namespace,)).fetchall()  # fmt: skip
        return [
            self._status(row) for row in rows if chosen.matches(mapping_fields({"ref": row[0]}))
        ]

    def abort(self, ref: str) -> None:
        """Give one up. NotFound; Locked while it is being written."""
        self.status(ref)
        directory = self._scope.root.ingests / _id(self._scope.namespace, ref)
        fd = lock_directory(directory)
        if fd is None and directory.exists():
            raise self._locked(directory, ref)
        try:
            self.forget(ref)
        finally:
            if fd is not None:
                os.close(fd)

    def forget(self, ref: str) -> None:
        """Remove row and bytes: the row first, and only who has the lock."""
        scope = self._scope
        with scope.database.write(frees=True) as sql:
            sql.execute("DELETE FROM ingests WHERE namespace = ? AND ref = ?",
                        (scope.namespace, ref))  # fmt: skip
            sql.execute("DELETE FROM lease_resources WHERE namespace = ? AND type = 'ingests'"
                        " AND resource = ?", (scope.namespace, ref))  # fmt: skip
        discard(scope.root.ingests / _id(scope.namespace, ref))

    def _status(self, row: _Row) -> Status:
        ref, directory, total, expected, started, updated = row
        try:
            found = os.stat(self._scope.root.ingests / directory / DATA)
            offset, updated = found.st_size, max(updated, found.st_mtime)
        except OSError:
            offset = 0
        return Status(ref, offset, total, Digest(expected) if expected else None, started, updated)


def _id(namespace: str, ref: str) -> str:
    return hashlib.sha256(f"{namespace}\0{ref}".encode()).hexdigest()[:32]
