"""A database that is broken: set aside, and what can be read of it copied into a new one.

The old files stay beside the new ones, as `meta.db.damaged-<time>`, for who knows better. Rows
that cannot be read are lost, and with them names; `check` then drops what cannot be without them.
Files that lost rows have named are nobody's, and stay (`identity`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.store import identity
from mobyshell.core.store.database import Database
from mobyshell.core.store.locks import PATIENCE, wait_lock
from mobyshell.core.store.root import StoreRoot

_TABLES = ("namespaces", "blobs", "content", "ingests", "images", "trees", "snapshots",
           "containers", "leases", "lease_resources", "events")  # fmt: skip
"""Parents before children."""


def salvage(root: StoreRoot) -> tuple[Path, int]:
    """Set the database aside and make a new one; where the old one is, and how many rows came over.

    Nobody else may have the store open: what they write would be lost. SyscallFailed.
    """
    lock = os.open(f"{root.database}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        wait_lock(lock, PATIENCE)
        aside = _set_aside(root.database)
    except OSError as error:
        raise SyscallFailed.of(error, "rename", path=str(root.database)) from error
    finally:
        os.close(lock)
    with Database(root.database, marking=identity.Marking(root)) as database:
        return aside, _copy(aside, database)


def _set_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}-{os.getpid()}")
    os.rename(path, aside)
    for end in ("-wal", "-shm"):
        try:
            os.rename(f"{path}{end}", f"{aside}{end}")
        except FileNotFoundError:
            pass
    return aside


def _copy(aside: Path, database: Database) -> int:
    """Row by row, from both ends of each table: what is broken is somewhere between."""
    try:
        old = sqlite3.connect(f"file:{aside}?mode=rw", uri=True, isolation_level=None)
    except sqlite3.Error:
        return 0
    copied = 0
    try:
        with database.write() as sql:
            sql.execute("PRAGMA defer_foreign_keys = ON")
            for table in _TABLES:
                copied += _copy_table(old, sql, table)
            _drop_dangling(sql)
    finally:
        old.close()
    return copied


def _copy_table(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    columns = [str(row[1]) for row in new.execute(f"PRAGMA table_info({table})")]
    keys = ", ".join(str(row[1]) for row in new.execute(f"PRAGMA table_info({table})") if row[5])
    names = ", ".join(columns)
    places = ", ".join("?" * len(columns))
    copied = 0
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{key} {order}" for key in keys.split(", "))
        try:
            for row in old.execute(f"SELECT {names} FROM {table} ORDER BY {by}"):
                copied += _insert(new, f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)
        except (sqlite3.Error, UnicodeDecodeError):
            continue  # from the other end
        break
    return copied


def _insert(new: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> int:
    try:
        return max(0, new.execute(statement, row).rowcount)
    except sqlite3.IntegrityError:
        return 0  # of a wrong type, or without its namespace


def _drop_dangling(sql: sqlite3.Connection) -> None:
    """What refers to rows that could not be read."""
    while bad := sql.execute("PRAGMA foreign_key_check").fetchall():
        for table, rowid, _, _ in bad:
            if table == "snapshots":
                drop_snapshots(sql, "id", rowid)
            else:  # WITHOUT ROWID: SQLite does not say which
                _drop_by_parents(sql, str(table))


def drop_snapshots(sql: sqlite3.Connection, column: str, value: int) -> None:
    """Delete the snapshots with this value, and all that were prepared from them: children first,
    since the database refuses to lose a parent."""
    while sql.execute(
        "DELETE FROM snapshots WHERE id IN (WITH RECURSIVE below (id) AS ("
        f" SELECT id FROM snapshots WHERE {column} = ? UNION"
        " SELECT one.id FROM snapshots AS one JOIN below ON one.parent = below.id)"
        " SELECT id FROM below)"
        " AND NOT EXISTS (SELECT 1 FROM snapshots AS child WHERE child.parent = snapshots.id)",
        (value,),
    ).rowcount:
        pass


def _drop_by_parents(sql: sqlite3.Connection, table: str) -> None:
    groups: dict[int, list[tuple[str, str, str]]] = {}
    for row in sql.execute(f"PRAGMA foreign_key_list({table})"):
        groups.setdefault(row[0], []).append((row[2], row[3], row[4]))
    for references in groups.values():
        parent = references[0][0]
        same = " AND ".join(f"{parent}.{theirs} = {table}.{ours}" for _, ours, theirs in references)
        sql.execute(f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {parent} WHERE {same})")
