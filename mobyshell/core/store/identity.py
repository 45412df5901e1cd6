"""Whose the files are: a database and the files of its store know each other by one random word.

Owns that word, in the table `identity` and in `content/identity`. A database that is lost leaves
files; one that is made in its place knows nothing of them, and to a collection they would all be
garbage. So what removes files that no row names asks first whether they are this database's
(`owns`); if not, they stay until somebody says what shall become of them (`adopt`).

An older copy of the database in its place has the same word, and knows nothing of what is newer. So
how far the events have come is kept beside the files, too (`content/sequence`): one that is opened
and has not come so far gets another word. The number is written when what it counts is on the disk,
and need not get there itself: one that is too small only fails to notice.

Removes nothing itself.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.files import sync_directory
from mobyshell.core.store.database import Database
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.values import value


@value
class Marking:
    """How the files of a store are marked as those of a database that is made or migrated."""

    root: StoreRoot

    def made(self, sql: sqlite3.Connection, before: int) -> None:
        """The file comes before the row: a word that no database has means nothing. SyscallFailed."""
        # one that was there before there were marks has made the files
        if before or not any(_files(self.root)):
            _write(self.root, _word(sql))
        else:
            _count_on(sql, self.root)

    def stand(self, sql: sqlite3.Connection) -> int:
        """The number of the last event that there was, also if it has been forgotten since."""
        row = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return int(row[0]) if row else 0

    def note(self, stand: int) -> None:
        """In place, and without waiting for the disk."""
        with suppress(OSError):  # then it is not noticed if an older database is put there
            fd = os.open(self.root.sequence, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(fd, f"{stand:020}\n".encode(), 0)
            finally:
                os.close(fd)

    def is_behind(self, sql: sqlite3.Connection) -> bool:
        """The file is read first: what others have noted since is in the database."""
        try:
            noted = int(self.root.sequence.read_text())
        except (OSError, ValueError):
            return False
        return noted > self.stand(sql)

    def set_apart(self, sql: sqlite3.Connection) -> None:
        """Another word, and numbers for new trees that none of the files has. When that is on the disk
        it is noted how far this one has come."""
        sql.execute("UPDATE identity SET id = lower(hex(randomblob(16)))")
        _count_on(sql, self.root)


def owns(root: StoreRoot, database: Database) -> bool:
    """Whether the files below `root` are this database's. SyscallFailed."""
    try:
        marked = root.identity.read_text()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(root.identity)) from error
    with database.read() as sql:
        return marked == _word(sql)


def claim(root: StoreRoot, database: Database) -> None:
    """From now on they are: what no row names is garbage. SyscallFailed."""
    with database.write() as sql:  # one at a time
        _write(root, _word(sql))


def _word(sql: sqlite3.Connection) -> str:
    return str(sql.execute("SELECT id FROM identity").fetchone()[0])


def _files(root: StoreRoot) -> Iterator[Path]:
    """Blobs, and the directories of trees, of whomever."""
    for above in (*_below(root.blobs), *_below(root.snapshots)):
        yield from (one for one in _below(above) if not one.name.startswith("."))


def _below(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _count_on(sql: sqlite3.Connection, root: StoreRoot) -> None:
    """Let new trees have numbers that no directory has."""
    numbers = [int(one.name) for one in _files(root) if one.name.isdecimal()]
    if numbers:
        sql.execute("DELETE FROM sqlite_sequence WHERE name = 'trees' AND seq < ?", (max(numbers),))
        sql.execute("INSERT INTO sqlite_sequence (name, seq) SELECT 'trees', ? WHERE NOT EXISTS"
                    " (SELECT 1 FROM sqlite_sequence WHERE name = 'trees')", (max(numbers),))  # fmt: skip


def _write(root: StoreRoot, word: str) -> None:
    """By who holds the writers' lock."""
    path = root.identity
    temporary = path.with_name(f"{path.name}.new")  # what a death has left is written over
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, word.encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=str(path)) from error
