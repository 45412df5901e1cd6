"""The database: connections, transactions, migrations, and moving the log into the file.

Owns how SQLite is used; knows no table. Many processes, and many threads of each, use one
database at once: every thread has a connection, every writer holds the lock file first.

- WAL and `synchronous=FULL`: a commit that returned survives a power cut. A step on the way to
  another may do with less (`durable=False`): the log is written in order, so it is on the disk
  when a later one is, and a power cut that loses it has lost all that followed.
- Writers wait for one file lock, not for SQLite's own: that is polled, unfair (seconds under
  load), and fails at once where a reader turns writer. So nobody ever sees SQLITE_BUSY.
- Before 3.51.3 SQLite can lose commits when one connection moves the log while another writes
  (https://sqlite.org/wal.html#walresetbug). Here the log is moved by who holds the writers' lock,
  and by nobody else.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mobyshell.core.errors import (
    MobyshellError,
    StoreDamaged,
    Unsupported,
)
from mobyshell.core.store import reserve
from mobyshell.core.store.connection import PATIENCE, Connection, made_by, translated
from mobyshell.core.store.schema import APPLICATION_ID, MIGRATIONS

LONG_LOG = 4 << 20
"""Bytes of the -wal file from which on it is moved into the database. The next commit begins it anew
and cuts it off (`journal_size_limit`): its size says how much is in it."""


class Marking(Protocol):
    """Who marks the files beside a database as its own."""

    def made(self, sql: sqlite3.Connection, before: int) -> None:
        """Within the transaction that makes or migrates it; `before` is the version before (0: none)."""

    def stand(self, sql: sqlite3.Connection) -> int:
        """A number that grows with what is written, as of the transaction that is under way."""

    def note(self, stand: int) -> None:
        """This much is on the disk. Never fails."""

    def is_behind(self, sql: sqlite3.Connection) -> bool:
        """Whether more has been noted than there is: it is an older one that was put in its place."""

    def set_apart(self, sql: sqlite3.Connection) -> None:
        """Within a transaction: the files are not its own, then, but another's."""


