"""Events are there when the change is, in every process, and old ones go."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.clock import ManualClock
from mobyshell.core.events import ImageCreated, ImageDeleted
from mobyshell.core.store import events
from mobyshell.core.store.database import Database
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope

WRITER = """
import sys
from pathlib import Path
from mobyshell.core.store.database import Database
from mobyshell.core.events import ImageCreated
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
root = StoreRoot(Path(sys.argv[1]))
scope = Scope(root, Database(root.database), "demo")
for number in range(int(sys.argv[2])):
    with scope.database.write() as sql:
        scope.record(sql, f"i{number}", ImageCreated(f"i{number}", {"n": str(number)}))
"""


@pytest.fixture
def scope(tmp_path: Path) -> Iterator[Scope]:
    root = StoreRoot(tmp_path / "store")
    root.make()
    with Database(root.database) as database:
        yield Scope(root, database, "demo", clock=ManualClock())


def emit(scope: Scope, name: str) -> None:
    with scope.database.write() as sql:
        scope.record(sql, name, ImageCreated(name))


def test_an_event_comes_back_as_it_went(scope: Scope) -> None:
    with scope.database.write() as sql:
        scope.record(sql, "a", ImageCreated("a", {"k": "v"}))
        scope.record(sql, "a", ImageDeleted("a"))
    first, second = events.recent(scope.database)
    assert first.payload == ImageCreated("a", {"k": "v"})
    assert (first.topic, first.namespace, first.id) == ("/images/create", "demo", "a")
    assert first.time_ns == ManualClock().now_ns()
    assert second.payload == ImageDeleted("a")
    assert [one.id for one in events.recent(scope.database, 1)] == ["a"]
    assert events.recent(scope.database, namespace="other") == []


def test_what_did_not_happen_is_not_told(scope: Scope) -> None:
    def fail() -> None:
        with scope.database.write() as sql:
            scope.record(sql, "a", ImageCreated("a"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert events.recent(scope.database) == []


def test_old_events_go(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEPT", 10)
    with scope.database.write() as sql:
        for number in range(events._TIDY_EVERY * 2):
            scope.record(sql, f"i{number}", ImageCreated(f"i{number}"))
    kept = events.recent(scope.database)
    assert len(kept) == 10
    assert kept[-1].id == f"i{events._TIDY_EVERY * 2 - 1}"


@pytest.mark.parametrize("inotify", [True, False])
def test_another_process_is_followed(
    scope: Scope, monkeypatch: pytest.MonkeyPatch, inotify: bool
) -> None:
    if not inotify:
        from mobyshell.core.errors import SyscallFailed

        def none(*_: str) -> None:
            raise SyscallFailed("inotify_init1", 24)

        monkeypatch.setattr("mobyshell.core.linux.inotify.Watch", none)
    emit(scope, "before")
    seen: list[str] = []
    stream = events.follow(scope.database, events.last(scope.database))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(scope.root.path), "50"])
    for event in stream:
        seen.append(event.id)
        if len(seen) == 50:
            break
    assert writer.wait(60) == 0
    assert seen == [f"i{number}" for number in range(50)]


def test_a_commit_is_seen_at_once_though_the_log_is_written_before_it(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """inotify tells of the write; that it is committed is in shared memory, a moment later."""
    waited: list[float] = []
    committed = threading.Event()

    class Watch:
        """The log is written; nothing else happens to files."""

        def __init__(self, *_: str) -> None: ...

        def wait(self, timeout: float) -> bool:
            waited.append(timeout)
            if len(waited) == 3:
                with Database(scope.root.database) as other:
                    emit(Scope(scope.root, other, "demo"), "late")
                committed.set()
            return len(waited) == 1

        def close(self) -> None: ...

    monkeypatch.setattr("mobyshell.core.linux.inotify.Watch", Watch)
    assert next(events.follow(scope.database, 0)).id == "late"
    assert committed.is_set()
    assert len(waited) == 3
    assert sum(waited[1:]) < 0.1


def test_a_follower_starts_where_it_is_told_and_stops(scope: Scope) -> None:
    for name in "abc":
        emit(scope, name)
    stop = threading.Event()
    found = []
    for event in events.follow(scope.database, 1, stopped=stop.is_set):
        found.append(event.id)
        if event.id == "c":
            stop.set()
    assert found == ["b", "c"]


def test_what_a_newer_version_tells_is_passed_over(scope: Scope) -> None:
    with scope.database.write() as sql:
        sql.execute("INSERT INTO events (time_ns, namespace, topic, subject, payload)"
                    " VALUES (1, 'demo', '/new/topic', 'x', '{}')")  # fmt: skip
    emit(scope, "a")
    assert [one.id for one in events.recent(scope.database)] == ["a"]
    assert next(events.follow(scope.database, 0)).id == "a"
