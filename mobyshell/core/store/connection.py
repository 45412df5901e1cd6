"""One thread's connection to the database: its settings, its handle of the writers' lock, its errors.

Knows no table and runs no statement of anybody's; `database` says who writes when.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mobyshell.core.errors import (
    MobyshellError,
    StoreDamaged,
    SyscallFailed,
    TimedOut,
    Unsupported,
    UsageError,
)
from mobyshell.core.oci.safejson import show
from mobyshell.core.store.schema import APPLICATION_ID, MIGRATIONS

PATIENCE = 60.0
"""Seconds that a writer waits for the others."""

_SETTINGS = """
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA trusted_schema = OFF;
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 0;
"""

_DAMAGED = {"SQLITE_CORRUPT", "SQLITE_NOTADB"}


class Connection:
    """A thread's connection and its handle of the writers' lock."""

    def __init__(self, path: Path) -> None:
        self.depth = 0
        self.writes = False
        self.durable = self.asked = True
        self.before: list[Callable[[], object]] = []
        self.after: list[tuple[bool, Callable[[], object]]] = []
        self.lock = os.open(f"{path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _make(path)
            self.sql = sqlite3.connect(
                path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            made_by(self.sql, path)  # before anything of it is changed
            self.sql.executescript(_SETTINGS)
            if self.sql.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                with self.locked(PATIENCE):
                    self.sql.execute("PRAGMA journal_mode = WAL").fetchone()
        except BaseException:
            if sql := getattr(self, "sql", None):
                sql.close()  # by hand: the error holds what would close it by itself
            os.close(self.lock)
            raise

    def choose(self, durable: bool) -> None:
        """Whether the commits that follow wait for the disk
        (https://sqlite.org/pragma.html#pragma_synchronous: WAL and NORMAL)."""
        if durable != self.durable:
            self.sql.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self.durable = durable

    @contextmanager
    def transaction(self, begin: str, *, writes: bool = False) -> Iterator[None]:
        self.sql.execute(begin)
        self.depth, self.writes = 1, writes
        try:
            yield
            self.sql.execute("COMMIT")
        except BaseException:
            if self.sql.in_transaction:
                self.sql.execute("ROLLBACK")
            raise
        finally:
            self.depth, self.writes = 0, False

    @contextmanager
    def locked(self, patience: float) -> Iterator[None]:
        """Hold the writers' lock. flock(2): gone with its holder, however that ends."""
        deadline = time.monotonic() + patience
        pause = 0.0005
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _held(self.lock) from None
                from random import uniform  # who waits has the time

                time.sleep(pause * uniform(0.5, 1.0))
                pause = min(pause * 1.5, 0.01)
        try:
            yield
        finally:
            fcntl.flock(self.lock, fcntl.LOCK_UN)

    def close(self) -> None:
        self.sql.close()
        os.close(self.lock)


def _make(path: Path) -> None:
    """Make the file, if there is none: SQLite would give it 0644 less the umask, which is not ours
    to change.

    One that is there is never opened: closing it again would take from this process every lock
    that SQLite has on it (https://sqlite.org/howtocorrupt.html#posix_close_bug).
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass


def made_by(sql: sqlite3.Connection, path: Path) -> int:
    """The schema's version; 0 for an empty file."""
    # in this order: another process may be making it, and who sees the one will see the next
    tables = _has_tables(sql)
    version = int(sql.execute("PRAGMA user_version").fetchone()[0])
    application = int(sql.execute("PRAGMA application_id").fetchone()[0])
    if application != APPLICATION_ID and (version or application or tables):
        raise StoreDamaged(f"{path} is a database, but not mobyshell's",
                           hint="choose another directory by --root")  # fmt: skip
    if version > len(MIGRATIONS):
        raise Unsupported(
            f"{path} is of version {version}, this mobyshell knows up to {len(MIGRATIONS)}",
            hint="a newer mobyshell has used this store: use that, or another --root",
        )
    return version


def _has_tables(sql: sqlite3.Connection) -> bool:
    return sql.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None


def _held(lock: int) -> TimedOut:
    """Who has the lock, from /proc/locks (proc(5))."""
    found = os.fstat(lock)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    holder = ""
    with open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == place:
                holder = words[4]
    who = f"process {holder}" if holder else "another process"
    return TimedOut(f"the store is being written by {who}, which does not end",
                    hint=f"look at it: ps -fp {holder}" if holder else "")  # fmt: skip


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """What sqlite3 raises, as errors of ours."""
    try:
        yield
    except MobyshellError:
        raise
    except sqlite3.IntegrityError:
        raise  # who wrote it knows what it means
    except UnicodeEncodeError as error:
        raise UsageError(f"not Unicode text: {show(error.object)}") from None
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if any(name.startswith(prefix) for prefix in _DAMAGED):
            raise StoreDamaged(f"{path}: {error}", hint="mobyshell doctor --store") from error
        if name == "SQLITE_FULL":
            raise SyscallFailed(
                "write", errno.ENOSPC, path=str(path), hint="make room, or collect garbage"
            ) from error
        if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise MobyshellError(
                f"{path}: {error} ({name})", hint="is its disk full, or read-only?"
            ) from error
        raise