class Database:
    """One database file, for the threads of one process. Never used across a fork."""

    def __init__(
        self, path: Path, *, patience: float = PATIENCE, marking: Marking | None = None
    ) -> None:
        """Open it, making or migrating it first where necessary; `marking` has a part in that.

        Raises:
            StoreDamaged: the file is not a database, or is not ours.
            Unsupported: a newer mobyshell made it.
            SyscallFailed: it cannot be opened.
        """
        self.path = path
        self._patience, self._marking, self._noted = patience, marking, -1
        self._mine = threading.local()
        self._all: list[tuple[threading.Thread, Connection]] = []
        self._guard = threading.Lock()
        try:
            self._migrate()
            if marking is not None:
                self._place(marking)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the database and changes nothing."""
        mine = self._connection()
        if mine.depth:
            yield mine.sql
            return
        with translated(self.path), mine.transaction("BEGIN"):
            yield mine.sql

    @contextmanager
    def write(self, *, frees: bool = False, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction that changes all it changes or nothing, and is on the disk when it ends; not
        `durable`, when the next one is that is. Within another one of the same thread it is a part
        of that, which is durable if one of them is. One that `frees` room may use what is kept for it
        on a full disk (`reserve`).

        Raises:
            TimedOut: others have held the lock for too long; it says who.
            SyscallFailed: the disk is full, or could not be written.
        """
        mine = self._connection()
        if mine.depth:
            if not mine.writes:
                raise RuntimeError("a write within a read: it would see what it has not locked")
            mine.asked |= durable
            yield mine.sql
            return
        mine.before.clear()
        mine.after.clear()
        mine.asked = durable
        if frees:
            reserve.give_up_if_full(self.path)
        with translated(self.path), mine.locked(self._patience):
            mine.choose(durable)
            with mine.transaction("BEGIN IMMEDIATE", writes=True):
                yield mine.sql
                for action in mine.before:
                    action()
                stand = self._marking.stand(mine.sql) if durable and self._marking else -1
            if self._marking is not None and stand > self._noted:
                self._marking.note(stand)  # within the lock: it only grows
                self._noted = stand
            self._move_log(mine)
        actions, mine.after = mine.after, []
        if not durable and (mine.asked or any(sure for sure, _ in actions)):
            self._sync_log()
        for _, action in actions:
            action()

    def beforehand(self, action: Callable[[], object]) -> None:
        """Do this, once, when all else is done in the transaction that this thread writes in, before it
        is committed; if it raises, that is undone. So whoever has put a transaction around others need
        not wait in the midst of it for what is to be on the disk before a row is."""
        before = self._connection().before
        if action not in before:
            before.append(action)

    def afterwards(self, action: Callable[[], object], *, sure: bool = True) -> None:
        """Do this when the transaction that this thread writes in is on the disk and others may write
        again; never, if it fails. At once, if there is none. So files are not removed before the
        rows that name them are, whoever has put a transaction around it. Not `sure`: also where a
        power cut could still undo it."""
        mine = self._connection()
        if mine.depth and mine.writes:
            mine.after.append((sure, action))
        else:
            action()

    def version(self) -> int:
        """A number that differs from an earlier one if another connection has committed since."""
        with translated(self.path):
            return int(self._connection().sql.execute("PRAGMA data_version").fetchone()[0])

    def check(self) -> list[str]:
        """What is wrong with the file itself: SQLite's findings, a line each.
        https://sqlite.org/pragma.html#pragma_integrity_check"""
        sql = self._connection().sql
        try:
            found = [str(row[0]) for row in sql.execute("PRAGMA integrity_check")]
            found += [f"{row[0]}: a row refers to one of {row[2]} that is not there"
                      for row in sql.execute("PRAGMA foreign_key_check")]  # fmt: skip
        except sqlite3.DatabaseError as error:
            return [str(error)]
        return [line for line in found if line != "ok"]

    def close(self) -> None:
        """Close the connections of all threads. None may be in use."""
        with self._guard:
            for _, connection in self._all:
                connection.close()
            self._all.clear()
            self._mine = threading.local()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connection(self) -> Connection:
        mine: Connection | None = getattr(self._mine, "connection", None)
        if mine is None:
            mine = self._connect()
            self._mine.connection = mine
            with self._guard:
                self._forget_ended()
                self._all.append((threading.current_thread(), mine))
        return mine

    def _connect(self) -> Connection:
        try:
            with translated(self.path):
                return Connection(self.path)
        except (MobyshellError, OSError) as error:
            # on a full disk there is no room for the log
            if isinstance(error, (StoreDamaged, Unsupported)) or not reserve.give_up(self.path):
                raise
        with translated(self.path):
            return Connection(self.path)

    def _forget_ended(self) -> None:
        """Close what threads have left behind that are no more: a face may start one a second."""
        ended = [one for one in self._all if not one[0].is_alive()]
        for one in ended:
            one[1].close()
            self._all.remove(one)

    def _place(self, marking: Marking) -> None:
        """An older database in the place of this one is not the one that the files are of."""
        with self.read() as sql:
            if not marking.is_behind(sql):
                return
        with self.write() as sql:
            if marking.is_behind(sql):
                marking.set_apart(sql)

    def _migrate(self) -> None:
        mine = self._connection()
        with translated(self.path):
            if made_by(mine.sql, self.path) == len(MIGRATIONS):
                return
            with mine.locked(self._patience):
                # another process may have done it while we waited
                version = made_by(mine.sql, self.path)
                with mine.transaction("BEGIN IMMEDIATE", writes=True):
                    for statements in MIGRATIONS[version:]:
                        _execute(mine.sql, statements)
                    mine.sql.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
                    mine.sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    if self._marking is not None:
                        self._marking.made(mine.sql, version)
                reserve.keep(self.path)

    def _sync_log(self) -> None:
        # no lock of SQLite's is on this file, that closing it could take away
        with open(f"{self.path}-wal", "rb") as log:
            os.fdatasync(log.fileno())

    def _move_log(self, mine: Connection) -> None:
        try:
            if os.stat(f"{self.path}-wal").st_size < LONG_LOG:
                return
        except FileNotFoundError:
            return
        # waits for no reader: what one still needs is moved after the next commit
        mine.sql.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _execute(sql: sqlite3.Connection, statements: str) -> None:
    """Several, within the transaction; `executescript` would end it first."""
    statement = ""
    for line in statements.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            sql.execute(statement)
            statement = ""
