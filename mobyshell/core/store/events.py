"""What happened in the store, recorded with the change itself; what can is said in `core/events`.

Owns the table `events`: a row is written in the transaction of what it tells of, so a follower
sees nothing that did not happen and misses nothing that did. Followers may be other processes:
they wake when the database's log is written (inotify) and read on by number.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import PAYLOADS, Event, Payload
from mobyshell.core.store.database import Database
from mobyshell.core.values import as_dict

if TYPE_CHECKING:
    from mobyshell.core.linux.inotify import Watch

KEPT = 10_000
"""Events that are kept; a few more until the next tidying."""

_TIDY_EVERY = 256
_BATCH = 1000
_POLL = 0.25
"""Seconds between looks where inotify is not to be had."""
_COMMITTING = 0.002
"""Seconds from a write to the log until the first look whether it is committed by then; each next
one is twice as long after the one before. No write tells of the commit itself: it is in memory."""


def record(
    sql: sqlite3.Connection, time_ns: int, namespace: str, id: str, payload: Payload
) -> None:
    """Write an event in the transaction of `sql`."""
    text = json.dumps(as_dict(payload), separators=(",", ":"), ensure_ascii=False)
    made = sql.execute(
        "INSERT INTO events (time_ns, namespace, topic, subject, payload) VALUES (?, ?, ?, ?, ?)",
        (time_ns, namespace, payload.topic, id, text),
    )
    number = made.lastrowid or 0
    if number % _TIDY_EVERY == 0:
        sql.execute("DELETE FROM events WHERE sequence <= ?", (number - KEPT,))


def recent(database: Database, count: int = KEPT, namespace: str | None = None) -> list[Event]:
    """The last `count` events (of a namespace), the oldest first."""
    with database.read() as sql:
        rows = sql.execute(
            "SELECT sequence, time_ns, namespace, topic, subject, payload FROM events"
            " WHERE ?1 IS NULL OR namespace = ?1 ORDER BY sequence DESC LIMIT ?2",
            (namespace, count),
        ).fetchall()
    return [event for row in reversed(rows) for event in _event(row)]


def last(database: Database) -> int:
    """The number of the last event; 0 before the first."""
    with database.read() as sql:
        row = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return int(row[0]) if row else 0


def follow(
    database: Database,
    after: int | None = None,
    *,
    namespace: str | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Events after number `after` (default: from now on), as they happen, in whatever process.

    Ends when `stopped` says so, which is asked about once a second, and after every change.
    """
    seen = last(database) if after is None else after
    with _Waker(database) as waker:
        while not stopped():
            rows = _after(database, seen, namespace)
            for row in rows:
                seen = row[0]
                yield from _event(row)
                if stopped():
                    return
            if not rows:
                waker.wait(1.0)


def _after(
    database: Database, seen: int, namespace: str | None
) -> list[tuple[int, int, str, str, str, str]]:
    with database.read() as sql:
        return sql.execute(
            "SELECT sequence, time_ns, namespace, topic, subject, payload FROM events"
            " WHERE sequence > ?1 AND (?2 IS NULL OR namespace = ?2) ORDER BY sequence LIMIT ?3",
            (seen, namespace, _BATCH),
        ).fetchall()


def _event(row: tuple[int, int, str, str, str, str]) -> list[Event]:
    """The event of a row; none if a newer mobyshell wrote it."""
    _, time_ns, namespace, topic, subject, payload = row
    kind = PAYLOADS.get(topic)
    return [Event(time_ns, namespace, subject, kind(**json.loads(payload)))] if kind else []


class _Waker:
    """Waits until the database may have changed."""

    def __init__(self, database: Database) -> None:
        from mobyshell.core.linux.inotify import Watch  # loaded by who follows

        self._database = database
        self._version = database.version()
        self._watch: Watch | None = None
        try:
            self._watch = Watch(os.path.dirname(database.path))
        except SyscallFailed:
            pass  # the user has no inotify instance left

    def wait(self, timeout: float) -> None:
        """At most so many seconds."""
        deadline = time.monotonic() + timeout
        pause = timeout if self._watch is not None else _POLL
        while (left := deadline - time.monotonic()) > 0:
            if self._watch is None:
                time.sleep(min(pause, left))
            elif self._watch.wait(min(pause, left)):
                pause = _COMMITTING
            else:
                pause *= 2
            # the directory changes for other reasons, too; this says whether somebody committed
            version, self._version = self._version, self._database.version()
            if version != self._version:
                return

    def __enter__(self) -> _Waker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.close()
