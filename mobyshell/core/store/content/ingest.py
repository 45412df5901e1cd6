"""Writing a blob: an ingest, which is there under its reference until it is committed or aborted.

Owns the bytes so far, what they hash to, and the commit. `content/ingest/<id>/data` holds the
bytes; the lock on that directory is the right to write them, and lives as long as the `Ingest`.
Whatever ends it, the bytes remain, and the next writer of the reference goes on behind them.

A commit: sizes and digests agree → 0444 → fsync → rename among the blobs → fsync(directory) → one
transaction (blob, content, lease, event; no ingest any more). What ends before the last step leaves
an ingest with all its bytes.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from mobyshell.core.errors import AlreadyExists, OutOfRange, SyscallFailed, WrongState
from mobyshell.core.events import ContentCreated
from mobyshell.core.oci.digest import Digest, is_digest
from mobyshell.core.store.content.blobs import Blobs, discard, hash_file
from mobyshell.core.store.content.hashing import Hashing
from mobyshell.core.store.content.values import FRESH, Info, Status
from mobyshell.core.store.labels import decode, encode
from mobyshell.core.store.scope import Scope

DATA = "data"
COMMITTING = "committing"
"""Holds the digest of bytes that are on their way to the blobs."""


class Ingest:
    """The one writer of a reference. Close it (or use `with`): what was written stays.

    Another process may write the bytes instead, given `fd` (or `directory_fd`); it hands back the
    digest and size of what it wrote, for `adopt`. Believe only a process of our own.
    """

    def __init__(
        self, scope: Scope, status: Status, directory: Path, directory_fd: int, *, kept: bool
    ) -> None:
        """Takes over `directory_fd`, which has the lock. Made by `Content.writer`."""
        self._scope, self._blobs = scope, Blobs(scope.root)
        self._status, self._directory, self._kept = status, directory, kept
        self.directory_fd = directory_fd
        self.fd = -1
        self._hashing: Hashing | None = None
        try:
            self.fd = _open_data(scope, directory)
            self._offset = os.fstat(self.fd).st_size
        except BaseException:
            self.close()
            raise
        self._algorithm = status.expected.algorithm if status.expected else "sha256"
        self._adopted: Digest | None = None

    @property
    def ref(self) -> str:
        """Its reference."""
        return self._status.ref

    @property
    def offset(self) -> int:
        """How many bytes are there: where the next ones go."""
        return self._offset

    def status(self) -> Status:
        """As `Content.status` says it."""
        one = self._status
        now = os.fstat(self.fd).st_mtime
        return Status(one.ref, self._offset, one.total, one.expected, one.started, now)

    def write(self, data: bytes | bytearray | memoryview, at: int | None = None) -> int:
        """Add bytes; the new offset. `at` 0 begins anew; another one must be where it ends.

        Raises:
            OutOfRange: `at` is somewhere else.
            SyscallFailed: the disk is full (then what was written is given up, which makes room),
                or cannot be written.
        """
        if at is not None and at != self._offset:
            if at != 0:
                raise OutOfRange(
                    f"ingest {self.ref}: a write at {at}, but {self._offset} bytes are there"
                )
            self.truncate()
        hashing = self._hash()
        self._adopted = None
        data = bytes(data)  # it may be hashed when its owner has something else there
        view = memoryview(data)
        while len(view):
            try:
                count = os.pwrite(self.fd, view, self._offset)
            except OSError as error:
                raise self._failed(error, "write") from error
            hashing.update(data if count == len(data) else bytes(view[:count]))
            self._offset += count
            view = view[count:]
        return self._offset

    def truncate(self) -> None:
        """Begin anew."""
        os.ftruncate(self.fd, 0)
        self._forget_hash()
        self._offset, self._adopted = 0, None

    def adopt(self, digest: Digest, size: int) -> None:
        """Take over what a worker of ours wrote into `fd` and hashed. WrongState if it is of
        another size."""
        found = os.fstat(self.fd).st_size
        if found != size:
            raise WrongState(f"ingest {self.ref}: {size} bytes were written, {found} are there")
        self._forget_hash()
        self._offset, self._adopted = size, digest

    def digest(self, algorithm: str = "") -> Digest:
        """What has been written so far hashes to."""
        algorithm = algorithm or self._algorithm
        if self._adopted is not None and self._adopted.algorithm == algorithm:
            return self._adopted
        if algorithm == self._algorithm:
            return self._hash().digest()
        return hash_file(self.fd, algorithm)

    def commit(
        self, total: int | None = None, expected: Digest | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Info:  # fmt: skip
        """Make a blob of it, that this namespace has. Closed afterwards, but after WrongState.

        Raises:
            WrongState: it has not this size, or not this digest; the ingest stays as it is.
            AlreadyExists: the namespace has it already; the ingest is gone, the lease holds it.
            NotFound: the lease is gone; the ingest is there for the next writer.
            SyscallFailed: the disk said no; as before.
        """
        digest = self._checked(total, expected)
        column = encode(labels or {})
        try:
            os.fchmod(self.fd, 0o444)
            os.fsync(self.fd)
        except OSError as error:
            raise self._failed(error, "fsync") from error
        try:
            with self._blobs.door.shared():
                (self._directory / COMMITTING).write_text(digest)
                self._blobs.place({digest: self._directory / DATA})
                with self._scope.write() as sql:
                    info, made = self._name(sql, digest, column)
            discard(self._directory)
        except OSError as error:
            raise SyscallFailed.of(error, "write") from error
        finally:
            self.close()
        if not made:
            raise AlreadyExists(f"content {digest} is in namespace {self._scope.namespace} already")
        return info

    def _checked(self, total: int | None, expected: Digest | None) -> Digest:
        size = os.fstat(self.fd).st_size
        for wanted in (total, self._status.total):
            if wanted is not None and wanted != size:
                raise WrongState(f"ingest {self.ref} has {size} bytes, expected are {wanted}")
        digest = self.digest(expected.algorithm if expected else "")
        for named in (expected, self._status.expected):
            if named is not None and named != self.digest(named.algorithm):
                raise WrongState(
                    f"ingest {self.ref} is {self.digest(named.algorithm)}, expected is {named}"
                )
        return digest

    def _name(self, sql: sqlite3.Connection, digest: Digest, labels: str) -> tuple[Info, bool]:
        """The rows of a commit: what is known of it now, and whether it is new here."""
        scope, now = self._scope, self._scope.now()
        made = name_blob(sql, scope, digest, self._offset, labels, now)
        sql.execute("DELETE FROM ingests WHERE namespace = ? AND ref = ?",
                    (scope.namespace, self.ref))  # fmt: skip
        sql.execute("DELETE FROM lease_resources WHERE namespace = ? AND type = 'ingests'"
                    " AND resource = ?", (scope.namespace, self.ref))  # fmt: skip
        return Info(digest, self._offset, decode(labels), now, now), made

    def _hash(self) -> Hashing:
        """The state of hashing: made anew from the file where others wrote it."""
        if self._hashing is None:
            self._hashing = Hashing(self._algorithm)
            if self._offset:
                self._hashing.add_file(self.fd)
        return self._hashing

    def _forget_hash(self) -> None:
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            hashing.close()

    def _failed(self, error: OSError, call: str) -> SyscallFailed:
        hint = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room, or collect garbage: mobyshell store gc"
            try:
                self.truncate()  # it cannot be finished, and the others need the room
            except OSError:
                pass
        return SyscallFailed.of(error, call, path=str(self._directory / DATA), hint=hint)

    def close(self) -> None:
        """Give the lock back. The bytes stay, if anybody is to go on with them."""
        self._forget_hash()
        if not self._kept and self.directory_fd >= 0:
            discard(self._directory)
        for fd in (self.fd, self.directory_fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self.directory_fd = -1

    def __enter__(self) -> Ingest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def name_blob(
    sql: sqlite3.Connection, scope: Scope, digest: Digest, size: int, labels: str, now: float
) -> bool:
    """Let the namespace have a blob, whose file is in its place; whether it had it not before."""
    scope.ensure_namespace(sql)
    sql.execute("INSERT OR IGNORE INTO blobs (digest, size, added) VALUES (?, ?, ?)",
                (digest, size, now))  # fmt: skip
    made = sql.execute(
        "INSERT OR IGNORE INTO content (namespace, digest, labels, created, updated, fresh)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (scope.namespace, digest, labels, now, now, None if scope.lease else now + FRESH),
    )
    scope.hold(sql, "content", digest)
    if made.rowcount:
        scope.record(sql, digest, ContentCreated(digest, size))
    return bool(made.rowcount)


def _open_data(scope: Scope, directory: Path) -> int:
    """The file of an ingest, for reading and writing."""
    path = directory / DATA
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        _recover(scope, directory)
        if path.exists():
            path.chmod(0o600)  # a commit that failed has made it 0444
        return os.open(path, flags, 0o600)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from error


def _recover(scope: Scope, directory: Path) -> None:
    """Whoever ended between rename and row has left the bytes among the blobs, where no row names
    them: have them back, instead of fetching them again."""
    try:
        text = (directory / COMMITTING).read_text()
    except FileNotFoundError:
        return
    blobs = Blobs(scope.root)
    if is_digest(text) and not (directory / DATA).exists():
        digest = Digest(text)
        # alone: nobody else is between rename and row
        with blobs.door.alone(), scope.database.read() as sql:
            named = sql.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone()
            if named is None:
                try:
                    os.rename(blobs.path(digest), directory / DATA)
                except FileNotFoundError:
                    pass  # collected
    (directory / COMMITTING).unlink()
