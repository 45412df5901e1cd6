"""Collecting: find what nothing needs, take its rows away, then its files.

All rows go in one transaction, together with the look that found them dead: whoever holds a lease,
or names something, has done so before it or does so after it. Files follow, a few at a time behind
the blobs' door, and only where there is still no row. What a crash leaves between the two are
files without rows, which the next collection finds.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from mobyshell.core.clock import Clock
from mobyshell.core.events import ContainerDeleted, ContentDeleted, ImageDeleted, SnapshotRemoved
from mobyshell.core.store import events, identity, reserve
from mobyshell.core.store.database import Database
from mobyshell.core.store.gc.files import sweep_blobs, sweep_ingests
from mobyshell.core.store.gc.gather import gather
from mobyshell.core.store.gc.graph import (
    CONTAINER,
    CONTENT,
    IMAGE,
    INGEST,
    LEASE,
    SNAPSHOT,
    Graph,
    Marks,
    Node,
    dead,
    mark,
)
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.snapshots.protocol import Usage
from mobyshell.core.values import value


@value
class Removed:
    """An object that nothing needed. `size`: its own bytes, which others may have as well."""

    node: Node
    size: int


@value
class Collected:
    """What a collection did. `freed`: bytes that the disk has back; of a dry run, about as many as
    it would. `foreign`: the files are not this database's, so that none was removed (`identity`)."""

    removed: tuple[Removed, ...]
    kept: int
    freed: int
    seconds: float
    dry_run: bool = False
    foreign: bool = False


def look(database: Database, clock: Clock) -> tuple[Graph, Marks]:
    """What there is, and what is needed: for `why`, and for a dry run."""
    with database.read() as sql:
        graph = gather(sql, clock.now_ns() / 1e9)
    return graph, mark(graph)


def dry_run(database: Database, clock: Clock) -> Collected:
    """What `collect` would do now."""
    began = time.monotonic()
    graph, marks = look(database, clock)
    gone = dead(graph, marks)
    # bytes that another namespace still needs do not come back
    needed = {node.key for node in marks.reached if node.kind == CONTENT}
    freed = {
        node.key if node.kind == CONTENT else node: graph.nodes[node]
        for node in gone
        if not (node.kind == CONTENT and node.key in needed)
    }
    removed = tuple(Removed(node, graph.nodes[node]) for node in gone)
    return Collected(removed, len(marks.reached), sum(freed.values()),
                     time.monotonic() - began, dry_run=True)  # fmt: skip


def collect(
    root: StoreRoot, database: Database, clock: Clock,
    cleanups: Sequence[Callable[[], Usage]] = (),
) -> Collected:  # fmt: skip
    """Collect once. `cleanups` remove the files of snapshots that have no rows any more.

    Loses nothing that anybody needs, whatever others do meanwhile. SyscallFailed, TimedOut.
    """
    began = time.monotonic()
    graph, marks = look(database, clock)
    gone = dead(graph, marks)
    if gone or _has_orphans(database):  # else there is nothing to lock for
        with database.write(frees=True) as sql:
            graph = gather(sql, clock.now_ns() / 1e9)
            marks = mark(graph)
            gone = dead(graph, marks)
            _remove_rows(sql, gone, clock.now_ns())
    removed = tuple(Removed(node, graph.nodes[node]) for node in gone)
    if not identity.owns(root, database):
        return Collected(removed, len(marks.reached), 0, time.monotonic() - began, foreign=True)
    stale = [node for node in gone if node.kind == INGEST]
    freed = sweep_ingests(root, database, stale, clock.now_ns() / 1e9)
    freed += sweep_blobs(root, database)
    freed += sum(cleanup().size for cleanup in cleanups)
    reserve.keep(database.path)
    return Collected(removed, len(marks.reached), freed, time.monotonic() - began)


def _has_orphans(database: Database) -> bool:
    """Whether there are blobs or trees that no namespace has: left by who removed the last."""
    with database.read() as sql:
        return any(sql.execute(f"SELECT EXISTS ({orphans})").fetchone()[0] for orphans in _ORPHANS)


_ORPHANS = (
    "SELECT 1 FROM blobs WHERE digest NOT IN (SELECT digest FROM content)",
    "SELECT 1 FROM trees WHERE id NOT IN (SELECT tree FROM snapshots)",
)


def _remove_rows(sql: sqlite3.Connection, gone: Sequence[Node], now: int) -> None:
    for node in gone:
        if node.kind == CONTENT:
            _delete(sql, "content", "digest", node)
            events.record(sql, now, node.namespace, node.key, ContentDeleted(node.key))
        elif node.kind == IMAGE:
            _delete(sql, "images", "name", node)
            events.record(sql, now, node.namespace, node.key, ImageDeleted(node.key))
        elif node.kind == LEASE:
            _delete(sql, "leases", "id", node)
        elif node.kind == CONTAINER:
            _delete(sql, "containers", "id", node)
            events.record(sql, now, node.namespace, node.key, ContainerDeleted(node.key))
    _remove_snapshots(sql, [node for node in gone if node.kind.startswith(SNAPSHOT)], now)
    sql.execute("DELETE FROM blobs WHERE digest NOT IN (SELECT digest FROM content)")
    sql.execute("DELETE FROM trees WHERE id NOT IN (SELECT tree FROM snapshots)")


def _delete(sql: sqlite3.Connection, table: str, column: str, node: Node) -> None:
    sql.execute(f"DELETE FROM {table} WHERE namespace = ? AND {column} = ?",
                (node.namespace, node.key))  # fmt: skip


def _remove_snapshots(sql: sqlite3.Connection, gone: Sequence[Node], now: int) -> None:
    """Children first: the database refuses to lose a parent."""
    left = list(gone)
    while left:
        stay = []
        for node in left:
            snapshotter = node.kind.partition("/")[2]
            done = sql.execute(
                "DELETE FROM snapshots WHERE namespace = ? AND snapshotter = ? AND key = ?"
                " AND NOT EXISTS (SELECT 1 FROM snapshots AS child WHERE child.parent = snapshots.id)",
                (node.namespace, snapshotter, node.key),
            )
            if done.rowcount:
                events.record(sql, now, node.namespace, node.key,
                              SnapshotRemoved(node.key, snapshotter))  # fmt: skip
            else:
                stay.append(node)
        if len(stay) == len(left):
            raise AssertionError(f"snapshots whose children are needed: {stay}")
        left = stay
